-- Reads the numbers of the deliveries in a worker's hands. Only the numbers: a scan would bring the
-- leads along, which may be of any size.
--
-- KEYS  1 active:<worker>
-- Returns {now, number...}, in no order.
local reply = {now}
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  reply[#reply + 1] = tonumber(field) -- Nothing where it is the mark of a batch.
end
for _, batch in ipairs(batches(KEYS[1])) do
  for i = 0, redis.call('LLEN', batch.list) - 1 do
    reply[#reply + 1] = batch.first + i
  end
end
return reply
