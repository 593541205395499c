-- One commit: see streams/ledger/parts.py for what a part is, ReferenceShard.commit for the steps.
--
-- ARGV: label hold, keep windows, forget limit, the hashes of `*`, `__other__` and `__other_wrong__`, ledger id,
--       number of names, then (hash, text) ...; number of terms, then (hash, packed) ...;
--       number of lists, then (group, packed) ...;
--       then for each part: source, expected, next, largest event time, watermark, raise to, rejected,
--       slices per row, register (0 or 1), the time that ends a gap (0: none), rows
-- Reply: nothing if the shard belongs to another ledger or to none; else
--        watermark, {outcome, stored, ...} two per part, {group, name, ...} undecided, {hash, ...} unknown terms

if call('HGET', shard .. ':settings', 'ledger') ~= ARGV[7] then return false end
label_hold_ms = tonumber(ARGV[1])
local next_argument = 8

local function arguments(count)
  local first = next_argument
  next_argument = first + count
  return unpack(ARGV, first, first + count - 1)
end

local sources = {}
local stored_sources = call('HGETALL', shard .. ':sources')
for at = 1, #stored_sources, 2 do
  local source = {}
  source.next, source.high_ms, source.watermark_ms = unpack_from('>I8I8I8', stored_sources[at + 1])
  sources[stored_sources[at]] = source
end

local function lowest_watermark()
  local lowest
  for _, source in pairs(sources) do
    if not lowest or source.watermark_ms < lowest then lowest = source.watermark_ms end
  end
  return lowest or 0
end
watermark_ms = lowest_watermark()

