-- In flight -> done or dead, a whole batch: the last command of the transaction that records it,
-- behind the leads that are done, all but one. The server takes that one only where it took those
-- before it, and nobody reads the answers to them. Sent as it is and not by its hash: one that the
-- server has forgotten would fail here, with the others written already.
--
-- KEYS  1 active:<worker>  2 active:<worker>:<lane>  3 enriched  4 failed  5 stats
--       6 stats:<minute>
-- ARGV  1 lane  2 number of the first delivery  3 how many are done  4 how many of them skipped, and
--       for want of money, as two numbers
--       5 the id of the last one that is done, and 6 the enriched lead; empty where none is
--       7 places of the dead in the batch, from 0; then the envelope of each
-- The done are recorded where the batch's number stands in the hash and its list is gone; then the
-- dead are where they do not stand in the hash, each by its number.
local function refused(...)
  local reply = redis.pcall(...)
  return type(reply) == 'table' and reply.err
end
local mark = redis.call('HGET', KEYS[1], 'batch:' .. ARGV[1])
if not mark and redis.call('EXISTS', KEYS[2]) == 1 then
  -- The hash was deleted. The list is the batch that was read, or this transaction would not run.
  redis.call('HSET', KEYS[1], 'batch:' .. ARGV[1], ARGV[2])
elseif mark ~= ARGV[2] then
  return
end
if ARGV[6] ~= '' and refused('XADD', KEYS[3], '*', 'id', ARGV[5], 'lead', ARGV[6]) then
  return
end
local skipped, over_budget = string.match(ARGV[4], '(%d+) (%d+)')
local counts = {done = tonumber(ARGV[3]), skipped = tonumber(skipped),
  over_budget = tonumber(over_budget), dead = #ARGV - 7}
if counts.dead > 0 and refused('LPUSH', KEYS[4], unpack(ARGV, 8)) then
  if ARGV[6] == '' then
    return
  end
  for place in string.gmatch(ARGV[7], '%d+') do
    redis.call('HSET', KEYS[1], ARGV[2] + place, redis.call('LINDEX', KEYS[2], place))
  end
  counts.dead = 0
end
redis.call('DEL', KEYS[2])
for figure, n in pairs(counts) do
  if n > 0 then
    redis.call('HINCRBY', KEYS[5], figure, n)
    redis.call('HINCRBY', KEYS[6], figure, n)
  end
end
redis.call('EXPIRE', KEYS[6], 90000)
