-- One commit: see streams/ledger/parts.py for what a part is, ReferenceShard.commit for the steps.
--
-- ARGV: label hold, keep windows, forget limit, the hashes of `*`, `__other__` and `__other_wrong__`, ledger id,
--       labels kept of an id,
--       number of names, then (hash, text) ...; number of terms, then (hash, packed) ...;
--       number of lists, then (group, packed) ...;
--       then for each part: source, expected, next, largest event time, watermark, raise to, rejected,
--       words at the end of a row, register (0 or 1), the time that ends a gap (0: none), edition of the agreements,
--       rows, latencies, signals
-- Reply: nothing if the shard belongs to another ledger or to none; else
--        watermark, {outcome, stored, ...} two per part, {group, name, ...} undecided, {hash, ...} unknown terms

local ledger, edition = string.match(call('HGET', shard .. ':settings', 'ledger') or '', '^([^/]*)/?0?(.*)$')
if ledger == '' or ledger ~= ARGV[7] then return false end
if edition == '' then edition = '0' end
label_hold_ms = tonumber(ARGV[1])
max_labels = tonumber(ARGV[8])
local next_argument = 9

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
    part.words, part.register, part.gap_to_ms, part.edition, part.rows, part.latencies, part.signals = arguments(14)
  for _, name in ipairs({'expected', 'next', 'high_ms', 'watermark_ms', 'raise_to_ms', 'rejected', 'words',
    'gap_to_ms'}) do
    part[name] = tonumber(part[name])
  end
  part.is_labels = sub(part.source, 1, 6) == 'labels'
  part.row_bytes = (part.is_labels and 46 or 48) + part.words * 8
  return part
end

local function check_offset(part)
  if not part.is_labels and part.rows ~= '' and part.edition ~= edition then return 'outdated' end
  local source = sources[part.source]
  if not source then
    if part.register ~= '1' then return 'unknown source' end
    source = {next = part.expected, high_ms = 0, watermark_ms = watermark_ms}
    sources[part.source] = source
  end
  return source.next == part.expected and 'applied' or 'refused'
end

-- Join rows. A row holds the bytes that its entry will hold:
--   prediction   key 16, arrival 8, flags 1, terms 8, time 6, predicted 8, slices 1, slice 8 ..., [value 8], [items],
--                padding
--   label        key 16, arrival 8, model 8, time 6, label 8, [value 8, not a number where there is none, [items]]
--   items        how many 8 (255: a label that is no list), item 8 ...; a label's with padding
-- The common cases take a short way to what join_prediction and join_label would give.
-- Latencies are words of 6 bytes, one for each row of predictions, or nothing where none tells anything.

local NOTHING = string.rep('\255', 6)

local function latency_of(part, at)
  local word = (at - 1) / part.row_bytes * 6
  return sub(part.latencies, word + 1, word + 6)
end

-- Signals are shapes (how many 4, then of each: how many names 1, name 8 ...), and a word for each row of predictions:
-- its shape 4 (0: it tells nothing), value 4 ..., as many as the longest shape has names.
local function read_shapes(part)
  local shapes, at, longest = {}, 5, 0
  for number = 1, (unpack_from('>I4', part.signals)) do
    local past = at + 1 + 8 * byte(part.signals, at)
    shapes[number] = sub(part.signals, at + 1, past - 1)
    longest = math.max(longest, past - at - 1)
    at = past
  end
  part.shapes, part.first_signal, part.signal_bytes = shapes, at, 4 + longest / 2
end

