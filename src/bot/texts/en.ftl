# All that the bot says, in English. HTML as the Bot API knows it; what stands in braces is escaped.

## Who may speak

stranger = This bot is for invited users only. Your Telegram id is <code>{$id}</code>.
too-many-messages = That is a lot at once: I listen to {$limit} messages a minute. Please send the rest a little later.
unknown-command = I do not know that command. /help lists those that I do.
not-a-file = Send me a file, photo, video, voice message or sticker, and I will answer with a download link. /help tells more.
button-not-yours = This button is not for you.
button-too-old = This button is out of date.
question-too-old = You took a while: please press Revoke again.

## Greetings

welcome =
    👋 Send me a file of up to {$size}: I put it into cloud storage and give you a download link that works for {$days}.

    Whoever has a link can download the file: pass it on with care, and take it back with [Revoke]. A caption of one line renames the file.

    /help lists all commands.
help =
    <b>Send a file</b>, or several, and I answer with a download link. A caption of one line renames the file.

    {$commands}
help-admin =
    <b>For admins</b>
    {$commands}

## What commands do

about-start = How this works
about-help = List of commands
about-status = Your files that are under way
about-queue = Your place in the queue
about-cancel = Stop a transfer: /cancel, /cancel ID or /cancel all
about-retry = Try a failed transfer again
about-mylinks = Your links that work
about-revoke = Take a link back: /revoke ID
about-extend = Let a link live longer: /extend ID
about-quota = What you may send, and have sent
about-settings = Language, and how long links live
about-users = Who may use this bot
about-allow = Let somebody in: /allow ID NAME
about-deny = Shut somebody out: /deny ID
about-limits = Limits of a user: /limits ID queued 50, bytes 50GiB or default
about-drain = Take no more files: /drain on or off
about-stats = What goes on

## A file, as it stands

line-next = 🕓 <b>{$name}</b>
    queued: next in line
line-waiting = 🕓 <b>{$name}</b>
    queued: place {$position} in the queue
line-waiting-until = 🕓 <b>{$name}</b>
    queued: place {$position} in the queue, begins in about {$wait}
line-suspended = ⏸ <b>{$name}</b>
    on hold: an operator will let it go on
line-retrying = 🔁 <b>{$name}</b>
    {$why} I try again in {$wait}.
line-locating = ⏳ <b>{$name}</b>
    looking for it at Telegram
line-running = ⏳ <b>{$name}</b>
    {$bar} {$percent}% · {$stored} of {$total} · {$rate} · {$left} left
line-running-slowly = ⏳ <b>{$name}</b>
    {$bar} {$percent}% · {$stored} of {$total}
line-committing = ⏳ <b>{$name}</b>
    {$bar} {$percent}% · almost done
line-done = ✅ <b>{$name}</b> · {$size}
    <a href="{$url}">Download</a> · until {$until}
line-done-in-group = ✅ <b>{$name}</b> · {$size}
    The link is in your private chat with me.
line-link-ended = ✅ <b>{$name}</b> · {$size}
    Its link does not work any more. Send the file again for another.
line-failed = ❌ <b>{$name}</b>
    {$why} <i>({$reason})</i>
line-cancelled = 🚫 <b>{$name}</b>
    cancelled
and-more = … and {$count} more

## Results

result-follows = ⏳ One moment …
result-done = ✅ <b>{$name}</b>
    {$size} · CRC32C <code>{$checksum}</code>
    Works until {$until} (for {$left}):
    <code>{$url}</code>
known-done = ♻️ You have sent me <b>{$name}</b> before: its link still works.
    {$size} · CRC32C <code>{$checksum}</code>
    Until {$until} (for {$left}):
    <code>{$url}</code>
known-under-way = ♻️ <b>{$name}</b> is on its way already: /status tells how far.
batch-done = <b>{$done} of {$all} files are stored.</b>
sent-privately = I have answered in our private chat.
start-me-first = I cannot write to you in private: open a chat with me, press Start, and send /mylinks there.

## Failures

