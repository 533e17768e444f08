-- Purpose: whether a leader's fencing number is still the newest.
-- Guarantee: none beyond the instant of the answer; a write that must not race checks within its own verb.
-- KEYS: fence (string)
-- ARGV: fence
-- Replies: {"current"} | {"stale", fence held}
local held = tonumber(redis.call("GET", KEYS[1]) or "-1")
if tonumber(ARGV[1]) < held then
  return { "stale", tostring(held) }
end
return { "current" }
