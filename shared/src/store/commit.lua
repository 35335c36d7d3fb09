-- In flight -> done, retry, dead or waiting: records the outcomes of one worker's deliveries.
-- A delivery that the worker no longer holds was taken away with its lease: nothing is recorded.
--
-- KEYS  1 active:<worker>  2 queue  3 failed  4 enriched  5 retry  6 stats
-- ARGV  1 '1' where the same batch may have been recorded already, its answer lost
--       then five for each delivery: operation, number, payload, a, b
--         'done'       payload the enriched lead, or nothing where the stream does not get it
--                      a the lead's id
--         'skipped'    the same, and it ended early, on purpose
--         'retry'      payload the envelope        a delay in ms    b which retry, from 1
--         'postponed'  payload the envelope        a delay in ms; no attempt was made
--         'dead'       payload the envelope
--         'aside'      dead, and too large to have been read: payload what stands in place of the
--                      delivery's first bytes  a how many those are
--         'requeue'    payload the envelope, to the front of the line
-- Returns {now, number...}: the deliveries that were no longer held.
local function to_stream(id, payload)
  if payload == '' then
    make_sure_of_room(KEYS[6])
  else
    redis.call('XADD', KEYS[4], '*', 'id', id, 'lead', payload)
  end
end

local reply = {now}
local done, skipped, retried, postponed, dead, recovered = 0, 0, 0, 0, 0, 0
local by_attempt = {}
for i = 2, #ARGV, 5 do
  local operation, delivery, payload = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local held = redis.call('HEXISTS', KEYS[1], delivery) == 1
  if not held then
    reply[#reply + 1] = tonumber(delivery)
  elseif operation == 'done' then
    to_stream(ARGV[i + 3], payload)
    done = done + 1
  elseif operation == 'skipped' then
    to_stream(ARGV[i + 3], payload)
    done, skipped = done + 1, skipped + 1
  elseif operation == 'retry' or operation == 'postponed' then
    -- A set holds equal envelopes once. Should that ever meet, the second goes straight back.
    if redis.call('ZADD', KEYS[5], 'NX', now + tonumber(ARGV[i + 3]), payload) == 0 then
      redis.call('RPUSH', KEYS[2], payload)
    end
    if operation == 'retry' then
      retried = retried + 1
      by_attempt[ARGV[i + 4]] = (by_attempt[ARGV[i + 4]] or 0) + 1
    else
      postponed = postponed + 1
    end
  elseif operation == 'dead' then
    redis.call('LPUSH', KEYS[3], payload)
    dead = dead + 1
  elseif operation == 'aside' then
    local whole = redis.call('HGET', KEYS[1], delivery)
    redis.call('LPUSH', KEYS[3], payload .. string.sub(whole, tonumber(ARGV[i + 3]) + 1))
    dead = dead + 1
  else
    redis.call('RPUSH', KEYS[2], payload)
    recovered = recovered + 1
  end
  if held then
    -- Last, so that a refused write above leaves the lead where it is.
    redis.call('HDEL', KEYS[1], delivery)
  end
end
count(KEYS[6], 'done', done)
count(KEYS[6], 'skipped', skipped)
count(KEYS[6], 'retried', retried)
count(KEYS[6], 'postponed', postponed)
count(KEYS[6], 'dead', dead)
count(KEYS[6], 'recovered', recovered)
for attempt, n in pairs(by_attempt) do
  redis.call('HINCRBY', KEYS[6], 'retry:' .. attempt, n)
end
if ARGV[1] == '1' then
  return {now}
end
count(KEYS[6], 'lease_lost', #reply - 1)
return reply
