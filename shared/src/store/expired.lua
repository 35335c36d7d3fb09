-- Looks at workers whose lease has run out. Those without leads are taken off the register at once.
--
-- KEYS  1 workers  2 workers:info  3 workers:lost  4 queue
-- ARGV  1 the worker that asks  2 how many to leave out  3 how many to look at
--       4 the time after which it judges nothing, empty for none: by then the clock was moved forward
-- Returns {now, how many were looked at, {{key, type}...} of those without leads whose key holds
--          something else, {worker, info}...}: of those with leads, the first to expire first
local foreign = {}

local function look_for_foreign(active)
  for key, wanted in pairs({[active] = 'hash', [active .. ':1'] = 'list', [active .. ':2'] = 'list'}) do
    local holds = redis.pcall('TYPE', key).ok
    if holds and holds ~= wanted and holds ~= 'none' then
      foreign[#foreign + 1] = {key, holds}
    end
  end
end

if was_moved(ARGV[4]) then
  return {now, 0, foreign}
end
local expired = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'WITHSCORES',
  'LIMIT', ARGV[2], ARGV[3])
local reply, gone = {now, #expired / 2, foreign}, {}
for i = 1, #expired, 2 do
  local worker = expired[i]
  local active = KEYS[4] .. ':active:' .. worker
  if in_hand(active) > 0 then
    reply[#reply + 1] = {worker, redis.call('HGET', KEYS[2], worker) or '{}'}
  else
    gone[#gone + 1] = worker
    look_for_foreign(active)
    remember_loss(KEYS[3], worker, ARGV[1], math.max(0, math.min(tonumber(expired[i + 1]), now)), 0, 0)
    if read_or_false('HLEN', active) then
      redis.call('DEL', active)
    end
  end
end
if #gone > 0 then
  redis.call('ZREM', KEYS[1], unpack(gone))
  redis.call('HDEL', KEYS[2], unpack(gone))
  trim_losses(KEYS[3])
end
return reply
