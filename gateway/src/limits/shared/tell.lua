-- Counts what has happened. KEYS: the leases, then for each meter its hash and this instance's part of it. ARGV: this lease, how
-- long it lasts; then for each meter the change of what is reserved, what to book, until when that counts, and until when
-- anything may.
-- Answers: how many leases there are, whether this one has ended, and what time it is. If it has, nothing is counted: the store
-- may have forgotten what was told before, too.
local lease = ARGV[1]
local score = redis.call('ZSCORE', KEYS[1], lease)
local held = score and tonumber(score) > now
if held then redis.call('ZADD', KEYS[1], now + ARGV[2], lease) end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
for i = 2, held and #KEYS or 0, 2 do
    local at = 2 * i - 1
    local meter, own = KEYS[i], KEYS[i + 1]
    local change, amount, ends = ARGV[at], ARGV[at + 1], ARGV[at + 2]
    if change ~= '0' and redis.call('HINCRBY', meter, lease, change) <= 0 then
        redis.call('HDEL', meter, lease)
    end
    if amount ~= '0' then book(meter, own, ends, amount) end
    keep(meter, own, tonumber(ARGV[at + 3]))
end
return {redis.call('ZCARD', KEYS[1]), held and 0 or 1, now}
