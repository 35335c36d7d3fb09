-- Dead -> trash, all at once.
--
-- KEYS  1 failed  2 trash  3 stats  4 audit
-- ARGV  1 who  2 seconds the trash is kept
-- Returns {now, how many}
local n = redis.call('LLEN', KEYS[1])
if n > 0 then
  redis.call('RENAME', KEYS[1], KEYS[2])
  redis.call('EXPIRE', KEYS[2], ARGV[2])
  count(KEYS[3], 'dropped', n)
  audit(KEYS[4], ARGV[1], 'cleared', n, KEYS[2])
end
return {now, n}
