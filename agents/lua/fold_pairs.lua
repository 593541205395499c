-- Puts what the oldest logged pairs of a window add to its sums in their place.
-- ARGV: window, number of log entries, SHA-1 of their content, then (field, increment) ...
-- Nothing happens unless the log begins with just these: somebody else was faster, or the store has lost its tail.

local shard, window, count = KEYS[1], ARGV[1], tonumber(ARGV[2])
local log, cells = shard .. ':pairs:' .. window, shard .. ':cells:' .. window
if redis.sha1hex(table.concat(redis.call('LRANGE', log, 0, count - 1))) ~= ARGV[3] then return 0 end
redis.call('LTRIM', log, count, -1)
for at = 4, #ARGV, 2 do
  if redis.call('HINCRBY', cells, ARGV[at], ARGV[at + 1]) == 0 then redis.call('HDEL', cells, ARGV[at]) end
end
return 1
