-- Makes a write that changes nothing of the bridge's, to see whether the server accepts one. What
-- the user may not do is not tried: a denial would stand in the server's log.
--
-- KEYS  1 probe
-- ARGV  1 how long the key lives, in ms
-- Returns {now, 1 if a write was made, 0 if the user may not}
local write = {'SET', KEYS[1], '1', 'PX', ARGV[1]}
if redis.acl_check_cmd and not redis.acl_check_cmd(unpack(write)) then
  return {now, 0}
end
redis.call(unpack(write))
return {now, 1}
