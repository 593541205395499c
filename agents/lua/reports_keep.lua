-- Keep reports that no evaluator claims: each is published by whoever owns its target, and is never due again.
--
-- KEYS: last reports (hash), news for alert rules (sorted set)
-- ARGV: for each report: key, revision, packed
--
-- A higher revision that is there already was published by another owner, and holds.

local last, news = KEYS[1], KEYS[2]
for at = 1, #ARGV, 3 do
  local key, revision, packed = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2]
  local stored = redis.call('HGET', last, key)
  if not stored or revision > struct.unpack('>I8', stored) then
    redis.call('HSET', last, key, packed)
    redis.call('ZADD', news, revision, key)
  end
end
return #ARGV / 3
