//! Every message that the code names is there in every language, with the same things to put in.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use proptest::prelude::*;

use super::*;

/// The messages of a language, each with what it puts in.
fn messages(language: Language) -> BTreeMap<String, BTreeSet<String>> {
    let mut messages = BTreeMap::new();
    let mut key = String::new();
    for line in language.source().lines() {
        if line.starts_with('#') {
            continue;
        }
        if let Some((name, _)) = line.split_once(" =")
            && !name.starts_with([' ', '.', '['])
        {
            name.clone_into(&mut key);
            messages.insert(key.clone(), BTreeSet::new());
        }
        let names = line.split('$').skip(1).map(|rest| {
            let end = rest
                .find(|c: char| !c.is_alphanumeric())
                .unwrap_or(rest.len());
            rest[..end].to_owned()
        });
        if let Some(puts_in) = messages.get_mut(&key) {
            puts_in.extend(names);
        }
    }
    messages
}

/// The text of all sources of the bot.
fn sources(folder: &Path, into: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && path.file_name().is_some_and(|name| name != "tests.rs")
        {
            *into += &fs::read_to_string(path).unwrap();
        }
    }
}

#[test]
fn all_languages_say_the_same() {
    let english = messages(Language::English);
    assert!(english.len() > 50, "the file was read");
    for language in Language::ALL {
        assert_eq!(messages(language), english, "{}", language.name());
        language.bundle();
    }
}

#[test]
fn what_the_code_says_is_there_and_nothing_else() {
    let mut code = String::new();
    sources(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bot"),
        &mut code,
    );
    let words: BTreeSet<&str> = code.split('"').collect();
    let unsaid: Vec<_> = messages(Language::English)
        .into_keys()
        .filter(|key| !words.contains(key.as_str()))
        .collect();
    assert!(unsaid.is_empty(), "nobody says {unsaid:?}");
    let said = [".say(\"", ".tell(\"", ".tell(\n", "key: \""];
    let known = messages(Language::English);
    for call in said {
        for rest in code.split(call).skip(1) {
            let rest = rest.trim_start_matches([' ', '\n', '"']);
            let end = rest.find('"').unwrap_or_default();
            let key = &rest[..end];
            if key.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !key.is_empty() {
                assert!(known.contains_key(key), "there is no text for {key}");
            }
        }
    }
}

#[test]
fn a_language_is_known_by_its_code() {
    for (code, language) in [
        (Some("de"), Language::German),
        (Some("de-AT"), Language::German),
        (Some("DE"), Language::German),
        (Some("en-GB"), Language::English),
        (Some("pt-br"), Language::English),
        (Some(""), Language::English),
        (None, Language::English),
    ] {
        assert_eq!(Language::of_code(code), language, "{code:?}");
    }
}

#[test]
fn what_is_put_in_is_no_markup() {
    let html = Language::English.tell("stranger", &Args::new().text("id", "<b>\"&"));
    assert!(html.contains("&lt;b&gt;&quot;&amp;"), "{html}");
}

#[test]
fn figures_are_said_as_people_say_them() {
    for (seconds, text) in [
        (0, "0 s"),
        (59, "59 s"),
        (60, "1 m"),
        (94, "1 m 34 s"),
        (3_600, "1 h"),
        (11_400, "3 h 10 m"),
        (604_800, "7 d"),
        (90_061, "1 d 1 h"),
    ] {
        assert_eq!(duration(seconds), text);
    }
}

proptest! {
    #[test]
    fn any_figure_is_short(count: u64) {
        prop_assert!(duration(count).len() <= 24);
    }

    #[test]
    fn a_short_text_is_the_start_of_the_long_one(text in ".{0,40}", most in 1_usize..20) {
        let short = shorten(&text, most);
        prop_assert!(short.chars().count() <= most + 1);
        prop_assert!(text.starts_with(short.trim_end_matches('…')));
    }
}
