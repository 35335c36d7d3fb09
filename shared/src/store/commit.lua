-- In flight -> done, retry, dead or waiting: records the outcomes of one worker's deliveries.
-- A delivery that the worker no longer holds was taken away with its lease: nothing is recorded.
--
-- KEYS  1 active:<worker>  2 queue  3 failed  4 enriched  5 retry  6 stats
-- ARGV  1 '1' where the same batch may have been recorded already, its answer lost
--       2 what became of each delivery, one letter each; then for each its number, a payload and
--         what else belongs to its letter:
--         d  done       payload the enriched lead, or nothing where the stream does not get it;
--                       the lead's id
--         s  skipped    the same, and it ended early, on purpose
--         b  budget     the same, and it ended early because a budget did not allow a call
--         r  retry      payload the envelope; delay in ms; which retry, from 1
--         p  postponed  payload the envelope; delay in ms; no attempt was made
--         x  dead       payload the envelope
--         a  aside      dead, and too large to have been read: payload what stands in place of the
--                       delivery's first bytes; how many those are
--         q  requeue    payload the envelope, to the front of the line
-- Returns {now, number...}: the deliveries that were no longer held.
local WORDS = {d = 3, s = 3, b = 3, r = 4, p = 3, x = 2, a = 3, q = 2}

local reply = {now}
local done, skipped, retried, postponed, dead, requeued = 0, 0, 0, 0, 0, 0
local over_budget = 0
local by_attempt = {}
local recorded = {}
local opened = false

local function is_held(number)
  return redis.call('HEXISTS', KEYS[1], number) == 1
end

local function to_stream(id, payload)
  if payload == '' then
    make_sure_of_room(KEYS[6])
  else
    redis.call('XADD', KEYS[4], '*', 'id', id, 'lead', payload)
  end
  done = done + 1
end

local function again(payload, delay)
  -- A set holds equal envelopes once. Should that ever meet, the second goes straight back.
  if redis.call('ZADD', KEYS[5], 'NX', now + tonumber(delay), payload) == 0 then
    redis.call('RPUSH', KEYS[2], payload)
  end
end

local function record(letter, at)
  local payload = ARGV[at + 1]
  if letter == 'd' then
    to_stream(ARGV[at + 2], payload)
  elseif letter == 's' then
    to_stream(ARGV[at + 2], payload)
    skipped = skipped + 1
  elseif letter == 'b' then
    to_stream(ARGV[at + 2], payload)
    skipped, over_budget = skipped + 1, over_budget + 1
  elseif letter == 'r' then
    again(payload, ARGV[at + 2])
    retried = retried + 1
    local attempt = ARGV[at + 3]
    by_attempt[attempt] = (by_attempt[attempt] or 0) + 1
  elseif letter == 'p' then
    again(payload, ARGV[at + 2])
    postponed = postponed + 1
  elseif letter == 'x' then
    redis.call('LPUSH', KEYS[3], payload)
    dead = dead + 1
  elseif letter == 'a' then
    local number = ARGV[at]
    local whole = redis.call('HGET', KEYS[1], number)
    redis.call('LPUSH', KEYS[3], payload .. string.sub(whole, tonumber(ARGV[at + 2]) + 1))
    -- At once, so that no more than one of these is there twice.
    redis.call('HDEL', KEYS[1], number)
    dead = dead + 1
  else
    redis.call('RPUSH', KEYS[2], payload)
    requeued = requeued + 1
  end
end

-- A write that is refused ends it: what was recorded until then leaves the worker's hands all the
-- same, and the rest stays there.
local ok, refused = pcall(function()
  local at = 3
  for i = 1, #ARGV[2] do
    local letter, number = string.sub(ARGV[2], i, i), ARGV[at]
    local here = is_held(number)
    if not here and not opened then
      open(KEYS[1], KEYS[6])
      opened, here = true, is_held(number)
    end
    if here then
      record(letter, at)
      recorded[#recorded + 1] = number
    else
      reply[#reply + 1] = tonumber(number)
    end
    at = at + WORDS[letter]
  end
end)
if #recorded > 0 then
  redis.call('HDEL', KEYS[1], unpack(recorded))
end
count(KEYS[6], 'done', done)
count(KEYS[6], 'skipped', skipped)
count(KEYS[6], 'over_budget', over_budget)
count(KEYS[6], 'retried', retried)
count(KEYS[6], 'postponed', postponed)
count(KEYS[6], 'dead', dead)
count(KEYS[6], 'requeued', requeued)
for attempt, n in pairs(by_attempt) do
  redis.call('HINCRBY', KEYS[6], 'retry:' .. attempt, n)
end
if not ok then
  error(refused, 0)
end
if ARGV[1] == '1' then
  return {now}
end
count(KEYS[6], 'lease_lost', #reply - 1)
return reply
