-- Look for pointers, most of which were never kept. KEYS: where they would be.
-- Reply: for each that is there its place among the keys, from 0, and its content.

local found = {}
for at, key in ipairs(KEYS) do
  local content = redis.call('GET', key)
  if content then
    found[#found + 1] = at - 1
    found[#found + 1] = content
  end
end
return found
