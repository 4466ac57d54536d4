-- Counts what has happened. KEYS: the leases, then one hash for each meter. ARGV: this lease, now, until when the lease lasts;
-- then for each meter the change of what is reserved, what to book, and until when that counts.
-- Answers: how many leases there are.
local lease, never = ARGV[1], 4503599627370496
redis.call('ZADD', KEYS[1], ARGV[3], lease)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[2])
for i = 2, #KEYS do
    local at = 3 * (i - 2) + 4
    local change, amount, ends = ARGV[at], ARGV[at + 1], ARGV[at + 2]
    if change ~= '0' and redis.call('HINCRBY', KEYS[i], lease, change) <= 0 then
        redis.call('HDEL', KEYS[i], lease)
    end
    if amount ~= '0' then redis.call('HINCRBY', KEYS[i], ends, amount) end
    if tonumber(ends) < never then redis.call('PEXPIREAT', KEYS[i], tonumber(ends) + 86400000) end
end
return redis.call('ZCARD', KEYS[1])
