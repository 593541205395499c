-- Writing what a call decided, and forgetting.

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

-- What becomes of the commonest entries, without looking inside: one prediction that came in time, with or without the
-- one label that won. GONE: nothing is left of it at the watermark. WHOLE: it stays as it is until its prediction is
-- overdue; a label whose fate is settled leaves with it. Else nothing: it has to be looked into.
local GONE, WHOLE = 1, 2

local function forget_at_once(key)
  local entry = entries[key]
  if type(entry) ~= 'string' or #entry < 24 then return nil end
  local flags, size = byte(entry, 1), 24 + 8 * byte(entry, 24)
  if flags >= HAS_VALUE and flags < HAS_WINNERS_VALUE then flags, size = flags - HAS_VALUE, size + 8 end
  local is_matched = flags == IS_MATCHED
  if not is_matched and (flags ~= 0 or #entry ~= size) then return nil end
  local label_bytes = is_matched and #entry - size - 14 or 0
  if label_bytes == 15 then
    local label_flags = byte(entry, size + 15)
    local is_settled = label_flags % RANK_UNIT == IS_LABEL and label_flags > RANK_UNIT and label_flags < LABEL_HAS_VALUE
    if not is_settled then return nil end
  elseif label_bytes ~= 0 then
    return nil
  end
  local terms = terms_for(sub(entry, 2, 9))
  if watermark_ms <= unpack_from('>I6', entry, 10) + terms.horizon_ms then return WHOLE end
  if label_bytes == 15 and watermark_ms <= unpack_from('>I6', entry, size + 16) + label_hold_ms then return nil end
  if not is_matched then
    fate('predictions:waiting', -1)
    fate('predictions:never_labelled', 1)
  end
  entries[key] = ''
  touched[key] = true
  return GONE
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
      local outcome = forget_at_once(key)
      if outcome ~= GONE then
        local entry = outcome ~= WHOLE and entry_for(key)
        local is_kept = not entry or #entry.predictions > 0 or #entry.labels > 0
        if is_kept and tonumber(minute) > watermark_ms then remember(key, tonumber(minute)) end
      end
    end
    visited = visited + #keys
  end
  write()
  drop_windows(keep_windows_ms)
  return visited
end
