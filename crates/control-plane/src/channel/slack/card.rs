//! What a request looks like in Slack: Block Kit, from the canonical view alone (I12).
//!
//! What is not ours stands in `rich_text` elements, in the style of code. Slack reads no mentions, links,
//! emoji or formatting there, and our own words are never in that style, so the two cannot be mixed up.

use countersign_model::Timestamp;
use serde_json::{Value, json};

use super::{
    api::{Message, Place},
    interaction::{APPROVE, APPROVE_WHY, Asked, DENY, DETAILS, REASON, REASON_FORM},
};
use crate::{
    channel::{json::with, page::Page, ticket::Ticket},
    review::{Consequence, Review, Section, Span},
    services::VoteDecision,
};

/// The most characters of one element. Slack takes 3,000 in a text.
const MAX_TEXT: usize = 2_800;
/// The most characters of all elements of a card together.
const MAX_CARD: usize = 9_000;
/// The same of a modal, which has room for a hundred blocks.
const MAX_DETAILS: usize = 40_000;
/// The most lines of a section on a card; the rest is one click away.
const CARD_LINES: usize = 10;
/// The same in a modal.
const DETAILS_LINES: usize = 80;
/// The longest reason that can be typed, in characters.
const MAX_REASON: usize = crate::api::MAX_REASON;
/// The most characters of a header.
const MAX_HEADER: usize = 150;
/// The most characters of the text in a question whether one is sure.
const MAX_CONFIRM: usize = 300;

/// What a card leaves to the modal.
const ONLY_IN_DETAILS: [&str; 4] = ["Lately", "Asked before", "Time left", "Digest"];

/// How many characters and lines there is room for.
struct Room {
    characters: usize,
    lines: usize,
}

/// The card of a request as it is now.
pub(super) fn card(page: &Page<'_>, now: Timestamp) -> Message {
    let review = page.review;
    let mut blocks = vec![header(review), rich(&[paragraph(&bold(&review.headline.spans()))])];
    let mut room = Room { characters: MAX_CARD, lines: CARD_LINES };
    let outline = review.outline(now);
    let shown = outline.iter().filter(|section| !ONLY_IN_DETAILS.contains(&section.label));
    blocks.extend(shown.map(|section| laid_out(section, &mut room)));
    blocks.push(footer(page));
    blocks.push(json!({"type": "actions", "block_id": "decide", "elements": buttons(page)}));
    Message { text: summary(review), blocks }
}

/// Everything there is to know of a request.
pub(super) fn details(page: &Page<'_>, now: Timestamp) -> Value {
    let mut room = Room { characters: MAX_DETAILS, lines: DETAILS_LINES };
    let mut blocks = vec![rich(&[paragraph(&bold(&page.review.headline.spans()))])];
    blocks.extend(page.review.outline(now).iter().map(|section| laid_out(section, &mut room)));
    blocks.push(footer(page));
    json!({"type": "modal", "title": plain("Details", 24), "close": plain("Close", 24), "blocks": blocks})
}

/// The form that asks for a reason.
pub(super) fn reason_form(page: &Page<'_>, decision: VoteDecision, ticket: &Ticket, place: &Place) -> Value {
    let title = match decision {
        VoteDecision::Approve => "Approve",
        VoteDecision::Deny => "Deny",
    };
    let asked = Asked { ticket: ticket.to_string(), decision, place: place.clone() };
    let input =
        json!({"type": "plain_text_input", "action_id": REASON, "multiline": true, "max_length": MAX_REASON});
    let field = json!({
        "type": "input", "block_id": REASON, "optional": !page.needs_reason, "label": plain("Reason", 150), "element": input,
    });
    json!({
        "type": "modal",
        "callback_id": REASON_FORM,
        "private_metadata": json!(asked).to_string(),
        "title": plain(title, 24),
        "submit": plain(title, 24),
        "close": plain("Back", 24),
        "blocks": [rich(&[paragraph(&bold(&page.review.headline.spans()))]), field],
    })
}

/// Words of our own for one person or for a thread.
pub(super) fn words(text: &str) -> Message {
    let blocks = vec![json!({"type": "section", "text": plain(text, MAX_TEXT)})];
    Message { text: escaped(text), blocks }
}

/// The same, with a button that opens a page.
pub(super) fn words_with_link(text: &str, label: &str, url: &str) -> Message {
    let mut message = words(text);
    message.blocks.push(json!({"type": "actions", "elements": [link(label, url)]}));
    message
}

/// How it stands, for the thread below a card.
pub(super) fn follow_up(review: &Review, now: Timestamp) -> Message {
    let outline = review.outline(now);
    let mut room = Room { characters: MAX_TEXT, lines: CARD_LINES };
    let standing = format!("Now: {}", review.standing.words);
    let mut blocks = vec![json!({"type": "section", "text": plain(&standing, MAX_TEXT)})];
    let deciding = outline.iter().filter(|section| section.label == "Who decides");
    blocks.extend(deciding.map(|section| laid_out(section, &mut room)));
    Message { text: escaped(&standing), blocks }
}

/// That it still waits, for those who have passed it over.
pub(super) fn reminder(review: &Review, now: Timestamp) -> Message {
    let mut message = follow_up(review, now);
    let text = "This still waits for a decision.";
    message.blocks.insert(0, json!({"type": "section", "text": plain(text, MAX_TEXT)}));
    message.text = text.to_owned();
    message
}

