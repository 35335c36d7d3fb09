-- Dead -> waiting, or dead -> trash: moves entries that are still what the operator saw.
--
-- An entry is named by its bytes, a large one by the first of them and how many there are; the
-- index is only where to look first. It counts from the right end, where nothing is ever added, so
-- it stays true while new entries arrive.
-- Close to an end the entries are marked and taken out in one pass, the order kept. Deep in a
-- long list, where such a pass would hold the server, the oldest entry takes the place instead:
-- the length stays exact and the cost is that of an index.
--
-- KEYS  1 failed  2 where to  3 stats  4 audit
-- ARGV  1 'redriven', 'edited' (redriven with a changed lead) or 'dropped'  2 who  3 seconds the destination is kept, 0 for ever
--       then six for each entry: index from the right end (-1 the last), its first bytes, how many
--       there are in all, what to push in place of its first bytes, how many those are, what the
--       audit says of it
-- Returns {now, how many were looked at, moved or not (1/0)...}: the rest must be sent again.
make_sure_of_room(KEYS[3])
redis.call('LLEN', KEYS[2]) -- Fails here rather than below where that is no list.
local PASS = 15000
local MARK = 'taken:' .. now .. ':' .. redis.sha1hex(string.sub(ARGV[5] or '', 1, 1000))
local BUDGET = 2000
-- How far around the place where it was seen an entry is looked for.
local AROUND = 64
-- An entry beyond it is large, and so may its neighbours be.
local LARGE = 65536
local spent = 0
local length = redis.call('LLEN', KEYS[1])
local shift = 0

-- About how many microseconds it takes to come to an index and write there: measured at 0.0012
-- for each entry on the way with entries of 462 bytes, more where they are longer.
local function reach(index)
  return 2 + 0.005 * math.min(-index, length + index + 1)
end

-- Where the entry is now, near the index it was seen at, and the entry. It looks further and
-- further away from there, as long as a budget of its own lasts: what it does not come to is not
-- found.
local function find(index, bytes, size)
  local function same(entry)
    return entry == bytes
      or (#entry == size and size > #bytes and string.sub(entry, 1, #bytes) == bytes)
  end
  spent = spent + reach(index) + size / 1000
  local there = -index <= length and redis.call('LINDEX', KEYS[1], index)
  if there and same(there) then
    return index, there
  end
  local last_of_budget = spent + BUDGET
  -- Both ends of what was looked at, and how many entries the next look is at: among large ones one.
  local low, high = index, index
  local ask = there and #there > LARGE and 1 or 8
  local function look(first, last)
    first, last = math.max(first, -length), math.min(last, -1)
    if first > last then
      return nil
    end
    spent = spent + reach(first)
    for i, entry in ipairs(redis.call('LRANGE', KEYS[1], first, last)) do
      spent = spent + #entry / 1000
      if #entry > LARGE then
        ask = 1
      end
      if same(entry) then
        return first + i - 1, entry
      end
    end
    return nil
  end
  while spent <= last_of_budget and (low > index - AROUND or high < index + AROUND) do
    -- What others took away brought it nearer to the right end: there first.
    local n = ask
    local at, entry = look(high + 1, math.min(high + n, index + AROUND))
    high = math.min(high + n, index + AROUND)
    if at then
      return at, entry
    end
    n = ask
    at, entry = look(math.max(low - n, index - AROUND), low - 1)
    low = math.max(low - n, index - AROUND)
    if at then
      return at, entry
    end
  end
  return nil
end

local reply = {now, 0}
local moved, ids = {}, {}
local marked, from_head, from_tail = 0, 0, 0
for i = 4, #ARGV, 6 do
  if spent > BUDGET then
    break
  end
  local index, entry
  if length > 0 then
    index, entry = find(math.min(tonumber(ARGV[i]) + shift, -1), ARGV[i + 1], tonumber(ARGV[i + 2]))
  end
  if index then
    local head, tail = length + index, -index - 1
    if math.min(math.max(from_head, head), math.max(from_tail, tail)) <= PASS then
      redis.call('LSET', KEYS[1], index, MARK)
      marked = marked + 1
      from_head, from_tail = math.max(from_head, head), math.max(from_tail, tail)
    elseif marked > 0 then
      break -- The oldest entry may be a marked one: first the pass, then the deep ones.
    else
      redis.call('LSET', KEYS[1], index, redis.call('LINDEX', KEYS[1], -1))
      redis.call('RPOP', KEYS[1])
      length = length - 1
      shift = shift + 1
    end
    local put, rest = ARGV[i + 3], tonumber(ARGV[i + 4])
    moved[#moved + 1] = put == '' and rest == 0 and entry or put .. string.sub(entry, rest + 1)
    ids[#ids + 1] = ARGV[i + 5]
  end
  reply[2] = reply[2] + 1
  reply[#reply + 1] = index and 1 or 0
end
if marked > 0 then
  redis.call('LREM', KEYS[1], from_head < from_tail and marked or -marked, MARK)
end
if #moved > 0 then
  redis.call('LPUSH', KEYS[2], unpack(moved))
  if tonumber(ARGV[3]) > 0 then
    redis.call('EXPIRE', KEYS[2], ARGV[3])
  end
  count(KEYS[3], ARGV[1] == 'edited' and 'redriven' or ARGV[1], #moved)
  local to = ARGV[1] == 'dropped' and KEYS[2] .. ' ' or ''
  audit(KEYS[4], ARGV[2], ARGV[1], #moved, to .. table.concat(ids, ' '))
end
return reply
