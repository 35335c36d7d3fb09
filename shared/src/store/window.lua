-- Reads a window of a list with its length, in one step. A script and no transaction, because a
-- server that is out of memory refuses those even for reading.
--
-- It ends early after so many bytes, which it goes beyond by one LRANGE at most: a few entries, and
-- one alone after a large one. Of a large entry, where no more may be sent, only the beginning is.
--
-- KEYS  1 list
-- ARGV  1 first index, 0 the leftmost, -1 the rightmost  2 last index
--       3 bytes after which to read no more  4 bytes that may be sent
--       5 bytes of an entry that are always sent, where it has so many; one with more is large
--       6 how many to read at once at first
-- Returns {now, length, entry or {bytes, beginning}...}
local length = redis.call('LLEN', KEYS[1])
local function from_left(index)
  index = tonumber(index)
  return index < 0 and length + index or index
end
local first, last = math.max(from_left(ARGV[1]), 0), math.min(from_left(ARGV[2]), length - 1)
local most, room, always = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local reply = {now, length}
local read, ask = 0, tonumber(ARGV[6])
-- How many one LRANGE may be of. Deep in a long list each takes long to get there, about 0.0012
-- microseconds an entry on the way; there are no more of them than take 2 ms for that.
local way = math.min(first, length - first) * 0.0012
local ASK = math.max(16, math.ceil((last - first + 1) * way / 2000))
while first <= last and read < most do
  local entries = redis.call('LRANGE', KEYS[1], first, math.min(first + ask - 1, last))
  ask = math.min(ask * 2, ASK)
  for _, entry in ipairs(entries) do
    read = read + #entry
    if #entry > always then
      ask = 1
    end
    local sent = #entry
    if #entry > always and sent > room then
      sent = always
      entry = {#entry, string.sub(entry, 1, always)}
    end
    room = room - sent
    reply[#reply + 1] = entry
  end
  first = first + #entries
end
if read > most then
  collectgarbage() -- Or Lua would keep the large ones for a while.
end
return reply