local function signals_of(part, at)
  local word = part.first_signal + (at - 1) / part.row_bytes * part.signal_bytes
  local names = part.shapes[unpack_from('>I4', part.signals, word)]
  if names then return names, sub(part.signals, word + 4, word + 3 + #names / 2) end
end

local NO_ITEMS = 255

-- Of all rows in the order of the parts; a part knows its first.
local keys = {}

local function read_row_items(rows, at)
  local count = unpack_from('>I8', rows, at)
  if count ~= NO_ITEMS then return sub(rows, at + 8, at + 7 + 8 * count) end
end

-- A prediction that came in time, and finds nothing but a label that came in time and is held: as most do in a backlog,
-- whose labels are read faster than its predictions.
local function match_held_label(key, entry, prediction, flags, terms, time_ms)
  if #entry ~= 15 or byte(entry, 1) ~= IS_LABEL or terms.has_aliases or not terms.counts_classes then return false end
  local label_ms, label = unpack_from('>I6c8', entry, 2)
  local delay_ms = label_ms - time_ms
  if watermark_ms > label_ms + label_hold_ms or delay_ms < -terms.skew_ms or delay_ms > terms.horizon_ms then
    return false
  end
  local start_ms, slices_end = time_ms - time_ms % terms.base_window_ms, 23 + 8 * byte(prediction, 23)
  local predicted, label_item = sub(prediction, 15, 22), sub(entry, 2)
  local value = flags == HAS_VALUE and unpack_from('>d', prediction, slices_end + 1) or nil
  local happened = label == event_of(terms, predicted)
  log_pair(terms, start_ms, sub(prediction, 24, slices_end), delay_ms, value, happened, nil, 1)
  tally(terms, start_ms, sub(prediction, 15, slices_end), label, 1)
  entries[key] = string.char(IS_MATCHED + flags) .. prediction .. label_item
    .. string.char(IS_LABEL + MATCHED * RANK_UNIT) .. label_item
  return true
end

local function join_predictions(part, trusted_ms)
  local rows, has_latencies, has_signals = part.rows, part.latencies ~= '', part.signals ~= ''
  local tells = has_latencies or has_signals
  if has_signals then read_shapes(part) end
  local number_of_key, waiting, matched = part.first_key, 0, 0
  for at = 1, #rows, part.row_bytes do
    local key = keys[number_of_key]
    number_of_key = number_of_key + 1
    local arrival_ms, flags, hash, time_ms = unpack_from('>I8Bc8I6', rows, at + 16)
    local last_slice = at + 47 + 8 * byte(rows, at + 47)
    if arrival_ms < trusted_ms then arrival_ms = trusted_ms end
    local terms, entry = terms_for(hash), entries[key]
    local is_plain = (flags == 0 or flags == HAS_VALUE) and arrival_ms <= time_ms
    local past_value = last_slice + flags / 2 -- a value is 8 bytes, its flag 16
    local is_admitted = false
    if not terms then
      -- held back
    elseif is_plain and entry == '' then
      entries[key] = sub(rows, at + 24, past_value)
      touched[key] = true
      tally(terms, time_ms - time_ms % terms.base_window_ms, sub(rows, at + 39, last_slice), ABSENT, 1)
      waiting = waiting + 1
      remember(key, time_ms + terms.horizon_ms)
      is_admitted = true
    elseif is_plain and type(entry) == 'string'
      and match_held_label(key, entry, sub(rows, at + 25, past_value), flags, terms, time_ms) then
      touched[key] = true
      matched = matched + 1
      remember(key, time_ms + terms.horizon_ms)
      is_admitted = true
    else
      local row = {terms = hash, time_ms = time_ms, arrival_ms = arrival_ms, failed = band(flags, IS_FAILED) ~= 0}
      row.predicted, row.slices = sub(rows, at + 39, at + 46), sub(rows, at + 48, last_slice)
      local past = last_slice + 1
      if band(flags, HAS_VALUE) ~= 0 then row.value, past = unpack_from('>d', rows, past) end
      if band(flags, HAS_ITEMS) ~= 0 then row.items = read_row_items(rows, past) end
      local changed, is_new = join_prediction(entry_for(key), row, terms)
      if changed then touched[key] = true end
      if is_new then remember(key, time_ms + terms.horizon_ms) end
      is_admitted = is_new
    end
    if tells and is_admitted then
      local start_ms, slices = time_ms - time_ms % terms.base_window_ms, sub(rows, at + 48, last_slice)
      local word = has_latencies and latency_of(part, at) or NOTHING
      if word ~= NOTHING then log_latency(terms, start_ms, slices, word) end
      if has_signals then
        local names, values = signals_of(part, at)
        if names then log_signals(terms, start_ms, names, slices, values) end
      end
    end
  end
  fate('predictions:waiting', waiting)
  fate('predictions:matched', matched)
  fate('labels:held', -matched)
  fate('labels:matched', matched)
end

-- A label that came in time, so that it is not overdue, and is the first that is known of its id.
local HELD_LABEL = string.char(IS_LABEL)

-- A label that is the first of a prediction which came in time and waits alone.
local function match_at_once(key, entry, label_item, time_ms, arrival_ms, model)
  if #entry < 24 then return false end
  local flags, size = byte(entry, 1), 24 + 8 * byte(entry, 24)
  if (flags ~= 0 and flags ~= HAS_VALUE) or #entry ~= size + flags / 2 then return false end
  local hash, predicted_ms, predicted = unpack_from('>c8I6c8', entry, 2)
  local terms = terms_for(hash)
  local forgotten_ms = predicted_ms + terms.horizon_ms
  local delay_ms = time_ms - predicted_ms
  if watermark_ms > forgotten_ms or terms.has_aliases or (model ~= ABSENT and model ~= terms.model)
    or delay_ms < -terms.skew_ms or delay_ms > terms.horizon_ms or arrival_ms > forgotten_ms then
    return false
  end
  local start_ms, predicted_in_slices = predicted_ms - predicted_ms % terms.base_window_ms, sub(entry, 16, size)
  local label = sub(label_item, 7)
  local value = flags == HAS_VALUE and unpack_from('>d', entry, size + 1) or nil
  if value and not terms.counts_classes then return false end
  local happened = label == event_of(terms, predicted)
  log_pair(terms, start_ms, sub(entry, 25, size), delay_ms, value, happened, nil, 1)
  tally_match(terms, start_ms, predicted_in_slices, label)
  local matched_flags, waited = string.char(IS_MATCHED + flags), sub(entry, 2)
  local deadline_ms = time_ms + label_hold_ms
  if watermark_ms <= deadline_ms then
    local late, addressed = arrival_ms ~= time_ms, model ~= ABSENT
    local label_flags = IS_LABEL + (addressed and IS_ADDRESSED or 0) + (late and HAS_ARRIVAL or 0) + MATCHED * RANK_UNIT
    entry = matched_flags .. waited .. label_item .. string.char(label_flags) .. label_item
    if late then entry = entry .. pack('>I6', arrival_ms) end
    if addressed then entry = entry .. model end
    if forgotten_ms < deadline_ms then remember(key, deadline_ms) end
  else
    entry = matched_flags .. waited .. label_item
  end
  entries[key] = entry
  touched[key] = true
  return true
end

local function join_labels(part, trusted_ms)
  local rows = part.rows
  local number_of_key, matched, held = part.first_key, 0, 0
  for at = 1, #rows, part.row_bytes do
    local key = keys[number_of_key]
    number_of_key = number_of_key + 1
    local arrival_ms, model, time_ms = unpack_from('>I8c8I6', rows, at + 16)
    if arrival_ms < trusted_ms then arrival_ms = trusted_ms end
    local entry, value, items = entries[key], nil, nil
    if part.words > 0 then
      value = unpack_from('>d', rows, at + 46)
      if value ~= value then value = nil end
      if part.words > 1 then items = read_row_items(rows, at + 54) end
    end
    local label_item = type(entry) == 'string' and not value and not items and sub(rows, at + 32, at + 45)
    if label_item and entry == '' and model == ABSENT and arrival_ms == time_ms then
      entries[key] = HELD_LABEL .. label_item
      touched[key] = true
      held = held + 1
      remember(key, time_ms + label_hold_ms)
    elseif label_item and match_at_once(key, entry, label_item, time_ms, arrival_ms, model) then
      matched = matched + 1
    else
      entry = entry_for(key)
      local row = {time_ms = time_ms, arrival_ms = arrival_ms, class = sub(rows, at + 38, at + 45), model = model}
      row.value, row.items = value, items
      local changed, is_new = join_label(entry, row)
      if changed then touched[key] = true end
      if is_new then
        local deadline_ms = time_ms + label_hold_ms
        if watermark_ms > deadline_ms then
          forget_overdue(entry)
        elseif not leaves_with_a_prediction(entry, row.rank, deadline_ms) then
          remember(key, deadline_ms)
        end
      end
    end
  end
  fate('predictions:waiting', -matched)
  fate('predictions:matched', matched)
  fate('labels:matched', matched)
  fate('labels:held', held)
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

local parts, outcomes = {}, {}
while next_argument <= #ARGV do
  local part = read_part()
  part.first_key = #keys + 1
  parts[#parts + 1] = part
  for at = 1, #part.rows, part.row_bytes do keys[#keys + 1] = sub(part.rows, at, at + 15) end
end
load_entries(keys)
for at, part in ipairs(parts) do
  outcomes[at] = check_offset(part)
  if outcomes[at] == 'applied' then apply(part) end
end

-- Hold back, or write.
fold()
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
