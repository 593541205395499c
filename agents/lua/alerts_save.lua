-- Change the alerts of one model version, if they are still as the evaluator has read them.
--
-- KEYS: alerts (hash), their version, news (sorted set)
-- ARGV: expected version, number of changes, then for each: name, record (empty: drop it),
--       then for each judged report: key, revision
-- Reply: 1, or 0 if the version is another one
--
-- A report that was published again meanwhile has a higher revision, and stays news.

local alerts, version, news = KEYS[1], KEYS[2], KEYS[3]
if (redis.call('GET', version) or '0') ~= ARGV[1] then
  return 0
end

local changes_end = 2 + 2 * tonumber(ARGV[2])
for at = 3, changes_end, 2 do
  if ARGV[at + 1] == '' then
    redis.call('HDEL', alerts, ARGV[at])
  else
    redis.call('HSET', alerts, ARGV[at], ARGV[at + 1])
  end
end
for at = changes_end + 1, #ARGV, 2 do
  local revision = redis.call('ZSCORE', news, ARGV[at])
  if revision and tonumber(revision) <= tonumber(ARGV[at + 1]) then
    redis.call('ZREM', news, ARGV[at])
  end
end
redis.call('SET', version, string.format('%d', tonumber(ARGV[1]) + 1))
return 1
