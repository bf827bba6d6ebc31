//! Figures for Prometheus, in the `OpenMetrics` text format.
//!
//! Labels take values of small, fixed sets only: never the name of a user, a file or an object.

use std::{
    collections::HashSet,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus_client::{encoding::text, registry::Registry};

/// The media type of the text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What every name begins with.
const PREFIX: &str = "telestream";

/// The longest list of values that a label takes from outside.
const MAX_VALUES: usize = 64;

/// All figures of the process.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Mutex<Registry>>);

impl Default for Metrics {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Registry::with_prefix(PREFIX))))
    }
}

impl Metrics {
    /// Adds figures.
    pub fn register(&self, add: impl FnOnce(&mut Registry)) {
        add(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// All figures as they are now.
    ///
    /// # Errors
    /// A figure cannot be written.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut out = String::new();
        let registry = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        text::encode(&mut out, &registry)?;
        Ok(out)
    }
}

/// The values of a label that come from elsewhere, such as reasons: whoever writes them cannot make
/// them many.
#[derive(Debug, Default)]
pub struct FewValues(Mutex<HashSet<String>>);

impl FewValues {
    /// The value itself, or `Other` when there are too many already.
    pub fn admit(&self, value: &str) -> String {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains(value) || (known.len() < MAX_VALUES && known.insert(value.to_owned())) {
            value.to_owned()
        } else {
            "Other".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_has_few_values() {
        let values = FewValues::default();
        for number in 0..MAX_VALUES {
            let name = number.to_string();
            assert_eq!(values.admit(&name), name);
        }
        assert_eq!(values.admit("one more"), "Other");
        assert_eq!(values.admit("0"), "0");
    }
}
