-- Purpose: which pages pools were noted to hold since some time, oldest note first.
-- Guarantee: whoever asks again with the time that is returned misses nothing that is noted later.
--   An era other than that of the reply before, or none, says that what was noted before is lost.
-- KEYS: prefixes (zset "pool key" -> nowMs of the newest note), prefixEra (nowMs of the note that began it)
-- ARGV: sinceMs, count
-- Replies: {"prefixes", time of the last note returned (sinceMs when there is none), era ("" when nothing was noted), "pool key" ...}
local found = redis.call("ZRANGEBYSCORE", KEYS[1], ARGV[1], "+inf", "WITHSCORES", "LIMIT", 0, ARGV[2])
local reply = { "prefixes", ARGV[1], redis.call("GET", KEYS[2]) or "" }
for i = 1, #found, 2 do
  reply[#reply + 1] = found[i]
  reply[2] = found[i + 1]
end
return reply
