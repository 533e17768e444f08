-- Purpose: a gateway says of which prompts' pages a pool holds KV, or will soon, by the keys of their content.
-- Guarantee: no note older than keepMs stays, and of many about the newest `most`. A hint: what a pool really holds is
-- its own word, given with each reservation.
--   The first note of all, and the first after everything was lost, begins an era, by which others see that it was lost.
-- KEYS: prefixes (zset "pool key" -> nowMs of the newest note), prefixEra (nowMs of the note that began it)
-- ARGV: nowMs, pool, keys (JSON list of strings), keepMs, most
-- Replies: {"noted", number of notes held}
local prefixes, now, pool = KEYS[1], ARGV[1], ARGV[2]

redis.call("SET", KEYS[2], now, "NX")

local noted = {}
for _, key in ipairs(cjson.decode(ARGV[3])) do
  noted[#noted + 1] = now
  noted[#noted + 1] = pool .. " " .. key
end
-- ZADD and ZREM take a bounded number of arguments.
for first = 1, #noted, 1000 do
  redis.call("ZADD", prefixes, unpack(noted, first, math.min(first + 999, #noted)))
end
redis.call("ZREMRANGEBYSCORE", prefixes, "-inf", tonumber(now) - tonumber(ARGV[4]))

-- What is left over goes with the next notes.
local excess = redis.call("ZCARD", prefixes) - tonumber(ARGV[5])
if excess > 0 then
  local oldest = redis.call("ZRANGEBYSCORE", prefixes, "-inf", "+inf", "LIMIT", 0, math.min(excess, 5000))
  for first = 1, #oldest, 1000 do
    redis.call("ZREM", prefixes, unpack(oldest, first, math.min(first + 999, #oldest)))
  end
end
return { "noted", tostring(redis.call("ZCARD", prefixes)) }
