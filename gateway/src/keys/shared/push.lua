-- Keeps keys, each unless a later change of it is there. KEYS: the keys by name, the names by revision, the revision.
-- ARGV: for each key its name, when it was changed, and what it is.
for i = 1, #ARGV, 3 do
    local name, changed = ARGV[i], tonumber(ARGV[i + 1])
    local there = redis.call('HGET', KEYS[1], name)
    if not there or cjson.decode(there).changed < changed then
        redis.call('HSET', KEYS[1], name, ARGV[i + 2])
        redis.call('ZADD', KEYS[2], redis.call('INCR', KEYS[3]), name)
    end
end
return 0
