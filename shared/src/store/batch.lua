-- Waiting -> in flight, a whole batch at once: the leads move from list to list inside the server,
-- where a fetch has Lua look at each. For leads that are over as soon as they are started, so that
-- the batch leaves the worker's hands as it came; what is left of any other is opened.
--
-- KEYS  1 queue  2 active:<worker>  3 active:<worker>:<lane>  4 workers  5 paused  6 stats
--       7 enriched  8 failed
-- ARGV  1 worker  2 lane  3 how many at most  4 number of the first delivery
--       5 bytes of a batch at most  6 bytes of a lead at most
-- Returns {now, state, how many, order}; state 0 taken, and of two batches the one with the lesser
-- order first; 1 paused; 2 the worker's lease is not alive; 3 not by the batch: large leads, or a
-- server that cannot.
local FROM = 0x00070000 -- Before 7.0 SORT would not keep the order.
-- One that was not over at once is opened; of one that is recorded only the number is left.
open(KEYS[2], KEYS[6], tonumber(ARGV[2]))
redis.call('HDEL', KEYS[2], 'batch:' .. ARGV[2])
if redis.call('EXISTS', KEYS[5]) == 1 then
  return {now, 1, 0}
end
local lease = redis.call('ZSCORE', KEYS[4], ARGV[1])
if not lease or tonumber(lease) <= now then
  return {now, 2, 0}
end
if (redis.REDIS_VERSION_NUM or 0) < FROM then
  return {now, 3, 0}
end
-- What comes of a batch is written down at once, and nobody looks at each of it: what the user may
-- not do, and a key of another type, are found here.
local minute = this_minute(KEYS[6])
for _, command in ipairs({
  {'XADD', KEYS[7], '*', 'id', '', 'lead', ''}, {'LPUSH', KEYS[8], ''},
  {'HSET', KEYS[2], '0', ''}, {'DEL', KEYS[3]}, {'EXPIRE', minute, '0'}, {'MULTI'}, {'EXEC'},
  {'DISCARD'}, {'WATCH', KEYS[3]},
  {'EVAL', 'seal', '6', KEYS[2], KEYS[3], KEYS[7], KEYS[8], KEYS[6], minute},
}) do
  if not redis.acl_check_cmd(unpack(command)) then
    local words = table.concat(command, ' ', 1, math.min(#command, 2))
    return redis.error_reply('NOPERM this user may not ' .. words)
  end
end
redis.call('XLEN', KEYS[7])
redis.call('LLEN', KEYS[8])
make_sure_of_room(KEYS[6])

local n = math.min(tonumber(ARGV[3]), redis.call('LLEN', KEYS[1]))
if n == 0 then
  return {now, 0, 0}
end

-- Some of the leads tell where large ones begin: those are not to be copied all at once. Each
-- fifteenth of 128, so that neither 16 in a row nor every other one passes. Of more no more than nine,
-- for each is looked for from the end of the line: a twentieth of Redis' time. More are only asked for
-- where the batches before had small leads.
local step = math.max(15, math.floor(n / 9) + 1)
for i = 1, n, step do
  if #redis.call('LINDEX', KEYS[1], -i) > tonumber(ARGV[6]) then
    n = i - step
    collectgarbage() -- Or Lua would keep the large one for a while.
    break
  end
end
if n < 0 then
  return {now, 3, 0}
end

-- Nothing has left the line until the copy is known to be the same.
local function move()
  redis.call('SORT', KEYS[1], 'BY', 'as they are', 'LIMIT', 0, n, 'DESC', 'STORE', KEYS[3])
  if redis.call('MEMORY', 'USAGE', KEYS[3], 'SAMPLES', 0) > tonumber(ARGV[5])
    or redis.call('LLEN', KEYS[3]) ~= n
    or redis.call('LINDEX', KEYS[3], 0) ~= redis.call('LINDEX', KEYS[1], -1)
    or redis.call('LINDEX', KEYS[3], -1) ~= redis.call('LINDEX', KEYS[1], -n) then
    return false
  end
  redis.call('HSET', KEYS[2], 'batch:' .. ARGV[2], ARGV[4])
  redis.call('LTRIM', KEYS[1], 0, -n - 1)
  return true
end

local ok, moved = pcall(move)
if not ok or not moved then
  redis.call('DEL', KEYS[3])
  redis.call('HDEL', KEYS[2], 'batch:' .. ARGV[2])
  collectgarbage()
  if not ok then
    error(moved, 0)
  end
  return {now, 3, 0}
end
return {now, 0, n, count(KEYS[6], 'received', n)}
