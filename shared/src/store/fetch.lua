-- Waiting -> in flight: takes leads from the right end of the list into the worker's hands.
--
-- KEYS  1 queue  2 active:<worker>  3 workers  4 paused  5 stats
-- ARGV  1 worker  2 how many at most  3 number of the first delivery  4 bytes after which to stop
-- Returns {now, state, lengths, payloads}; state 0 taken, 1 paused, 2 the worker's lease is not
-- alive. The payloads come in one piece, with their lengths in bytes as a list of words: the
-- worker then reads one answer, and not one for each lead.
if redis.call('EXISTS', KEYS[4]) == 1 then
  return {now, 1}
end
local lease = redis.call('ZSCORE', KEYS[3], ARGV[1])
if not lease or tonumber(lease) <= now then
  return {now, 2}
end
make_sure_of_room(KEYS[5])
local payloads, lengths = {}, {}
local left, delivery, room = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
while left > 0 and room > 0 do
  -- A few at a time, so that a run of huge leads cannot fill the worker's memory.
  local ask = math.min(left, 32)
  local taken = redis.call('RPOP', KEYS[1], ask)
  if not taken then
    break
  end
  local fields = {}
  for i, payload in ipairs(taken) do
    fields[2 * i - 1] = delivery
    fields[2 * i] = payload
    payloads[#payloads + 1] = payload
    lengths[#lengths + 1] = #payload
    delivery = delivery + 1
    room = room - #payload
  end
  redis.call('HSET', KEYS[2], unpack(fields))
  left = left - #taken
  if #taken < ask then
    break
  end
end
count(KEYS[5], 'received', #payloads)
return {now, 0, table.concat(lengths, ' '), table.concat(payloads)}
