//! Messages about files, as HTML with buttons. Pure.

use jiff::{Timestamp, tz::TimeZone};
use teloxide::types::{InlineKeyboardButton, InlineKeyboardMarkup};

use super::{
    bot_api::Post,
    command::Button,
    texts::{Args, Language, duration, shorten},
    view::{FileState, FileView, LinkView, Stored},
};
use crate::{api::human_bytes, queue::TransferState};

/// The longest name that a message shows.
const MAX_NAME: usize = 80;

/// Cells of a progress bar.
const BAR: u64 = 10;

/// The longest link that is written out; a longer one is behind a word.
const MAX_URL: usize = 1_500;

/// Who reads a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// The user alone.
    User,
    /// A group: links are not for it.
    Group,
}

/// The message that shows how far files are, and carries their links in the end.
pub fn status(language: Language, files: &[FileView], readers: Readers, now: Timestamp) -> Post {
    let lines: Vec<_> = files
        .iter()
        .map(|file| line(language, file, readers, now))
        .collect();
    let mut rows = Vec::new();
    let open: Vec<_> = files.iter().filter(|file| !file.is_over()).collect();
    match &open[..] {
        [] => {}
        [one] => rows.push(vec![button(
            language.say("button-cancel"),
            &Button::Cancel(one.job.clone()),
        )]),
        _ => rows.push(vec![button(
            language.say("button-cancel-all"),
            &Button::CancelAll,
        )]),
    }
    rows.extend(retries(language, files));
    Post {
        html: lines.join("\n\n"),
        keyboard: keyboard(rows),
    }
}

/// The new message that tells of the end.
pub fn result(language: Language, files: &[FileView], now: Timestamp) -> Post {
    if let [file] = files {
        return result_of_one(language, file, now);
    }
    let lines: Vec<_> = files
        .iter()
        .map(|file| line(language, file, Readers::User, now))
        .collect();
    let done = files
        .iter()
        .filter(|file| matches!(file.state, FileState::Done(_)))
        .count();
    let head = Args::new().number("done", done).number("all", files.len());
    let head = language.tell("batch-done", &head);
    let mut rows = retries(language, files);
    if done > 0 {
        rows.push(vec![button(
            language.say("button-my-links"),
            &Button::Links(0),
        )]);
    }
    Post {
        html: format!("{head}\n\n{}", lines.join("\n\n")),
        keyboard: keyboard(rows),
    }
}

/// A file with its link, checksum and buttons.
pub fn result_of_one(language: Language, file: &FileView, now: Timestamp) -> Post {
    linked(language, "result-done", file, now).unwrap_or_else(|| Post {
        html: line(language, file, Readers::User, now),
        keyboard: keyboard(retries(language, std::slice::from_ref(file))),
    })
}

/// The link of a file that was sent before.
pub fn known(language: Language, file: &FileView, now: Timestamp) -> Post {
    linked(language, "known-done", file, now).unwrap_or_else(|| Post {
        html: language.tell("known-under-way", &Args::new().text("name", name(file))),
        keyboard: None,
    })
}

/// The message with a link, while it is asked whether the link shall go.
pub fn revoke_question(language: Language, file: &FileView, minute: u64, now: Timestamp) -> Post {
    let mut post = result_of_one(language, file, now);
    let surely = Button::RevokeSurely(file.job.clone(), minute);
    post.html = format!("{}\n\n{}", post.html, language.say("revoke-question"));
    post.keyboard = keyboard(vec![vec![
        button(language.say("button-revoke-surely"), &surely),
        button(language.say("button-keep"), &Button::Keep(file.job.clone())),
    ]]);
    post
}

