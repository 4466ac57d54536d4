-- Forgets that keys were deleted. KEYS: the keys by name, the names by revision. ARGV: what was deleted before that is
-- forgotten; then names.
for i = 2, #ARGV do
    local there = redis.call('HGET', KEYS[1], ARGV[i])
    local entry = there and cjson.decode(there)
    if entry and not entry.key and entry.changed < tonumber(ARGV[1]) then
        redis.call('HDEL', KEYS[1], ARGV[i])
        redis.call('ZREM', KEYS[2], ARGV[i])
    end
end
return 0
