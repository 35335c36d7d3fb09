-- In flight at a dead worker -> waiting or dead. Checks, in the same step, that the lease has
-- not come back to life and that nobody else has taken the delivery.
--
-- KEYS  1 workers  2 workers:info  3 active:<worker>  4 queue  5 failed  6 stats  7 workers:lost
-- ARGV  1 worker  2 the worker that recovers  3 the time after which it judges nothing, empty for
--         none: by then the clock was moved forward
--       then three for each delivery, the oldest last: 'requeue' or 'dead', number, envelope;
--       or 'as it is', back to the line as it came, number, nothing;
--       or 'rubbish', a field that is no delivery's number, to the dead letters, nothing
-- Returns {now, alive, number...}: whether the worker turned out alive; the deliveries moved.

local lease = redis.call('ZSCORE', KEYS[1], ARGV[1])
if lease and tonumber(lease) > now or was_moved(ARGV[3]) then
  return {now, 1}
end
open(KEYS[3], KEYS[6])
local reply = {now, 0}
local recovered, dead = 0, 0
for i = 4, #ARGV, 3 do
  if redis.call('HEXISTS', KEYS[3], ARGV[i + 1]) == 1 then
    if ARGV[i] == 'rubbish' then
      redis.call('LPUSH', KEYS[5], redis.call('HGET', KEYS[3], ARGV[i + 1]))
      dead = dead + 1
    elseif ARGV[i] == 'dead' then
      redis.call('LPUSH', KEYS[5], ARGV[i + 2])
      dead = dead + 1
    elseif ARGV[i] == 'as it is' then
      redis.call('RPUSH', KEYS[4], redis.call('HGET', KEYS[3], ARGV[i + 1]))
      recovered = recovered + 1
    else
      redis.call('RPUSH', KEYS[4], ARGV[i + 2])
      recovered = recovered + 1
    end
    redis.call('HDEL', KEYS[3], ARGV[i + 1])
    if ARGV[i] ~= 'rubbish' then
      reply[#reply + 1] = tonumber(ARGV[i + 1])
    end
  end
end
if in_hand(KEYS[3]) == 0 then
  if read_or_false('HLEN', KEYS[3]) then
    redis.call('DEL', KEYS[3])
  end
  redis.call('ZREM', KEYS[1], ARGV[1])
  redis.call('HDEL', KEYS[2], ARGV[1])
end
count(KEYS[6], 'recovered', recovered)
count(KEYS[6], 'dead', dead)
if lease or recovered + dead > 0 then
  remember_loss(KEYS[7], ARGV[1], ARGV[2], tonumber(lease) or now, recovered, dead)
  trim_losses(KEYS[7])
end
return reply
