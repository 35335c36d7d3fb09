-- Retry -> waiting: puts what is due at the front of the line, the longest due first.
--
-- KEYS  1 retry  2 queue
-- ARGV  1 how many at most
-- Returns {now, how many moved, next due or -1}
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])
if #due > 0 then
  local front = {}
  for i = 1, #due do
    front[i] = due[#due + 1 - i]
  end
  redis.call('RPUSH', KEYS[2], unpack(front))
  redis.call('ZREM', KEYS[1], unpack(due))
end
local next_due = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
return {now, #due, tonumber(next_due[2] or -1)}
