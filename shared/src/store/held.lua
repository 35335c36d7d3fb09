-- Reads the numbers of the deliveries in a worker's hands. Only the numbers: a scan would bring the
-- leads along, which may be of any size.
--
-- KEYS  1 active:<worker>
-- Returns {now, number...}, in no order.
local reply = {now}
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  local lane = string.match(field, '^batch:(%d)$')
  if lane then
    local first = redis.call('HGET', KEYS[1], field)
    for i = 0, redis.call('LLEN', KEYS[1] .. ':' .. lane) - 1 do
      reply[#reply + 1] = first + i
    end
  else
    reply[#reply + 1] = tonumber(field)
  end
end
return reply
