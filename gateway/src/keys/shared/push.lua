-- Keeps keys, each unless what is there of its name counts as much or more. KEYS: the keys by name, the names by revision, the
-- revision. ARGV: what this memory is called if it has no name yet; then for each key its name and what it is.

-- As in `entry.rs`: the key that was made later, that it was deleted, the later change.
local function rank(entry)
    if entry.key then
        return { entry.key.created, 0, entry.changed }
    end
    return { entry.created or math.floor(entry.changed / 1000), 1, entry.changed }
end

local function is_higher(a, b)
    for i = 1, 3 do
        if a[i] ~= b[i] then
            return a[i] > b[i]
        end
    end
    return false
end

-- No key has an empty name.
redis.call('HSETNX', KEYS[1], '', ARGV[1])
for i = 2, #ARGV, 2 do
    local name, text = ARGV[i], ARGV[i + 1]
    local there = redis.call('HGET', KEYS[1], name)
    if not there or is_higher(rank(cjson.decode(text)), rank(cjson.decode(there))) then
        redis.call('HSET', KEYS[1], name, text)
        redis.call('ZADD', KEYS[2], redis.call('INCR', KEYS[3]), name)
    end
end
return 0
