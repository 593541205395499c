-- Give a worker the number that it is known by: the one it has, or the lowest that nobody has.
--
-- KEYS: workers (hash: number -> until when, milliseconds, a space, address)
-- ARGV: address, now, for how many milliseconds
-- Reply: the number

local workers, address, now = KEYS[1], ARGV[1], tonumber(ARGV[2])
local number, mine, free = 1, nil, nil
while not mine do
  local held = redis.call('HGET', workers, number)
  if not held then break end
  local until_ms, whose = string.match(held, '^(%d+) (.*)$')
  if whose == address then
    mine = number
  elseif not free and tonumber(until_ms) <= now then
    free = number
  end
  number = number + 1
end
mine = mine or free or number
redis.call('HSET', workers, mine, string.format('%.0f %s', now + tonumber(ARGV[3]), address))
return mine
