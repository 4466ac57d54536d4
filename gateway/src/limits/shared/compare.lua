-- Begins a lease, or renews it. KEYS: the leases, then this instance's parts of meters. ARGV: this lease, how long it lasts; then
-- for each part from which end on it counts.
-- Answers: how much each part is.
local time = redis.call('TIME')
redis.call('ZADD', KEYS[1], time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[2], ARGV[1])
local sums = {}
for i = 2, #KEYS do
    local part, first = redis.call('HGETALL', KEYS[i]), tonumber(ARGV[i + 1])
    local sum = 0
    for f = 1, #part, 2 do
        if tonumber(part[f]) >= first then sum = sum + tonumber(part[f + 1]) end
    end
    sums[i - 1] = sum
end
return sums
