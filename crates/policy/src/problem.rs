//! What is wrong with a bundle: every problem at once, each with its place and what to do about it.

use std::fmt;

use serde::Serialize;

/// One thing that is wrong with a bundle.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// The file, relative to the bundle.
    pub file: String,
    /// The line within it, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong with a bundle, in the order of its files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{}", self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// The problems, in the order of their files and lines.
    #[must_use]
    pub fn as_slice(&self) -> &[Problem] {
        &self.0
    }

    /// How many problems there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Notes a problem.
    pub(crate) fn add(&mut self, place: Place<'_>, message: impl Into<String>, hint: impl Into<String>) {
        let hint = hint.into();
        self.0.push(Problem {
            file: place.file.to_owned(),
            line: place.line,
            message: message.into(),
            hint: (!hint.is_empty()).then_some(hint),
        });
    }

    /// The problems in order, each once; `Ok` when there is none.
    pub(crate) fn into_result(mut self) -> Result<(), Self> {
        self.0.sort();
        self.0.dedup();
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }
}

/// A place in a bundle.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) file: &'a str,
    pub(crate) line: Option<u32>,
}

impl<'a> Place<'a> {
    /// A whole file.
    pub(crate) fn file(file: &'a str) -> Self {
        Self { file, line: None }
    }
}

/// A file's text, with its lines counted once.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    pub(crate) file: &'a str,
    pub(crate) text: &'a str,
    line_ends: Vec<usize>,
}

impl<'a> Source<'a> {
    pub(crate) fn new(file: &'a str, text: &'a str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self { file, text, line_ends: ends.map(|(offset, _)| offset).collect() }
    }

    /// The text of a file; what is not UTF-8 is a problem.
    pub(crate) fn of(file: &'a str, bytes: &'a [u8], problems: &mut Problems) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok();
        if text.is_none() {
            problems.add(Place::file(file), "this file is not UTF-8", "save it as UTF-8");
        }
        Some(Self::new(file, text?))
    }

    /// The place of a byte offset.
    pub(crate) fn at(&self, offset: usize) -> Place<'a> {
        let before = self.line_ends.partition_point(|end| *end < offset);
        Place { file: self.file, line: u32::try_from(before.saturating_add(1)).ok() }
    }
}

/// The known name that a mistyped one probably stands for.
pub(crate) fn closest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = known.into_iter().map(|candidate| (distance(name, candidate), candidate));
    let (distance, candidate) = near.min()?;
    (distance <= 2 && distance < candidate.chars().count()).then_some(candidate)
}

/// The number of single-character edits between two names, without regard to case (Levenshtein).
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().flat_map(char::to_lowercase).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, from) in left.chars().flat_map(char::to_lowercase).enumerate() {
        let mut diagonal = index;
        let mut before = index + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(&right) {
            let here = (diagonal + usize::from(from != *to)).min(before + 1).min(*cell + 1);
            diagonal = *cell;
            *cell = here;
            before = here;
        }
        if let Some(first) = row.first_mut() {
            *first = index + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_name_finds_its_neighbour() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(closest("reveiwers", ["reviewers", "quorum"]), Some("reviewers"));
        assert_eq!(closest("Approvals", ["approval", "reason"]), Some("approval"));
        assert_eq!(closest("entirely", ["reviewers", "quorum"]), None);
    }

    #[test]
    fn lines_are_counted_from_one() {
        let source = Source::new("f", "a\nb\n\nc");
        let lines: Vec<_> = (0..6).map(|offset| source.at(offset).line.unwrap()).collect();
        assert_eq!(lines, [1, 1, 2, 2, 3, 4]);
    }
}
