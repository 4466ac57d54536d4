-- Counts what has happened. KEYS: the leases, then one hash for each meter. ARGV: this lease, how long it lasts; then for each
-- meter the change of what is reserved, what to book, until when that counts, and until when anything may.
-- Answers: how many leases there are, whether this one had ended or is new, and what time it is.
local lease, never = ARGV[1], 4503599627370496
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local score = redis.call('ZSCORE', KEYS[1], lease)
local held = score and tonumber(score) > now
redis.call('ZADD', KEYS[1], now + ARGV[2], lease)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
for i = 2, #KEYS do
    local at = 4 * (i - 2) + 3
    local change, amount, ends, keep = ARGV[at], ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3])
    if change ~= '0' and redis.call('HINCRBY', KEYS[i], lease, change) <= 0 then
        redis.call('HDEL', KEYS[i], lease)
    end
    if amount ~= '0' then redis.call('HINCRBY', KEYS[i], ends, amount) end
    if keep < never then redis.call('PEXPIREAT', KEYS[i], keep + 86400000) end
end
return {redis.call('ZCARD', KEYS[1]), held and 0 or 1, now}
