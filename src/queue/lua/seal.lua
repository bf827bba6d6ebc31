-- ARGV: epoch. False if something was lost while the queue was filled.
if not intact() then return false end
redis.call('HSET', entries, 'epoch', ARGV[1])
return 1
