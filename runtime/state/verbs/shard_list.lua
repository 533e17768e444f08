-- Purpose: the shard maps of all requests whose KV is held.
-- Guarantee: an expired map is dropped before the list is made, so it is never returned.
-- KEYS: shards (hash requestId -> map), shardExpiry (zset requestId -> expiresAtMs)
-- ARGV: nowMs
-- Replies: {"shards", map (JSON) ...}
local shards, expiry = KEYS[1], KEYS[2]
local now = ARGV[1]

-- HDEL takes a bounded number of arguments, so a long list goes in slices.
local expired = redis.call("ZRANGEBYSCORE", expiry, "-inf", now)
for first = 1, #expired, 1000 do
  redis.call("HDEL", shards, unpack(expired, first, math.min(first + 999, #expired)))
end
redis.call("ZREMRANGEBYSCORE", expiry, "-inf", now)

local reply = { "shards" }
for _, map in ipairs(redis.call("HVALS", shards)) do
  reply[#reply + 1] = map
end
return reply