/// Ours alone: the names of agents are checked when they are given.
fn header(review: &Review) -> Value {
    let production = if review.is_production { "🔴 PRODUCTION · " } else { "" };
    let title = match review.consequence {
        Some(_) => format!("{production}{} asks for approval", review.agent),
        None => format!("{production}{}: {}", review.agent, review.standing.words),
    };
    json!({"type": "header", "text": plain(&title, MAX_HEADER)})
}

/// For notifications and screen readers, which get no blocks.
fn summary(review: &Review) -> String {
    let production = if review.is_production { "PRODUCTION: " } else { "" };
    let text =
        format!("{production}{} ({}): {}", review.agent, review.standing.words, review.headline.one_line());
    escaped(&shortened(&text, MAX_TEXT))
}

/// A label and its lines, as far as there is room.
fn laid_out(section: &Section, room: &mut Room) -> Value {
    let mut elements = vec![text(section.label, &json!({"bold": true}))];
    let mut shown = 0;
    for line in section.lines.iter().take(room.lines) {
        let line = line_of(line);
        let length: usize = line.iter().map(length).sum();
        if length > room.characters {
            break;
        }
        room.characters -= length;
        shown += 1;
        elements.push(text("\n", &json!({})));
        elements.extend(line);
    }
    let left = section.lines.len() - shown;
    if left > 0 {
        let noun = if left == 1 { "line" } else { "lines" };
        elements.push(text(
            &format!("\n… {left} more {noun}: open it in the console to see all"),
            &json!({"italic": true}),
        ));
    }
    rich(&[paragraph(&elements)])
}

fn line_of(spans: &[Span]) -> Vec<Value> {
    spans.iter().filter_map(|span| element(span, false)).collect()
}

fn bold(spans: &[Span]) -> Vec<Value> {
    spans.iter().filter_map(|span| element(span, true)).collect()
}

/// Slack takes no empty text.
fn element(span: &Span, is_bold: bool) -> Option<Value> {
    let (words, style) = match span {
        Span::Ours(words) => (words, json!({"bold": is_bold})),
        Span::Theirs(words) => (words, json!({"bold": is_bold, "code": true})),
    };
    (!words.is_empty()).then(|| text(words, &style))
}

fn text(words: &str, style: &Value) -> Value {
    json!({"type": "text", "text": shortened(words, MAX_TEXT), "style": style})
}

fn length(element: &Value) -> usize {
    element["text"].as_str().map_or(0, |text| text.chars().count())
}

fn paragraph(elements: &[Value]) -> Value {
    json!({"type": "rich_text_section", "elements": elements})
}

fn rich(elements: &[Value]) -> Value {
    json!({"type": "rich_text", "elements": elements})
}

/// Until when, in the reader's own zone, and by what the request is known.
fn footer(page: &Page<'_>) -> Value {
    let review = page.review;
    let until = review.decide_by;
    let clock = format!("<!date^{}^{{date_short_pretty}} {{time}}|{until}>", until.as_seconds());
    let digest = review.digest.short();
    let words = match review.consequence {
        Some(_) => format!("Decide by {clock} · digest {digest}"),
        None => format!("{} · digest {digest}", review.standing.words),
    };
    json!({"type": "context", "elements": [{"type": "mrkdwn", "text": words}]})
}

fn buttons(page: &Page<'_>) -> Vec<Value> {
    let review = page.review;
    let ticket = Ticket::of(review).to_string();
    let mut buttons = Vec::new();
    if let Some(consequence) = &review.consequence {
        if page.takes_approvals {
            buttons.push(approve_button(page, consequence, &ticket));
        }
        if page.takes_denials {
            buttons.push(with(button("Deny", DENY, &ticket), json!({"style": "danger"})));
        }
        buttons.push(button("Details", DETAILS, &ticket));
    }
    buttons.push(link("Open in the console", page.link));
    buttons
}

fn approve_button(page: &Page<'_>, consequence: &Consequence, ticket: &str) -> Value {
    let name = if page.needs_reason { APPROVE_WHY } else { APPROVE };
    let asks_first = page.review.is_production && !page.needs_reason;
    let confirm = if asks_first { json!({"confirm": confirmation(consequence)}) } else { Value::Null };
    with(with(button("Approve", name, ticket), json!({"style": "primary"})), confirm)
}

/// One slip of a thumb is not to change production.
fn confirmation(consequence: &Consequence) -> Value {
    json!({
        "title": plain("Approve in production?", 100),
        "text": plain(&consequence.approve, MAX_CONFIRM),
        "confirm": plain("Approve", 30),
        "deny": plain("Back", 30),
    })
}

fn button(label: &str, name: &str, value: &str) -> Value {
    json!({"type": "button", "action_id": name, "text": plain(label, 75), "value": value})
}

fn link(label: &str, url: &str) -> Value {
    json!({"type": "button", "action_id": "open", "text": plain(label, 75), "url": url})
}

fn plain(words: &str, most: usize) -> Value {
    json!({"type": "plain_text", "text": shortened(words, most), "emoji": false})
}

fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// What Slack's markup takes for its own, as its documentation wants it written.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
