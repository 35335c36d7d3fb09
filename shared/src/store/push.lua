-- Leads -> waiting, exactly once: a batch that was pushed already, its answer lost, is not
-- pushed again.
--
-- KEYS  1 queue  2 push:<run>  3 stats
-- ARGV  1 the batch's number within the run, from 1  then the leads, first in first
-- Returns {now, how many wait}
if tonumber(redis.call('GET', KEYS[2]) or 0) < tonumber(ARGV[1]) then
  redis.call('LPUSH', KEYS[1], unpack(ARGV, 2))
  redis.call('SET', KEYS[2], ARGV[1], 'EX', 3600)
  count(KEYS[3], 'pushed', #ARGV - 1)
end
return {now, redis.call('LLEN', KEYS[1])}
