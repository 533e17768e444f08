-- Purpose: the operator publishes the SP degree that prompts of each length class are to be served with.
-- Guarantee: an old leader publishes nothing, and this one's fence shuts out those before it.
-- KEYS: fence (string), degrees (string), degreesExpiry (string)
-- ARGV: fence, expiresAtMs, table (JSON; see DegreeTable)
-- Replies: {"accepted"} | {"stale", fence held}
local held = tonumber(redis.call("GET", KEYS[1]) or "-1")
if tonumber(ARGV[1]) < held then
  return { "stale", tostring(held) }
end
redis.call("SET", KEYS[1], ARGV[1])
redis.call("SET", KEYS[2], ARGV[3])
redis.call("SET", KEYS[3], ARGV[2])
return { "accepted" }
