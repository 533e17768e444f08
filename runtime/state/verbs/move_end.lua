-- Purpose: a move is over: its request's lease is given back.
-- Guarantee: the lease of another move of the same request is left alone; an old leader ends nothing.
-- KEYS: fence (string), moves (hash requestId -> record), moveExpiry (zset requestId -> expiresAtMs)
-- ARGV: fence, requestId, moveId
-- Replies: {"ended"} | {"absent"} | {"stale", fence held}
local newest = tonumber(redis.call("GET", KEYS[1]) or "-1")
if tonumber(ARGV[1]) < newest then
  return { "stale", tostring(newest) }
end
local held = redis.call("HGET", KEYS[2], ARGV[2])
if not held or cjson.decode(held).moveId ~= ARGV[3] then
  return { "absent" }
end
redis.call("HDEL", KEYS[2], ARGV[2])
redis.call("ZREM", KEYS[3], ARGV[2])
return { "ended" }
