-- What all scripts of the queue share. Every key is passed in and carries the same hash tag, so
-- that a script stays within one slot of a cluster.
--
-- entries  hash  uid -> its record, and 'epoch' -> who has filled the queue
-- delayed  zset  uids that wait for their time, by that time
-- ages     zset  all uids, by creation
-- ready    zset  a rank's members, all with score 0: `<user>/<created>/<name>/<uid>`. Sorted by
--                their bytes, the members of a user are one stretch, his line, oldest first
-- turns    zset  a rank's users who have a line, by whose turn is next
--
-- A record is `<rank><time to wait for, or nothing>/<member>`. Times are microseconds.
local entries, delayed, ages = KEYS[1], KEYS[2], KEYS[3]
local ready = {KEYS[4], KEYS[5], KEYS[6]}
local turns = {KEYS[7], KEYS[8], KEYS[9]}

-- rank, user and member of a record
local function read(record)
  local rank, member = string.match(record, '^(%d)%-?%d*/(.*)$')
  return tonumber(rank), string.match(member, '^[^/]*'), member
end

-- The bounds of a user's line: '0' is the byte after '/'.
local function first(user) return '[' .. user .. '/' end
local function behind(user) return '(' .. user .. '0' end

local function to_the_end(rank, user)
  local last = redis.call('ZRANGE', turns[rank], -1, -1, 'WITHSCORES')
  redis.call('ZADD', turns[rank], (tonumber(last[2]) or 0) + 1, user)
end

local function stand_in_line(rank, user, member)
  redis.call('ZADD', ready[rank], 0, member)
  if not redis.call('ZSCORE', turns[rank], user) then to_the_end(rank, user) end
end

local function leave_line(rank, user, member)
  if redis.call('ZREM', ready[rank], member) == 1
    and redis.call('ZLEXCOUNT', ready[rank], first(user), behind(user)) == 0 then
    redis.call('ZREM', turns[rank], user)
  end
end

-- Forgets an entry. Says its rank and user, or nothing if it was not there.
local function forget(uid)
  local record = redis.call('HGET', entries, uid)
  if not record then return end
  local rank, user, member = read(record)
  redis.call('HDEL', entries, uid)
  redis.call('ZREM', ages, uid)
  if redis.call('ZREM', delayed, uid) == 0 then leave_line(rank, user, member) end
  return rank, user
end

-- Whether all keys fit each other. Eviction takes whole keys, and a lost one no longer does.
local function intact()
  local known = redis.call('HLEN', entries) - redis.call('HEXISTS', entries, 'epoch')
  local waiting = redis.call('ZCARD', delayed)
  for rank = 1, 3 do
    local members = redis.call('ZCARD', ready[rank])
    if (members > 0) ~= (redis.call('EXISTS', turns[rank]) == 1) then return false end
    waiting = waiting + members
  end
  return known == waiting and known == redis.call('ZCARD', ages)
end

local function is_ours(epoch)
  return redis.call('HGET', entries, 'epoch') == epoch and intact()
end

-- Before a change that could make a loss invisible.
local function note_losses()
  if not intact() then redis.call('HDEL', entries, 'epoch') end
end

