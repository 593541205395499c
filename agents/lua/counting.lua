-- Counting: what a call adds to cells and logs, tallied first and folded at its end.

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
