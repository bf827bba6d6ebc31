//! Every variable that is read stands in `.env.example`, and no other.

mod support;

use std::collections::BTreeSet;

/// Read by libraries, not by us.
const OF_LIBRARIES: [&str; 1] = ["SSL_CERT_FILE"];

/// Words in capitals between quotes: `"OCI_REGION"`.
fn quoted_variables(source: &str) -> BTreeSet<String> {
    let is_variable = |word: &&str| {
        word.len() > 3
            && word.chars().all(|c| c.is_ascii_uppercase() || c == '_')
            && word.contains('_')
    };
    source
        .split('"')
        .skip(1)
        .step_by(2)
        .filter(is_variable)
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_example_lists_what_is_read() {
    let read = |path: &str| std::fs::read_to_string(support::root().join(path)).unwrap();
    let mut used = quoted_variables(&read("src/config.rs"));
    used.extend(OF_LIBRARIES.map(str::to_owned));
    let example = read(".env.example");
    let listed: BTreeSet<_> = example
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| {
            line.split_once('=')
                .unwrap_or_else(|| panic!("not a variable: {line}"))
                .0
                .to_owned()
        })
        .collect();
    assert_eq!(listed, used, "left: .env.example, right: src/config.rs");
}
