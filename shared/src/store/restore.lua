-- Trash -> dead: brings back what was thrown away together, as the newest and in its old order.
--
-- KEYS  1 trash  2 failed  3 stats  4 audit
-- ARGV  1 who  2 how many at most  3 '1' where what came back is to be told
-- Returns {now, how many came back, how many are left, entry that came back...}
make_sure_of_room(KEYS[3])
local moved = redis.call('LRANGE', KEYS[1], -tonumber(ARGV[2]), -1)
local n = #moved
if n > 0 then
  -- The oldest, which is the last, is pushed first.
  for i = 1, math.floor(n / 2) do
    moved[i], moved[n + 1 - i] = moved[n + 1 - i], moved[i]
  end
  redis.call('LPUSH', KEYS[2], unpack(moved))
  redis.call('LTRIM', KEYS[1], 0, -n - 1)
  count(KEYS[3], 'restored', n)
  audit(KEYS[4], ARGV[1], 'restored', n, KEYS[1])
end
local reply = {now, n, redis.call('LLEN', KEYS[1])}
if ARGV[3] == '1' then
  for _, entry in ipairs(moved) do
    reply[#reply + 1] = entry
  end
end
return reply
