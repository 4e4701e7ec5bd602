//! Settings from a TOML file, the environment and flags, merged, with every mistake kept.
//!
//! Later sources win over earlier ones. Every mistake is reported at once, unknown settings included:
//! a misspelt setting that is silently ignored is a security setting that is not in force.
//!
//! What is merged is given ([`Sources`]); [`Sources::of_process`] is the only way from here to files and
//! the environment.
//!
//! An item of a list is a setting by its number, from 0: `mcp.servers.0.name`.

use std::{collections::BTreeMap, env, fmt, fs, path::Path, str::FromStr};

use toml::de::{DeTable, DeValue};

/// Where a setting was made.
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

/// Where a configuration is read from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file's text, when there is a file.
    pub toml: Option<String>,
    /// Environment variables; those without the program's prefix are passed over.
    pub environment: Vec<(String, String)>,
    /// `key=value` settings of the command line, in order.
    pub flags: Vec<(String, String)>,
}

impl Sources {
    /// What this process was given: a file, its environment and the settings of its command line.
    /// `file_variable` is the variable that can name the file, which is not a setting of it.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn of_process(
        file: Option<&Path>,
        file_variable: &str,
        flags: Vec<(String, String)>,
    ) -> Result<Self, ConfigProblems> {
        let toml = file.map(read_file).transpose()?;
        let environment = env::vars_os()
            .filter_map(|(name, text)| Some((name.into_string().ok()?, text.into_string().ok()?)))
            .filter(|(name, _)| name != file_variable)
            .collect();
        Ok(Self { toml, environment, flags })
    }

    /// Merges the sources. `prefix` is what an environment variable must start with to be meant for the
    /// program, as `COUNTERSIGN_CONTROL_`; `known` are the keys there are.
    #[must_use]
    pub fn merge(&self, prefix: &str, known: &[&str]) -> Settings {
        let mut settings = Settings::default();
        if let Some(text) = &self.toml {
            settings.add_toml(text);
        }
        for (name, text) in &self.environment {
            settings.add_variable(name, text, prefix, known);
        }
        for (key, text) in &self.flags {
            settings.values.insert(key.clone(), Setting { text: text.clone(), origin: Origin::Flag });
        }
        settings
    }
}

/// Settings that are yet to be read.
#[derive(Default)]
pub struct Settings {
    values: BTreeMap<String, Setting>,
    problems: Vec<String>,
}

impl Settings {
    fn add_toml(&mut self, text: &str) {
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
            self.add_value(text, path, line_of(text, key.span().start), value.get_ref());
        }
    }

    fn add_value(&mut self, text: &str, path: String, line: usize, value: &DeValue<'_>) {
        let plain = match value {
            DeValue::Table(inner) => return self.add_table(text, &path, inner),
            DeValue::Array(items) => {
                for (number, item) in items.iter().enumerate() {
                    let line = line_of(text, item.span().start);
                    self.add_value(text, format!("{path}.{number}"), line, item.get_ref());
                }
                return;
            }
            DeValue::String(plain) => plain.to_string(),
            DeValue::Integer(number) => number.as_str().to_owned(),
            DeValue::Boolean(flag) => flag.to_string(),
            DeValue::Float(_) | DeValue::Datetime(_) => {
                self.problems
                    .push(format!("line {line}: {path} takes a text, a whole number, true or false"));
                return;
            }
        };
        self.values.insert(path, Setting { text: plain, origin: Origin::File { line } });
    }

    fn add_variable(&mut self, name: &str, text: &str, prefix: &str, known: &[&str]) {
        let Some(rest) = name.strip_prefix(prefix) else { return };
        match known.iter().find(|key| key.replace('.', "_").eq_ignore_ascii_case(rest)) {
            Some(key) => {
                let origin = Origin::Environment { name: name.to_owned() };
                self.values.insert((*key).to_owned(), Setting { text: text.to_owned(), origin });
            }
            None => self.problems.push(format!("environment variable {name}: there is no such setting")),
        }
    }

    /// Reads a setting; `None` when it is missing or does not parse, which is then a problem.
    pub fn take<T>(&mut self, key: &str) -> Option<T>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        let Some(setting) = self.values.remove(key) else {
            self.refuse_list(key);
            return None;
        };
        match setting.text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.problems.push(format!("{}: {key} = {:?}: {error}", setting.origin, setting.text));
                None
            }
        }
    }

    /// Names a list, or a table, where one value belongs.
    fn refuse_list(&mut self, key: &str) {
        let below = format!("{key}.");
        let taken: Vec<String> =
            self.values.keys().filter(|known| known.starts_with(&below)).cloned().collect();
        let first =
            taken.first().and_then(|first| self.values.get(first)).map(|item| item.origin.to_string());
        if let Some(place) = first {
            self.problem(format!("{place}: {key} takes a text, a whole number, true or false"));
        }
        self.values.retain(|known, _| !taken.contains(known));
    }

    /// Whether there is a setting of that name or below it: an item of a list, a table.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        let below = format!("{key}.");
        self.values.keys().any(|known| known == key || known.starts_with(&below))
    }

    /// Reads a list of texts, `key.0`, `key.1` and so on.
    pub fn take_list(&mut self, key: &str) -> Vec<String> {
        (0..).map_while(|number| self.take(&format!("{key}.{number}"))).collect()
    }

    /// Reads a setting into `field`, which keeps its default when there is none.
    pub fn read_into<T>(&mut self, key: &str, field: &mut T)
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        if let Some(value) = self.take(key) {
            *field = value;
        }
    }

    /// Reads a setting that there must be; empty when there is none. `what` says what it is.
    pub fn required(&mut self, key: &str, what: &str) -> String {
        let value: Option<String> = self.take(key);
        value.filter(|value| !value.is_empty()).unwrap_or_else(|| {
            self.problem(format!("{key} must be set: {what}"));
            String::new()
        })
    }

    /// Adds a mistake when a value is out of bounds, both of which it may reach.
    pub fn bounded<T: Copy + PartialOrd + fmt::Display>(&mut self, key: &str, value: T, least: T, most: T) {
        if value < least || value > most {
            self.problem(format!("{key} = \"{value}\": must be from {least} to {most}"));
        }
    }

    /// Adds a mistake when a value is no web address.
    pub fn web_address(&mut self, key: &str, value: Option<&str>) {
        if let Some(other) = value.filter(|url| !url.starts_with("https://") && !url.starts_with("http://")) {
            self.problem(format!("{key} = {other:?}: must start with https:// or http://"));
        }
    }

    /// Adds a mistake that only shows when settings are seen together.
    pub fn problem(&mut self, problem: impl Into<String>) {
        self.problems.push(problem.into());
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// With every mistake there is, settings that nobody read included.
    pub fn finish(mut self) -> Result<(), ConfigProblems> {
        for (key, setting) in &self.values {
            self.problems.push(format!("{}: there is no setting {key}", setting.origin));
        }
        if self.problems.is_empty() { Ok(()) } else { Err(ConfigProblems(self.problems)) }
    }
}

