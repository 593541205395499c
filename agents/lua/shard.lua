-- One shard of the ledger: what its keys hold, entries, terms and name lists.
-- Scripts that join or forget are this file, counting.lua, join.lua, writing.lua and their own, as one text. They are
-- the twin of streams/ledger/join.py and streams/ledger/reference_shard.py, step by step; read them first.
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
--   <shard>:settings           hash   which ledger the shard belongs to, and of which edition of the agreements it takes
--                                     predictions: <ledger id>[/0<edition>]
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
