-- What a labelled prediction adds to the sums of its window: the twin of streams/pair_sums, step by step.
-- Doubles only; the same bits wherever it is computed.

local frexp, ldexp, ceil, floor, abs, max, min = math.frexp, math.ldexp, math.ceil, math.floor, math.abs, math.max, math.min

-- exact_sum ------------------------------------------------------------------------------------------------

local DIGIT = 4294967296

local function trunc(value) if value < 0 then return ceil(value) end return floor(value) end

local function increase(increments, name, place, digit)
  if digit ~= 0 then
    local field = name .. ':' .. place -- a whole number below 1e14 prints as such
    increments[field] = (increments[field] or 0) + digit
  end
end

local function cut(value)
  local _, exponent = frexp(value)
  local place = ceil((exponent - 32) / 8) + 0 -- not -0
  local scaled = ldexp(value, -place * 8)
  local digit = trunc(scaled)
  return digit, scaled - digit, place
end

local function add(increments, name, value)
  if value == 0 then return end
  local digit, rest, place = cut(value)
  increase(increments, name, place, digit)
  increase(increments, name, place - 4, trunc(rest * DIGIT))
end

local function add_rough(increments, name, value)
  if value == 0 then return end
  local digit, _, place = cut(value)
  increase(increments, name, place, digit)
end

local function square(value)
  local product, shifted = value * value, 134217729 * value
  local high = shifted - (shifted - value)
  local low = value - high
  return product, ((high * high - product) + 2 * high * low) + low * low
end

-- logarithm ------------------------------------------------------------------------------------------------

local LARGEST_S = 0.17157287525380990

local function twice_artanh(s)
  local squared, series = s * s, 0
  for odd = 21, 3, -2 do series = (series + 1 / odd) * squared end
  return 2 * s + 2 * s * series
end

local function log(value)
  local mantissa, exponent = frexp(value)
  if mantissa < 0.7071067811865476 then mantissa, exponent = mantissa * 2, exponent - 1 end
  return exponent * 0.6931471803691238
    + (twice_artanh((mantissa - 1) / (mantissa + 1)) + exponent * 1.9082149292705877e-10)
end

local function log1p_ratio(a, b)
  local s = (a - b) / (2 + a + b)
  if -LARGEST_S <= s and s <= LARGEST_S then return twice_artanh(s) end
  return log((1 + a) / (1 + b))
end

-- score_bins -----------------------------------------------------------------------------------------------

local BIN_COUNT = 511

local function unit_of(score, scale)
  local unit = floor(score * scale)
  if (unit + 1) / scale <= score then return unit + 1 end
  if unit / scale > score then return unit - 1 end
  return unit
end

local function band_bin(score, scale, first_bin, first, parts_of)
  local unit, offset, parts = unit_of(score, scale), first_bin, 1
  if parts_of then
    for at = first, unit - 1 do offset = offset + 1 + parts_of[at] end
    parts = parts_of[unit]
  else
    offset = offset + 2 * (unit - first)
  end
  if unit / scale == score then return offset end
  return offset + 1 + min(parts - 1, floor(max(0, score * scale - unit) * parts))
end

local function score_bin(score)
  if score < 0.00001 then return score == 0 and 0 or 1 end
  if score >= 1 then return BIN_COUNT - 1 end
  if score >= 0.99 then return band_bin(score, 1000, 490, 990) end
  if score >= 0.1 then return band_bin(score, 100, 312, 10) end
  if score >= 0.01 then return band_bin(score, 100, 233, 1, {21, 12, 9, 7, 5, 5, 4, 4, 3}) end
  if score >= 0.001 then return band_bin(score, 1000, 104, 1, {36, 21, 15, 12, 10, 8, 7, 6, 5}) end
  if score >= 0.0001 then return band_bin(score, 10000, 23, 1, {21, 13, 9, 7, 6, 5, 4, 4, 3}) end
  return band_bin(score, 100000, 2, 1, {3, 2, 1, 1, 1, 1, 1, 1, 1})
end

local function decile(score) return min(9, unit_of(score, 10)) end

-- delay ----------------------------------------------------------------------------------------------------

local BUCKETS_PER_DOUBLING = 16

local function delay_bucket(delay_ms)
  if delay_ms <= 0 then return 0 end
  local mantissa, exponent = frexp(delay_ms)
  return BUCKETS_PER_DOUBLING * exponent + floor((mantissa - 0.5) * 2 * BUCKETS_PER_DOUBLING) + BUCKETS_PER_DOUBLING
end

-- contribution ---------------------------------------------------------------------------------------------

local SMALLEST_CERTAINTY = 2 ^ -52

local function score_contribution(score, happened)
  if not (0 <= score and score <= 1) then return {x = 1} end
  local increments = {[(happened and 'p' or 'n') .. score_bin(score)] = 1}
  local probability = happened and score or 1 - score
  local loss = -log(min(1 - SMALLEST_CERTAINTY, max(SMALLEST_CERTAINTY, probability)))
  add(increments, 'l', loss)
  add_rough(increments, 'lr', loss * loss)
  local gap = score - (happened and 1 or 0)
  add(increments, 'b', gap * gap)
  add(increments, 'c' .. decile(score), score)
  return increments
end

local function regression_contribution(predicted, label)
  local increments = {n = 1}
  local err = predicted - label
  local squared = err * err
  add(increments, err > 0 and 'o' or 'u', abs(err))
  add(increments, 'q', squared)
  add_rough(increments, 'qr', squared * squared)
  local product, lack = square(label)
  add(increments, 'y', label)
  add(increments, 'yy', product)
  add(increments, 'yy', lack)
  add(increments, 'yyy', product * label)
  add(increments, 'yyyy', product * product)
  add_rough(increments, 'qy', squared * label)
  add_rough(increments, 'qyy', squared * product)
  if label == 0 then
    increments.z = 1
  else
    local ratio = abs(err) / max(abs(label), SMALLEST_CERTAINTY)
    add(increments, 'a', ratio)
    add_rough(increments, 'ar', ratio * ratio)
  end
  if predicted < 0 or label < 0 then
    increments.g = 1
  else
    local difference = log1p_ratio(predicted, label)
    local log_squared = difference * difference
    add(increments, 's', log_squared)
    add_rough(increments, 'sr', log_squared * log_squared)
  end
  return increments
end
