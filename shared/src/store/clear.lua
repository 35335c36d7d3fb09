-- Dead -> trash, all at once, or the oldest of them: those that there were when an operator was asked.
--
-- KEYS  1 failed  2 trash  3 stats  4 audit
-- ARGV  1 who  2 seconds the trash is kept  3 how many at most, the oldest; -1 all
-- Returns {now, how many}, or {now, -1} and nothing has moved: more have come since than go back in
-- one short step.
local NEWER = 200
local n = redis.call('LLEN', KEYS[1])
local most = tonumber(ARGV[3])
local newer = most >= 0 and math.max(n - most, 0) or 0
if newer == n then
  return {now, 0}
elseif newer > NEWER then
  return {now, -1}
end
if newer > 0 then
  make_sure_of_room(KEYS[3])
end
local stay = newer > 0 and redis.call('LRANGE', KEYS[1], 0, newer - 1) or {}
redis.call('RENAME', KEYS[1], KEYS[2])
for i = #stay, 1, -1 do
  redis.call('LPUSH', KEYS[1], stay[i])
end
if newer > 0 then
  redis.call('LTRIM', KEYS[2], newer, -1)
end
redis.call('EXPIRE', KEYS[2], ARGV[2])
count(KEYS[3], 'dropped', n - newer)
audit(KEYS[4], ARGV[1], 'cleared', n - newer, KEYS[2])
return {now, n - newer}
