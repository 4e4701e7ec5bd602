//! Text that an agent may have written, shown as exactly the characters it has.
//!
//! Reviewers decide on what they see (I12). So nothing invisible stays invisible: control
//! characters, bidirectional overrides, zero-width and look-alike white space become labelled marks,
//! and in names and ids so does every letter outside ASCII, for a Cyrillic `а` is not an `a`.

use maud::{Markup, html};

/// Longest text that is shown at once, in characters; the rest folds away.
const FOLD_AFTER: usize = 400;

/// How strictly a text is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Words for people, in any language.
    Prose,
    /// A name, an id, an argument: every character outside ASCII is marked.
    Exact,
}

/// Words for people, such as an agent's stated reason.
pub(crate) fn prose(text: &str) -> Markup {
    folded(text, Kind::Prose)
}

/// A name, an id or an argument.
pub(crate) fn exact(text: &str) -> Markup {
    folded(text, Kind::Exact)
}

/// A short name without markup, for a page's title.
pub(crate) fn plain(text: &str) -> String {
    const MOST: usize = 80;
    let shown = |c: char| match mark_of(c, Kind::Prose) {
        Some(mark) => mark.label(c),
        None => c.to_string(),
    };
    text.chars().take(MOST).map(shown).collect()
}

fn folded(text: &str, kind: Kind) -> Markup {
    let Some((cut, _)) = text.char_indices().nth(FOLD_AFTER) else {
        return html! { bdi.verbatim { (marked(text, kind)) } };
    };
    let (start, rest) = text.split_at(cut);
    let more = rest.chars().count();
    html! {
        bdi.verbatim { (marked(start, kind)) }
        details.fold {
            summary { "Show " (more) " more characters" }
            bdi.verbatim { (marked(rest, kind)) }
        }
    }
}

fn marked(text: &str, kind: Kind) -> Markup {
    html! {
        @for run in runs(text, kind) {
            @match run {
                Run::Plain(text) => (text),
                Run::Mark(c, mark) => span class=(mark.class()) title=(mark.title(c)) { (mark.label(c)) },
            }
            // A line break is marked, and breaks the line as well.
            @if matches!(run, Run::Mark('\n', _)) { br; }
        }
    }
}

/// A stretch of text that is shown as it is, or one character that is marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Run<'a> {
    Plain(&'a str),
    Mark(char, Mark),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    /// Cannot be seen, or changes how its neighbours are seen.
    Hidden,
    /// Can be seen, and may be taken for another.
    Foreign,
}

impl Mark {
    fn class(self) -> &'static str {
        match self {
            Self::Hidden => "mark-hidden",
            Self::Foreign => "mark-foreign",
        }
    }

    fn label(self, c: char) -> String {
        match (self, c) {
            (Self::Hidden, '\n') => "↵".to_owned(),
            (Self::Hidden, '\t') => "⇥".to_owned(),
            (Self::Hidden, _) => format!("U+{:04X}", u32::from(c)),
            (Self::Foreign, _) => c.to_string(),
        }
    }

    fn title(self, c: char) -> String {
        let code = u32::from(c);
        match self {
            Self::Hidden => format!("Invisible or control character U+{code:04X}"),
            Self::Foreign => format!("Not an ASCII character: U+{code:04X}"),
        }
    }
}

fn runs(text: &str, kind: Kind) -> Runs<'_> {
    Runs { rest: text, kind }
}

struct Runs<'a> {
    rest: &'a str,
    kind: Kind,
}

impl<'a> Iterator for Runs<'a> {
    type Item = Run<'a>;

    fn next(&mut self) -> Option<Run<'a>> {
        let first = self.rest.chars().next()?;
        if let Some(mark) = mark_of(first, self.kind) {
            self.rest = self.rest.split_at(first.len_utf8()).1;
            return Some(Run::Mark(first, mark));
        }
        let kind = self.kind;
        let end = self.rest.find(|c| mark_of(c, kind).is_some()).unwrap_or(self.rest.len());
        let (plain, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(Run::Plain(plain))
    }
}

fn mark_of(c: char, kind: Kind) -> Option<Mark> {
    if is_hidden(c) {
        return Some(Mark::Hidden);
    }
    (kind == Kind::Exact && !c.is_ascii()).then_some(Mark::Foreign)
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
    use super::*;

    #[test]
    fn markup_in_a_text_stays_text() {
        let shown = exact("<script>alert(1)</script>\"'&").into_string();
        assert!(!shown.contains("<script"), "{shown}");
        assert!(shown.contains("&lt;script&gt;"), "{shown}");
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
            let shown = prose(&format!("a{c}b")).into_string();
            assert!(!shown.contains(c), "{c:?} in {shown}");
            assert!(shown.contains(&format!(">U+{:04X}<", u32::from(c))), "{shown}");
        }
    }

    #[test]
    fn look_alikes_are_marked_in_names_and_left_alone_in_prose() {
        // A Cyrillic а.
        let name = "p\u{430}yments";
        assert!(exact(name).into_string().contains("mark-foreign"));
        assert!(!prose(name).into_string().contains("mark-foreign"));
        assert!(prose("Grüße, 你好, שלום").into_string().contains("Grüße, 你好, שלום"));
    }

    #[test]
    fn nothing_is_lost_when_a_long_text_folds() {
        let long = "é".repeat(FOLD_AFTER + 7);
        let shown = exact(&long).into_string();
        assert_eq!(shown.matches('é').count(), FOLD_AFTER + 7);
        assert!(shown.contains("<details") && shown.contains("Show 7 more characters"), "{shown}");
    }
}
