-- ARGV: uids
note_losses()
for i = 1, #ARGV do forget(ARGV[i]) end
return 0
