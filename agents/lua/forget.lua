-- Forget overdue ids outside a commit. ARGV: label hold, keep windows, limit. Reply: ids visited.

label_hold_ms = tonumber(ARGV[1])
local lowest
for _, packed in ipairs(call('HVALS', shard .. ':sources')) do
  local _, _, source_watermark_ms = unpack_from('>I8I8I8', packed)
  if not lowest or source_watermark_ms < lowest then lowest = source_watermark_ms end
end
watermark_ms = lowest or 0
return forget(tonumber(ARGV[3]), tonumber(ARGV[2]), true)