/// The text of a configuration file.
///
/// # Errors
/// When it cannot be read, with its name.
pub fn read_file(path: &Path) -> Result<String, ConfigProblems> {
    fs::read_to_string(path).map_err(|error| ConfigProblems(vec![format!("{}: {error}", path.display())]))
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

/// Reads `KEY=VALUE` as given on the command line.
///
/// # Errors
/// When there is no `=`.
pub fn key_value(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 3] = ["data", "log.filter", "times.drain"];

    fn pair(key: &str, text: &str) -> (String, String) {
        (key.to_owned(), text.to_owned())
    }

    fn merge(toml: &str, environment: &[(String, String)], flags: &[(String, String)]) -> Settings {
        let sources =
            Sources { toml: Some(toml.to_owned()), environment: environment.to_vec(), flags: flags.to_vec() };
        sources.merge("PROGRAM_", &KEYS)
    }

    #[test]
    fn flags_win_over_the_environment_and_the_environment_over_the_file() {
        let mut settings = merge(
            "data = \"/a\"\n[log]\nfilter = \"warn\"\n[times]\ndrain = 3",
            &[pair("PROGRAM_DATA", "/b"), pair("PROGRAM_TIMES_DRAIN", "4"), pair("HOME", "/root")],
            &[pair("data", "/c")],
        );
        assert_eq!(settings.take::<String>("data").unwrap(), "/c");
        assert_eq!(settings.take::<u32>("times.drain").unwrap(), 4);
        assert_eq!(settings.take::<String>("log.filter").unwrap(), "warn");
        settings.finish().unwrap();
    }

    #[test]
    fn items_of_lists_are_settings_by_their_number() {
        let file = "[[servers]]\nname = \"a\"\n[[servers]]\nname = \"b\"\nhosts = [\"x\", \"y\"]\n";
        let mut settings = merge(file, &[], &[pair("servers.1.name", "c")]);
        assert!(settings.has("servers.1") && settings.has("servers.1.hosts") && !settings.has("servers.2"));
        assert_eq!(settings.take::<String>("servers.0.name").unwrap(), "a");
        assert_eq!(settings.take::<String>("servers.1.name").unwrap(), "c");
        assert_eq!(settings.take_list("servers.1.hosts"), ["x", "y"]);
        settings.finish().unwrap();
    }

    #[test]
    fn every_mistake_is_kept_with_its_place() {
        let mut settings = merge(
            "latency = 3\ndata = 1.5\n[times]\ndrain = \"soon\"\n",
            &[pair("PROGRAM_DTAA", "x")],
            &[pair("colour", "red")],
        );
        assert_eq!(settings.take::<u32>("times.drain"), None);
        settings.problem("these two do not go together");
        let problems = settings.finish().unwrap_err().to_string();
        for expected in [
            "line 1: there is no setting latency",
            "line 2: data takes",
            "line 4: times.drain = \"soon\"",
            "environment variable PROGRAM_DTAA: there is no such setting",
            "command line: there is no setting colour",
            "these two do not go together",
        ] {
            assert!(problems.contains(expected), "{expected}\n{problems}");
        }
    }
}
