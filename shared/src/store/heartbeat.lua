-- Renews a worker's lease and tells it what it must know.
--
-- KEYS  1 workers  2 workers:info  3 paused  4 retry  5 queue  6 stats  7 try
-- ARGV  1 worker  2 lease in ms  3 what the worker says of itself
--       4 '1' to register, '0' to renew only what is registered
-- Returns {now, registered, paused, next retry due or -1, leads to be
--          tried, expired worker...}
local registered = ARGV[4] == '1' or redis.call('ZSCORE', KEYS[1], ARGV[1])
if registered then
  redis.call('ZADD', KEYS[1], now + tonumber(ARGV[2]), ARGV[1])
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
end
local minute = this_minute(KEYS[6])
redis.call('HSET', minute, 'depth', redis.call('LLEN', KEYS[5]))
redis.call('EXPIRE', minute, 90000)
local due = redis.call('ZRANGE', KEYS[4], 0, 0, 'WITHSCORES')
local reply = {now, registered and 1 or 0, redis.call('EXISTS', KEYS[3]), tonumber(due[2] or -1),
  redis.call('LLEN', KEYS[7])}
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 16)) do
  reply[#reply + 1] = worker
end
return reply
