-- Sets or clears the pause flag. First the flag, for it matters more than the audit: a server
-- without room still lets it be cleared.
--
-- KEYS  1 paused  2 audit
-- ARGV  1 who  2 '1' to pause, '0' to resume
-- Returns {now, whether it was paused before}
local was = redis.call('EXISTS', KEYS[1])
if ARGV[2] == '1' then
  redis.call('SET', KEYS[1], ARGV[1])
  audit(KEYS[2], ARGV[1], 'paused', 0, '')
else
  redis.call('DEL', KEYS[1])
  pcall(audit, KEYS[2], ARGV[1], 'resumed', 0, '')
end
return {now, was}
