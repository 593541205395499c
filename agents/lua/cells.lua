-- What windows have counted, the pairs that are not in their sums yet, and latencies, as they are at one moment.
-- ARGV: windows. Reply: for each {field, count, ...}, {logged pairs, ...}, {logged latencies, ...}

local shard = KEYS[1]
local reply = {}
for at, window in ipairs(ARGV) do
  reply[3 * at - 2] = redis.call('HGETALL', shard .. ':cells:' .. window)
  reply[3 * at - 1] = redis.call('LRANGE', shard .. ':pairs:' .. window, 0, -1)
  reply[3 * at] = redis.call('LRANGE', shard .. ':latencies:' .. window, 0, -1)
end
return reply
