-- What windows have counted, and the pairs that are not in their sums yet, as they are at one moment.
-- ARGV: windows. Reply: for each {field, count, ...}, {logged pairs, ...}

local shard = KEYS[1]
local reply = {}
for at, window in ipairs(ARGV) do
  reply[2 * at - 1] = redis.call('HGETALL', shard .. ':cells:' .. window)
  reply[2 * at] = redis.call('LRANGE', shard .. ':pairs:' .. window, 0, -1)
end
return reply
