-- Keep pointers to predictions that may turn out wrong.
-- KEYS: where each is kept. ARGV: for each its content, and its life in milliseconds.

for at, key in ipairs(KEYS) do
  redis.call('SET', key, ARGV[2 * at - 1], 'PX', ARGV[2 * at])
end
