-- Purpose: every rank that has reported and whose report is still good.
-- Guarantee: an expired report is dropped before the list is made, so it is never returned.
-- KEYS: ranks (hash rankId -> report), rankExpiry (zset rankId -> expiresAtMs)
-- ARGV: nowMs
-- Replies: {"ranks", report (JSON) ...}
local ranks, expiry = KEYS[1], KEYS[2]
local now = ARGV[1]

-- HDEL takes a bounded number of arguments, so a long list goes in slices.
local expired = redis.call("ZRANGEBYSCORE", expiry, "-inf", now)
for first = 1, #expired, 1000 do
  redis.call("HDEL", ranks, unpack(expired, first, math.min(first + 999, #expired)))
end
redis.call("ZREMRANGEBYSCORE", expiry, "-inf", now)

local reply = { "ranks" }
for _, report in ipairs(redis.call("HVALS", ranks)) do
  reply[#reply + 1] = report
end
return reply
