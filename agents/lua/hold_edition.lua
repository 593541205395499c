-- Take rows of predictions of this edition of the agreements alone, unless there is a later one already.
-- It stands behind the id of the ledger, so that versions which know of no editions find a ledger that is not theirs,
-- and with a 0 before it, so that versions which know of no eras never find it equal to theirs.
-- ARGV: ledger id, edition. Reply: the edition there is; nothing if the shard belongs to another ledger or to none.

local key = KEYS[1] .. ':settings'
local ledger, edition = string.match(redis.call('HGET', key, 'ledger') or '', '^([^/]*)/?0?(.*)$')
if ledger == '' or ledger ~= ARGV[1] then return false end
if edition == '' then edition = '0' end
local wanted = tonumber(ARGV[2])
if wanted > 0 and wanted >= tonumber(edition) then
  edition = ARGV[2]
  redis.call('HSET', key, 'ledger', ledger .. '/0' .. edition)
end
return edition
