# Alles, was der Bot sagt, auf Deutsch. HTML, wie die Bot-API es kennt; was in Klammern steht, wird maskiert.

## Who may speak

stranger = Dieser Bot ist nur für eingeladene Nutzer. Deine Telegram-ID ist <code>{$id}</code>.
too-many-messages = Das ist viel auf einmal: Ich höre {$limit} Nachrichten in der Minute. Schick den Rest bitte etwas später.
unknown-command = Diesen Befehl kenne ich nicht. /help zählt auf, was ich kenne.
not-a-file = Schick mir eine Datei, ein Foto, ein Video, eine Sprachnachricht oder einen Sticker, und ich antworte mit einem Download-Link. Mehr sagt /help.
button-not-yours = Dieser Knopf ist nicht für dich.
button-too-old = Dieser Knopf ist überholt.
question-too-old = Das hat gedauert: Drück bitte noch einmal auf Zurückziehen.

## Greetings

welcome =
    👋 Schick mir eine Datei von bis zu {$size}: Ich lege sie in den Cloud-Speicher und gebe dir einen Download-Link, der {$days} lang gilt.

    Wer einen Link hat, kann die Datei herunterladen: Gib ihn mit Bedacht weiter, und nimm ihn mit [Zurückziehen] zurück. Eine einzeilige Beschriftung benennt die Datei um.

    /help zählt alle Befehle auf.
help =
    <b>Schick eine Datei</b> oder mehrere, und ich antworte mit einem Download-Link. Eine einzeilige Beschriftung benennt die Datei um.

    {$commands}
help-admin =
    <b>Für Admins</b>
    {$commands}

## What commands do

about-start = Wie das hier geht
about-help = Liste der Befehle
about-status = Deine Dateien, die unterwegs sind
about-queue = Dein Platz in der Schlange
about-cancel = Übertragung anhalten: /cancel, /cancel ID oder /cancel all
about-retry = Gescheiterte Übertragung noch einmal versuchen
about-mylinks = Deine gültigen Links
about-revoke = Link zurückziehen: /revoke ID
about-extend = Link verlängern: /extend ID
about-quota = Was du schicken darfst und geschickt hast
about-settings = Sprache, und wie lange Links gelten
about-users = Wer diesen Bot benutzen darf
about-allow = Jemanden einlassen: /allow ID NAME
about-deny = Jemanden aussperren: /deny ID
about-limits = Grenzen eines Nutzers: /limits ID queued 50, bytes 50GiB oder default
about-drain = Keine Dateien mehr annehmen: /drain on oder off
about-stats = Was gerade geschieht

## A file, as it stands

line-next = 🕓 <b>{$name}</b>
    in der Schlange: als Nächstes dran
line-waiting = 🕓 <b>{$name}</b>
    in der Schlange: Platz {$position}
line-waiting-until = 🕓 <b>{$name}</b>
    in der Schlange: Platz {$position}, beginnt in etwa {$wait}
line-suspended = ⏸ <b>{$name}</b>
    angehalten: Der Betreiber lässt sie weiterlaufen
line-retrying = 🔁 <b>{$name}</b>
    {$why} Ich versuche es in {$wait} wieder.
line-locating = ⏳ <b>{$name}</b>
    wird bei Telegram gesucht
line-running = ⏳ <b>{$name}</b>
    {$bar} {$percent}% · {$stored} von {$total} · {$rate} · noch {$left}
line-running-slowly = ⏳ <b>{$name}</b>
    {$bar} {$percent}% · {$stored} von {$total}
line-committing = ⏳ <b>{$name}</b>
    {$bar} {$percent}% · fast fertig
line-done = ✅ <b>{$name}</b> · {$size}
    <a href="{$url}">Herunterladen</a> · bis {$until}
line-done-in-group = ✅ <b>{$name}</b> · {$size}
    Der Link ist in deinem privaten Chat mit mir.
line-link-ended = ✅ <b>{$name}</b> · {$size}
    Der Link gilt nicht mehr. Schick die Datei noch einmal für einen neuen.
line-failed = ❌ <b>{$name}</b>
    {$why} <i>({$reason})</i>
line-cancelled = 🚫 <b>{$name}</b>
    abgebrochen
and-more = … und {$count} weitere

## Results

result-follows = ⏳ Einen Moment …
result-done = ✅ <b>{$name}</b>
    {$size} · CRC32C <code>{$checksum}</code>
    Gilt bis {$until} (noch {$left}):
    <code>{$url}</code>
known-done = ♻️ <b>{$name}</b> hast du schon einmal geschickt: Der Link gilt noch.
    {$size} · CRC32C <code>{$checksum}</code>
    Bis {$until} (noch {$left}):
    <code>{$url}</code>
known-under-way = ♻️ <b>{$name}</b> ist schon unterwegs: /status sagt, wie weit.
batch-done = <b>{$done} von {$all} Dateien sind gespeichert.</b>
sent-privately = Ich habe in unserem privaten Chat geantwortet.
start-me-first = Ich kann dir nicht privat schreiben: Öffne einen Chat mit mir, drück auf Start, und schick dort /mylinks.

## Failures

failure-message-gone = Die Nachricht wurde gelöscht, oder ich darf sie nicht lesen. Schick die Datei noch einmal.
failure-no-media = In der Nachricht ist diese Datei nicht mehr. Schick die Datei noch einmal.
failure-deadline = Es hat zu lange gedauert.
failure-cdn = Telegram bewahrt diese Datei dort auf, wo Bots sie nicht lesen können. Schick sie als neue Datei.
failure-session = Telegram lässt mich nicht anmelden. Der Betreiber muss danach sehen.
failure-link = Die Datei ist gespeichert, aber ein Link ließ sich nicht machen.
failure-telegram = Telegram gibt die Datei nicht heraus. Versuch es etwas später noch einmal.
failure-storage-refused = Der Speicher nimmt die Datei nicht an. Der Betreiber muss danach sehen.
failure-storage = Der Speicher hat Schwierigkeiten. Versuch es etwas später noch einmal.
failure-worker = Die Übertragung ist abgerissen. Versuch es etwas später noch einmal.
failure-other = Das hat nicht geklappt.

