-- Join rules for one request id: the twin of streams/ledger/join.py.

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
