//! Text that somebody else may have written, made safe to be shown: as exactly the characters it has.
//!
//! Reviewers decide on what they see (I12). So nothing invisible stays invisible: control characters,
//! bidirectional overrides, zero-width and look-alike white space become marks, and in names and ids so does
//! every letter outside ASCII, for a Cyrillic `а` is not an `a`. A line break is a mark as well, so such a
//! text never begins a line of ours, where our labels stand.

use std::borrow::Cow;

use countersign_model::Digest;
use serde::{Serialize, Serializer, ser::SerializeStruct};
use serde_json::Value;

/// Longest text that is shown at once, in characters; the rest folds away.
const FOLD_AFTER: usize = 400;

/// A text that is not ours. It has no `Display` and no way to a plain string but those that keep its marks,
/// so that a renderer cannot take it for a word of our own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untrusted {
    head: Vec<Run>,
    rest: Option<Rest>,
}

/// What a text has beyond what is shown at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rest {
    /// How many characters there are.
    pub characters: usize,
    /// Their SHA-256.
    pub digest: Digest,
    /// They themselves, for a place that has room.
    pub runs: Vec<Run>,
}

/// A stretch of text that is shown as it is, or one character that is marked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Run {
    /// Shown as it is.
    Plain(String),
    /// Shown as what it is.
    Mark(Mark),
}

/// A character that does not show itself, or may be taken for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The character.
    pub character: char,
    /// Whether it can be seen, and may be taken for another. What cannot be seen, or changes how its
    /// neighbours are seen, is hidden otherwise.
    pub is_visible: bool,
}

/// How strictly a text is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Words for people, in any language.
    Prose,
    /// A name, an id, an argument: every character outside ASCII is marked.
    Exact,
}

impl Untrusted {
    /// Words for people, such as an agent's stated reason.
    #[must_use]
    pub fn prose(text: &str) -> Self {
        Self::folded(text, Kind::Prose)
    }

    /// A name, an id or an argument.
    #[must_use]
    pub fn exact(text: &str) -> Self {
        Self::folded(text, Kind::Exact)
    }

    fn folded(text: &str, kind: Kind) -> Self {
        let Some((cut, _)) = text.char_indices().nth(FOLD_AFTER) else {
            return Self { head: runs(text, kind), rest: None };
        };
        let (start, rest) = text.split_at(cut);
        let digest = Digest::of(rest.as_bytes());
        let rest = Rest { characters: rest.chars().count(), digest, runs: runs(rest, kind) };
        Self { head: runs(start, kind), rest: Some(rest) }
    }

    /// What is shown at once.
    #[must_use]
    pub fn head(&self) -> &[Run] {
        &self.head
    }

    /// What is folded away.
    #[must_use]
    pub fn rest(&self) -> Option<&Rest> {
        self.rest.as_ref()
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.head.is_empty()
    }

    /// At most so many characters of its beginning on one line, with its marks spelt out. What is left out
    /// is told by its length and digest, or by an ellipsis where there is no room for that.
    #[must_use]
    pub fn one_line(&self, most: usize) -> String {
        let mut line = String::new();
        let mut left = most;
        for run in &self.head {
            let Some(rest) = left.checked_sub(run.characters()) else {
                line.extend(run.spelt().chars().take(left));
                line.push('…');
                return line;
            };
            line.push_str(&run.spelt());
            left = rest;
        }
        if let Some(rest) = &self.rest {
            line.push_str(&format!("… ({} more characters, {})", rest.characters, rest.digest.short()));
        }
        line
    }
}

/// As `{"text": …}`, with its marks spelt out; what is folded away by its length and digest.
impl Serialize for Untrusted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text: String = self.head.iter().map(Run::spelt).collect();
        let mut out = serializer.serialize_struct("Untrusted", if self.rest.is_some() { 3 } else { 1 })?;
        out.serialize_field("text", &text)?;
        if let Some(rest) = &self.rest {
            out.serialize_field("more_characters", &rest.characters)?;
            out.serialize_field("more_digest", &rest.digest)?;
        }
        out.end()
    }
}

impl Run {
    fn characters(&self) -> usize {
        match self {
            Self::Plain(text) => text.chars().count(),
            Self::Mark(_) => 1,
        }
    }

    fn spelt(&self) -> Cow<'_, str> {
        match self {
            Self::Plain(text) => Cow::Borrowed(text),
            Self::Mark(mark) => Cow::Owned(mark.spelt()),
        }
    }
}

impl Mark {
    /// What stands for the character where markup can tell it from the text around.
    #[must_use]
    pub fn label(self) -> String {
        match (self.is_visible, self.character) {
            (true, character) => character.to_string(),
            (false, '\n') => "↵".to_owned(),
            (false, '\t') => "⇥".to_owned(),
            (false, character) => format!("U+{:04X}", u32::from(character)),
        }
    }

    /// What is to be known of it.
    #[must_use]
    pub fn title(self) -> String {
        let code = u32::from(self.character);
        if self.is_visible {
            format!("Not an ASCII character: U+{code:04X}")
        } else {
            format!("Invisible or control character U+{code:04X}")
        }
    }

