-- Keep a state, if what is stored is still what the writer has read.
--
-- KEYS: state (string: revision in 8 bytes, then packed)
-- ARGV: expected revision, milliseconds to keep it for, new state
-- Reply: 1, or 0 if another worker was faster

local stored = redis.call('GET', KEYS[1])
local revision = stored and struct.unpack('>I8', stored) or 0
if revision ~= tonumber(ARGV[1]) then
  return 0
end
redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[2])
return 1
