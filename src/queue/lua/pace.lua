-- KEYS: pace. ARGV: microseconds, weight of the newest
local before = tonumber(redis.call('GET', KEYS[1]))
local took = tonumber(ARGV[1])
if before then took = before + (took - before) * tonumber(ARGV[2]) end
redis.call('SET', KEYS[1], string.format('%.0f', took))
return 0
