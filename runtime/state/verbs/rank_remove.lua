-- Purpose: a rank leaves, or the operator has seen its pod go.
-- Guarantee: removes only the named incarnation; a successor's report stays.
-- KEYS: ranks (hash rankId -> report), rankExpiry (zset rankId -> expiresAtMs)
-- ARGV: rankId, incarnation
-- Replies: {"removed"} | {"absent"}
local ranks, expiry = KEYS[1], KEYS[2]
local id, incarnation = ARGV[1], ARGV[2]

local held = redis.call("HGET", ranks, id)
if not held or cjson.decode(held).incarnation ~= incarnation then
  return { "absent" }
end
redis.call("HDEL", ranks, id)
redis.call("ZREM", expiry, id)
return { "removed" }
