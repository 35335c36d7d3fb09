-- Stands before every script of this folder.
local time = redis.call('TIME')
-- The server's time in milliseconds: the only clock that counts.
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- The hash of the running minute. Kept for 25 hours, so that a day can always be drawn.
local function this_minute(stats)
  return stats .. ':' .. math.floor(now / 60000)
end

-- Adds to a total and to the same count of the running minute; returns the total.
local function count(stats, field, n)
  if n > 0 then
    local minute = this_minute(stats)
    redis.call('HINCRBY', minute, field, n)
    redis.call('EXPIRE', minute, 90000)
    return redis.call('HINCRBY', stats, field, n)
  end
end

-- Fails, before anything has moved, where the server refuses writes that need memory: a script is
-- not undone when a later write of it is refused.
local function make_sure_of_room(stats)
  redis.call('HINCRBY', stats, 'done', 0)
end

-- The batches that a worker has in hand as they came. Each stands in a list of its own, and in the
-- hash of deliveries the number of its first: `batch:<lane>`. That of a batch that is recorded stays
-- there without a list, until its lane has seen it.
local function batches(active)
  local found = {}
  for lane = 1, 2 do -- As many as in lane.rs.
    local first = redis.call('HGET', active, 'batch:' .. lane)
    if first then
      local list = active .. ':' .. lane
      found[#found + 1] = {
        lane = lane, first = tonumber(first), list = list, leads = redis.call('LLEN', list)
      }
    end
  end
  return found
end

-- Opens a worker's batches, or that of one lane: then each delivery stands in the hash by its number.
local function open(active, stats, lane)
  for _, batch in ipairs(batches(active)) do
    if batch.leads > 0 and (not lane or lane == batch.lane) then
      make_sure_of_room(stats)
      for from = 0, batch.leads - 1, 32 do
        local fields = {}
        for i, payload in ipairs(redis.call('LRANGE', batch.list, from, from + 31)) do
          fields[2 * i - 1] = batch.first + from + i - 1
          fields[2 * i] = payload
        end
        redis.call('HSET', active, unpack(fields))
      end
      redis.call('HDEL', active, 'batch:' .. batch.lane)
      redis.call('DEL', batch.list)
    end
  end
end

-- How many deliveries a worker has in hand.
local function in_hand(active)
  local n = redis.call('HLEN', active)
  for _, batch in ipairs(batches(active)) do
    n = n - 1 + batch.leads
  end
  return n
end

-- Writes down who changed what. The audit is the one thing that is trimmed.
local function audit(key, who, what, n, detail)
  redis.call('XADD', key, 'MAXLEN', '~', 10000, '*',
    'who', who, 'what', what, 'count', n, 'detail', detail)
end
