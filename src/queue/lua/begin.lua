-- What has holes, or had some when something was put, is better filled from nothing.
if redis.call('HEXISTS', entries, 'epoch') == 0 or not intact() then
  redis.call('UNLINK', unpack(KEYS))
end
return 0
