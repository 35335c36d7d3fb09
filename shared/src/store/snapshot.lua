-- Reads every figure in one step, so that the sums an operator sees are true.
--
-- KEYS  1 queue  2 failed  3 retry  4 workers  5 workers:info  6 stats  7 paused
--       8 workers:lost  9 budgets  10 workers:state
-- Returns {now, waiting, dead, retry, paused, next retry due or nil, totals, this minute,
--          the minute before, lost workers, budgets, when a worker searches next for leads of
--          unregistered workers or nil, {worker, lease deadline, info, in flight}...}
local minute = math.floor(now / 60000)
local reply = {
  now,
  redis.call('LLEN', KEYS[1]),
  redis.call('LLEN', KEYS[2]),
  redis.call('ZCARD', KEYS[3]),
  redis.call('EXISTS', KEYS[7]),
  next_due(KEYS[3]),
  redis.call('HGETALL', KEYS[6]),
  redis.call('HMGET', KEYS[6] .. ':' .. minute, 'done', 'dead', 'retried'),
  redis.call('HMGET', KEYS[6] .. ':' .. (minute - 1), 'done', 'dead', 'retried'),
  redis.call('HGETALL', KEYS[8]),
  redis.call('HGETALL', KEYS[9]),
  tonumber(read_or_false('HGET', KEYS[10], 'finder') or nil) or false,
}
local workers = redis.call('ZRANGE', KEYS[4], 0, -1, 'WITHSCORES')
for i = 1, #workers, 2 do
  reply[#reply + 1] = {
    workers[i],
    tonumber(workers[i + 1]),
    redis.call('HGET', KEYS[5], workers[i]) or '{}',
    in_hand(KEYS[1] .. ':active:' .. workers[i]),
  }
end
return reply
