-- Purpose: a request's KV is freed.
-- Guarantee: a removal of a lower epoch leaves the map of a newer one.
-- KEYS: shards (hash requestId -> map), shardExpiry (zset requestId -> expiresAtMs)
-- ARGV: requestId, epoch
-- Replies: {"removed"} | {"absent"} | {"stale", epoch held}
local shards, expiry = KEYS[1], KEYS[2]
local id, epoch = ARGV[1], tonumber(ARGV[2])

local held = redis.call("HGET", shards, id)
if not held then
  return { "absent" }
end
local epochHeld = cjson.decode(held).epoch
if epochHeld > epoch then
  return { "stale", tostring(epochHeld) }
end
redis.call("HDEL", shards, id)
redis.call("ZREM", expiry, id)
return { "removed" }
