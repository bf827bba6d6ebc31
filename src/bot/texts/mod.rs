//! All that users read, in the languages that there are: one Fluent file each, and nothing else.
//!
//! Messages are HTML as the Bot API knows it. What is put into them is escaped here, once, so that
//! no name or caption can be read as markup.

use std::{borrow::Cow, fmt::Write as _, sync::OnceLock};

use fluent_bundle::{FluentArgs, FluentResource, FluentValue, concurrent::FluentBundle};
use unic_langid::{LanguageIdentifier, langid};

/// A language that the bot speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Language {
    /// English: the rule.
    English,
    /// German.
    German,
}

/// What is put into a message.
#[derive(Clone, Debug, Default)]
pub struct Args(Vec<(&'static str, Value)>);

#[derive(Clone, Debug)]
enum Value {
    /// Markup, or words that are escaped already.
    Html(String),
    /// Chooses between forms, such as one and many.
    Number(u64),
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::English, Self::German];

    /// The one of a `language_code`, an IETF tag; English for those that are not spoken.
    pub fn of_code(code: Option<&str>) -> Self {
        let primary = code.and_then(|code| code.split(['-', '_']).next());
        Self::ALL
            .into_iter()
            .find(|language| primary.is_some_and(|code| code.eq_ignore_ascii_case(language.code())))
            .unwrap_or(Self::English)
    }

    /// Its two letters.
    pub const fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::German => "de",
        }
    }

    /// What it calls itself.
    pub const fn name(self) -> &'static str {
        match self {
            Self::English => "English",
            Self::German => "Deutsch",
        }
    }

    /// A message without anything to put in.
    pub fn say(self, key: &str) -> String {
        self.tell(key, &Args::default())
    }

    /// A message.
    pub fn tell(self, key: &str, args: &Args) -> String {
        let bundle = self.bundle();
        let Some(pattern) = bundle.get_message(key).and_then(|message| message.value()) else {
            // A test sees to it that there is none.
            return key.to_owned();
        };
        let mut errors = Vec::new();
        let text = bundle.format_pattern(pattern, Some(&args.fluent()), &mut errors);
        text.into_owned()
    }

    const fn source(self) -> &'static str {
        match self {
            Self::English => include_str!("en.ftl"),
            Self::German => include_str!("de.ftl"),
        }
    }

    const fn identifier(self) -> LanguageIdentifier {
        match self {
            Self::English => langid!("en"),
            Self::German => langid!("de"),
        }
    }

    fn bundle(self) -> &'static FluentBundle<FluentResource> {
        static BUNDLES: [OnceLock<FluentBundle<FluentResource>>; 2] =
            [const { OnceLock::new() }; 2];
        BUNDLES[self as usize].get_or_init(|| {
            let resource =
                FluentResource::try_new(self.source().to_owned()).expect("a test reads the file");
            let mut bundle = FluentBundle::new_concurrent(vec![self.identifier()]);
            // Isolation would put invisible characters around links.
            bundle.set_use_isolating(false);
            bundle
                .add_resource(resource)
                .expect("a test reads the file");
            bundle
        })
    }
}

impl Args {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Words, from anybody.
    #[must_use]
    pub fn text(self, name: &'static str, text: impl AsRef<str>) -> Self {
        self.html(name, escape(text.as_ref()))
    }

    /// Markup of our own.
    #[must_use]
    pub fn html(mut self, name: &'static str, html: impl Into<String>) -> Self {
        self.0.push((name, Value::Html(html.into())));
        self
    }

    /// A number.
    #[must_use]
    pub fn number(mut self, name: &'static str, number: impl TryInto<u64>) -> Self {
        let number = number.try_into().unwrap_or(u64::MAX);
        self.0.push((name, Value::Number(number)));
        self
    }

    fn fluent(&self) -> FluentArgs<'_> {
        let mut args = FluentArgs::with_capacity(self.0.len());
        for (name, value) in &self.0 {
            match value {
                Value::Html(html) => args.set(*name, FluentValue::String(Cow::Borrowed(html))),
                Value::Number(number) => args.set(*name, *number),
            }
        }
        args
    }
}

/// Words as HTML that shows them. An attribute's value may hold the result too.
pub fn escape(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '&' => html.push_str("&amp;"),
            '"' => html.push_str("&quot;"),
            c => html.push(c),
        }
    }
    html
}

/// The first characters of a text, with an ellipsis if there were more.
pub fn shorten(text: &str, most: usize) -> Cow<'_, str> {
    match text.char_indices().nth(most) {
        None => Cow::Borrowed(text),
        Some((end, _)) => {
            let mut short = text[..end].trim_end().to_owned();
            short.push('…');
            Cow::Owned(short)
        }
    }
}

/// A duration for people, two units at most: `1 h 30 m`.
pub fn duration(seconds: u64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let first = units
        .iter()
        .position(|(size, _)| seconds >= *size)
        .unwrap_or(units.len() - 1);
    let mut rest = seconds;
    let mut text = String::new();
    for (size, unit) in &units[first..units.len().min(first + 2)] {
        let count = rest / size;
        rest %= size;
        if count > 0 || text.is_empty() {
            let space = if text.is_empty() { "" } else { " " };
            // Writing to a String does not fail.
            let _ = write!(text, "{space}{count} {unit}");
        }
    }
    text
}

#[cfg(test)]
mod tests;