## Files that are not taken

postponed = Deine Datei ist bei mir, aber ich kann sie gerade nicht weitergeben. Ich versuche es weiter; du brauchst sie nicht noch einmal zu schicken.
refused-drained = Zurzeit werden keine Dateien angenommen: Der Bot wird gewartet. Versuch es bitte später wieder.
refused-too-large = <b>{$name}</b> hat {$size}; mehr als {$limit} nehme ich nicht.
refused-queued = Du hast {$limit} Dateien unterwegs, mehr geht nicht. Schick <b>{$name}</b>, wenn eine davon fertig ist: /status sagt, wie weit sie sind.
refused-full = Es sind zu viele Dateien von allen unterwegs. Schick <b>{$name}</b> bitte in ein paar Minuten noch einmal.
refused-day = Mit <b>{$name}</b> hättest du in 24 Stunden mehr als {$limit} geschickt. In {$wait} passt sie.
refused-day-never = <b>{$name}</b> ist größer als die {$limit}, die du in 24 Stunden schicken darfst.
refused-by-cluster = Der Cluster nimmt diese Datei nicht an. Der Betreiber muss danach sehen.
message-gone = Die Nachricht mit der Datei ist schon weg. Schick sie noch einmal.
cluster-away = Ich erreiche den Cluster gerade nicht. Versuch es bitte in einer Minute wieder.
cluster-away-short = Der Cluster ist nicht zu erreichen. Versuch es bitte wieder.

## Answers

nothing-under-way = Von dir ist nichts unterwegs.
queue = { $all ->
        [one] Eine Datei ist unterwegs
       *[other] {$all} Dateien sind unterwegs
    }, davon {$own} von dir.
cancel-which = Welche?
no-such-file = Keine Datei von dir mit dieser ID ist unterwegs: /status zählt sie auf.
cancelling = { $count ->
        [one] Wird angehalten.
       *[other] {$count} Dateien werden angehalten.
    }
cancelling-one = Wird angehalten …
too-late = Zu spät: Es ist vorbei.
nothing-failed = Von dir ist keine Übertragung gescheitert.
retrying = Ich versuche es noch einmal.
retried-already = Ich versuche es schon noch einmal.
retried-too-often = Es wurde zu oft versucht: Schick die Datei noch einmal.
no-links = Zurzeit gilt keiner deiner Links. Schick eine Datei, um einen zu bekommen.
my-links = <b>Gültige Links: {$count}</b> (Seite {$page} von {$pages})
which-link = Welcher? /mylinks zählt deine Links mit ihren IDs auf.
no-such-link = Kein Link von dir mit dieser ID gilt: /mylinks zählt sie auf.
revoke-question = Diesen Link zurückziehen? Niemand kann dann noch damit herunterladen.
revoked = Der Link ist zurückgezogen.
extended = Der Link gilt jetzt länger. Er ist ein neuer: Der alte ist beendet.
extended-enough = Links gelten höchstens {$longest}.
extended-enough-short = Dieser Link gilt schon so lange wie möglich.
quota =
    Unterwegs: {$queued} von {$limit} Dateien
    In 24 Stunden geschickt: {$bytes} von {$day}
    Größte Datei: {$size}
quota-running = Gleichzeitig: {$running}
settings =
    Sprache: {$language}
    Neue Links gelten {$days}.
settings-kept = Gemerkt.
settings-not-kept = Das konnte ich mir nicht merken. Versuch es bitte noch einmal.
language-auto = Wie in Telegram
days = { $days ->
        [one] 1 Tag
       *[other] {$days} Tage
    }

## Admins

users = <b>Nutzer</b>
users-everyone = Alle werden eingelassen (BOT_ACCESS=everyone).
user-admin = Admin
user-configured = durch die Konfiguration
user-allowed = eingelassen
user-denied = ausgesperrt
allow-how = /allow ID NAME: Die ID ist, was der Bot Fremden sagt. Der Name ist für dich.
deny-how = /deny ID: Admins werden in der Konfiguration geändert.
allowed = Nutzer <code>{$user}</code> ist eingelassen.
denied = Nutzer <code>{$user}</code> ist ausgesperrt; was unterwegs war, wird angehalten. Seine Links gelten noch.
users-full = Es sind schon zu viele Nutzer vermerkt: Trag sie in die Konfiguration ein.
limits-how = /limits ID queued 50, /limits ID bytes 50GiB oder /limits ID default
limits-set = Nutzer <code>{$user}</code>: {$queued} Dateien unterwegs, {$bytes} in 24 Stunden.
drain-how = /drain on nimmt keine Dateien mehr an, /drain off nimmt sie wieder an.
drain-on = Es werden keine Dateien mehr angenommen; was unterwegs ist, läuft weiter.
drain-off = Dateien werden wieder angenommen.
stats =
    Laufend: {$running}
    Wartend: {$waiting}, die älteste seit {$age}
    Noch zu sagen: {$untold}
    Nutzer: {$users}

## Buttons

button-cancel = Abbrechen
button-cancel-all = Alle abbrechen
button-retry = Noch einmal
button-retry-one = Noch einmal: {$name}
button-download = Herunterladen
button-revoke = Zurückziehen
button-revoke-surely = Ja, zurückziehen
button-keep = Behalten
button-extend = Verlängern
button-my-links = Meine Links