/// One file in a message about several, or alone.
pub fn line(language: Language, file: &FileView, readers: Readers, now: Timestamp) -> String {
    let args = Args::new().text("name", name(file));
    match &file.state {
        FileState::Waiting { ahead: 0, .. } => language.tell("line-next", &args),
        FileState::Waiting {
            ahead,
            estimate: None,
        } => language.tell("line-waiting", &args.number("position", ahead + 1)),
        FileState::Waiting {
            ahead,
            estimate: Some(seconds),
        } => {
            let args = args
                .number("position", ahead + 1)
                .text("wait", rough(*seconds));
            language.tell("line-waiting-until", &args)
        }
        FileState::Suspended => language.tell("line-suspended", &args),
        FileState::Retrying { reason, at } => {
            let args = args
                .html("why", failure(language, reason))
                .text("wait", duration(seconds_until(*at, now)));
            language.tell("line-retrying", &args)
        }
        FileState::Running {
            bytes,
            total,
            rate,
            stage,
        } => running(language, args, *bytes, *total, *rate, *stage),
        FileState::Done(Stored { size, link, .. }) => {
            let args = args.text("size", human_bytes(*size));
            match (link, readers) {
                (_, Readers::Group) => language.tell("line-done-in-group", &args),
                (Some(link), Readers::User) => {
                    let args = args
                        .text("url", &link.url)
                        .text("until", date(link.expires_at));
                    language.tell("line-done", &args)
                }
                (None, Readers::User) => language.tell("line-link-ended", &args),
            }
        }
        FileState::Failed { reason } => {
            let args = args
                .html("why", failure(language, reason))
                .text("reason", reason);
            language.tell("line-failed", &args)
        }
        FileState::Cancelled => language.tell("line-cancelled", &args),
    }
}

/// Why something failed, in plain words.
pub fn failure(language: Language, reason: &str) -> String {
    language.say(match reason {
        "MessageNotFound" | "InvalidChat" => "failure-message-gone",
        "NoMedia" | "MediaChanged" => "failure-no-media",
        "DeadlineExceeded" => "failure-deadline",
        "CdnOnly" => "failure-cdn",
        "SessionRefused" => "failure-session",
        "InvalidLinkTTL" | "LinkLost" => "failure-link",
        _ if reason.starts_with("Telegram") => "failure-telegram",
        "BucketNotFound"
        | "NotAuthenticated"
        | "NotAuthorizedOrNotFound"
        | "CredentialsUnusable"
        | "QuotaExceeded" => "failure-storage-refused",
        _ if reason.starts_with("Storage") || reason.starts_with("Checksum") => "failure-storage",
        _ if reason.starts_with("Worker") || reason == "OOMKilled" || reason == "Stalled" => {
            "failure-worker"
        }
        _ => "failure-other",
    })
}

fn running(
    language: Language,
    args: Args,
    stored: u64,
    total: Option<u64>,
    rate: u64,
    stage: TransferState,
) -> String {
    let Some(total) = total.filter(|_| stage != TransferState::Locating) else {
        return language.tell("line-locating", &args);
    };
    let percent = match stored
        .checked_mul(100)
        .and_then(|hundredfold| hundredfold.checked_div(total))
    {
        Some(percent) => percent.min(100),
        None => 100,
    };
    let args = args
        .text("bar", bar(percent))
        .number("percent", percent)
        .text("stored", human_bytes(stored.min(total)))
        .text("total", human_bytes(total));
    if matches!(stage, TransferState::Committing | TransferState::Linking) {
        return language.tell("line-committing", &args);
    }
    if rate == 0 {
        return language.tell("line-running-slowly", &args);
    }
    let left = total.saturating_sub(stored) / rate;
    let args = args
        .text("rate", format!("{}/s", human_bytes(rate)))
        .text("left", duration(left));
    language.tell("line-running", &args)
}

/// The message that brings a link, if there is one that works.
fn linked(language: Language, key: &str, file: &FileView, now: Timestamp) -> Option<Post> {
    let FileState::Done(Stored {
        size,
        crc32c,
        link: Some(link),
    }) = &file.state
    else {
        return None;
    };
    let url = if link.url.len() <= MAX_URL {
        &link.url
    } else {
        "…"
    };
    let args = Args::new()
        .text("url", url)
        .text("name", name(file))
        .text("size", human_bytes(*size))
        .text("checksum", crc32c)
        .text("until", date(link.expires_at))
        .text("left", whole(seconds_until(link.expires_at, now)));
    Some(Post {
        html: language.tell(key, &args),
        keyboard: link_buttons(language, &file.job, link),
    })
}