-- Store definitions: true whatever becomes of the rows.
local function store_definitions()
  for _ = 1, tonumber((arguments(1))) do call('HSET', shard .. ':names', arguments(2)) end
  for _ = 1, tonumber((arguments(1))) do call('HSET', shard .. ':terms', arguments(2)) end
  for _ = 1, tonumber((arguments(1))) do
    local group, given = arguments(2)
    local stored = call('HGET', shard .. ':lists', group) or '0'
    -- What is counted under `__other__` would be looked for under its own name: full lists stay as they are.
    if sub(stored, 1, 1) ~= '1' then
      local is_known, added = {}, {}
      for at = 2, #stored, 8 do is_known[sub(stored, at, at + 7)] = true end
      for at = 2, #given, 8 do
        local name = sub(given, at, at + 7)
        if not is_known[name] then added[#added + 1] = name end
      end
      call('HSET', shard .. ':lists', group, sub(given, 1, 1) .. sub(stored, 2) .. concat(added))
    end
  end
end
store_definitions()

-- Check offsets.
local function read_part()
  local part = {}
  part.source, part.expected, part.next, part.high_ms, part.watermark_ms, part.raise_to_ms, part.rejected,
    part.slices, part.register, part.gap_to_ms, part.rows = arguments(11)
  for _, name in ipairs({'expected', 'next', 'high_ms', 'watermark_ms', 'raise_to_ms', 'rejected', 'slices',
    'gap_to_ms'}) do
    part[name] = tonumber(part[name])
  end
  part.is_labels = sub(part.source, 1, 6) == 'labels'
  part.row_bytes = part.is_labels and 48 or 49 + part.slices * 8
  return part
end

local function check_offset(part)
  local source = sources[part.source]
  if not source then
    if part.register ~= '1' then return 'unknown source' end
    source = {next = part.expected, high_ms = 0, watermark_ms = watermark_ms}
    sources[part.source] = source
  end
  return source.next == part.expected and 'applied' or 'refused'
end

-- Join rows.
local function row_slices(rows, at, width)
  local slices = sub(rows, at, at + width - 1)
  if not string.find(slices, EVERYTHING, 1, true) then return slices end
  local kept = {}
  for first = 1, width, 8 do
    local slice = sub(slices, first, first + 7)
    if slice ~= EVERYTHING then kept[#kept + 1] = slice end
  end
  return concat(kept)
end

local function join_predictions(part, trusted_ms)
  local rows = part.rows
  for at = 1, #rows, part.row_bytes do
    local row, key, failed, tail = {}, nil, nil, nil
    key, row.terms, row.time_ms, row.arrival_ms, row.predicted, failed, tail =
      unpack_from('>c16c8I8I8c8B', rows, at)
    row.failed = failed == 1
    row.slices = part.slices > 0 and row_slices(rows, tail, part.slices * 8) or ''
    if row.arrival_ms < trusted_ms then row.arrival_ms = trusted_ms end
    local terms = terms_for(row.terms)
    if terms then
      local changed, is_new = join_prediction(entry_for(key), row, terms)
      if changed then touched[key] = true end
      if is_new then remember(key, row.time_ms + terms.horizon_ms) end
    end
  end
end

local function join_labels(part, trusted_ms)
  local rows = part.rows
  for at = 1, #rows, part.row_bytes do
    local row, key = {}, nil
    key, row.time_ms, row.arrival_ms, row.class, row.model = unpack_from('>c16I8I8c8c8', rows, at)
    if row.arrival_ms < trusted_ms then row.arrival_ms = trusted_ms end
    local entry = entry_for(key)
    local changed, is_new = join_label(entry, row)
    if changed then touched[key] = true end
    if is_new then
      local deadline_ms = row.time_ms + label_hold_ms
      if watermark_ms > deadline_ms then forget_overdue(entry) else remember(key, deadline_ms) end
    end
  end
end

local gaps = {}

local function apply(part)
  local source = sources[part.source]
  local role = part.is_labels and 'labels' or 'predictions'
  if part.gap_to_ms > 0 then
    local lost = math.max(part.next - part.expected, 0)
    fate(role .. ':lost', lost)
    gaps[#gaps + 1] = concat({part.source, number(lost), number(source.watermark_ms), number(part.gap_to_ms)}, ' ')
  end
  if part.is_labels then
    join_labels(part, source.watermark_ms)
  else
    join_predictions(part, source.watermark_ms)
  end
  fate(role .. ':read', #part.rows / part.row_bytes + part.rejected)
  fate(role .. ':rejected', part.rejected)
  source.next = part.next
  source.high_ms = math.max(source.high_ms, part.high_ms)
  source.watermark_ms = math.max(source.watermark_ms, part.watermark_ms, part.raise_to_ms)
end

local parts, keys, outcomes = {}, {}, {}
while next_argument <= #ARGV do
  local part = read_part()
  parts[#parts + 1] = part
  for at = 1, #part.rows, part.row_bytes do keys[#keys + 1] = sub(part.rows, at, at + 15) end
end
load_entries(keys)
for at, part in ipairs(parts) do
  outcomes[at] = check_offset(part)
  if outcomes[at] == 'applied' then apply(part) end
end

-- Hold back, or write.
local is_held_back = #undecided > 0 or #unknown_terms > 0
if not is_held_back then
  write()
  for _, gap in ipairs(gaps) do call('RPUSH', shard .. ':gaps', gap) end
  for at, part in ipairs(parts) do
    if outcomes[at] == 'applied' then
      local source = sources[part.source]
      call('HSET', shard .. ':sources', part.source, pack('>I8I8I8', source.next, source.high_ms, source.watermark_ms))
    end
  end
  watermark_ms = lowest_watermark()
  forget(tonumber(ARGV[3]), tonumber(ARGV[2]), false)
end

local reply = {}
for at, part in ipairs(parts) do
  local packed = call('HGET', shard .. ':sources', part.source)
  reply[#reply + 1] = is_held_back and 'held back' or outcomes[at]
  reply[#reply + 1] = packed and (unpack_from('>I8', packed)) or -1
end
return {watermark_ms, reply, undecided, unknown_terms}
