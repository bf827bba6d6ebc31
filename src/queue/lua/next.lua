-- ARGV: epoch, now, how many to promote at most, how many to say, users who are passed over
-- Says the members whose turn is next, in order; false if the queue is not ours.
if not is_ours(ARGV[1]) then return false end

local due = redis.call('ZRANGEBYSCORE', delayed, '-inf', ARGV[2], 'LIMIT', 0, ARGV[3])
for _, uid in ipairs(due) do
  redis.call('ZREM', delayed, uid)
  stand_in_line(read(redis.call('HGET', entries, uid)))
end

local wanted, full, found = tonumber(ARGV[4]), {}, {}
for i = 5, #ARGV do full[ARGV[i]] = true end

-- As many users as could have a turn. More are not needed: each has one at least.
local function users_of(rank, enough)
  local users, from = {}, 0
  repeat
    local page = redis.call('ZRANGE', turns[rank], from, from + enough - 1)
    for _, user in ipairs(page) do
      if not full[user] and #users < enough then users[#users + 1] = user end
    end
    from = from + enough
  until #page < enough or #users == enough
  return users
end

-- Turns go round: everybody's first, everybody's second, until there are enough or nobody is left.
for rank = 1, 3 do
  local users, depth = {}, 0
  if #found < wanted then users = users_of(rank, wanted - #found) end
  while #users > 0 and #found < wanted do
    local deep = math.ceil((wanted - #found) / #users)
    local lines, left = {}, {}
    for i, user in ipairs(users) do
      lines[i] = redis.call('ZRANGEBYLEX', ready[rank], first(user), behind(user), 'LIMIT', depth, deep)
      if #lines[i] == deep then left[#left + 1] = user end
    end
    for round = 1, deep do
      for i = 1, #users do
        if lines[i][round] and #found < wanted then found[#found + 1] = lines[i][round] end
      end
    end
    users, depth = left, depth + deep
  end
end
return found
