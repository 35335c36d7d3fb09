-- Registers workers that are not registered and have leads in flight, so that their leads are seen and
-- recovered. Each gets a lease: one that is alive renews it, and nobody takes its leads.
--
-- KEYS  1 workers  2 workers:info  then active:<worker> of each
-- ARGV  1 length of that lease in ms  2 what is said of them, as JSON  then the workers
-- Returns {now, {worker, in flight}...} of those it registered
local reply = {now}
for i = 3, #KEYS do
  local worker = ARGV[i]
  if not redis.call('ZSCORE', KEYS[1], worker) then
    local held = in_hand(KEYS[i])
    if held > 0 then
      redis.call('ZADD', KEYS[1], now + tonumber(ARGV[1]), worker)
      redis.call('HSET', KEYS[2], worker, ARGV[2])
      reply[#reply + 1] = {worker, held}
    end
  end
end
return reply
