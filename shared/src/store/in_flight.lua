-- Counts the leads that workers have in flight, registered or not, without touching them.
--
-- KEYS  active:<worker> of each
-- Returns {now, in flight...}
local reply = {now}
for i = 1, #KEYS do
  reply[#reply + 1] = in_hand(KEYS[i])
end
return reply
