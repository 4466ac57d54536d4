-- Lets a request in if every limit has room for it. KEYS: the leases, then for each limit its hash and this instance's part of it.
-- ARGV: this lease, how long it lasts; then for each limit what it is, the limit, the amount and until when it counts. Times are
-- milliseconds. A request that was let in before, and comes for its tokens and money alone, is 0 requests.
-- Answers: the number of the limit that refuses (0: none), when there will be room; then for each limit what is booked, what is
-- reserved, and when nothing of it counts any more. Nothing at all, and counts nothing, if the lease has ended: what it had
-- reserved is gone.
local lease = ARGV[1]
local score = redis.call('ZSCORE', KEYS[1], lease)
if not score or tonumber(score) <= now then return {} end
redis.call('ZADD', KEYS[1], now + ARGV[2], lease)
local refused, room = 0, 0
local states = {}
for i = 2, #KEYS, 2 do
    local at = 2 * i - 1
    local what, limit, amount = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
    local hash = redis.call('HGETALL', KEYS[i])
    local booked, reserved, parts = 0, 0, {}
    for f = 1, #hash, 2 do
        local field, value = hash[f], tonumber(hash[f + 1])
        if string.sub(field, 1, 1) == 'r' then
            local score = redis.call('ZSCORE', KEYS[1], field)
            if score and tonumber(score) > now then
                reserved = reserved + value
            else
                redis.call('HDEL', KEYS[i], field)
            end
        else
            local ends = tonumber(field)
            if ends > now then
                booked = booked + value
                parts[#parts + 1] = {ends, value}
            else
                redis.call('HDEL', KEYS[i], field)
            end
        end
    end
    table.sort(parts, function(a, b) return a[1] < b[1] end)
    local wanted = amount
    if what == 'budget' then wanted = 1 elseif wanted > limit then wanted = limit end
    local over = booked + reserved + wanted - limit
    local comes = amount > 0 or what == 'tokens' or what == 'budget'
    if over > 0 and comes then
        -- When so much has ended; or soon, if requests under way may give back as much; where both are needed, not before so much
        -- has ended as they cannot give.
        local freed, sure, both = 0, nil, nil
        for _, part in ipairs(parts) do
            freed = freed + part[2]
            if not both and freed >= over - reserved then both = part[1] end
            if freed >= over then sure = part[1] break end
        end
        local at_last = sure or both or never
        if reserved >= over then at_last = math.min(sure or never, now + 1000) end
        if at_last > room then refused, room = i / 2, at_last end
    end
    states[i] = {booked, reserved, parts[#parts] and parts[#parts][1] or 0}
end
local answer = {refused, room}
for i = 2, #KEYS, 2 do
    local at = 2 * i - 1
    local what, amount, ends = ARGV[at], ARGV[at + 2], ARGV[at + 3]
    if refused == 0 and amount ~= '0' then
        if what == 'requests' then
            book(KEYS[i], KEYS[i + 1], ends, amount)
            states[i][1] = states[i][1] + tonumber(amount)
            if tonumber(ends) > states[i][3] then states[i][3] = tonumber(ends) end
        else
            redis.call('HINCRBY', KEYS[i], lease, amount)
            states[i][2] = states[i][2] + tonumber(amount)
        end
        keep(KEYS[i], KEYS[i + 1], tonumber(ends))
    end
    for part = 1, 3 do answer[#answer + 1] = states[i][part] end
end
return answer
