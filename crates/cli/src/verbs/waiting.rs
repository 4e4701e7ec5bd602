//! How a wait for people looks: one line on standard error, in place on a terminal.

use std::io::{self, IsTerminal as _, Write as _};

use countersign_intercept::local::wire::{HeldEvent, WaitingEvent};

use crate::output::{Paint, Style, distance, now, short};

/// The line about one held operation.
pub(crate) struct WaitLine {
    paint: Paint,
    in_place: bool,
    what: String,
    waiting: Option<WaitingEvent>,
    last: String,
}

impl WaitLine {
    /// A line that says nothing yet.
    pub(crate) fn new() -> Self {
        Self {
            paint: Paint::stderr(),
            in_place: io::stderr().is_terminal(),
            what: String::new(),
            waiting: None,
            last: String::new(),
        }
    }

    /// It is held.
    pub(crate) fn held(&mut self, held: &HeldEvent) {
        let reason = held.policies.iter().find_map(|policy| policy.reason.as_deref());
        let because = reason.map(|reason| format!(" ({})", short(reason, 100))).unwrap_or_default();
        self.what = format!("{}{because}", short(&held.summary, 120));
    }

    /// How far the approval is.
    pub(crate) fn waiting(&mut self, waiting: WaitingEvent) {
        self.waiting = Some(waiting);
        self.show();
    }

    /// Shows the time that is left; a terminal shows it in place, a log only what has changed.
    pub(crate) fn show(&mut self) {
        let Some(waiting) = &self.waiting else { return };
        let needs = needs(waiting);
        let link = waiting.link.as_deref().unwrap_or_default();
        let left = distance(waiting.decide_by, now());
        let held = self.paint.paint(Style::Held, "held");
        if self.in_place {
            let link = self.paint.paint(Style::Link, link);
            eprint!("\r\u{1b}[2K{held} {} · {needs} · {link} · {left} left", self.what);
            // Nothing to be done when standard error is gone.
            let _ = io::stderr().flush();
        } else if self.last != needs {
            eprintln!("countersign: {held} {} · {needs} · {link} · {left} left", self.what);
        }
        self.last = needs;
    }

    /// Ends the line.
    pub(crate) fn done(&self, style: Style, word: &str, rest: &str) {
        let start = if self.in_place && self.waiting.is_some() { "\r\u{1b}[2K" } else { "" };
        let word = self.paint.paint(style, word);
        eprintln!("{start}countersign: {word}{}{rest}", if rest.is_empty() { "" } else { " " });
    }

    /// Whether anybody was asked.
    pub(crate) fn was_shown(&self) -> bool {
        self.waiting.is_some()
    }
}

/// Who may decide, and how many of them have.
fn needs(waiting: &WaitingEvent) -> String {
    let one = |progress: &countersign_approval::Progress| {
        let who: Vec<&str> =
            progress.reviewers.iter().map(|who| if who == "*" { "any reviewer" } else { who }).collect();
        format!(
            "{} {}/{} by {}",
            progress.requirement,
            progress.have,
            progress.need,
            short(&who.join(", "), 80)
        )
    };
    waiting.progress.iter().map(one).collect::<Vec<_>>().join(" and ")
}
