//! The view label by label, for channels without a layout of their own: a chat's card, a mail, a terminal.
//!
//! Labels are ours and fixed, every line belongs to one, and what somebody else wrote is a span of its own. A
//! channel escapes that for its markup and cannot get the two mixed up.

use countersign_model::Timestamp;

use super::{
    Before, Difference, Fate, Labelled, Review, Shown, Tally, Untrusted,
    operation::{Command, Headline, Verb},
    past::LATELY,
    people::span,
};

/// How long a text on one line is at most, in characters.
const LONGEST: usize = 600;
/// How many lines of arguments or of a difference there are at most.
const MOST_LINES: usize = 60;

/// A label, and what stands under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// The label.
    pub label: &'static str,
    /// The lines under it.
    pub lines: Vec<Vec<Span>>,
}

/// A stretch of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Span {
    /// Our words.
    Ours(String),
    /// Somebody else's, safe to be shown on one line; still to be escaped for the channel's markup.
    Theirs(String),
}

fn ours(text: impl Into<String>) -> Span {
    Span::Ours(text.into())
}

fn theirs(text: &Untrusted) -> Span {
    Span::Theirs(text.one_line(LONGEST))
}

impl Headline {
    /// The action in words, span by span.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        let mut spans = match &self.verb {
            Verb::Ours(verb) => vec![ours(*verb)],
            Verb::Named { action, kind } => vec![theirs(action), ours(" "), theirs(kind)],
        };
        spans.extend([ours(" "), theirs(&self.target)]);
        spans
    }
}

impl Review {
    /// Everything in order, but for the headline. Sections without a line are left out.
    #[must_use]
    pub fn outline(&self, now: Timestamp) -> Vec<Section> {
        let section = |label, lines| Section { label, lines };
        let mut sections = vec![
            section("Approved alone", self.glass_lines()),
            section("Arguments changed by", self.edited_by.iter().map(|by| vec![theirs(by)]).collect()),
            section("Command", self.command.as_ref().map(command).unwrap_or_default()),
            section("Arguments", labelled(&self.arguments)),
            section("What changes", self.differences.iter().flat_map(difference).collect()),
            section("Target", self.target_lines()),
            section("Agent", self.agent_lines()),
            section("Why policy asks", self.why_lines()),
            section("What the agent says (unverified)", self.said_lines()),
            section("Who decides", self.deciding_lines()),
            section("Lately", self.lately_lines()),
            section("Asked before", vec![vec![ours(self.before_words())]]),
            section("Time left", vec![vec![ours(self.time_words(now))]]),
            section("What follows", self.consequence_lines()),
            section("Digest", vec![vec![ours(self.digest.to_string())]]),
        ];
        sections.retain(|section| !section.lines.is_empty());
        sections
    }

    fn glass_lines(&self) -> Vec<Vec<Span>> {
        let Some(glass) = &self.glass else { return Vec::new() };
        let review = match &glass.review {
            Some(review) => vec![theirs(&review.by), ours(" reviewed that: "), theirs(&review.comment)],
            None => vec![ours("Somebody else has to review that.")],
        };
        vec![vec![theirs(&glass.by), ours(" broke the glass: "), theirs(&glass.reason)], review]
    }

    fn target_lines(&self) -> Vec<Vec<Span>> {
        let mut lines = vec![vec![theirs(&self.target.kind), ours(" "), theirs(&self.target.id)]];
        if self.is_production {
            lines.push(vec![ours("PRODUCTION")]);
        }
        lines.extend(labelled(&self.target.labels));
        lines.extend(labelled(&self.target.known).into_iter().map(|mut line| {
            line.push(ours(" (policy says)"));
            line
        }));
        lines
    }

    fn agent_lines(&self) -> Vec<Vec<Span>> {
        let mut lines = vec![vec![ours(format!("{}, owner ", self.agent)), theirs(&self.owner)]];
        if let Some(initiator) = &self.initiator {
            let word = if initiator.is_verified { " (verified)" } else { " (unverified: the agent says so)" };
            lines.push(vec![ours("for "), theirs(&initiator.person), ours(word)]);
        }
        lines
    }

    fn why_lines(&self) -> Vec<Vec<Span>> {
        let reason = |reason: &Option<Untrusted>| match reason {
            Some(reason) => theirs(reason),
            None => ours("The policy gives no reason."),
        };
        let line =
            |why: &super::Why| vec![reason(&why.reason), ours(" (policy "), theirs(&why.policy), ours(")")];
        if self.why.is_empty() { vec![vec![reason(&None)]] } else { self.why.iter().map(line).collect() }
    }

    fn said_lines(&self) -> Vec<Vec<Span>> {
        let said = &self.said;
        let mut lines = vec![match &said.reason {
            Some(reason) => vec![ours("Reason: "), theirs(reason)],
            None => vec![ours("It gave no reason.")],
        }];
        for (name, text) in
            [("Prompt: ", &said.prompt), ("Model: ", &said.model), ("Session: ", &said.session)]
        {
            lines.extend(text.as_ref().map(|text| vec![ours(name), theirs(text)]));
        }
        lines
    }

    fn deciding_lines(&self) -> Vec<Vec<Span>> {
        let need = |need: &super::Need| vec![ours(format!("{}: {}", need.name, need.words))];
        let vote = |vote: &super::Cast| {
            let word = if vote.approved { " approved" } else { " denied" };
            let mut line = vec![theirs(&vote.person), ours(word)];
            line.extend(vote.reason.iter().flat_map(|reason| [ours(": "), theirs(reason)]));
            line
        };
        self.needs.iter().map(need).chain(self.votes.iter().map(vote)).collect()
    }

