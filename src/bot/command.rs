//! What users can ask for: commands that they type, and buttons that they press. Pure.

use std::fmt;

use super::texts::Language;

/// A command, with what stands after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Which one.
    pub name: CommandName,
    /// The words after it.
    pub words: Vec<String>,
}

/// Who may use a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Everybody who may use the bot.
    Users,
    /// Those who look after it.
    Admins,
}

macro_rules! commands {
    ($($(#[$doc:meta])* $variant:ident = $word:literal, $audience:ident, $about:literal;)*) => {
        /// The commands that there are.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum CommandName {
            $($(#[$doc])* $variant,)*
        }

        impl CommandName {
            /// All of them, in the order in which they are listed.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// What is typed after the slash.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }

            /// Who may use it.
            pub const fn audience(self) -> Audience {
                match self { $(Self::$variant => Audience::$audience),* }
            }

            /// The text that says what it does.
            pub const fn about(self) -> &'static str {
                match self { $(Self::$variant => $about),* }
            }
        }
    };
}

commands! {
    /// Greets.
    Start = "start", Users, "about-start";
    /// Lists the commands.
    Help = "help", Users, "about-help";
    /// The user's files that are under way.
    Status = "status", Users, "about-status";
    /// Where in the queue they are, and how long it is.
    Queue = "queue", Users, "about-queue";
    /// Stops a transfer.
    Cancel = "cancel", Users, "about-cancel";
    /// Starts a failed one again.
    Retry = "retry", Users, "about-retry";
    /// The user's links that work.
    MyLinks = "mylinks", Users, "about-mylinks";
    /// Takes a link back.
    Revoke = "revoke", Users, "about-revoke";
    /// Lets a link live longer.
    Extend = "extend", Users, "about-extend";
    /// What the user may do, and has used up.
    Quota = "quota", Users, "about-quota";
    /// Language, and how long links live.
    Settings = "settings", Users, "about-settings";
    /// Who may use the bot.
    Users = "users", Admins, "about-users";
    /// Lets somebody in.
    Allow = "allow", Admins, "about-allow";
    /// Keeps somebody out.
    Deny = "deny", Admins, "about-deny";
    /// Limits of one user.
    Limits = "limits", Admins, "about-limits";
    /// Takes no more files, or takes them again.
    Drain = "drain", Admins, "about-drain";
    /// What goes on.
    Stats = "stats", Admins, "about-stats";
}

/// The most words that are looked at.
const MAX_WORDS: usize = 8;

impl Command {
    /// The command of a text, if it is one for the bot of that name; in groups others listen too.
    ///
    /// # Errors
    /// It is a command that there is not.
    pub fn parse(text: &str, bot: &str) -> Option<Result<Self, UnknownCommand>> {
        let rest = text.strip_prefix('/')?;
        let mut words = rest.split_whitespace();
        let first = words
            .next()
            .filter(|_| !rest.starts_with(char::is_whitespace))?;
        let word = match first.split_once('@') {
            Some((_, addressee)) if !addressee.eq_ignore_ascii_case(bot) => return None,
            Some((word, _)) => word,
            None => first,
        };
        let known = CommandName::ALL
            .iter()
            .find(|name| name.word().eq_ignore_ascii_case(word));
        Some(known.map_or(Err(UnknownCommand), |name| {
            Ok(Self {
                name: *name,
                words: words.take(MAX_WORDS).map(str::to_owned).collect(),
            })
        }))
    }
}

/// There is no such command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownCommand;

/// A button, as its 64 bytes of data say it. Whoever presses it may have made them up: what it names
/// is looked up and compared with the presser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Button {
    /// Stop this transfer.
    Cancel(String),
    /// Stop all transfers that the message shows.
    CancelAll,
    /// Start this failed one again.
    Retry(String),
    /// Take its link back: asks first.
    Revoke(String),
    /// Take it back, asked at that minute (counted from 1970).
    RevokeSurely(String, u64),
    /// Do not.
    Keep(String),
    /// Let its link live longer.
    Extend(String),
    /// Show that page of links.
    Links(u32),
    /// Speak that language; none is Telegram's own setting.
    Speak(Option<Language>),
    /// Let new links live for so many days.
    LinkDays(u32),
}

/// How long a question may be answered, in minutes.
const QUESTION_MINUTES: u64 = 5;

impl Button {
    /// The button of some data; none if no button of ours has such.
    pub fn parse(data: &str) -> Option<Self> {
        let (kind, rest) = data.split_once(':').unwrap_or((data, ""));
        let job = || is_job_name(rest).then(|| rest.to_owned());
        Some(match kind {
            "c" => Self::Cancel(job()?),
            "ca" if rest.is_empty() => Self::CancelAll,
            "t" => Self::Retry(job()?),
            "r" => Self::Revoke(job()?),
            "rr" => {
                let (name, minute) = rest.rsplit_once(':')?;
                let name = is_job_name(name).then(|| name.to_owned())?;
                Self::RevokeSurely(name, minute.parse().ok()?)
            }
            "k" => Self::Keep(job()?),
            "x" => Self::Extend(job()?),
            "l" => Self::Links(rest.parse().ok()?),
            "s" if rest == "auto" => Self::Speak(None),
            "s" => Self::Speak(Some(
                Language::ALL.into_iter().find(|it| it.code() == rest)?,
            )),
            "d" => Self::LinkDays(rest.parse().ok()?),
            _ => return None,
        })
    }

    /// Whether a question that was asked at that minute may still be answered.
    pub const fn is_fresh(asked: u64, now: u64) -> bool {
        now.abs_diff(asked) <= QUESTION_MINUTES
    }
}

impl fmt::Display for Button {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancel(job) => write!(f, "c:{job}"),
            Self::CancelAll => f.write_str("ca"),
            Self::Retry(job) => write!(f, "t:{job}"),
            Self::Revoke(job) => write!(f, "r:{job}"),
            Self::RevokeSurely(job, minute) => write!(f, "rr:{job}:{minute}"),
            Self::Keep(job) => write!(f, "k:{job}"),
            Self::Extend(job) => write!(f, "x:{job}"),
            Self::Links(page) => write!(f, "l:{page}"),
            Self::Speak(None) => f.write_str("s:auto"),
            Self::Speak(Some(language)) => write!(f, "s:{}", language.code()),
            Self::LinkDays(days) => write!(f, "d:{days}"),
        }
    }
}

