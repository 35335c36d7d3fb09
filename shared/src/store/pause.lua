-- Sets or clears the pause flag. First the flag, for it matters more than the audit: a server
-- without room still lets it be cleared. Idempotent: what changes nothing is not audited, and the
-- flag keeps the name of the operator who set it.
--
-- KEYS  1 paused  2 audit
-- ARGV  1 who  2 '1' to pause, '0' to resume
-- Returns {now, whether it was paused before}
local was = redis.call('EXISTS', KEYS[1])
local pause = ARGV[2] == '1'
-- Also where nothing changes: who may not is told so.
if pause then
  redis.call('SET', KEYS[1], ARGV[1], 'NX')
else
  redis.call('DEL', KEYS[1])
end
if pause and was == 0 then
  audit(KEYS[2], ARGV[1], 'paused', 0, '')
elseif not pause and was == 1 then
  pcall(audit, KEYS[2], ARGV[1], 'resumed', 0, '')
end
return {now, was}