fn link_buttons(language: Language, job: &str, link: &LinkView) -> Option<InlineKeyboardMarkup> {
    let mut rows = Vec::new();
    if let Ok(url) = teloxide_http::Url::parse(&link.url) {
        rows.push(vec![InlineKeyboardButton::url(
            language.say("button-download"),
            url,
        )]);
    }
    rows.push(vec![
        button(
            language.say("button-revoke"),
            &Button::Revoke(job.to_owned()),
        ),
        button(
            language.say("button-extend"),
            &Button::Extend(job.to_owned()),
        ),
    ]);
    keyboard(rows)
}

fn retries(language: Language, files: &[FileView]) -> Vec<Vec<InlineKeyboardButton>> {
    let failed = files
        .iter()
        .filter(|file| matches!(file.state, FileState::Failed { .. }));
    failed
        .map(|file| {
            let args = Args::new().html("name", shorten(&file.name, 30));
            let label = if files.len() == 1 {
                language.say("button-retry")
            } else {
                language.tell("button-retry-one", &args)
            };
            vec![button(label, &Button::Retry(file.job.clone()))]
        })
        .collect()
}

/// A button of ours.
pub fn button(label: String, button: &Button) -> InlineKeyboardButton {
    InlineKeyboardButton::callback(label, button.to_string())
}

/// Rows of buttons, if there are any.
pub fn keyboard(rows: Vec<Vec<InlineKeyboardButton>>) -> Option<InlineKeyboardMarkup> {
    (!rows.is_empty()).then(|| InlineKeyboardMarkup::new(rows))
}

/// A time for people, the same in every language.
pub fn date(time: Timestamp) -> String {
    time.to_zoned(TimeZone::UTC)
        .strftime("%Y-%m-%d %H:%M UTC")
        .to_string()
}

/// Seconds until a time that may be past.
pub fn seconds_until(time: Timestamp, now: Timestamp) -> u64 {
    u64::try_from(time.as_second() - now.as_second()).unwrap_or_default()
}

fn name(file: &FileView) -> String {
    shown_name(&file.name)
}

/// A file's name, not longer than a message can bear.
pub fn shown_name(name: &str) -> String {
    shorten(name, MAX_NAME).into_owned()
}

fn bar(percent: u64) -> String {
    let full = percent * BAR / 100;
    (0..BAR)
        .map(|cell| if cell < full { '▰' } else { '▱' })
        .collect()
}

/// A long time in whole hours or minutes: a week that has just begun is a week.
fn whole(seconds: u64) -> String {
    match seconds {
        86_400.. => duration(seconds.next_multiple_of(3_600)),
        3_600.. => duration(seconds.next_multiple_of(60)),
        _ => duration(seconds),
    }
}

