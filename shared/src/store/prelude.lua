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

-- Whether it is later than can be. All leases seem over if the clock was moved forward since the
-- recoverer's last heartbeat.
local function was_moved(latest)
  return latest ~= '' and now > tonumber(latest)
end

-- When the next retry is due, never before the epoch; false if there is none.
local function next_due(retry)
  local due = redis.call('ZRANGE', retry, 0, 0, 'WITHSCORES')
  return due[2] and math.max(0, math.min(tonumber(due[2]), 9e15)) or false
end

-- What a command answers; false if the key is of another type, which is not the bridge's.
local function read_or_false(...)
  local answer = redis.pcall(...)
  if type(answer) == 'table' and answer.err then
    return not string.find(answer.err, 'WRONGTYPE', 1, true) and redis.call(...)
  end
  return answer
end

-- The batches that a worker has in hand as they came. Each stands in a list of its own, and in the
-- hash of deliveries the number of its first: `batch:<lane>`. That of a batch that is recorded stays
-- there without a list, until its lane has seen it.
local function batches(active)
  local found = {}
  for lane = 1, 2 do -- As many as in lane.rs.
    local list = active .. ':' .. lane
    local mark = read_or_false('HGET', active, 'batch:' .. lane)
    local leads = read_or_false('LLEN', list) or 0
    if mark or leads > 0 then
      -- A list without its number, because the hash was deleted, gets one that no delivery has.
      local first = mark and tonumber(mark) or now * 2048 + lane * 1024
      found[#found + 1] = {lane = lane, first = first, list = list, leads = leads, mark = mark}
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
  local n = read_or_false('HLEN', active) or 0
  for _, batch in ipairs(batches(active)) do
    n = n - (batch.mark and 1 or 0) + batch.leads
  end
  return n
end

-- Keeps a record of a lost worker. Later batches of one loss have the same lease.
local function remember_loss(key, worker, by, at, recovered, dead)
  local text = redis.call('HGET', key, worker)
  local loss = text and cjson.decode(text)
  if not loss or loss.at ~= at then
    loss = {at = at, recovered = 0, dead = 0}
  end
  loss.recovered = loss.recovered + recovered
  loss.dead = loss.dead + dead
  loss.by = by
  redis.call('HSET', key, worker, cjson.encode(loss))
  redis.call('EXPIRE', key, 86400)
end

-- Keeps the records of the last 100 lost workers.
local function trim_losses(key)
  local workers = redis.call('HKEYS', key)
  if #workers <= 100 then
    return
  end
  local since = {}
  for i, text in ipairs(redis.call('HMGET', key, unpack(workers))) do
    since[workers[i]] = cjson.decode(text).at
  end
  table.sort(workers, function(a, b)
    return since[a] < since[b] or since[a] == since[b] and a < b
  end)
  redis.call('HDEL', key, unpack(workers, 1, #workers - 100))
end

-- Writes down who changed what. The audit is the one thing that is trimmed.
local function audit(key, who, what, n, detail)
  redis.call('XADD', key, 'MAXLEN', '~', 10000, '*',
    'who', who, 'what', what, 'count', n, 'detail', detail)
end

-- Writes down since when the day's budget of a pipeline refuses calls, once a second at most.
local function remember_refusal(key, pipeline, day, budget)
  local text = redis.call('HGET', key, pipeline)
  local told = text and cjson.decode(text)
  if not told or told.day ~= day then
    told = {day = day, since = now}
  elseif now - told.last < 1000 and told.budget == budget then
    return
  end
  told.last, told.budget = now, budget
  redis.call('HSET', key, pipeline, cjson.encode(told))
  redis.call('EXPIRE', key, 691200)
end
