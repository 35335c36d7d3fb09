-- Renews a worker's lease and tells it what it must know.
--
-- KEYS  1 workers  2 workers:info  3 paused  4 retry  5 queue  6 stats  7 try
-- ARGV  1 worker  2 lease in ms  3 what the worker says of itself
--       4 '1' to register, '0' to renew only what is registered
-- Returns {now, registered, paused, next retry due or nil, leads to be
--          tried, expired worker...}
local registered = ARGV[4] == '1' or redis.call('ZSCORE', KEYS[1], ARGV[1])
if registered then
  redis.call('ZADD', KEYS[1], now + tonumber(ARGV[2]), ARGV[1])
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
end
local minute = this_minute(KEYS[6])
redis.call('HSET', minute, 'depth', redis.call('LLEN', KEYS[5]))
redis.call('EXPIRE', minute, 90000)
-- No lease ends later than its length from now: one that seems to was made before the server's clock
-- went back. Of workers that do not tell their length an hour is the most.
local far = redis.call('ZRANGE', KEYS[1], '+inf', '(' .. (now + tonumber(ARGV[2])), 'BYSCORE', 'REV',
  'LIMIT', 0, 16, 'WITHSCORES')
for i = 1, #far, 2 do
  local info = redis.call('HGET', KEYS[2], far[i]) or ''
  local length = tonumber(string.match(info, '"lease_length_ms":(%d+)') or 3600000)
  if tonumber(far[i + 1]) > now + length then
    redis.call('ZADD', KEYS[1], now + length, far[i])
  end
end
local reply = {now, registered and 1 or 0, redis.call('EXISTS', KEYS[3]), next_due(KEYS[4]),
  redis.call('LLEN', KEYS[7])}
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 16)) do
  reply[#reply + 1] = worker
end
return reply
