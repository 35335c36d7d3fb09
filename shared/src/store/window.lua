-- Reads a window of the dead letter queue with its length, in one step. A script and no
-- transaction, because a server that is out of memory refuses those even for reading.
--
-- KEYS  1 failed
-- ARGV  1 first index, 0 the newest  2 last index
-- Returns {now, length, entry...}
local reply = {now, redis.call('LLEN', KEYS[1])}
for _, entry in ipairs(redis.call('LRANGE', KEYS[1], ARGV[1], ARGV[2])) do
  reply[#reply + 1] = entry
end
return reply
