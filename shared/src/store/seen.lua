-- Remembers who came first with something, and says who it was. The one who came first may come
-- again; from then on the time runs anew.
--
-- KEYS  1 seen:<what>
-- ARGV  1 the lead's id  2 for how many milliseconds it is remembered, or 0 only to look
-- Returns {now, the id of the first; the lead's own where nobody came before}
local first = redis.call('GET', KEYS[1]) or ARGV[1]
if first == ARGV[1] and ARGV[2] ~= '0' then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return {now, first}
