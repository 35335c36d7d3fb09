-- Takes what a call costs out of the day's money, or refuses where the budget does not allow it.
-- One counter for each day, in server time (UTC), kept for eight days.
--
-- KEYS  1 spent  2 budgets
-- ARGV  1 what the call costs, in micro-dollars  2 the day's budget in micro-dollars, or -1
--       3 the pipeline
-- Returns {now, day, allowed}
local day = math.floor(now / 86400000)
local key = KEYS[1] .. ':' .. day
local budget = tonumber(ARGV[2])
if budget >= 0 then
  local spent = tonumber(redis.call('GET', key) or 0)
  if spent >= budget or spent + tonumber(ARGV[1]) > budget then
    remember_refusal(KEYS[2], ARGV[3], day, budget)
    return {now, day, 0}
  end
end
redis.call('INCRBY', key, ARGV[1])
redis.call('EXPIRE', key, 691200)
return {now, day, 1}
