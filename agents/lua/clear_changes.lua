-- Forget change marks, each only if its window has not changed since. ARGV: window, mark, window, mark, ...

local key = KEYS[1] .. ':changes'
for at = 1, #ARGV, 2 do
  if redis.call('ZSCORE', key, ARGV[at]) == ARGV[at + 1] then redis.call('ZREM', key, ARGV[at]) end
end
return 0
