//! The inbox as lines of text. Our labels begin at the edge; whatever is under one stands further in, so that
//! nothing an agent writes can look like a label.

use countersign_model::Timestamp;

use super::state::{Inbox, Review, Screen, Section, Span};
use crate::{
    output::{Paint, Style, distance, plain, short},
    verbs::approvals::{Approval, needs, what},
};

/// How far in stands what is under a label.
const INDENT: usize = 4;

/// The lines of a screen of that size.
pub(super) fn draw(
    inbox: &Inbox,
    (columns, rows): (usize, usize),
    now: Timestamp,
    paint: Paint,
) -> Vec<String> {
    let (head, mut body, keys, top) = match &inbox.screen {
        Screen::List => {
            let head = format!("Countersign: {} waiting for a decision", inbox.waiting.len());
            (head, list(inbox, columns, now, paint), "↑↓ choose  Enter details  a approve  d deny  q quit", 0)
        }
        Screen::Details { review, top } => {
            let keys = "↑↓ scroll  a approve  d deny  Esc back";
            (state(review, now), details(review, columns, paint), keys, *top)
        }
        Screen::Reason { review, decision, text } => {
            let head = format!("To {}: why?", decision.as_str());
            let mut lines = vec![headline(review, columns, paint), String::new()];
            lines.extend(wrapped(&format!("{}_", plain(text)), columns, 0));
            (head, lines, "type a reason, or none  Enter go on  Esc back", 0)
        }
        Screen::Confirm { review, decision, reason, top } => {
            let word = decision.as_str();
            let head = format!("To {word} exactly this: press y. Any other key goes back.");
            let mut lines = vec![format!("reason: {}", if reason.is_empty() { "none" } else { "" })];
            lines.extend(wrapped(&plain(reason), columns, INDENT).into_iter().filter(|_| !reason.is_empty()));
            lines.extend(details(review, columns, paint));
            (head, lines, "y confirm  ↑↓ scroll  any other key back", *top)
        }
    };
    let room = rows.saturating_sub(4);
    let top = top.min(body.len().saturating_sub(room));
    body = body.into_iter().skip(top).take(room).collect();
    body.resize(room, String::new());
    let mut lines = vec![paint.paint(Style::Bold, &short(&head, columns)), String::new()];
    lines.extend(body);
    lines.push(paint.paint(Style::Held, &short(&inbox.note, columns)));
    lines.push(paint.paint(Style::Dim, &short(keys, columns)));
    lines
}

fn list(inbox: &Inbox, columns: usize, now: Timestamp, paint: Paint) -> Vec<String> {
    if inbox.waiting.is_empty() {
        return vec!["Nothing waits. What comes is shown here.".to_owned()];
    }
    inbox.waiting.iter().map(|approval| row(approval, inbox, columns, now, paint)).collect()
}

fn row(approval: &Approval, inbox: &Inbox, columns: usize, now: Timestamp, paint: Paint) -> String {
    let is_chosen = Some(approval.id) == inbox.chosen;
    let mark = if is_chosen { "> " } else { "  " };
    let left = distance(approval.decide_by, now);
    let text = format!(
        "{mark}{left:<9} {}  {}  {}",
        what(&approval.operation),
        approval.agent,
        needs(&approval.requirements)
    );
    let text = short(&text, columns);
    if is_chosen { paint.paint(Style::Bold, &text) } else { text }
}

fn state(review: &Review, now: Timestamp) -> String {
    let production = if review.production { "PRODUCTION  " } else { "" };
    format!("{production}{}, {} left", review.state, distance(review.decide_by, now))
}

fn headline(review: &Review, columns: usize, paint: Paint) -> String {
    paint.paint(Style::Bold, &short(&text(&review.headline), columns))
}

fn details(review: &Review, columns: usize, paint: Paint) -> Vec<String> {
    let mut lines: Vec<String> = wrapped(&text(&review.headline), columns, 0)
        .iter()
        .map(|line| paint.paint(Style::Bold, line))
        .collect();
    if let (false, Some(why)) = (review.may_vote.allowed, &review.may_vote.reason) {
        lines.extend(wrapped(&format!("You cannot decide this: {}", plain(why)), columns, 0));
    }
    lines.extend(review.sections.iter().flat_map(|section| under_label(section, columns, paint)));
    lines
}

fn under_label(section: &Section, columns: usize, paint: Paint) -> Vec<String> {
    let mut lines = vec![String::new(), paint.paint(Style::Dim, &plain(&section.label))];
    for spans in &section.lines {
        lines.extend(wrapped(&text(spans), columns, INDENT));
    }
    lines
}

/// The words of spans, none of which can steer the terminal.
fn text(spans: &[Span]) -> String {
    let words = |span: &Span| match span {
        Span::Ours(words) | Span::Theirs(words) => plain(words),
    };
    spans.iter().map(words).collect()
}

/// A text on as many lines as it needs, each so far in.
fn wrapped(text: &str, columns: usize, indent: usize) -> Vec<String> {
    let width = columns.saturating_sub(indent).max(10);
    let characters: Vec<char> = text.chars().collect();
    let line = |part: &[char]| format!("{}{}", " ".repeat(indent), part.iter().collect::<String>());
    characters.chunks(width).map(line).collect()
}
