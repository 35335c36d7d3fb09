-- Reads deliveries in a worker's hands, without touching them. Of one that is too large only a part is
-- sent.
--
-- KEYS  1 active:<worker>
-- ARGV  1 bytes after which to stop  2 bytes of a payload that is sent whole  3 bytes that are sent
--       of a larger one  4 where that part begins, from 0  then the deliveries' numbers
-- Returns {now, payload or {bytes in all, part} or false...}: of the first so many numbers, false
-- where it is not there.
local as_they_came = batches(KEYS[1])

local function payload_of(number)
  local payload = redis.call('HGET', KEYS[1], number)
  for _, batch in ipairs(as_they_came) do
    local at = number - batch.first
    if not payload and at >= 0 then
      payload = redis.call('LINDEX', batch.list, at)
    end
  end
  return payload
end

local reply = {now}
local room, whole = tonumber(ARGV[1]), tonumber(ARGV[2])
local from, part = tonumber(ARGV[4]), tonumber(ARGV[3])
for i = 5, #ARGV do
  if room <= 0 then
    break
  end
  local payload = payload_of(ARGV[i])
  if payload then
    room = room - #payload
    if #payload > whole then
      payload = {#payload, string.sub(payload, from + 1, from + part)}
    end
  end
  reply[#reply + 1] = payload
end
return reply
