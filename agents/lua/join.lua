-- One shard of the ledger: what its keys hold, and the join rules for one request id.
-- The twin of streams/ledger/join.py and streams/ledger/reference.py, step by step; read them first.
--
-- All keys of a shard begin with KEYS[1], which holds the hash tag:
--   <shard>:sources            hash   source -> next offset, largest event time, watermark (3 x 8 bytes)
--   <shard>:entries            hash   request key (16 bytes) -> entry (below)
--   <shard>:overdue            zset   minutes in which some id becomes overdue
--   <shard>:overdue:<minute>   list   request keys
--   <shard>:windows            zset   window (model version 8, start 8 bytes) -> when it is final
--   <shard>:changes            zset   window -> mark of its last change
--   <shard>:reported           hash   model version -> watermark at which all its reports that were due are published
--   <shard>:cells:<window>     hash   slice, label, prediction (3 x 8 bytes) -> count; slice and name of a sum -> sum
--   <shard>:pairs:<window>     list   labelled predictions that are not in the sums yet
--   <shard>:latencies:<window> list   how long predictions took, which ran out of time, and their signals
--                                     (see agents/latency_log.py)
--   <shard>:fates              hash   <role>:<fate> and <role>:read -> count
--   <shard>:settings           hash   which ledger the shard belongs to
--   <shard>:gaps               list   what was lost before it could be read
--   <shard>:names, :terms, :lists     hash   definitions that rows refer to by hash
--
-- An entry is a run of items, in the order of reading. The first byte of an item holds flags:
--   prediction   flags, terms 8, time 6, predicted 8, slices 1, slice 8 ..., [value 8], [items], [arrival 6],
--                [winner time 6, winner 8], [winner's value 8], [winner's items]
--   label        flags, time 6, label 8, [arrival 6], [model 8], [value 8], [items]
--   items        how many 1, item 8 ...
-- Times are milliseconds. Arrival is left out where it equals the time: all but late records.

local shard = KEYS[1]
local call, byte, sub, concat = redis.call, string.byte, string.sub, table.concat
local pack, unpack_from = struct.pack, struct.unpack
local band = bit.band

-- Refused on both nodes of a cluster while the shard moves from one to the other: a script may not reach its
-- missing keys then, and would end in the middle of writing.
call('EXISTS', shard .. ':sources', shard .. ':no such key')

local ABSENT = string.rep('\0', 8)
local EVERYTHING = ABSENT
local FAILED = string.rep('\255', 8)
local ANY_LABEL, OTHER, OTHER_WRONG = ARGV[4], ARGV[5], ARGV[6]
local LIST_ENTRIES = 64
local BUCKET_MS = 60000
local WINDOWS_DROPPED_AT_ONCE = 10
local ARGUMENTS_AT_ONCE = 4000 -- below the limit of Lua's stack

local IS_LABEL, IS_FAILED, IS_MATCHED, HAS_ARRIVAL, IS_ADDRESSED = 1, 2, 4, 8, 2
local HAS_VALUE, HAS_WINNERS_VALUE, LABEL_HAS_VALUE = 16, 32, 128
local HAS_ITEMS, HAS_WINNERS_ITEMS, LABEL_HAS_ITEMS = 64, 128, 4
local RANKS = {[0] = 'labels:held', 'labels:out_of_range', 'labels:duplicate_label', 'labels:corrected_label',
  'labels:matched'}
local HELD, OUT_OF_RANGE, DUPLICATE, CORRECTED, MATCHED = 0, 1, 2, 3, 4
local IS_TAKEN_BACK, HAS_SCORE, HAS_HAPPENED = 1, 2, 4
local RANK_UNIT = 16 -- the rank of a label's fate stands above the flags
local CLASSES, NUMBERS, SETS, RANKS_OF_ITEMS = 0, 1, 2, 3 -- kinds of logged pairs
local LATENCIES, SIGNALS = 0, 2 -- kinds of what predictions tell
local SHAPE_BYTES = {[0] = 0, 0, 3, 1}

-- What the call decides, kept apart until nothing can hold it back. An entry is a string as it is stored, '' where
-- there is none, until something looks inside.
local label_hold_ms, watermark_ms, max_labels
local entries, touched = {}, {}
local cells, logs, latency_logs, finality, fates = {}, {}, {}, {}, {}
local overdue = {}
local unknown_terms, undecided = {}, {}
local terms_of, list_of = {}, {}

local function fate(name, delta) fates[name] = (fates[name] or 0) + delta end

local function read_items(packed, at)
  local past = at + 1 + 8 * byte(packed, at)
  return sub(packed, at + 1, past - 1), past
end

