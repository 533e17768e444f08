-- Purpose: where the KV of one request lies now: its ordered shards.
-- Guarantee: a map of a lower epoch, or of the same epoch and a lower version, never replaces a newer one.
-- KEYS: shards (hash requestId -> map), shardExpiry (zset requestId -> expiresAtMs)
-- ARGV: nowMs, requestId, epoch, version, expiresAtMs, map (JSON; see ShardMap)
-- Replies: {"accepted"} | {"stale", epoch held, version held}
local shards, expiry = KEYS[1], KEYS[2]
local now, id = tonumber(ARGV[1]), ARGV[2]
local epoch, version, expires, map = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]

local held = redis.call("HGET", shards, id)
if held and tonumber(redis.call("ZSCORE", expiry, id) or "0") > now then
  local other = cjson.decode(held)
  if other.epoch > epoch or (other.epoch == epoch and other.version > version) then
    return { "stale", tostring(other.epoch), tostring(other.version) }
  end
end
redis.call("HSET", shards, id, map)
redis.call("ZADD", expiry, expires, id)
return { "accepted" }
