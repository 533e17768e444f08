-- Purpose: some of the shard maps of all requests whose KV is held; called again with the cursor until it is 0.
-- Guarantee: a map that is held from the first call to the last is returned at least once, perhaps twice; an expired
--   one never. No call holds Redis up for longer than about `count` maps take.
-- KEYS: shards (hash requestId -> map), shardExpiry (zset requestId -> expiresAtMs)
-- ARGV: nowMs, cursor (0 begins), count
-- Replies: {"shards", next cursor ("0" ends), map (JSON) ...}
local shards, expiry = KEYS[1], KEYS[2]
local now, cursor, count = ARGV[1], ARGV[2], tonumber(ARGV[3])

-- HDEL takes a bounded number of arguments; what is left over goes with the next call.
local expired = redis.call("ZRANGEBYSCORE", expiry, "-inf", now, "LIMIT", 0, 1000)
if #expired > 0 then
  redis.call("HDEL", shards, unpack(expired))
  redis.call("ZREM", expiry, unpack(expired))
end

local scanned = redis.call("HSCAN", shards, cursor, "COUNT", count)
local reply = { "shards", scanned[1] }
for i = 1, #scanned[2], 2 do
  local expires = tonumber(redis.call("ZSCORE", expiry, scanned[2][i]) or "0")
  if expires > tonumber(now) then
    reply[#reply + 1] = scanned[2][i + 1]
  end
end
return reply