local function read_entry(packed)
  local entry = {predictions = {}, labels = {}}
  local at, size, flags = 1, #packed, nil
  while at <= size do
    flags = byte(packed, at)
    if band(flags, IS_LABEL) ~= 0 then
      local label = {rank = math.floor(flags % LABEL_HAS_VALUE / RANK_UNIT), model = ABSENT}
      flags, label.time_ms, label.class, at = unpack_from('>BI6c8', packed, at)
      label.arrival_ms = label.time_ms
      if band(flags, HAS_ARRIVAL) ~= 0 then label.arrival_ms, at = unpack_from('>I6', packed, at) end
      if band(flags, IS_ADDRESSED) ~= 0 then label.model, at = unpack_from('>c8', packed, at) end
      if band(flags, LABEL_HAS_VALUE) ~= 0 then label.value, at = unpack_from('>d', packed, at) end
      if band(flags, LABEL_HAS_ITEMS) ~= 0 then label.items, at = read_items(packed, at) end
      entry.labels[#entry.labels + 1] = label
    else
      local held, slices = {winner = ABSENT}, nil
      flags, held.terms, held.time_ms, held.predicted, slices, at = unpack_from('>Bc8I6c8B', packed, at)
      held.failed = band(flags, IS_FAILED) ~= 0
      held.slices = sub(packed, at, at + slices * 8 - 1)
      at = at + slices * 8
      if band(flags, HAS_VALUE) ~= 0 then held.value, at = unpack_from('>d', packed, at) end
      if band(flags, HAS_ITEMS) ~= 0 then held.items, at = read_items(packed, at) end
      held.arrival_ms = held.time_ms
      if band(flags, HAS_ARRIVAL) ~= 0 then held.arrival_ms, at = unpack_from('>I6', packed, at) end
      if band(flags, IS_MATCHED) ~= 0 then held.winner_ms, held.winner, at = unpack_from('>I6c8', packed, at) end
      if band(flags, HAS_WINNERS_VALUE) ~= 0 then held.winner_value, at = unpack_from('>d', packed, at) end
      if band(flags, HAS_WINNERS_ITEMS) ~= 0 then held.winner_items, at = read_items(packed, at) end
      entry.predictions[#entry.predictions + 1] = held
    end
  end
  return entry
end

local function write_items(items) return string.char(#items / 8) .. items end

local function write_entry(entry)
  local out = {}
  for _, held in ipairs(entry.predictions) do
    local late, matched = held.arrival_ms ~= held.time_ms, held.winner ~= ABSENT
    local flags = (held.failed and IS_FAILED or 0) + (matched and IS_MATCHED or 0) + (late and HAS_ARRIVAL or 0)
      + (held.value and HAS_VALUE or 0) + (held.winner_value and HAS_WINNERS_VALUE or 0)
      + (held.items and HAS_ITEMS or 0) + (held.winner_items and HAS_WINNERS_ITEMS or 0)
    out[#out + 1] = pack('>Bc8I6c8B', flags, held.terms, held.time_ms, held.predicted, #held.slices / 8)
    out[#out + 1] = held.slices
    if held.value then out[#out + 1] = pack('>d', held.value) end
    if held.items then out[#out + 1] = write_items(held.items) end
    if late then out[#out + 1] = pack('>I6', held.arrival_ms) end
    if matched then out[#out + 1] = pack('>I6c8', held.winner_ms, held.winner) end
    if held.winner_value then out[#out + 1] = pack('>d', held.winner_value) end
    if held.winner_items then out[#out + 1] = write_items(held.winner_items) end
  end
  for _, label in ipairs(entry.labels) do
    local late, addressed = label.arrival_ms ~= label.time_ms, label.model ~= ABSENT
    local flags = IS_LABEL + (addressed and IS_ADDRESSED or 0) + (late and HAS_ARRIVAL or 0) + label.rank * RANK_UNIT
      + (label.value and LABEL_HAS_VALUE or 0) + (label.items and LABEL_HAS_ITEMS or 0)
    out[#out + 1] = pack('>BI6c8', flags, label.time_ms, label.class)
    if late then out[#out + 1] = pack('>I6', label.arrival_ms) end
    if addressed then out[#out + 1] = label.model end
    if label.value then out[#out + 1] = pack('>d', label.value) end
    if label.items then out[#out + 1] = write_items(label.items) end
  end
  return concat(out)
end

-- Terms and name lists -------------------------------------------------------------------------------------

local function read_terms(packed)
  local terms, flags, count, at = {aliases = {}, tally = {}, cells = {}, pairs = {}, latencies = {}}, nil, nil, nil
  terms.model_version, terms.counted_as, terms.model, terms.class_group, terms.positive_class, terms.horizon_ms,
    terms.skew_ms, terms.base_window_ms, flags, count, at = unpack_from('>c8c8c8c8c8I8I8I8BI2', packed)
  terms.has_aliases = count > 0
  terms.first_label_wins, terms.counts_classes = band(flags, 1) ~= 0, band(flags, 2) ~= 0
  terms.is_multilabel, terms.is_ranking = band(flags, 4) ~= 0, band(flags, 8) ~= 0
  terms.takes_lists = terms.is_multilabel or terms.is_ranking
  terms.kind = terms.counts_classes and CLASSES or terms.is_multilabel and SETS or terms.is_ranking and RANKS_OF_ITEMS
    or NUMBERS
  for _ = 1, count do
    local spelling, name
    spelling, name, at = unpack_from('>c8c8', packed, at)
    terms.aliases[spelling] = name
  end
  return terms
end

local function terms_for(hash)
  local terms = terms_of[hash]
  if terms == nil then
    local packed = call('HGET', shard .. ':terms', hash)
    terms = packed and read_terms(packed)
    if not terms then unknown_terms[#unknown_terms + 1] = hash end
    terms_of[hash] = terms
  end
  return terms
end

local function has_cells(group, name)
  local list = list_of[group]
  if not list then
    local packed = call('HGET', shard .. ':lists', group) or '0'
    list = {full = sub(packed, 1, 1) == '1', asked = {}}
    for at = 2, #packed, 8 do list[sub(packed, at, at + 7)] = true end
    list_of[group] = list
  end
  if list[name] then return true end
  if not list.full and not list.asked[name] then
    list.asked[name] = true
    undecided[#undecided + 1] = group
    undecided[#undecided + 1] = name
  end
  return false
end

-- Counting -------------------------------------------------------------------------------------------------

local function cell(terms, label, predicted)
  if not terms.counts_classes then return (label == ABSENT and ABSENT or ANY_LABEL) .. ABSENT end
  local predicted_counts = has_cells(terms.class_group, predicted)
  if label == ABSENT then return ABSENT .. (predicted_counts and predicted or OTHER) end
  if has_cells(terms.class_group, label) and predicted_counts then return label .. predicted end
  return OTHER .. (label == predicted and OTHER or OTHER_WRONG)
end

-- Tallied by terms, window, prediction with slices as an entry holds them, and label; few of them in a call.
local function tally(terms, start_ms, predicted_in_slices, label, delta)
  local window = terms.tally[start_ms]
  if not window then window = {}; terms.tally[start_ms] = window end
  local labels = window[predicted_in_slices]
  if not labels then labels = {}; window[predicted_in_slices] = labels end
  labels[label] = (labels[label] or 0) + delta
end

-- A prediction that waited gets its first label.
local function tally_match(terms, start_ms, predicted_in_slices, label)
  local window = terms.tally[start_ms]
  if not window then window = {}; terms.tally[start_ms] = window end
  local labels = window[predicted_in_slices]
  if not labels then labels = {}; window[predicted_in_slices] = labels end
  labels[ABSENT] = (labels[ABSENT] or 0) - 1
  labels[label] = (labels[label] or 0) + 1
end

local function counts_of(window)
  local counts = cells[window]
  if not counts then counts = {}; cells[window] = counts end
  return counts
end

-- A labelled prediction as the log of its window has it (see agents/pair_log.py), by terms, window and slices.
local function log_pair(terms, start_ms, slices, delay_ms, value, happened, label_value, delta)
  local window = terms.pairs[start_ms]
  if not window then window = {}; terms.pairs[start_ms] = window end
  local rows = window[slices]
  if not rows then rows = {}; window[slices] = rows end
  local flags = (delta < 0 and IS_TAKEN_BACK or 0) + (value and HAS_SCORE or 0) + (happened and HAS_HAPPENED or 0)
  if delay_ms < 0 then delay_ms = 0 end
  if terms.counts_classes then
    rows[#rows + 1] = pack('>BI6d', flags, delay_ms, value or 0)
  else
    if value and not label_value then flags = flags - HAS_SCORE end
    rows[#rows + 1] = pack('>BI6dd', flags, delay_ms, value or 0, label_value or 0)
  end
end

-- What a prediction that was admitted tells beside its answer, by terms, window and slices. Never taken back.
local function log_latency(terms, start_ms, slices, word)
  local window = terms.latencies[start_ms]
  if not window then window = {}; terms.latencies[start_ms] = window end
  local words = window[slices]
  if not words then words = {}; window[slices] = words end
  words[#words + 1] = word
end

-- Likewise the values of its signals, by terms, window, names and slices.
local function log_signals(terms, start_ms, names, slices, word)
  if not terms.signals then terms.signals = {} end
  local window = terms.signals[start_ms]
  if not window then window = {}; terms.signals[start_ms] = window end
  local named = window[names]
  if not named then named = {}; window[names] = named end
  local words = named[slices]
  if not words then words = {}; named[slices] = words end
  words[#words + 1] = word
end

local function event_of(terms, predicted)
  return terms.positive_class ~= ABSENT and terms.positive_class or predicted
end

-- Lists ----------------------------------------------------------------------------------------------------

-- Whether two hashes are in order. Bytes decide, not the server's locale.
local function is_before(a, b)
  for at = 1, 8 do
    local left, right = byte(a, at), byte(b, at)
    if left ~= right then return left < right end
  end
  return false
end

-- The items, each once, in order; of more than `most` the first.
local function set_of(items, most)
  local seen, hashes = {}, {}
  for at = 1, #items, 8 do
    local item = sub(items, at, at + 7)
    if not seen[item] then
      seen[item] = true
      hashes[#hashes + 1] = item
    end
  end
  table.sort(hashes, is_before)
  return concat(hashes, '', 1, math.min(#hashes, most))
end

-- What a label names, as a set; a single name is a list of one.
local function items_of(terms, spelling, items)
  local named = {}
  items = items or spelling
  for at = 1, #items, 8 do
    local item = sub(items, at, at + 7)
    named[#named + 1] = terms.aliases[item] or item
  end
  return set_of(concat(named), LIST_ENTRIES)
end

-- The items in both, in the first alone and in the second alone, as the cells of the model have them.
local function compare_sets(terms, predicted, label)
  local is_true, is_found, found, invented, missed = {}, {}, {}, {}, {}
  for at = 1, #label, 8 do is_true[sub(label, at, at + 7)] = true end
  for at = 1, #predicted, 8 do
    local item = sub(predicted, at, at + 7)
    local some = is_true[item] and found or invented
    is_found[item] = true
    some[#some + 1] = has_cells(terms.class_group, item) and item or OTHER
  end
  for at = 1, #label, 8 do
    local item = sub(label, at, at + 7)
    if not is_found[item] then missed[#missed + 1] = has_cells(terms.class_group, item) and item or OTHER end
  end
  return found, invented, missed
end

-- The ranks, from 1, at which the relevant items stand first.
local function ranks_of(ranked, relevant)
  local is_wanted, ranks = {}, {}
  for at = 1, #relevant, 8 do is_wanted[sub(relevant, at, at + 7)] = true end
  for at = 1, #ranked, 8 do
    local item = sub(ranked, at, at + 7)
    if is_wanted[item] then
      is_wanted[item] = nil
      ranks[#ranks + 1] = string.char((at + 7) / 8)
    end
  end
  return concat(ranks)
end

-- As log_pair; rows of one shape, which is how many items of each kind they hold, have one width.
local function log_list(held, terms, start_ms, delta)
  local flags, delay_ms = delta < 0 and IS_TAKEN_BACK or 0, math.max(held.winner_ms - held.time_ms, 0)
  local shape, row
  if terms.is_ranking then
    local ranks = ranks_of(held.items or '', held.winner_items)
    shape, row = string.char(#ranks), pack('>BI6B', flags, delay_ms, #held.winner_items / 8) .. ranks
  else
    local found, invented, missed = compare_sets(terms, held.items or '', held.winner_items)
    shape = string.char(#found, #invented, #missed)
    row = pack('>BI6', flags, delay_ms) .. concat(found) .. concat(invented) .. concat(missed)
  end
  local window = terms.pairs[start_ms]
  if not window then window = {}; terms.pairs[start_ms] = window end
  local group = shape .. held.slices
  local rows = window[group]
  if not rows then rows = {}; window[group] = rows end
  rows[#rows + 1] = row
end

local function count(held, terms, delta)
  local start_ms = held.time_ms - held.time_ms % terms.base_window_ms
  if held.winner ~= ABSENT and terms.takes_lists then
    log_list(held, terms, start_ms, delta)
  elseif held.winner ~= ABSENT then
    local happened = held.winner == event_of(terms, held.predicted)
    local delay_ms = held.winner_ms - held.time_ms
    log_pair(terms, start_ms, held.slices, delay_ms, held.value, happened, held.winner_value, delta)
  end
  local predicted_in_slices = held.predicted .. string.char(#held.slices / 8) .. held.slices
  tally(terms, start_ms, predicted_in_slices, held.failed and FAILED or held.winner, delta)
end

-- Asked once for all windows and slices of a call.
local function pair_of(terms, label, predicted)
  local known = terms.cells[predicted]
  if not known then known = {}; terms.cells[predicted] = known end
  local pair = known[label]
  if not pair then
    pair = label == FAILED and FAILED .. ABSENT or cell(terms, label, predicted)
    known[label] = pair
  end
  return pair
end

local function fold_window(terms, window, predicted_in_slices, labels)
  local counts = counts_of(window)
  local predicted = sub(predicted_in_slices, 1, 8)
  for label, delta in pairs(labels) do
    if delta ~= 0 then
      local pair = pair_of(terms, label, predicted)
      counts[EVERYTHING .. pair] = (counts[EVERYTHING .. pair] or 0) + delta
      for at = 10, #predicted_in_slices, 8 do
        local key = sub(predicted_in_slices, at, at + 7) .. pair
        counts[key] = (counts[key] or 0) + delta
      end
    end
  end
end

-- A group is the shape of its rows, where they have one, and their slices.
local function fold_pairs(window, terms, group, rows)
  local log = logs[window]
  if not log then log = {}; logs[window] = log end
  local slices = (#group - SHAPE_BYTES[terms.kind]) / 8
  log[#log + 1] = pack('>BBI4', terms.kind, slices, #rows) .. group .. concat(rows)
end

local function fold_latencies(window, slices, words)
  local log = latency_logs[window]
  if not log then log = {}; latency_logs[window] = log end
  log[#log + 1] = pack('>BBI4', LATENCIES, #slices / 8, #words) .. slices .. concat(words)
end

local function fold_signals(window, names, words_of)
  local log = latency_logs[window]
  if not log then log = {}; latency_logs[window] = log end
  for slices, words in pairs(words_of) do
    log[#log + 1] = pack('>BBI4B', SIGNALS, #slices / 8, #words, #names / 8) .. slices .. names .. concat(words)
  end
end

local function fold()
  for _, terms in pairs(terms_of) do
    for start_ms, window in pairs(terms and terms.tally or {}) do
      local name = terms.counted_as .. pack('>I8', start_ms)
      for predicted_in_slices, labels in pairs(window) do fold_window(terms, name, predicted_in_slices, labels) end
      for group, rows in pairs(terms.pairs[start_ms] or {}) do fold_pairs(name, terms, group, rows) end
      terms.pairs[start_ms] = nil
      for slices, words in pairs(terms.latencies[start_ms] or {}) do fold_latencies(name, slices, words) end
      terms.latencies[start_ms] = nil
      if terms.signals and terms.signals[start_ms] then
        for names, words_of in pairs(terms.signals[start_ms]) do fold_signals(name, names, words_of) end
        terms.signals[start_ms] = nil
      end
      local finality_ms = start_ms + terms.base_window_ms + terms.horizon_ms
      if finality_ms > (finality[name] or 0) then finality[name] = finality_ms end
      terms.tally[start_ms] = nil
    end
  end
end

-- Join rules -----------------------------------------------------------------------------------------------

local function forget_overdue(entry)
  local kept = {}
  for _, held in ipairs(entry.predictions) do
    if watermark_ms <= held.time_ms + terms_for(held.terms).horizon_ms then
      kept[#kept + 1] = held
    elseif not held.failed and held.winner == ABSENT then
      fate('predictions:waiting', -1)
      fate('predictions:never_labelled', 1)
    end
  end
  local labels = {}
  for _, label in ipairs(entry.labels) do
    if watermark_ms <= label.time_ms + label_hold_ms then
      labels[#labels + 1] = label
    elseif label.rank == HELD then
      fate('labels:held', -1)
      fate('labels:unmatched_label', 1)
    end
  end
  local dropped = #kept < #entry.predictions or #labels < #entry.labels
  if dropped then entry.predictions, entry.labels = kept, labels end
  return dropped
end

local function matches(held, terms, time_ms, arrival_ms)
  local delay_ms = time_ms - held.time_ms
  return -terms.skew_ms <= delay_ms and delay_ms <= terms.horizon_ms
    and arrival_ms <= held.time_ms + terms.horizon_ms
    and held.arrival_ms <= time_ms + terms.skew_ms
end

-- Bytes decide, not the server's locale.
local function is_greater_text(a, b)
  for at = 1, math.min(#a, #b) do
    local left, right = byte(a, at), byte(b, at)
    if left ~= right then return left > right end
  end
  return #a > #b
end

local function is_better(held, terms, time_ms, label)
  if time_ms ~= held.winner_ms then return (time_ms > held.winner_ms) ~= terms.first_label_wins end
  if label == held.winner then return false end
  local texts = call('HMGET', shard .. ':names', label, held.winner)
  return is_greater_text(texts[1] or '', texts[2] or '') ~= terms.first_label_wins
end

local function replace_set(held, terms, time_ms, items)
  if held.winner == ABSENT then
    fate('predictions:waiting', -1)
    fate('predictions:matched', 1)
  end
  count(held, terms, -1)
  held.winner_ms, held.winner, held.winner_items = time_ms, ANY_LABEL, items
  count(held, terms, 1)
end

local function add_relevant(held, terms, time_ms, spelling, sent)
  local known, is_first = held.winner_items or '', held.winner == ABSENT
  local items = set_of(known .. items_of(terms, spelling, sent), LIST_ENTRIES)
  if not is_first then time_ms = math.min(time_ms, held.winner_ms) end
  if not is_first and items == known and time_ms == held.winner_ms then return DUPLICATE end
  replace_set(held, terms, time_ms, items)
  return (is_first or items ~= known) and MATCHED or DUPLICATE
end

-- The names of a set in order of their bytes.
local function texts_of(items)
  local hashes = {}
  for at = 1, #items, 8 do hashes[#hashes + 1] = sub(items, at, at + 7) end
  if #hashes == 0 then return {} end
  local texts = call('HMGET', shard .. ':names', unpack(hashes))
  for at = 1, #texts do texts[at] = texts[at] or '' end
  table.sort(texts, function(a, b) return is_greater_text(b, a) end)
  return texts
end

local function is_better_set(held, terms, time_ms, items)
  if time_ms ~= held.winner_ms then return (time_ms > held.winner_ms) ~= terms.first_label_wins end
  if items == held.winner_items then return false end
  local texts, before = texts_of(items), texts_of(held.winner_items)
  for at = 1, math.min(#texts, #before) do
    if texts[at] ~= before[at] then return is_greater_text(texts[at], before[at]) ~= terms.first_label_wins end
  end
  return (#texts > #before) ~= terms.first_label_wins
end

local function offer_set(held, terms, time_ms, spelling, sent)
  local items, before = items_of(terms, spelling, sent), held.winner_items
  if not before or is_better_set(held, terms, time_ms, items) then replace_set(held, terms, time_ms, items) end
  if not before then return MATCHED end
  return before == items and DUPLICATE or CORRECTED
end

local function offer(held, terms, time_ms, arrival_ms, spelling, value, items)
  if not matches(held, terms, time_ms, arrival_ms) then return OUT_OF_RANGE end
  if terms.is_ranking then return add_relevant(held, terms, time_ms, spelling, items) end
  if terms.is_multilabel then return offer_set(held, terms, time_ms, spelling, items) end
  if items then return OUT_OF_RANGE end
  local label = terms.aliases[spelling] or spelling
  local before = held.winner
  if before == ABSENT then
    fate('predictions:waiting', -1)
    fate('predictions:matched', 1)
  elseif not is_better(held, terms, time_ms, label) then
    return before == label and DUPLICATE or CORRECTED
  end
  count(held, terms, -1)
  held.winner_ms, held.winner, held.winner_value = time_ms, label, value
  count(held, terms, 1)
  if before == ABSENT then return MATCHED end
  return before == label and DUPLICATE or CORRECTED
end

local function offer_held_labels(entry, held, terms)
  for _, label in ipairs(entry.labels) do
    if label.model == ABSENT or label.model == terms.model then
      local rank = offer(held, terms, label.time_ms, label.arrival_ms, label.class, label.value, label.items)
      if rank > label.rank then
        fate(RANKS[label.rank], -1)
        fate(RANKS[rank], 1)
        label.rank = rank
      end
    end
  end
end

-- Both return whether the entry changed, and whether it holds one more item.
local function join_prediction(entry, row, terms)
  if row.arrival_ms > row.time_ms + terms.horizon_ms then
    fate('predictions:late_prediction', 1)
    return false, false
  end
  for _, held in ipairs(entry.predictions) do
    if held.failed == row.failed and terms_for(held.terms).model_version == terms.model_version then
      if held.time_ms ~= row.time_ms or held.predicted ~= row.predicted then
        fate('predictions:conflicting_prediction', 1)
        return false, false
      end
      fate('predictions:duplicate_prediction', 1)
      if row.arrival_ms >= held.arrival_ms then return false, false end
      held.arrival_ms = row.arrival_ms
      if not held.failed then offer_held_labels(entry, held, terms_for(held.terms)) end
      return true, false
    end
  end
  row.winner = ABSENT
  entry.predictions[#entry.predictions + 1] = row
  count(row, terms, 1)
  if row.failed then
    fate('predictions:failed', 1)
    return true, true
  end
  fate('predictions:waiting', 1)
  offer_held_labels(entry, row, terms)
  return true, true
end

local function join_label(entry, row)
  local known, rank, changed = nil, HELD, false
  for _, label in ipairs(entry.labels) do
    if label.time_ms == row.time_ms and label.class == row.class and label.model == row.model then known = label end
  end
  if known then
    rank = DUPLICATE
    if row.arrival_ms < known.arrival_ms then known.arrival_ms = row.arrival_ms; changed = true end
  end
  for _, held in ipairs(entry.predictions) do
    local terms = terms_for(held.terms)
    if not held.failed and (row.model == ABSENT or row.model == terms.model) then
      local won_ms, won, won_items = held.winner_ms, held.winner, held.winner_items
      local offered = offer(held, terms, row.time_ms, row.arrival_ms, row.class, row.value, row.items)
      if offered > rank then rank = offered end
      if held.winner_ms ~= won_ms or held.winner ~= won or held.winner_items ~= won_items then changed = true end
    end
  end
  fate(RANKS[rank], 1)
  if known then return changed, false end
  row.rank = rank
  local labels = entry.labels
  labels[#labels + 1] = row
  if #labels > max_labels then
    local earliest = 1
    for at = 2, #labels do
      if labels[at].time_ms < labels[earliest].time_ms then earliest = at end
    end
    if table.remove(labels, earliest).rank == HELD then
      fate('labels:held', -1)
      fate('labels:unmatched_label', 1)
    end
  end
  return true, true
end

-- A label whose fate is settled leaves with a prediction that is remembered for longer anyway.
local function leaves_with_a_prediction(entry, rank, deadline_ms)
  if rank == HELD then return false end
  for _, held in ipairs(entry.predictions) do
    if held.time_ms + terms_for(held.terms).horizon_ms >= deadline_ms then return true end
  end
  return false
end

-- Entries: loaded once a call, with what is overdue forgotten at the first touch ------------------------------

local function load_entries(keys)
  for first = 1, #keys, ARGUMENTS_AT_ONCE do
    local some = {unpack(keys, first, math.min(first + ARGUMENTS_AT_ONCE - 1, #keys))}
    local packed = call('HMGET', shard .. ':entries', unpack(some))
    for at, key in ipairs(some) do
      if entries[key] == nil then entries[key] = packed[at] or '' end
    end
  end
end

local function entry_for(key)
  local entry = entries[key]
  if type(entry) == 'string' then
    local is_known = entry ~= ''
    entry = read_entry(entry)
    entries[key] = entry
    if is_known and forget_overdue(entry) then touched[key] = true end
  end
  return entry
end

local function remember(key, deadline_ms)
  local bucket_ms = deadline_ms - deadline_ms % BUCKET_MS + BUCKET_MS
  local keys = overdue[bucket_ms]
  if not keys then keys = {}; overdue[bucket_ms] = keys end
  keys[#keys + 1] = key
end

-- Writing --------------------------------------------------------------------------------------------------

local function call_in_chunks(command, key, arguments)
  for first = 1, #arguments, ARGUMENTS_AT_ONCE do
    call(command, key, unpack(arguments, first, math.min(first + ARGUMENTS_AT_ONCE - 1, #arguments)))
  end
end

-- Most numbers of a call are small and the same; printing one costs more than all else about it.
local printed = {}
local function number(value)
  local text = printed[value]
  if not text then
    text = string.format('%.0f', value)
    printed[value] = text
  end
  return text
end

local function write_entries()
  local kept, gone = {}, {}
  for key in pairs(touched) do
    local entry = entries[key]
    if type(entry) ~= 'string' then entry = write_entry(entry) end
    if entry == '' then
      gone[#gone + 1] = key
    else
      kept[#kept + 1] = key
      kept[#kept + 1] = entry
    end
  end
  call_in_chunks('HSET', shard .. ':entries', kept)
  call_in_chunks('HDEL', shard .. ':entries', gone)
  for bucket_ms, keys in pairs(overdue) do
    call('ZADD', shard .. ':overdue', number(bucket_ms), number(bucket_ms))
    call_in_chunks('RPUSH', shard .. ':overdue:' .. number(bucket_ms), keys)
  end
end

-- Read and set all at once: a command for each count would cost more than all else about it.
local function write_counts(window, counts)
  local key, fields = shard .. ':cells:' .. window, {}
  for field, delta in pairs(counts) do
    if delta ~= 0 then fields[#fields + 1] = field end
  end
  local kept, gone = {}, {}
  for first = 1, #fields, ARGUMENTS_AT_ONCE do
    local stored = call('HMGET', key, unpack(fields, first, math.min(first + ARGUMENTS_AT_ONCE - 1, #fields)))
    for at, before in ipairs(stored) do
      local field = fields[first + at - 1]
      local count = (before and tonumber(before) or 0) + counts[field]
      if count ~= 0 then
        kept[#kept + 1] = field
        kept[#kept + 1] = number(count)
      elseif before then
        gone[#gone + 1] = field
      end
    end
  end
  call_in_chunks('HSET', key, kept)
  call_in_chunks('HDEL', key, gone)
  return #fields > 0
end

local function write_windows()
  local mark
  for window, finality_ms in pairs(finality) do
    local is_changed = write_counts(window, cells[window] or {})
    if logs[window] then
      call('RPUSH', shard .. ':pairs:' .. window, concat(logs[window]))
      is_changed = true
    end
    if latency_logs[window] then
      call('RPUSH', shard .. ':latencies:' .. window, concat(latency_logs[window]))
      is_changed = true
    end
    if is_changed then
      if not mark then
        -- Wall time, so that a mark is not given again after a rollback.
        local now = call('TIME')
        mark = number(now[1] * 1000000 + now[2])
      end
      call('ZADD', shard .. ':changes', mark, window)
      call('ZADD', shard .. ':windows', 'GT', number(finality_ms), window)
    end
  end
end

local function write_fates()
  for name, delta in pairs(fates) do
    if delta ~= 0 then call('HINCRBY', shard .. ':fates', name, number(delta)) end
  end
end

local function write()
  fold()
  write_entries()
  write_windows()
  write_fates()
  entries, touched, overdue, fates = {}, {}, {}, {}
  cells, logs, latency_logs, finality = {}, {}, {}, {}
end

-- Forgetting -----------------------------------------------------------------------------------------------

-- A few at a time, so that no commit takes long, and none before its last report: a watermark may leap.
local function drop_windows(keep_windows_ms)
  local before = '(' .. number(watermark_ms - keep_windows_ms)
  local windows = call('ZRANGEBYSCORE', shard .. ':windows', '-inf', before, 'WITHSCORES',
    'LIMIT', 0, WINDOWS_DROPPED_AT_ONCE)
  for at = 1, #windows, 2 do
    local window = windows[at]
    local reported_ms = tonumber(call('HGET', shard .. ':reported', sub(window, 1, 8)) or 0)
    if reported_ms > tonumber(windows[at + 1]) + keep_windows_ms then
      call('UNLINK', shard .. ':cells:' .. window, shard .. ':pairs:' .. window, shard .. ':latencies:' .. window)
      call('ZREM', shard .. ':windows', window)
      call('ZREM', shard .. ':changes', window)
    end
  end
end

-- Whether nothing of an entry is left at the watermark; settled for the commonest entries without looking inside:
-- one prediction that came in time, with or without the one label that won.
local function forget_whole(key)
  local entry = entries[key]
  if type(entry) ~= 'string' or #entry < 24 then return false end
  local flags, size = byte(entry, 1), 24 + 8 * byte(entry, 24)
  if flags >= HAS_VALUE and flags < HAS_WINNERS_VALUE then flags, size = flags - HAS_VALUE, size + 8 end
  local is_matched = flags == IS_MATCHED
  if not is_matched and (flags ~= 0 or #entry ~= size) then return false end
  local terms = terms_for(sub(entry, 2, 9))
  if watermark_ms <= unpack_from('>I6', entry, 10) + terms.horizon_ms then return false end
  if is_matched then
    local labels = #entry - size - 14
    if labels == 15 then
      local label_flags = byte(entry, size + 15)
      local is_settled = label_flags % RANK_UNIT == IS_LABEL and label_flags > RANK_UNIT and label_flags < LABEL_HAS_VALUE
      if not is_settled or watermark_ms <= unpack_from('>I6', entry, size + 16) + label_hold_ms then return false end
    elseif labels ~= 0 then
      return false
    end
  else
    fate('predictions:waiting', -1)
    fate('predictions:never_labelled', 1)
  end
  entries[key] = ''
  touched[key] = true
  return true
end

-- Visits up to `limit` ids of minutes that are over; with `in_part`, of the minute the watermark stands in too.
local function forget(limit, keep_windows_ms, in_part)
  local visited = 0
  local due = number(watermark_ms + (in_part and BUCKET_MS or 0))
  while visited < limit do
    local minute = call('ZRANGEBYSCORE', shard .. ':overdue', '-inf', due, 'LIMIT', 0, 1)[1]
    if not minute then break end
    local keys = call('LPOP', shard .. ':overdue:' .. minute, math.min(limit - visited, ARGUMENTS_AT_ONCE)) or {}
    if call('EXISTS', shard .. ':overdue:' .. minute) == 0 then call('ZREM', shard .. ':overdue', minute) end
    load_entries(keys)
    for _, key in ipairs(keys) do
      if not forget_whole(key) then
        local entry = entry_for(key)
        local is_kept = #entry.predictions > 0 or #entry.labels > 0
        if is_kept and tonumber(minute) > watermark_ms then remember(key, tonumber(minute)) end
      end
    end
    visited = visited + #keys
  end
  write()
  drop_windows(keep_windows_ms)
  return visited
end
