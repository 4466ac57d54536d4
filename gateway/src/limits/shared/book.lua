local never, day = 4503599627370496, 86400000
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- Books at a meter, and in the part of it that is this instance's.
local function book(meter, own, ends, amount)
    redis.call('HINCRBY', meter, ends, amount)
    redis.call('HINCRBY', own, ends, amount)
    -- No window has so many parts that have not ended.
    if redis.call('HLEN', own) > 128 then
        for _, field in ipairs(redis.call('HKEYS', own)) do
            if tonumber(field) <= now then redis.call('HDEL', own, field) end
        end
    end
end
-- Past this nothing of a meter can count any more. An instance that was not seen for a year does not come back.
local function keep(meter, own, ends)
    if ends < never then redis.call('PEXPIREAT', meter, ends + day) end
    redis.call('PEXPIREAT', own, math.min(ends, now + 365 * day) + day)
end
