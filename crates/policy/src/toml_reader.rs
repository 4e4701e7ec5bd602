//! Reading a bundle's TOML files so that every mistake is reported at once, unknown keys included.

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use serde_json::Value;
use toml::de::{DeTable, DeValue};

use crate::problem::{Place, Problems, Source, closest};

/// Parses a file and hands its top-level table to `read`. What it cannot parse, it reports.
pub(crate) fn read_file(
    file: &str,
    bytes: &[u8],
    problems: &mut Problems,
    read: impl FnOnce(&mut Section<'_, '_>, &mut Problems),
) {
    let Some(source) = Source::of(file, bytes, problems) else { return };
    let (table, errors) = DeTable::parse_recoverable(source.text);
    for error in &errors {
        let offset = error.span().map_or(0, |span| span.start);
        problems.add(source.at(offset), error.message(), "mend the TOML syntax");
    }
    if errors.is_empty() {
        let start = table.span().start;
        let mut section = Section { source: &source, table: table.get_ref(), start, known: BTreeSet::new() };
        read(&mut section, problems);
        section.report_unknown(problems);
    }
}

/// One table. Each key must be asked for; [`Section::report_unknown`] reports those that nobody asked for.
pub(crate) struct Section<'a, 'i> {
    source: &'a Source<'a>,
    table: &'a DeTable<'i>,
    start: usize,
    known: BTreeSet<&'static str>,
}

impl<'a, 'i> Section<'a, 'i> {
    /// Where the table begins.
    pub(crate) fn place(&self) -> Place<'a> {
        self.source.at(self.start)
    }

    /// Where a key's value stands; the table itself when there is none.
    pub(crate) fn place_of(&self, key: &str) -> Place<'a> {
        match self.table.get(key) {
            Some(value) => self.source.at(value.span().start),
            None => self.place(),
        }
    }

    /// Whether the key is there.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// The value of a key, if it is there and has the right form.
    pub(crate) fn get<T: DeserializeOwned>(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
    ) -> Option<T> {
        self.known.insert(key);
        let value = self.table.get(key)?;
        match serde_json::from_value(to_json(value.get_ref())) {
            Ok(value) => Some(value),
            Err(error) => {
                problems.add(self.place_of(key), format!("{key}: {error}"), "");
                None
            }
        }
    }

    /// The value of a key that must be there.
    pub(crate) fn require<T: DeserializeOwned>(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
    ) -> Option<T> {
        if !self.has(key) {
            self.known.insert(key);
            problems.add(self.place(), format!("{key} is missing"), format!("add {key} = …"));
        }
        self.get(key, problems)
    }

    /// Reads the table under a key, if it is there.
    pub(crate) fn table<T>(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
        read: impl FnOnce(&mut Section<'_, '_>, &mut Problems) -> T,
    ) -> Option<T> {
        self.known.insert(key);
        let value = self.table.get(key)?;
        match value.get_ref() {
            DeValue::Table(table) => Some(self.child(table, value.span().start, problems, read)),
            other => {
                let found = other.type_str();
                problems.add(self.place_of(key), format!("{key} must be a table, not a {found}"), "");
                None
            }
        }
    }

    /// Reads each table of the array of tables under a key (`[[key]]`).
    pub(crate) fn tables(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
        mut read: impl FnMut(&mut Section<'_, '_>, &mut Problems),
    ) {
        self.known.insert(key);
        let Some(value) = self.table.get(key) else { return };
        let DeValue::Array(items) = value.get_ref() else {
            problems.add(self.place_of(key), format!("{key} must be written as [[{key}]]"), "");
            return;
        };
        for item in items.iter() {
            match item.get_ref() {
                DeValue::Table(table) => self.child(table, item.span().start, problems, &mut read),
                _ => problems.add(
                    self.source.at(item.span().start),
                    format!("each {key} must be a table"),
                    format!("write [[{key}]]"),
                ),
            }
        }
    }

    /// Reads each named table under a key (`[key.NAME]`).
    pub(crate) fn named_tables(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
        mut read: impl FnMut(&str, &mut Section<'_, '_>, &mut Problems),
    ) {
        self.known.insert(key);
        let Some(value) = self.table.get(key) else { return };
        let DeValue::Table(named) = value.get_ref() else {
            problems.add(self.place_of(key), format!("{key} must be written as [{key}.NAME]"), "");
            return;
        };
        for (name, item) in named {
            let start = name.span().start;
            match item.get_ref() {
                DeValue::Table(table) => {
                    self.child(table, start, problems, |section, problems| {
                        read(name.get_ref(), section, problems);
                    });
                }
                _ => problems.add(
                    self.source.at(start),
                    format!("{key}.{} must be a table", name.get_ref()),
                    format!("write [{key}.{}]", name.get_ref()),
                ),
            }
        }
    }

    fn child<T>(
        &self,
        table: &DeTable<'_>,
        start: usize,
        problems: &mut Problems,
        read: impl FnOnce(&mut Section<'_, '_>, &mut Problems) -> T,
    ) -> T {
        let mut section = Section { source: self.source, table, start, known: BTreeSet::new() };
        let result = read(&mut section, problems);
        section.report_unknown(problems);
        result
    }

    fn report_unknown(&self, problems: &mut Problems) {
        for key in self.table.keys().filter(|key| !self.known.contains(key.get_ref().as_ref())) {
            let name = key.get_ref();
            let hint = match closest(name, self.known.iter().copied()) {
                Some(known) => format!("did you mean {known}?"),
                None => {
                    let known: Vec<_> = self.known.iter().copied().collect();
                    format!("known here: {}", known.join(", "))
                }
            };
            let place = self.source.at(key.span().start);
            problems.add(place, format!("unknown key {name:?}"), hint);
        }
    }
}

/// A TOML value as JSON; dates become their text.
fn to_json(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).map_or(Value::Null, Value::from)
        }
        DeValue::Float(number) => number.as_str().parse::<f64>().map_or(Value::Null, Value::from),
        DeValue::Boolean(flag) => Value::from(*flag),
        DeValue::Datetime(at) => Value::from(at.to_string()),
        DeValue::Array(items) => items.iter().map(|item| to_json(item.get_ref())).collect(),
        DeValue::Table(members) => members
            .iter()
            .map(|(name, member)| (name.get_ref().to_string(), to_json(member.get_ref())))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_reported_with_its_line() {
        let text = "name = 3\nlaese = \"1h\"\n[audit]\nx = 1\n";
        let mut problems = Problems::default();
        read_file("bundle.toml", text.as_bytes(), &mut problems, |section, problems| {
            section.require::<String>("name", problems);
            section.get::<String>("lease", problems);
            section.table("audit", problems, |audit, problems| {
                audit.require::<String>("durability", problems);
            });
        });
        let found: Vec<_> =
            problems.as_slice().iter().map(|p| (p.line, p.message.as_str(), p.hint.as_deref())).collect();
        assert_eq!(
            found,
            [
                (Some(1), "name: invalid type: integer `3`, expected a string", None),
                (Some(3), "durability is missing", Some("add durability = …")),
                (Some(4), "unknown key \"x\"", Some("known here: durability")),
                (Some(2), "unknown key \"laese\"", Some("did you mean lease?")),
            ]
        );
    }

    #[test]
    fn broken_syntax_is_reported_and_nothing_else() {
        let mut problems = Problems::default();
        read_file("a.toml", b"x = = 1\ny = [\n", &mut problems, |_, _| panic!("nothing to read"));
        assert!(problems.as_slice().iter().any(|problem| problem.line == Some(1)), "{problems}");
    }
}
