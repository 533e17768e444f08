-- Purpose: a rank says that it lives, what it has and what it does.
-- Guarantee: the report of an incarnation that started earlier never replaces one that started later, so a
--   rank that was thought dead cannot overwrite its successor. The report lives until expiresAtMs.
-- KEYS: ranks (hash rankId -> report), rankExpiry (zset rankId -> expiresAtMs)
-- ARGV: nowMs, rankId, incarnation, startedMs, expiresAtMs, report (JSON; see RankReport)
-- Replies: {"accepted", "known" | "new"} | {"stale", incarnation that is newer}
--   "new" tells a rank that has reported before that Redis has forgotten it, and with it all that it published.
local ranks, expiry = KEYS[1], KEYS[2]
local now, id, incarnation = tonumber(ARGV[1]), ARGV[2], ARGV[3]
local started, expires, report = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]

local held = redis.call("HGET", ranks, id)
local known = "new"
if held then
  local expiresHeld = tonumber(redis.call("ZSCORE", expiry, id) or "0")
  local other = cjson.decode(held)
  if other.incarnation ~= incarnation and other.startedMs > started and expiresHeld > now then
    return { "stale", other.incarnation }
  end
  if other.incarnation == incarnation then
    known = "known"
  end
end
redis.call("HSET", ranks, id, report)
redis.call("ZADD", expiry, expires, id)
return { "accepted", known }
