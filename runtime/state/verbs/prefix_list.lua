-- Purpose: which pages pools were noted to hold since some time, oldest note first.
-- Guarantee: whoever asks again with the time that is returned misses nothing that is noted later.
-- KEYS: prefixes (zset "pool key" -> nowMs of the newest note)
-- ARGV: sinceMs, count
-- Replies: {"prefixes", time of the last note returned (sinceMs when there is none), "pool key" ...}
local found = redis.call("ZRANGEBYSCORE", KEYS[1], ARGV[1], "+inf", "WITHSCORES", "LIMIT", 0, ARGV[2])
local reply = { "prefixes", ARGV[1] }
for i = 1, #found, 2 do
  reply[#reply + 1] = found[i]
  reply[2] = found[i + 1]
end
return reply
