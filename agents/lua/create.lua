-- Make a shard part of a ledger, unless it is part of one; returns the id of its ledger.
-- ARGV: ledger id, then (source, packed state) ...

if redis.call('HSETNX', KEYS[1] .. ':settings', 'ledger', ARGV[1]) == 1 then
  for at = 2, #ARGV, 2 do redis.call('HSETNX', KEYS[1] .. ':sources', ARGV[at], ARGV[at + 1]) end
end
return redis.call('HGET', KEYS[1] .. ':settings', 'ledger')
