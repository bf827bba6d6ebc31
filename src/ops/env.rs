//! Environment variables, read by name and parsed at the edge.
//!
//! An error names the variable and what is wrong with it, and never repeats its value: the value
//! may be a secret.

use std::{collections::HashMap, fmt::Display, str::FromStr};

/// Where variables come from.
pub struct Environment(Box<Lookup>);

/// Finds the value of a variable.
type Lookup = dyn Fn(&str) -> Option<String> + Send + Sync;

/// A variable is missing or malformed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable} {problem}")]
pub struct ConfigError {
    /// The variable's name.
    pub variable: &'static str,
    /// What is wrong with it, as the rest of a sentence.
    pub problem: String,
}

impl Environment {
    /// The variables of this process.
    pub fn process() -> Self {
        Self(Box::new(|name| std::env::var(name).ok()))
    }

    /// Variables from a table.
    pub fn table<const N: usize>(variables: [(&str, &str); N]) -> Self {
        let table: HashMap<String, String> = variables
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Self(Box::new(move |name| table.get(name).cloned()))
    }

    /// The variable's text. Empty counts as not set, as in a copied `.env`.
    pub fn text(&self, name: &'static str) -> Option<String> {
        (self.0)(name)
            .map(|value| value.trim().to_owned())
            .filter(|value| !value.is_empty())
    }

    /// The variable's value, if it is set.
    ///
    /// # Errors
    /// It is set and does not parse.
    pub fn optional<T>(&self, name: &'static str) -> Result<Option<T>, ConfigError>
    where
        T: FromStr<Err: Display>,
    {
        self.text(name)
            .map(|text| {
                text.parse()
                    .map_err(|error| ConfigError::malformed(name, error))
            })
            .transpose()
    }

    /// The variable's value.
    ///
    /// # Errors
    /// It is not set, or does not parse.
    pub fn required<T>(&self, name: &'static str) -> Result<T, ConfigError>
    where
        T: FromStr<Err: Display>,
    {
        self.optional(name)?
            .ok_or_else(|| ConfigError::new(name, "is not set"))
    }

    /// The variable's value, or `default` if it is not set.
    ///
    /// # Errors
    /// It is set and does not parse.
    pub fn or<T>(&self, name: &'static str, default: T) -> Result<T, ConfigError>
    where
        T: FromStr<Err: Display>,
    {
        Ok(self.optional(name)?.unwrap_or(default))
    }
}

impl ConfigError {
    /// An error in the words `<variable> <problem>`.
    pub fn new(variable: &'static str, problem: impl Into<String>) -> Self {
        Self {
            variable,
            problem: problem.into(),
        }
    }

    /// The variable's value does not parse.
    pub fn malformed(variable: &'static str, error: impl Display) -> Self {
        Self::new(variable, format!("is malformed: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_missing_empty_malformed_or_right() {
        let environment = Environment::table([("A", " 7 "), ("B", "  "), ("C", "x")]);
        assert_eq!(environment.required("A"), Ok(7));
        assert_eq!(
            environment.required::<u8>("B").unwrap_err().to_string(),
            "B is not set"
        );
        assert_eq!(environment.or("B", 3), Ok(3));
        assert_eq!(
            environment.or::<u8>("C", 3).unwrap_err().to_string(),
            "C is malformed: invalid digit found in string"
        );
    }
}
