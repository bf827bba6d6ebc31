-- ARGV: uid
-- Says how many go before it in the order of turns and how many are ready; false if it is not.
local record = redis.call('HGET', entries, ARGV[1])
if not record then return false end
local rank, user, member = read(record)
local turn = redis.call('ZRANK', turns[rank], user)
if not turn or not redis.call('ZSCORE', ready[rank], member) then return false end

local own = redis.call('ZLEXCOUNT', ready[rank], first(user), '(' .. member)
local ahead, all = own, 0
for other = 1, 3 do
  local members = redis.call('ZCARD', ready[other])
  all = all + members
  if other < rank then ahead = ahead + members end
end
if own == 0 then
  ahead = ahead + turn
else
  -- Everybody else has as many turns before it as there are members of his own before it, and
  -- one more if his turn is sooner. As long as there are users, whatever their lines.
  for i, other in ipairs(redis.call('ZRANGE', turns[rank], 0, -1)) do
    if other ~= user then
      local turns_before = i <= turn and own + 1 or own
      local line = redis.call('ZLEXCOUNT', ready[rank], first(other), behind(other))
      ahead = ahead + math.min(line, turns_before)
    end
  end
end
return {ahead, all}
