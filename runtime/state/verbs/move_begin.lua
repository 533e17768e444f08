-- Purpose: a leader is about to order a move of one request's pages: it records what, and takes the request's lease.
-- Guarantee: at most one move a request at a time; an old leader begins nothing, and this one's fence shuts out those
-- before it. To begin the same move again succeeds and changes nothing.
-- KEYS: fence (string), moves (hash requestId -> record), moveExpiry (zset requestId -> expiresAtMs)
-- ARGV: nowMs, fence, requestId, moveId, expiresAtMs, move (JSON; see MoveRecord)
-- Replies: {"accepted"} | {"held", moveId that has the lease} | {"stale", fence held}
local moves, expiry = KEYS[2], KEYS[3]
local now, fence, request = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]

local newest = tonumber(redis.call("GET", KEYS[1]) or "-1")
if fence < newest then
  return { "stale", tostring(newest) }
end
redis.call("SET", KEYS[1], ARGV[2])

local held = redis.call("HGET", moves, request)
if held and tonumber(redis.call("ZSCORE", expiry, request) or "0") > now then
  local other = cjson.decode(held).moveId
  if other == ARGV[4] then
    return { "accepted" }
  end
  return { "held", other }
end
redis.call("HSET", moves, request, ARGV[6])
redis.call("ZADD", expiry, ARGV[5], request)
return { "accepted" }
