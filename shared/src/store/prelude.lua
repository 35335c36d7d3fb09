-- Stands before every script of this folder.
local time = redis.call('TIME')
-- The server's time in milliseconds: the only clock that counts.
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- The hash of the running minute. Kept for 25 hours, so that a day can always be drawn.
local function this_minute(stats)
  return stats .. ':' .. math.floor(now / 60000)
end

-- Adds to a total and to the same count of the running minute.
local function count(stats, field, n)
  if n > 0 then
    local minute = this_minute(stats)
    redis.call('HINCRBY', stats, field, n)
    redis.call('HINCRBY', minute, field, n)
    redis.call('EXPIRE', minute, 90000)
  end
end

-- Fails, before anything has moved, where the server refuses writes that need memory: a script is
-- not undone when a later write of it is refused.
local function make_sure_of_room(stats)
  redis.call('HINCRBY', stats, 'done', 0)
end

-- Writes down who changed what. The audit is the one thing that is trimmed.
local function audit(key, who, what, n, detail)
  redis.call('XADD', key, 'MAXLEN', '~', 10000, '*',
    'who', who, 'what', what, 'count', n, 'detail', detail)
end
