-- Puts one entry in the place of a window's oldest latency entries, which it sums up; their order means nothing.
-- ARGV: window, number of entries, SHA-1 of their content, the entry in their place
-- Nothing happens unless the log begins with just these: somebody else was faster, or the store has lost its tail.

local log, count = KEYS[1] .. ':latencies:' .. ARGV[1], tonumber(ARGV[2])
if redis.sha1hex(table.concat(redis.call('LRANGE', log, 0, count - 1))) ~= ARGV[3] then return 0 end
redis.call('LTRIM', log, count, -1)
redis.call('RPUSH', log, ARGV[4])
return 1
