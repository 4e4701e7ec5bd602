//! Settings from a TOML file, the environment and flags, merged, with every mistake kept.

use std::{collections::BTreeMap, fmt, str::FromStr};

use toml::de::{DeTable, DeValue};

/// What an environment variable must start with to be a setting.
const ENVIRONMENT_PREFIX: &str = "COUNTERSIGN_CONTROL_";

/// Where a setting was made.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Origin {
    File { line: usize },
    Environment { name: String },
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { line } => write!(f, "line {line}"),
            Self::Environment { name } => write!(f, "environment variable {name}"),
            Self::Flag => f.write_str("command line"),
        }
    }
}

struct Setting {
    text: String,
    origin: Origin,
}

/// Every mistake of a configuration, one a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the configuration has {} mistake(s):\n  {}", .0.len(), .0.join("\n  "))]
pub struct ConfigProblems(pub Vec<String>);

/// Settings that are yet to be read. Later sources win over earlier ones.
#[derive(Default)]
pub(super) struct Settings {
    values: BTreeMap<String, Setting>,
    problems: Vec<String>,
}

impl Settings {
    /// Takes in the settings of a TOML text.
    pub(super) fn add_toml(&mut self, text: &str) {
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let line = error.span().map_or(1, |span| line_of(text, span.start));
            self.problems.push(format!("line {line}: {}", error.message()));
        }
        self.add_table(text, "", document.get_ref());
    }

    fn add_table(&mut self, text: &str, prefix: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let path = if prefix.is_empty() {
                key.get_ref().to_string()
            } else {
                format!("{prefix}.{}", key.get_ref())
            };
            let line = line_of(text, key.span().start);
            let plain = match value.get_ref() {
                DeValue::Table(inner) => {
                    self.add_table(text, &path, inner);
                    continue;
                }
                DeValue::String(plain) => plain.to_string(),
                DeValue::Integer(number) => number.as_str().to_owned(),
                DeValue::Boolean(flag) => flag.to_string(),
                DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Array(_) => {
                    self.problems
                        .push(format!("line {line}: {path} takes a text, a whole number, true or false"));
                    continue;
                }
            };
            self.values.insert(path, Setting { text: plain, origin: Origin::File { line } });
        }
    }

    /// Takes in every environment variable that is meant for the control plane; `known` are the keys there are.
    pub(super) fn add_environment(
        &mut self,
        variables: impl Iterator<Item = (String, String)>,
        known: &[&str],
    ) {
        for (name, text) in variables {
            let Some(rest) = name.strip_prefix(ENVIRONMENT_PREFIX) else { continue };
            match known.iter().find(|key| key.replace('.', "_").eq_ignore_ascii_case(rest)) {
                Some(key) => {
                    let origin = Origin::Environment { name };
                    self.values.insert((*key).to_owned(), Setting { text, origin });
                }
                None => self.problems.push(format!("environment variable {name}: there is no such setting")),
            }
        }
    }

    /// Takes in one setting from the command line.
    pub(super) fn add_flag(&mut self, key: &str, text: &str) {
        let setting = Setting { text: text.to_owned(), origin: Origin::Flag };
        self.values.insert(key.to_owned(), setting);
    }

    /// Reads a setting; `None` when it is missing or does not parse, which is then a problem.
    pub(super) fn take<T>(&mut self, key: &str) -> Option<T>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        let setting = self.values.remove(key)?;
        match setting.text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.problems.push(format!("{}: {key} = {:?}: {error}", setting.origin, setting.text));
                None
            }
        }
    }

    /// Adds a mistake that only shows when settings are seen together.
    pub(super) fn problem(&mut self, problem: impl Into<String>) {
        self.problems.push(problem.into());
    }

    /// Every mistake there is, settings that nobody read included.
    pub(super) fn finish(mut self) -> Result<(), ConfigProblems> {
        for (key, setting) in &self.values {
            self.problems.push(format!("{}: there is no setting {key}", setting.origin));
        }
        if self.problems.is_empty() { Ok(()) } else { Err(ConfigProblems(self.problems)) }
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}
