-- Purpose: a new leader of the operator shuts out the writes of the ones before it.
-- Guarantee: the fence never goes back. Advancing to the present fence succeeds, so a leader may repeat it.
-- KEYS: fence (string)
-- ARGV: fence
-- Replies: {"accepted"} | {"stale", fence held}
local held = tonumber(redis.call("GET", KEYS[1]) or "-1")
if tonumber(ARGV[1]) < held then
  return { "stale", tostring(held) }
end
redis.call("SET", KEYS[1], ARGV[1])
return { "accepted" }