failure-message-gone = The message was deleted, or I may not read it. Send the file again.
failure-no-media = The message does not hold that file any more. Send the file again.
failure-deadline = It took too long.
failure-cdn = Telegram keeps this file where bots cannot read it. Send it as a new file.
failure-session = Telegram does not let me sign in. The operator has to look at it.
failure-link = The file is stored, but no link could be made.
failure-telegram = Telegram does not hand the file out. Try again a little later.
failure-storage-refused = The storage refuses the file. The operator has to look at it.
failure-storage = The storage has trouble. Try again a little later.
failure-worker = The transfer broke down. Try again a little later.
failure-other = It did not work.

## Files that are not taken

postponed = I have your file, but cannot pass it on at the moment. I keep trying; you need not send it again.
refused-drained = No files are taken at the moment: this bot is being looked after. Please try again later.
refused-too-large = <b>{$name}</b> has {$size}; the most that I take is {$limit}.
refused-queued = You have {$limit} files under way, which is the most. Send <b>{$name}</b> when one of them is done: /status tells how far they are.
refused-full = Too many files of everybody are under way. Please send <b>{$name}</b> again in a few minutes.
refused-day = With <b>{$name}</b> you would have sent more than {$limit} in 24 hours. It fits in {$wait}.
refused-day-never = <b>{$name}</b> is larger than the {$limit} that you may send in 24 hours.
refused-by-cluster = The cluster refuses this file. The operator has to look at it.
message-gone = The message with the file is gone already. Send it again.
cluster-away = I cannot reach the cluster at the moment. Please try again in a minute.
cluster-away-short = The cluster cannot be reached. Please try again.

## Answers

nothing-under-way = Nothing of yours is under way.
queue = { $all ->
        [one] One file is under way
       *[other] {$all} files are under way
    }, {$own} of them yours.
cancel-which = Which one?
no-such-file = No file of yours with that id is under way: /status lists them.
cancelling = { $count ->
        [one] Stopping it.
       *[other] Stopping {$count} files.
    }
cancelling-one = Stopping …
too-late = Too late: it is over.
nothing-failed = No transfer of yours has failed.
retrying = Trying again.
retried-already = It is being tried again already.
retried-too-often = It has been tried too often: send the file again.
no-links = None of your links works at the moment. Send a file to get one.
my-links = <b>Links that work: {$count}</b> (page {$page} of {$pages})
which-link = Which one? /mylinks lists your links with their ids.
no-such-link = No link of yours with that id works: /mylinks lists them.
revoke-question = Take this link back? Nobody can download by it any more.
revoked = The link is taken back.
extended = The link lives longer now. It is a new one: the old one has ended.
extended-enough = Links live for {$longest} at most.
extended-enough-short = This link lives as long as any may.
quota =
    Under way: {$queued} of {$limit} files
    Sent in 24 hours: {$bytes} of {$day}
    Largest file: {$size}
quota-running = At the same time: {$running}
settings =
    Language: {$language}
    New links live for {$days}.
settings-kept = Noted.
settings-not-kept = That could not be noted. Please try again.
language-auto = As in Telegram
days = { $days ->
        [one] 1 day
       *[other] {$days} days
    }

## Admins

users = <b>Users</b>
users-everyone = Everybody is let in (BOT_ACCESS=everyone).
user-admin = admin
user-configured = by configuration
user-allowed = allowed
user-denied = shut out
allow-how = /allow ID NAME: the id is what the bot tells strangers. The name is for you.
deny-how = /deny ID: admins are changed in the configuration.
allowed = User <code>{$user}</code> is let in.
denied = User <code>{$user}</code> is shut out; what they had under way is stopped. Links of theirs still work.
users-full = Too many users are kept already: list them in the configuration (ALLOWED_USERS) instead.
limits-how = /limits ID queued 50, /limits ID bytes 50GiB, or /limits ID default
limits-set = User <code>{$user}</code>: {$queued} files under way, {$bytes} in 24 hours.
drain-how = /drain on takes no more files, /drain off takes them again.
drain-on = No more files are taken; what is under way goes on.
drain-off = Files are taken again.
stats =
    Running: {$running}
    Waiting: {$waiting}, the oldest for {$age}
    To be told: {$untold}
    Users: {$users}

## Buttons

button-cancel = Cancel
button-cancel-all = Cancel all
button-retry = Retry
button-retry-one = Retry {$name}
button-download = Download
button-revoke = Revoke
button-revoke-surely = Yes, revoke
button-keep = Keep
button-extend = Extend
button-my-links = My links
