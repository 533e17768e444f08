-- Purpose: the deployment is gone; so is everything that was known of it.
-- Guarantee: an old leader clears nothing. The fence goes too: nothing is left of a deleted deployment.
-- KEYS: fence, ranks, rankExpiry, shards, shardExpiry, moves, moveExpiry, prefixes, prefixEra, degrees, degreesExpiry
-- ARGV: fence
-- Replies: {"cleared", number of keys} | {"stale", fence held}
local held = tonumber(redis.call("GET", KEYS[1]) or "-1")
if tonumber(ARGV[1]) < held then
  return { "stale", tostring(held) }
end
return { "cleared", tostring(redis.call("DEL", unpack(KEYS))) }
