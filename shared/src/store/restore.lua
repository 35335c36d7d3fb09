-- Trash -> dead: brings back what was thrown away together, as the newest and in its old order.
--
-- KEYS  1 trash  2 failed  3 stats  4 audit
-- ARGV  1 who  2 how many at most  3 bytes after which to stop
--       4 '1' where what came back is to be told  5 how many to move at once at first
-- Returns {now, how many came back, how many are left, entry that came back...}
make_sure_of_room(KEYS[3])
-- Entries above that are not sent along to be told of.
local TOLD = 65536
local left, room, ask = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[5])
local restored = 0
local told = {}
while left > 0 and room > 0 do
  -- A few at a time, and one alone after a large one, so that a run of them cannot hold the
  -- server up.
  ask = math.min(left, ask)
  local moved = redis.call('LRANGE', KEYS[1], -ask, -1)
  local n = #moved
  if n == 0 then
    break
  end
  -- The oldest, which is the last, is pushed first.
  for i = 1, math.floor(n / 2) do
    moved[i], moved[n + 1 - i] = moved[n + 1 - i], moved[i]
  end
  local large = false
  for _, entry in ipairs(moved) do
    room = room - #entry
    large = large or #entry > TOLD
    if ARGV[4] == '1' and #entry <= TOLD then
      told[#told + 1] = entry
    end
  end
  redis.call('LPUSH', KEYS[2], unpack(moved))
  redis.call('LTRIM', KEYS[1], 0, -n - 1)
  restored = restored + n
  left = left - n
  ask = large and 1 or math.min(ask * 2, 64)
end
if restored > 0 then
  count(KEYS[3], 'restored', restored)
  audit(KEYS[4], ARGV[1], 'restored', restored, KEYS[1])
end
local reply = {now, restored, redis.call('LLEN', KEYS[1])}
for _, entry in ipairs(told) do
  reply[#reply + 1] = entry
end
return reply
