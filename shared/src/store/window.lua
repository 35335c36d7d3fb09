-- Reads a window of a list with its length, in one step. A script and no transaction, because a
-- server that is out of memory refuses those even for reading.
--
-- It ends early after so many bytes; and of a large entry, where no more may be sent, only the
-- beginning is.
--
-- KEYS  1 list
-- ARGV  1 first index, 0 the leftmost, -1 the rightmost  2 last index
--       3 bytes after which to read no more  4 bytes that may be sent
--       5 bytes of an entry that are always sent, where it has so many
-- Returns {now, length, entry or {bytes, beginning}...}
local length = redis.call('LLEN', KEYS[1])
local function from_left(index)
  index = tonumber(index)
  return index < 0 and length + index or index
end
local first, last = math.max(from_left(ARGV[1]), 0), math.min(from_left(ARGV[2]), length - 1)
local most, room, always = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local reply = {now, length}
local read, ask = 0, 8
while first <= last and read < most do
  local entries = redis.call('LRANGE', KEYS[1], first, math.min(first + ask - 1, last))
  for _, entry in ipairs(entries) do
    read = read + #entry
    local sent = #entry
    if #entry > always and sent > room then
      sent = always
      entry = {#entry, string.sub(entry, 1, always)}
    end
    room = room - sent
    reply[#reply + 1] = entry
  end
  first = first + #entries
  -- As many more as there is room for, if they are like those so far.
  ask = math.ceil(math.max(most - read, 0) / (read / (#reply - 2) + 1)) + 1
end
if read > most then
  collectgarbage() -- Or Lua would keep the large ones for a while.
end
return reply
