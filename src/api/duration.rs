//! Durations as people write them in a manifest: `7d`, `36h`, `1h30m`, `2s`.

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Up to four terms, each a positive number of at most five digits and a unit.
const PATTERN: &str = "^([1-9][0-9]{0,4}[dhms]){1,4}$";

/// A positive duration in whole seconds, written with the units `d`, `h`, `m` and `s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HumanDuration(Duration);

/// The text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a duration: write numbers with the units d, h, m or s, such as 7d or 1h30m")]
pub struct ParseDurationError(String);

impl HumanDuration {
    /// A duration of `days` times 24 hours.
    pub const fn from_days(days: u32) -> Self {
        Self(Duration::from_secs(days as u64 * 86_400))
    }

    /// A duration of `seconds`.
    pub const fn from_secs(seconds: u32) -> Self {
        Self(Duration::from_secs(seconds as u64))
    }

    /// The same as a standard duration.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl FromStr for HumanDuration {
    type Err = ParseDurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || ParseDurationError(text.chars().take(40).collect());
        let mut total = 0_u64;
        let mut terms = 0;
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            if digits == 0 || digits > 5 || rest.starts_with('0') || terms == 4 {
                return Err(bad());
            }
            let number: u64 = rest[..digits].parse().map_err(|_| bad())?;
            let seconds = match rest.as_bytes().get(digits) {
                Some(b'd') => 86_400,
                Some(b'h') => 3_600,
                Some(b'm') => 60,
                Some(b's') => 1,
                _ => return Err(bad()),
            };
            total += number * seconds;
            terms += 1;
            rest = &rest[digits + 1..];
        }
        if terms == 0 {
            return Err(bad());
        }
        Ok(Self(Duration::from_secs(total)))
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut seconds = self.0.as_secs();
        for (unit, size) in [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)] {
            if seconds >= size {
                write!(f, "{}{unit}", seconds / size)?;
                seconds %= size;
            }
        }
        Ok(())
    }
}

impl Serialize for HumanDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for HumanDuration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "HumanDuration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "maxLength": 24, "pattern": PATTERN })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, seconds) in [
            ("7d", 604_800),
            ("36h", 129_600),
            ("1h30m", 5_400),
            ("2s", 2),
        ] {
            assert_eq!(
                text.parse::<HumanDuration>().unwrap().get().as_secs(),
                seconds,
                "{text}"
            );
        }
    }

    #[test]
    fn refuses_what_is_no_duration() {
        for text in [
            "",
            "7",
            "d",
            "0s",
            "-1h",
            "1.5h",
            "1w",
            "1h 30m",
            "123456s",
            "1s1s1s1s1s",
            "٣s",
        ] {
            assert!(text.parse::<HumanDuration>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_it_prints_reads_back_as_the_same(seconds in 1_u32..49_000 * 86_400) {
            let duration = HumanDuration::from_secs(seconds);
            prop_assert_eq!(duration.to_string().parse::<HumanDuration>().unwrap(), duration);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9dhms]{0,12}|.{0,30}") {
            if let Ok(duration) = text.parse::<HumanDuration>() {
                prop_assert!(duration.get() >= Duration::from_secs(1));
            }
        }
    }
}
