-- Purpose: the SP degrees by length class that the operator published last.
-- Guarantee: no table whose time is over.
-- KEYS: degrees (string), degreesExpiry (string)
-- ARGV: nowMs
-- Replies: {"degrees", table (JSON; see DegreeTable)} | {"none"}
local expires = tonumber(redis.call("GET", KEYS[2]) or "0")
local held = redis.call("GET", KEYS[1])
if not held or expires <= tonumber(ARGV[1]) then
  return { "none" }
end
return { "degrees", held }
