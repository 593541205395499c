-- Keep the reports that an evaluator has published for one model version.
--
-- KEYS: last reports (hash), when each is due (sorted set), evaluator, watermark, news for alert rules (sorted set),
--       saves
-- ARGV: evaluator, watermark, then for each report: key, due, packed, index it stands in, start of its window
-- packed: revision, published and watermark in 8 bytes each, one byte 1 if contested, the value
-- Reply: how often evaluators have saved something new, the first time anything; or 0 if something is contested
--
-- Several evaluators may publish for a while, until the partitions are dealt out again. A report that was
-- not published by the one that claimed last, or that a higher revision overtook, may outrank on the topic
-- what the other one says. Which of the two was right cannot be known here, so its key becomes due at once,
-- behind the higher revision.

local last, due, evaluator, watermark, news, saves = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local prefix = string.sub(last, 1, -5)
local is_mine = redis.call('GET', evaluator) == ARGV[1]
local is_kept, is_new = is_mine, is_mine and redis.call('EXISTS', saves) == 0

for at = 3, #ARGV, 5 do
  local key, due_ms, packed = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local stored = redis.call('HGET', last, key)
  if not stored then
    -- What is kept already is in its index.
    local index, shape = ARGV[at + 3], string.match(ARGV[at + 3], ':(.*)')
    redis.call('ZADD', prefix .. index, ARGV[at + 4], key)
    redis.call('SADD', prefix .. 'shapes', shape)
  end
  local stored_revision = stored and struct.unpack('>I8', stored) or -1
  local revision = struct.unpack('>I8', packed)
  if is_mine and (revision > stored_revision or packed == stored) then
    redis.call('HSET', last, key, packed)
    redis.call('ZADD', due, due_ms, key)
    if revision > stored_revision then
      redis.call('ZADD', news, revision, key)
      is_new = true
    end
  else
    local higher = revision > stored_revision and packed or stored
    redis.call('HSET', last, key, string.sub(higher, 1, 24) .. '\1' .. string.sub(higher, 26))
    redis.call('ZADD', due, 0, key)
    is_kept = false
  end
end

if is_mine and tonumber(ARGV[2]) > tonumber(redis.call('GET', watermark) or '0') then
  redis.call('SET', watermark, ARGV[2])
end
if is_new then redis.call('INCRBY', saves, 1) end
return is_kept and tonumber(redis.call('GET', saves)) or 0
