-- Write fields of the charter, unless somebody has amended it since it was read.
-- ARGV: ledger id, revision that was read (empty: none yet), fields that leave (separated by commas),
--       then field, value, ...
-- Reply: 1 if it was written.

local stored = redis.call('HMGET', KEYS[1], 'ledger', 'revision')
if stored[1] ~= ARGV[1] or (stored[2] or '') ~= ARGV[2] then return 0 end
for field in string.gmatch(ARGV[3], '[^,]+') do redis.call('HDEL', KEYS[1], field) end
redis.call('HSET', KEYS[1], unpack(ARGV, 4))
return 1
