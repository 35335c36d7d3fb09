-- Reserves the next free moment of a rate that all workers share (GCRA: the rate is kept as the
-- time at which it is free again, so it takes one number and nobody has to sweep).
--
-- Where that moment is too far off nothing is reserved, and the caller is told when to ask again:
-- each of those who were sent away at its own time, in the order they came.
--
-- KEYS  1 rate  2 spent  3 budgets
-- ARGV  1 microseconds from one unit to the next  2 how many units  3 the longest wait in us
--       4 the longest time in us to be sent away for
--       5 what a call costs, in micro-dollars  6 the day's budget in micro-dollars, or -1
--       7 the pipeline
-- Returns {now, state, wait in us}; state 0 reserved, 1 sent away, 2 the day's budget is used up.
local budget = tonumber(ARGV[6])
if budget >= 0 then
  local day = math.floor(now / 86400000)
  local spent = tonumber(redis.call('GET', KEYS[2] .. ':' .. day) or 0)
  if spent >= budget or spent + tonumber(ARGV[5]) > budget then
    remember_refusal(KEYS[3], ARGV[7], day, budget)
    return {now, 2, 0}
  end
end
local us = time[1] * 1000000 + time[2]
local takes = tonumber(ARGV[1]) * tonumber(ARGV[2])
local kept = redis.call('HMGET', KEYS[1], 'free', 'return')
local free = math.max(us, tonumber(kept[1] or 0))
local back = math.max(free, tonumber(kept[2] or 0))
local state, wait = 0, free - us
if wait > tonumber(ARGV[3]) then
  state, wait = 1, back - us
  if wait < tonumber(ARGV[4]) then
    back = back + takes
  else
    wait = tonumber(ARGV[4])
  end
else
  free = free + takes
end
-- As whole numbers in full: Lua would round what it writes by itself to 14 digits.
redis.call('HSET', KEYS[1],
  'free', string.format('%.0f', free), 'return', string.format('%.0f', back))
redis.call('PEXPIRE', KEYS[1], math.ceil((math.max(free, back) - us) / 1000) + 1000)
return {now, state, math.ceil(wait)}
