-- Waiting -> dead: takes back what was put back to work by hand, while nobody works on it yet.
-- It was pushed at the left end, so it is looked for among the newest there.
--
-- KEYS  1 queue  2 failed  3 stats  4 audit
-- ARGV  1 who  then two for each: the bytes that wait, the dead letter it was
-- Returns {now, found or not (1/0)...}: the rest must be sent again.
make_sure_of_room(KEYS[3])
redis.call('LLEN', KEYS[2]) -- Fails here rather than below where that is no list.
-- Entries looked at for one, and in one call: about 2 ms.
local DEPTH = 5000
local BUDGET = 15000
local MARK = 'recalled:' .. now .. ':' .. redis.sha1hex(ARGV[2] or '')

local reply = {now}
local dead = {}
local spent = 0
for i = 2, #ARGV, 2 do
  if spent > BUDGET then
    break
  end
  local at = redis.call('LPOS', KEYS[1], ARGV[i], 'MAXLEN', DEPTH)
  spent = spent + 20 + (at or DEPTH)
  if at then
    redis.call('LSET', KEYS[1], at, MARK)
    dead[#dead + 1] = ARGV[i + 1]
  end
  reply[#reply + 1] = at and 1 or 0
end
if #dead > 0 then
  redis.call('LPUSH', KEYS[2], unpack(dead))
  redis.call('LREM', KEYS[1], #dead, MARK)
  count(KEYS[3], 'restored', #dead)
  audit(KEYS[4], ARGV[1], 'recalled', #dead, '')
end
return reply