/// Whether it can be the name of a job that the bot has made, and asked for at the API server.
fn is_job_name(name: &str) -> bool {
    (4..=40).contains(&name.len())
        && name.starts_with("tj-")
        && name.ends_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_command_is_known_by_its_word_and_its_addressee() {
        let name = |text| {
            Command::parse(text, "TeleStreamBot").map(|parsed| parsed.map(|command| command.name))
        };
        assert_eq!(name("/start"), Some(Ok(CommandName::Start)));
        assert_eq!(
            name("/STATUS@telestreambot now"),
            Some(Ok(CommandName::Status))
        );
        assert_eq!(name("/status@another_bot"), None);
        assert_eq!(name("/nonsense"), Some(Err(UnknownCommand)));
        assert_eq!(name("start"), None);
        assert_eq!(name("/ start"), None);
        assert_eq!(name("/"), None);
        let command = Command::parse("/limits 7  queued 3\nbytes 1", "b")
            .unwrap()
            .unwrap();
        assert_eq!(command.words, ["7", "queued", "3", "bytes", "1"]);
    }

    fn job() -> impl Strategy<Value = String> {
        "tj-[0-9a-f]{20}(-r[1-9])?"
    }

    fn button() -> impl Strategy<Value = Button> {
        prop_oneof![
            job().prop_map(Button::Cancel),
            Just(Button::CancelAll),
            job().prop_map(Button::Retry),
            job().prop_map(Button::Revoke),
            (job(), 0_u64..1 << 40).prop_map(|(job, minute)| Button::RevokeSurely(job, minute)),
            job().prop_map(Button::Keep),
            job().prop_map(Button::Extend),
            any::<u32>().prop_map(Button::Links),
            Just(Button::Speak(None)),
            Just(Button::Speak(Some(Language::German))),
            any::<u32>().prop_map(Button::LinkDays),
        ]
    }

    proptest! {
        #[test]
        fn what_a_button_says_is_what_is_understood(button in button()) {
            let data = button.to_string();
            prop_assert!(data.len() <= 64, "{data}");
            prop_assert_eq!(Button::parse(&data), Some(button));
        }

        #[test]
        fn any_data_is_understood_or_refused(data in ".{0,64}|[a-z]{1,2}:tj-[a-f0-9:./ -]{0,50}") {
            if let Some(button) = Button::parse(&data) {
                prop_assert!(button.to_string().len() <= 64);
            }
        }

        #[test]
        fn any_text_is_a_command_or_not(text in "/?.{0,40}") {
            drop(Command::parse(&text, "bot"));
        }
    }

    #[test]
    fn nobody_gets_at_other_names_by_a_button() {
        for data in [
            "c:",
            "c:kube-system",
            "c:tj-../x",
            "c:tj-A",
            "r:tj-",
            "rr:tj-a",
            "l:-1",
            "s:xx",
            "z",
            "ca:1",
        ] {
            assert_eq!(Button::parse(data), None, "{data}");
        }
    }

    #[test]
    fn an_old_question_is_not_answered_any_more() {
        assert!(
            Button::is_fresh(10, 15) && !Button::is_fresh(10, 16) && !Button::is_fresh(u64::MAX, 1)
        );
    }
}
