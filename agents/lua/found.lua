-- Write a hash if there is none. ARGV: field, value, field, value, ...

if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('HSET', KEYS[1], unpack(ARGV)) end
return 0
