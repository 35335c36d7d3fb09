-- Asks to be the one worker that searches for leads of workers that are not registered.
--
-- KEYS  1 workers:state
-- ARGV  1 ms until another search may begin
-- Returns {now, 1 if this worker searches, else 0}
local pause = tonumber(ARGV[1])
local next_search = tonumber(redis.call('HGET', KEYS[1], 'finder') or 0) or 0
-- One further ahead was written before the server's clock went back.
if next_search > now and next_search <= now + 2 * pause then
  return {now, 0}
end
redis.call('HSET', KEYS[1], 'finder', now + pause)
redis.call('EXPIRE', KEYS[1], 86400)
return {now, 1}
