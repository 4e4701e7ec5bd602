//! What a request looks like in Microsoft Teams: an Adaptive Card, from the canonical view alone (I12).
//!
//! Everything stands in `TextRun`s, which know no Markdown, no links and no mentions. What is not ours is in
//! a monospaced font, and our own words never are, so the two cannot be mixed up.

use countersign_model::Timestamp;
use serde_json::{Value, json};

use crate::{
    channel::{json::with, page::Page, ticket::Ticket},
    review::{Review, Section, Span},
};

/// An action's name: approve.
pub(super) const APPROVE: &str = "countersign.approve";
/// An action's name: deny.
pub(super) const DENY: &str = "countersign.deny";
/// An action's name: show what it is like now.
pub(super) const REFRESH: &str = "countersign.refresh";
/// The name of the field for a reason.
pub(super) const REASON: &str = "reason";

/// The most bytes of lines on a card. Teams takes messages of about 28 KB, with everything around them.
const MAX_LINES_SIZE: usize = 14_000;
/// The most characters of one stretch of text.
const MAX_TEXT: usize = 1_000;
/// The most lines of a section.
const MOST_LINES: usize = 12;
/// The longest reason that can be typed, in characters.
const MAX_REASON: usize = crate::api::MAX_REASON;

/// What is left to the console.
const ONLY_IN_CONSOLE: [&str; 3] = ["Lately", "Time left", "Digest"];

/// Something to tell whoever has just clicked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Notice {
    /// What.
    pub(super) text: String,
    /// Whether it went as they wanted.
    pub(super) is_good: bool,
    /// Where they can do something about it: a button's label and address.
    pub(super) link: Option<(&'static str, String)>,
}

/// The card of a request as it is now.
pub(super) fn card(page: &Page<'_>, now: Timestamp, notice: Option<&Notice>) -> Value {
    let review = page.review;
    let mut body: Vec<Value> = notice.map(noticed).into_iter().collect();
    body.push(title(review));
    body.push(line(&review.headline.spans(), &json!({"weight": "Bolder"})));
    let mut room = MAX_LINES_SIZE;
    let outline = review.outline(now);
    let shown = outline.iter().filter(|section| !ONLY_IN_CONSOLE.contains(&section.label));
    body.extend(shown.flat_map(|section| laid_out(section, &mut room)));
    body.push(footer(review));
    let mut refresh = Value::Null;
    let mut actions = Vec::new();
    if review.consequence.is_some() && page.takes_denials {
        body.push(reason_field(page.needs_reason));
        let data = json!({"ticket": Ticket::of(review).to_string()});
        if page.takes_approvals {
            actions.push(execute("Approve", APPROVE, &data, "positive"));
        }
        actions.push(execute("Deny", DENY, &data, "destructive"));
        // Whoever looks at it later sees what it is like then, also when an update was lost.
        refresh = json!({"refresh": {"action": {"type": "Action.Execute", "verb": REFRESH, "data": data}}});
    }
    if let Some((label, url)) = notice.and_then(|notice| notice.link.as_ref()) {
        actions.push(open(label, url));
    }
    actions.push(open("Open in the console", page.link));
    let card = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.5",
        "msteams": {"width": "Full"},
        "body": body,
        "actions": actions,
    });
    with(card, refresh)
}

/// A card of one sentence of ours.
pub(super) fn sentence(text: &str) -> Value {
    plain(&[rich(&[run(text, Value::Null)])])
}

/// A card without anything to click.
fn plain(body: &[Value]) -> Value {
    json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.5",
        "body": body,
    })
}

/// How it stands, for the thread below a card.
pub(super) fn follow_up(review: &Review, now: Timestamp) -> Value {
    let mut body = vec![rich(&[run(&format!("Now: {}", review.standing.words), Value::Null)])];
    let mut room = MAX_LINES_SIZE;
    let outline = review.outline(now);
    let deciding = outline.iter().filter(|section| section.label == "Who decides");
    body.extend(deciding.flat_map(|section| laid_out(section, &mut room)));
    plain(&body)
}