    /// What stands for the character in plain text.
    fn spelt(self) -> String {
        let code = u32::from(self.character);
        match (self.is_visible, self.character) {
            (true, character) => format!("{character}[U+{code:04X}]"),
            (false, '\n') => " ↵ ".to_owned(),
            (false, '\t') => " ⇥ ".to_owned(),
            (false, _) => format!("[U+{code:04X}]"),
        }
    }
}

/// A value as JSON text that somebody can change: laid out, with whatever would not show itself as an escape. It
/// stands for the same value.
#[must_use]
pub fn visible_json(value: &Value) -> String {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    // Outside of strings JSON is ASCII, and within them its own control characters are escaped already.
    let shown = |c: char| match c {
        '\n' => c.to_string(),
        c if is_hidden(c) => {
            c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect()
        }
        c => c.to_string(),
    };
    text.chars().map(shown).collect()
}

fn runs(text: &str, kind: Kind) -> Vec<Run> {
    let mut runs = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some(mark) = mark_of(first, kind) {
            rest = rest.split_at(first.len_utf8()).1;
            runs.push(Run::Mark(mark));
            continue;
        }
        let end = rest.find(|c| mark_of(c, kind).is_some()).unwrap_or(rest.len());
        let (plain, after) = rest.split_at(end);
        rest = after;
        runs.push(Run::Plain(plain.to_owned()));
    }
    runs
}

fn mark_of(character: char, kind: Kind) -> Option<Mark> {
    let is_visible = !is_hidden(character);
    let is_marked = !is_visible || (kind == Kind::Exact && !character.is_ascii());
    is_marked.then_some(Mark { character, is_visible })
}

/// Whether a character cannot be seen as itself.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || (c.is_whitespace() && c != ' ')
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e000}'..='\u{f8ff}'
            | '\u{13430}'..='\u{1345f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{10ffff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prose(text: &str) -> String {
        Untrusted::prose(text).one_line(usize::MAX)
    }

    fn exact(text: &str) -> String {
        Untrusted::exact(text).one_line(usize::MAX)
    }

    #[test]
    fn what_cannot_be_seen_is_named() {
        for c in [
            '\0',
            '\u{1b}',
            '\u{7f}',
            '\u{85}',
            '\r',
            '\u{200b}',
            '\u{202e}',
            '\u{2066}',
            '\u{2069}',
            '\u{feff}',
            '\u{a0}',
            '\u{3000}',
            '\u{2028}',
            '\u{3164}',
            '\u{e0041}',
            '\u{fe0f}',
            '\u{f0000}',
            '\u{2064}',
        ] {
            assert_eq!(prose(&format!("a{c}b")), format!("a[U+{:04X}]b", u32::from(c)));
        }
        assert_eq!(prose("a\nb\tc"), "a ↵ b ⇥ c");
    }

    #[test]
    fn look_alikes_are_marked_in_names_and_left_alone_in_prose() {
        // A Cyrillic а.
        let name = "p\u{430}yments";
        assert_eq!(exact(name), "p\u{430}[U+0430]yments");
        assert_eq!(prose(name), name);
        assert_eq!(prose("Grüße, 你好, שלום"), "Grüße, 你好, שלום");
    }

    #[test]
    fn a_long_text_folds_and_says_what_is_folded_away() {
        let long = "x".repeat(FOLD_AFTER + 7);
        let text = Untrusted::exact(&long);
        let rest = text.rest().unwrap();
        assert_eq!((rest.characters, rest.digest), (7, Digest::of(b"xxxxxxx")));
        let line = text.one_line(usize::MAX);
        assert!(
            line.ends_with(&format!("… (7 more characters, {})", Digest::of(b"xxxxxxx").short())),
            "{line}"
        );
        assert_eq!(text.one_line(3), "xxx…");
        let json = serde_json::to_value(&text).unwrap();
        assert_eq!(json["more_characters"], 7);
        assert_eq!(serde_json::to_value(Untrusted::exact("ls")).unwrap(), serde_json::json!({"text": "ls"}));
    }

    proptest! {
        /// Whatever somebody writes stays on one line, in the order in which it was written.
        #[test]
        fn a_text_has_no_power_over_what_stands_around_it(text in "\\PC*|[\\u{0}-\\u{2fff}]*|(?s:.)*") {
            for line in [prose(&text), exact(&text)] {
                prop_assert!(!line.chars().any(is_hidden), "{:?}", line);
            }
        }

        #[test]
        fn json_that_can_be_changed_hides_nothing_and_stays_what_it_is(text in "\\PC*|(?s:.)*") {
            let value = serde_json::json!({"a": [text.as_str()], text.as_str(): 1});
            let shown = visible_json(&value);
            prop_assert!(!shown.chars().any(|c| c != '\n' && is_hidden(c)), "{:?}", shown);
            prop_assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), value);
        }

        #[test]
        fn nothing_of_a_text_is_lost(text in "(?s:.){0,900}") {
            let shown = Untrusted::exact(&text);
            let rest = shown.rest().map(|rest| rest.runs.as_slice()).unwrap_or_default();
            let back: String = shown.head().iter().chain(rest).map(|run| match run {
                Run::Plain(text) => text.clone(),
                Run::Mark(mark) => mark.character.to_string(),
            }).collect();
            prop_assert_eq!(back, text);
        }
    }
}