    fn lately_lines(&self) -> Vec<Vec<Span>> {
        let mut lines: Vec<_> = self.activity_words().map(|words| vec![ours(words)]).into_iter().collect();
        lines.extend(self.recent.iter().map(|recent| {
            vec![Span::Theirs(recent.headline.clone()), ours(format!(": {}", recent.standing.words))]
        }));
        lines
    }

    /// What the agent did lately, in words.
    #[must_use]
    pub fn activity_words(&self) -> Option<String> {
        let activity = self.activity?;
        let more = if activity.is_more { " or more" } else { "" };
        let (permitted, denied, held) = (activity.permitted, activity.denied, activity.held);
        Some(format!(
            "In the last {}: {permitted}{more} allowed, {denied} denied, {held} held.",
            span(LATELY)
        ))
    }

    /// How often the same was asked before, in words.
    #[must_use]
    pub fn before_words(&self) -> String {
        let Before { same_matter, same_operation, among } = self.before;
        let among = match among {
            0 => return "This is the first request of this agent.".to_owned(),
            1 => "this agent’s one earlier request".to_owned(),
            among => format!("this agent’s last {among} requests"),
        };
        if same_matter == Tally::default() && same_operation == Tally::default() {
            return format!("The same was never decided before, among {among}.");
        }
        format!(
            "The same action on the same resource was {}, with these very arguments {}, among {among}.",
            times(same_matter),
            times(same_operation)
        )
    }

    fn time_words(&self, now: Timestamp) -> String {
        let seconds = (self.decide_by.millis_since(now).max(0) + 999) / 1_000;
        match (self.consequence.is_some(), seconds) {
            (false, _) => format!("Decided: {}.", self.standing.words),
            (true, 0) => "The time is over.".to_owned(),
            (true, seconds) if seconds < 60 => format!("{seconds} s, until {}", self.decide_by),
            (true, seconds) => format!("{} min, until {}", seconds / 60, self.decide_by),
        }
    }

    fn consequence_lines(&self) -> Vec<Vec<Span>> {
        let both = self.consequence.iter().flat_map(|follows| [&follows.approve, &follows.deny]);
        both.map(|words| vec![ours(words.as_str())]).collect()
    }
}

fn times(tally: Tally) -> String {
    match (tally.approved, tally.denied) {
        (0, 0) => "never decided".to_owned(),
        (approved, 0) => format!("approved {}", often(approved)),
        (0, denied) => format!("denied {}", often(denied)),
        (approved, denied) => format!("approved {} and denied {}", often(approved), often(denied)),
    }
}

fn often(times: usize) -> String {
    match times {
        1 => "once".to_owned(),
        times => format!("{times} times"),
    }
}

fn command(command: &Command) -> Vec<Vec<Span>> {
    let mut line = Vec::new();
    for word in &command.words {
        if !line.is_empty() {
            line.push(ours(" "));
        }
        line.push(theirs(&word.text));
    }
    let mut lines = vec![line];
    if !command.directory.is_empty() {
        lines.push(vec![ours("in "), theirs(&command.directory)]);
    }
    if !command.variables.is_empty() {
        lines.push(vec![ours("with these variables")]);
        lines.extend(labelled(&command.variables));
    }
    lines.extend(command.parts.iter().map(|part| [vec![ours("• ")], part.spans()].concat()));
    lines
}

fn difference(difference: &Difference) -> Vec<Vec<Span>> {
    let counts = format!("{} lines added, {} removed", difference.added, difference.removed);
    let mut head: Vec<Span> = difference.of.iter().flat_map(|of| [theirs(of), ours(": ")]).collect();
    head.push(ours(if difference.is_too_long { "too long to be compared".to_owned() } else { counts }));
    let line = |line: &super::Line| {
        let sign = match line.fate {
            Fate::Same => "  ",
            Fate::Removed => "- ",
            Fate::Added => "+ ",
            Fate::Gap => return vec![ours("…")],
        };
        let end = if line.is_unbroken { " (no line break at its end)" } else { "" };
        vec![ours(sign), theirs(&line.text), ours(end)]
    };
    let lines = difference.lines.iter().take(MOST_LINES).map(line);
    let left = difference.lines.len().saturating_sub(MOST_LINES) + difference.more;
    let more = (left > 0).then(|| vec![ours(format!("… {left} more lines"))]);
    std::iter::once(head).chain(lines).chain(more).collect()
}

/// Labelled values, one line each, nested ones with the names on their way.
fn labelled(values: &[Labelled]) -> Vec<Vec<Span>> {
    let mut lines = Vec::new();
    for Labelled { name, value } in values {
        leaves(&[theirs(name)], value, &mut lines);
    }
    let left = lines.len().saturating_sub(MOST_LINES);
    if left > 0 {
        lines.truncate(MOST_LINES);
        lines.push(vec![ours(format!("… {left} more"))]);
    }
    lines
}

fn leaves(way: &[Span], value: &Shown, lines: &mut Vec<Vec<Span>>) {
    let leaf = |end: Span| [way, &[ours(": "), end]].concat();
    match value {
        Shown::Text(text) if text.is_empty() => lines.push(leaf(ours("(empty)"))),
        Shown::Text(text) => lines.push(leaf(theirs(text))),
        Shown::Redacted(_) => lines.push(leaf(ours("(a secret, redacted by the sidecar)"))),
        Shown::Literal(literal) => lines.push(leaf(ours(literal.as_str()))),
        Shown::List(items) => {
            for (index, item) in items.iter().enumerate() {
                leaves(&[way, &[ours(format!(" [{index}]"))]].concat(), item, lines);
            }
        }
        Shown::Members(members) => {
            for Labelled { name, value } in members {
                leaves(&[way, &[ours(" › "), theirs(name)]].concat(), value, lines);
            }
        }
    }
}
