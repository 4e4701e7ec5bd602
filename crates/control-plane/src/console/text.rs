//! Text that is not ours, as markup: as exactly the characters it has ([`crate::review::Untrusted`]).

use maud::{Markup, html};

use crate::review::{Mark, Rest, Run, Untrusted};

/// A text that is not ours. What is long folds away.
pub(crate) fn shown(text: &Untrusted) -> Markup {
    html! {
        bdi.verbatim { (marked(text.head())) }
        @if let Some(rest) = text.rest() { (folded(rest)) }
    }
}

/// Words for people, such as the reason of a vote.
pub(crate) fn prose(text: &str) -> Markup {
    shown(&Untrusted::prose(text))
}

/// A name, an id or an argument.
pub(crate) fn exact(text: &str) -> Markup {
    shown(&Untrusted::exact(text))
}

fn folded(rest: &Rest) -> Markup {
    html! {
        details.fold {
            summary { "Show " (rest.characters) " more characters" }
            bdi.verbatim { (marked(&rest.runs)) }
            p.quiet.small { "SHA-256 of these: " code { (rest.digest.short()) "…" } }
        }
    }
}

fn marked(runs: &[Run]) -> Markup {
    html! {
        @for run in runs {
            @match run {
                Run::Plain(text) => (text),
                Run::Mark(mark) => (mark_of(*mark)),
            }
        }
    }
}

/// A line break is marked, and breaks the line as well.
fn mark_of(mark: Mark) -> Markup {
    let class = if mark.is_visible { "mark-foreign" } else { "mark-hidden" };
    html! {
        span class=(class) title=(mark.title()) { (mark.label()) }
        @if mark.character == '\n' { br; }
    }
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
        for c in ['\0', '\u{1b}', '\r', '\u{200b}', '\u{202e}', '\u{a0}', '\u{e0041}'] {
            let shown = prose(&format!("a{c}b")).into_string();
            assert!(!shown.contains(c), "{c:?} in {shown}");
            assert!(shown.contains(&format!(">U+{:04X}<", u32::from(c))), "{shown}");
        }
        assert!(exact("p\u{430}yments").into_string().contains("mark-foreign"));
        assert!(prose("Grüße, 你好, שלום").into_string().contains("Grüße, 你好, שלום"));
    }

    #[test]
    fn nothing_is_lost_when_a_long_text_folds() {
        let long = "é".repeat(407);
        let shown = exact(&long).into_string();
        assert_eq!(shown.matches('é').count(), 407);
        assert!(shown.contains("<details") && shown.contains("Show 7 more characters"), "{shown}");
    }
}
