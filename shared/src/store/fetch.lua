-- Waiting -> in flight: takes leads from the right end of the list into the worker's hands. Of one
-- that is too large only the beginning is sent: the rest never comes into the worker's memory.
--
-- KEYS  1 queue  2 active:<worker>  3 workers  4 paused  5 stats
-- ARGV  1 worker  2 how many at most  3 number of the first delivery  4 bytes after which to stop
--       5 bytes of a payload that is sent whole  6 bytes that are sent of a larger one
--       7 bytes of payloads that are sent in one piece
-- Returns {now, state, lengths, piece...}; state 0 taken, 1 paused, 2 the worker's lease is not
-- alive. The payloads come one behind the other, with their lengths in bytes as a list of words:
-- the worker then reads one answer, and not one for each lead. The word of a payload that is not
-- sent whole is <bytes that are sent>/<bytes in all>. A new piece begins where the last one would
-- become too long, so that no lead keeps much more than its own bytes in the worker's memory.
if redis.call('EXISTS', KEYS[4]) == 1 then
  return {now, 1}
end
local lease = redis.call('ZSCORE', KEYS[3], ARGV[1])
if not lease or tonumber(lease) <= now then
  return {now, 2}
end
make_sure_of_room(KEYS[5])
local reply, payloads, lengths = {now, 0, ''}, {}, {}
local begun, piece, most = 1, 0, tonumber(ARGV[7])
local left, delivery, room = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local whole, large = tonumber(ARGV[5]), false
local ask = 4
while left > 0 and room > 0 do
  -- A few at a time, so that a run of huge leads cannot fill the memory.
  ask = math.min(left, ask)
  local taken = redis.call('RPOP', KEYS[1], ask)
  if not taken then
    break
  end
  local fields = {}
  for i, payload in ipairs(taken) do
    fields[2 * i - 1] = delivery
    fields[2 * i] = payload
    delivery = delivery + 1
    local length = #payload
    room = room - length
    if length > whole then
      large = true
      payload = string.sub(payload, 1, tonumber(ARGV[6]))
      length = #payload .. '/' .. length
    end
    if piece > 0 and piece + #payload > most then
      reply[#reply + 1] = table.concat(payloads, '', begun)
      begun, piece = #payloads + 1, 0
    end
    payloads[#payloads + 1] = payload
    lengths[#lengths + 1] = length
    piece = piece + #payload
  end
  redis.call('HSET', KEYS[2], unpack(fields))
  left = left - #taken
  if #taken < ask then
    break
  end
  ask = math.min(ask * 2, 32)
end
count(KEYS[5], 'received', #payloads)
reply[3] = table.concat(lengths, ' ')
reply[#reply + 1] = table.concat(payloads, '', begun)
if large then
  collectgarbage() -- Or Lua would keep the large ones for a while.
end
return reply
