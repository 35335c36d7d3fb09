-- Adds what the stations of one worker did to the figures of an hour. A batch that comes again,
-- because its answer was lost, counts once: the hash remembers each worker's last one.
--
-- KEYS  1 stations:<hour>, kept for 25 hours
-- ARGV  1 worker  2 number of the batch, from 1  then pairs: field, how much more
-- Returns {now}
local last = 'batch:' .. ARGV[1]
if tonumber(redis.call('HGET', KEYS[1], last) or 0) < tonumber(ARGV[2]) then
  redis.call('HSET', KEYS[1], last, ARGV[2])
  for i = 3, #ARGV, 2 do
    redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1])
  end
  redis.call('EXPIRE', KEYS[1], 90000)
end
return {now}
