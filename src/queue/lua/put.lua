-- ARGV: uid, record, creation, time to wait for or '', again and again
note_losses()
for i = 1, #ARGV, 4 do
  local uid, record, created, due = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  -- The same again changes nothing: one that was delayed may have had its time since.
  if redis.call('HGET', entries, uid) ~= record then
    local rank, user, member = read(record)
    -- A user who leaves his only line and comes back keeps his turn.
    local turn = redis.call('ZSCORE', turns[rank], user)
    forget(uid)
    redis.call('HSET', entries, uid, record)
    redis.call('ZADD', ages, created, uid)
    if due == '' then
      if turn then redis.call('ZADD', turns[rank], turn, user) end
      stand_in_line(rank, user, member)
    else
      redis.call('ZADD', delayed, due, uid)
    end
  end
end
return 0
