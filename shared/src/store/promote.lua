-- Retry -> waiting: puts what is due at the front of the line, the longest due first.
--
-- KEYS  1 retry  2 queue
-- ARGV  1 how many at most
-- Returns {now, how many moved, next due or nil}
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])
if #due > 0 then
  local front = {}
  for i = 1, #due do
    front[i] = due[#due + 1 - i]
  end
  redis.call('RPUSH', KEYS[2], unpack(front))
  redis.call('ZREM', KEYS[1], unpack(due))
end
return {now, #due, next_due(KEYS[1])}