/// An estimate is not told to the second: the text would change all the time.
fn rough(seconds: u64) -> String {
    match seconds {
        0..60 => duration(seconds.next_multiple_of(10).max(10)),
        60..3_600 => duration(seconds.next_multiple_of(60)),
        _ => duration(seconds.next_multiple_of(600)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: &str = "2026-11-01T12:00:00Z";

    fn now() -> Timestamp {
        NOW.parse().unwrap()
    }

    fn file(state: FileState) -> FileView {
        FileView {
            job: "tj-0123456789abcdef0123".into(),
            name: "<b>holiday</b>.mp4".into(),
            state,
        }
    }

    fn done() -> FileState {
        FileState::Done(Stored {
            size: 314_572_800,
            crc32c: "kH1aGA==".into(),
            link: Some(LinkView {
                url: "https://storage.example.com/p/x/n/a/b/b/o/holiday.mp4".into(),
                expires_at: "2026-11-08T12:00:00Z".parse().unwrap(),
            }),
        })
    }

    #[test]
    fn each_state_is_said_in_words() {
        let running = |stage| FileState::Running {
            bytes: 157_286_400,
            total: Some(314_572_800),
            rate: 10_485_760,
            stage,
        };
        for (state, expected) in [
            (
                FileState::Waiting {
                    ahead: 0,
                    estimate: None,
                },
                "next in line",
            ),
            (
                FileState::Waiting {
                    ahead: 2,
                    estimate: Some(61),
                },
                "place 3 in the queue, begins in about 2 m",
            ),
            (running(TransferState::Locating), "looking for it"),
            (
                running(TransferState::Streaming),
                "▰▰▰▰▰▱▱▱▱▱ 50% · 150.0 MiB of 300.0 MiB · 10.0 MiB/s · 15 s left",
            ),
            (running(TransferState::Committing), "almost done"),
            (
                FileState::Failed {
                    reason: "MessageNotFound".into(),
                },
                "deleted",
            ),
            (FileState::Cancelled, "cancelled"),
        ] {
            let text = line(
                Language::English,
                &file(state.clone()),
                Readers::User,
                now(),
            );
            assert!(text.contains(expected), "{state:?}: {text}");
            assert!(text.contains("&lt;b&gt;holiday&lt;/b&gt;.mp4"), "{text}");
        }
    }

    #[test]
    fn a_group_sees_no_link() {
        let post = status(Language::English, &[file(done())], Readers::Group, now());
        assert!(!format!("{post:?}").contains("https://"), "{post:?}");
        let post = status(Language::English, &[file(done())], Readers::User, now());
        assert!(post.html.contains("https://storage.example.com/p/x"));
    }

    #[test]
    fn a_result_has_size_checksum_expiry_and_buttons() {
        let post = result(Language::English, &[file(done())], now());
        for part in [
            "300.0 MiB",
            "kH1aGA==",
            "2026-11-08 12:00 UTC",
            "7 d",
            "<code>https://storage",
        ] {
            assert!(post.html.contains(part), "{part}: {}", post.html);
        }
        let rows = post.keyboard.unwrap().inline_keyboard;
        assert_eq!(rows.iter().map(Vec::len).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn a_week_that_has_just_begun_is_a_week() {
        for (seconds, text) in [
            (604_799, "7 d"),
            (600_000, "6 d 23 h"),
            (3_601, "1 h 1 m"),
            (59, "59 s"),
        ] {
            assert_eq!(whole(seconds), text);
        }
    }

    #[test]
    fn a_failure_can_be_tried_again() {
        let failed = FileState::Failed {
            reason: "StorageUnavailable".into(),
        };
        let post = result(Language::German, &[file(failed.clone())], now());
        let data = format!("{:?}", post.keyboard);
        assert!(data.contains("t:tj-0123456789abcdef0123"), "{data}");
        let post = result(Language::English, &[file(failed), file(done())], now());
        assert!(post.html.starts_with("<b>1 of 2"), "{}", post.html);
    }

    fn any_state() -> impl Strategy<Value = FileState> {
        prop_oneof![
            (any::<u64>(), any::<Option<u64>>()).prop_map(|(ahead, estimate)| FileState::Waiting {
                ahead: ahead / 2,
                estimate: estimate.map(|seconds| seconds / 2)
            }),
            (any::<u64>(), any::<Option<u64>>(), any::<u64>()).prop_map(|(bytes, total, rate)| {
                FileState::Running {
                    bytes,
                    total,
                    rate,
                    stage: TransferState::Streaming,
                }
            }),
            ".{0,40}".prop_map(|reason| FileState::Failed { reason }),
            Just(done()),
            Just(FileState::Suspended),
        ]
    }

    proptest! {
        #[test]
        fn any_batch_fits_into_a_message(states in prop::collection::vec(any_state(), 1..10), name in ".{0,300}") {
            let files: Vec<_> = states.into_iter().map(|state| FileView { name: name.clone(), ..file(state) }).collect();
            for language in Language::ALL {
                for post in [status(language, &files, Readers::User, now()), result(language, &files, now())] {
                    let tags = post.html.split('<').map(|rest| rest.split_once('>').map_or(rest, |(_, text)| text));
                    let shown: usize = tags.map(|text| text.encode_utf16().count()).sum();
                    prop_assert!(shown <= 4_096, "{shown}");
                }
            }
        }
    }
}