/// For notifications, which show no card.
pub(super) fn summary(review: &Review) -> String {
    let production = if review.is_production { "PRODUCTION: " } else { "" };
    shortened(&format!(
        "{production}{} ({}): {}",
        review.agent,
        review.standing.words,
        review.headline.one_line()
    ))
}

fn noticed(notice: &Notice) -> Value {
    let style = if notice.is_good { "good" } else { "warning" };
    let items = [rich(&[run(&notice.text, json!({"weight": "Bolder"}))])];
    json!({"type": "Container", "style": style, "bleed": true, "items": items})
}

/// Ours alone: the names of agents are checked when they are given.
fn title(review: &Review) -> Value {
    let text = match review.consequence {
        Some(_) => format!("{} asks for approval", review.agent),
        None => format!("{}: {}", review.agent, review.standing.words),
    };
    let mut runs = Vec::new();
    if review.is_production {
        runs.push(run("PRODUCTION · ", json!({"color": "Attention", "weight": "Bolder", "size": "Large"})));
    }
    runs.push(run(&text, json!({"weight": "Bolder", "size": "Large"})));
    rich(&runs)
}

/// A label and its lines, as far as there is room.
fn laid_out(section: &Section, room: &mut usize) -> Vec<Value> {
    let label = rich(&[run(section.label, json!({"weight": "Bolder", "isSubtle": true}))]);
    let mut lines = vec![with(label, json!({"spacing": "Medium"}))];
    for spans in section.lines.iter().take(MOST_LINES) {
        let next = with(line(spans, &Value::Null), json!({"spacing": "None"}));
        let size = next.to_string().len();
        if size > *room {
            break;
        }
        *room -= size;
        lines.push(next);
    }
    let left = section.lines.len() - (lines.len() - 1);
    if left > 0 {
        let noun = if left == 1 { "line" } else { "lines" };
        let text = format!("… {left} more {noun}: open it in the console to see all");
        lines.push(rich(&[run(&text, json!({"italic": true}))]));
    }
    lines
}

fn line(spans: &[Span], style: &Value) -> Value {
    let inline = |span: &Span| match span {
        Span::Ours(words) => run(words, style.clone()),
        Span::Theirs(words) => with(run(words, style.clone()), json!({"fontType": "Monospace"})),
    };
    rich(&spans.iter().map(inline).collect::<Vec<_>>())
}

fn run(text: &str, style: Value) -> Value {
    with(json!({"type": "TextRun", "text": shortened(text)}), style)
}

fn rich(inlines: &[Value]) -> Value {
    json!({"type": "RichTextBlock", "inlines": inlines})
}

/// Until when, in the reader's own zone, and by what the request is known. Nothing here is anybody else's, so
/// this one block may be Markdown, which is where Teams fills in dates.
fn footer(review: &Review) -> Value {
    // Teams fills in no date that has fractions of a second.
    let until = review.decide_by.to_string();
    let until = until.split_once('.').map_or(until.clone(), |(seconds, _)| format!("{seconds}Z"));
    let digest = review.digest.short();
    let text = match review.consequence {
        Some(_) => format!("Decide by {{{{DATE({until},SHORT)}}}} {{{{TIME({until})}}}} · digest {digest}"),
        None => format!("{} · digest {digest}", review.standing.words),
    };
    json!({"type": "TextBlock", "text": text, "isSubtle": true, "size": "Small", "wrap": true})
}

fn reason_field(is_required: bool) -> Value {
    let label = if is_required { "Reason" } else { "Reason (optional)" };
    json!({
        "type": "Input.Text", "id": REASON, "label": label, "isMultiline": true, "maxLength": MAX_REASON,
        "isRequired": is_required, "errorMessage": "Say why",
    })
}

fn execute(title: &str, verb: &str, data: &Value, style: &str) -> Value {
    json!({"type": "Action.Execute", "title": title, "verb": verb, "data": data, "style": style})
}

fn open(title: &str, url: &str) -> Value {
    json!({"type": "Action.OpenUrl", "title": title, "url": url})
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= MAX_TEXT {
        return text.to_owned();
    }
    text.chars().take(MAX_TEXT - 1).chain(['…']).collect()
}
