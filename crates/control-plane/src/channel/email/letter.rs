//! What a mail says: the canonical view as text and as simple HTML.
//!
//! A mail only tells; it decides nothing, and has one address: the console's. What somebody else wrote stands on
//! lines of its own, further in than our labels, and no mail program finds an address in it to make a link of.

use countersign_model::Timestamp;
use maud::{Markup, html};

use crate::{
    channel::port::Message,
    review::{Review, Section, Span},
};

/// The longest subject, in characters.
const MAX_SUBJECT: usize = 150;

/// A mail's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Letter {
    pub(super) subject: String,
    pub(super) text: String,
    pub(super) html: String,
}

/// Why it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Occasion {
    /// Somebody is asked.
    Asked,
    /// They are still asked.
    Reminded,
    /// It has become something else.
    Changed,
}

impl Letter {
    /// A mail about an approval.
    pub(super) fn of(message: &Message, occasion: Occasion, now: Timestamp) -> Self {
        let review = &message.review;
        let headline = line(&review.headline.spans());
        let opening = opening(review, occasion);
        let sections = review.outline(now);
        Self {
            subject: subject(&headline, occasion),
            text: text(&headline, &opening, &sections, &message.link),
            html: page(&headline, &opening, &sections, &message.link).into_string(),
        }
    }

    /// A mail that says that it is a test.
    pub(super) fn test(asked_by: &str) -> Self {
        let text =
            format!("This is a test of Countersign's mails, asked for by {asked_by}. Nothing waits for you.");
        let html = html! { p { (text) } }.into_string();
        Self { subject: "Countersign: a test".to_owned(), text: format!("{text}\n"), html }
    }
}

/// The same for every mail about an approval, so that mail programs show them together.
fn subject(headline: &str, occasion: Occasion) -> String {
    let again = if occasion == Occasion::Asked { "" } else { "Re: " };
    let whole = format!("{again}Approval: {headline}");
    if whole.chars().count() <= MAX_SUBJECT {
        return whole;
    }
    whole.chars().take(MAX_SUBJECT - 1).chain(['…']).collect()
}

fn opening(review: &Review, occasion: Occasion) -> String {
    let production = if review.is_production { "PRODUCTION. " } else { "" };
    let words = match occasion {
        Occasion::Asked => "An agent waits for a decision.".to_owned(),
        Occasion::Reminded => "An agent still waits for a decision.".to_owned(),
        Occasion::Changed => format!("This is {} now.", review.standing.words),
    };
    format!("{production}{words}")
}

fn text(headline: &str, opening: &str, sections: &[Section], link: &str) -> String {
    let mut text =
        format!("{opening}\n\n{headline}\n\nSee everything, and decide, in the console:\n{link}\n");
    for section in sections {
        text.push_str(&format!("\n{}\n", section.label));
        for spans in &section.lines {
            text.push_str(&format!("    {}\n", line(spans)));
        }
    }
    text
}

fn page(headline: &str, opening: &str, sections: &[Section], link: &str) -> Markup {
    html! {
        p { strong { (opening) } }
        p { code { (headline) } }
        p { a href=(link) { "See everything, and decide, in the console" } }
        dl {
            @for section in sections {
                dt { strong { (section.label) } }
                @for spans in &section.lines {
                    dd {
                        @for span in spans {
                            @match span {
                                Span::Ours(words) => { (words) }
                                Span::Theirs(words) => { code { (unlinked(words)) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn line(spans: &[Span]) -> String {
    let words = |span: &Span| match span {
        Span::Ours(words) => words.clone(),
        Span::Theirs(words) => unlinked(words),
    };
    spans.iter().map(words).collect()
}

/// A text in which no mail program finds an address to make a link of.
fn unlinked(text: &str) -> String {
    text.replace("://", "[:]//").replace("www.", "www[.]").replace("mailto:", "mailto[:]")
}
