-- Decide which names of a group get cells of their own; once for all shards, so only shard 0 runs it.
-- ARGV: group, limit, full already (0 or 1), names some shard already uses, candidates. Reply: the packed list.

local key = KEYS[1] .. ':registry'
local stored = redis.call('HGET', key, ARGV[1]) or '0'
local full = string.sub(stored, 1, 1) == '1' or ARGV[3] == '1'
local is_admitted, count, added = {}, 0, {}

local function each(hashes, visit)
  for at = 1, #hashes, 8 do visit(string.sub(hashes, at, at + 7)) end
end

local function admit(name)
  is_admitted[name] = true
  count = count + 1
  added[#added + 1] = name
end

each(string.sub(stored, 2), admit)
each(ARGV[4], function(name) if not is_admitted[name] then admit(name) end end)
each(ARGV[5], function(name)
  if is_admitted[name] or full then return end
  admit(name)
  full = count >= tonumber(ARGV[2])
end)
local packed = (full and '1' or '0') .. table.concat(added)
if packed ~= stored then redis.call('HSET', key, ARGV[1], packed) end
return packed
