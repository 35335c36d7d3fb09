-- Leads -> waiting, exactly once, as push.lua, without those whose person another run pushed since
-- this one looked at what is there: check and push are one step. A claim on a person tells when
-- that was. An older claim says nothing: the look has found that lead, or it is gone.
--
-- KEYS  1 queue  2 push:<run>  3 stats
-- ARGV  1 the batch's number within the run, from 1  2 when the look began, in ms of server time
--       3 what the keys of claims begin with  4 for how many ms a claim is kept
--       then two for each lead, first in first: what stands for its person, or nothing; the lead
-- Returns {now, how many wait, how many were left out}
local batch, left_out = string.match(redis.call('GET', KEYS[2]) or '', '^(%d+) (%d+)$')
if not batch or tonumber(batch) < tonumber(ARGV[1]) then
  local since = tonumber(ARGV[2])
  local leads, claims = {}, {}
  left_out = 0
  for i = 5, #ARGV, 2 do
    local claim = ARGV[i] ~= '' and ARGV[3] .. ARGV[i]
    local at = claim and tonumber(redis.call('GET', claim) or nil)
    if at and at >= since then
      left_out = left_out + 1
    else
      leads[#leads + 1] = ARGV[i + 1]
      claims[#claims + 1] = claim or nil
    end
  end
  if #leads > 0 then
    redis.call('LPUSH', KEYS[1], unpack(leads))
  end
  redis.call('SET', KEYS[2], ARGV[1] .. ' ' .. left_out, 'EX', 3600)
  for _, claim in ipairs(claims) do
    redis.call('SET', claim, now, 'PX', ARGV[4])
  end
  count(KEYS[3], 'pushed', #leads)
end
return {now, redis.call('LLEN', KEYS[1]), tonumber(left_out)}
