-- ARGV: epoch, uid
-- The entry goes and its user has had his turn; false if the queue is not ours.
if not is_ours(ARGV[1]) then return false end
local rank, user = forget(ARGV[2])
if rank and redis.call('ZSCORE', turns[rank], user) then to_the_end(rank, user) end
return 1
