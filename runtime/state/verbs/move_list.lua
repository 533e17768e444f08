-- Purpose: the moves that were recorded and are not over.
-- Guarantee: an expired record is dropped before the list is made, so it is never returned.
-- KEYS: moves (hash requestId -> record), moveExpiry (zset requestId -> expiresAtMs)
-- ARGV: nowMs
-- Replies: {"moves", move (JSON) ...}
local moves, expiry = KEYS[1], KEYS[2]
local now = ARGV[1]

-- HDEL takes a bounded number of arguments, so a long list goes in slices.
local expired = redis.call("ZRANGEBYSCORE", expiry, "-inf", now)
for first = 1, #expired, 1000 do
  redis.call("HDEL", moves, unpack(expired, first, math.min(first + 999, #expired)))
end
redis.call("ZREMRANGEBYSCORE", expiry, "-inf", now)

local reply = { "moves" }
for _, move in ipairs(redis.call("HVALS", moves)) do
  reply[#reply + 1] = move
end
return reply
