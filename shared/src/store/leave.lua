-- A worker says goodbye. Should it still hold leads, its lease ends at once instead, and the
-- next worker's recoverer takes them.
--
-- KEYS  1 workers  2 workers:info  3 active:<worker>  4 workers:state
-- ARGV  1 worker
-- Returns {now, how many leads it still held}
local held = in_hand(KEYS[3])
if held == 0 then
  redis.call('ZREM', KEYS[1], ARGV[1])
  redis.call('HDEL', KEYS[2], ARGV[1])
  redis.call('DEL', KEYS[3])
else
  redis.call('ZADD', KEYS[1], 'XX', now, ARGV[1])
end
if redis.call('ZCARD', KEYS[1]) == 0 then
  redis.pcall('HDEL', KEYS[4], 'finder') -- An older user of Redis may not, and the key ends by itself.
end
return {now, held}
