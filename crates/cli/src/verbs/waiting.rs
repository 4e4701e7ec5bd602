//! How a wait for people looks: one line on standard error, in place on a terminal.

use std::io::{self, IsTerminal as _, Write as _};

use countersign_approval::{Phase, Progress};
use countersign_intercept::local::wire::{HeldEvent, WaitingEvent};

use crate::output::{Paint, Style, distance, now, short};

/// How wide a line may be when the terminal does not say how wide it is.
const USUAL_WIDTH: usize = 80;

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
        let Some(waiting) = self.waiting.as_ref().filter(|waiting| waiting.phase == Phase::Pending) else {
            return;
        };
        let needs = needs(&waiting.progress);
        let left = format!("{} left", distance(waiting.decide_by, now()));
        let link = waiting.link.as_deref().unwrap_or_default();
        let held = self.paint.paint(Style::Held, "held");
        let head = join(&[&self.what, link]);
        let whole = join(&[&self.what, &needs, link, &left]);
        if !self.in_place {
            if self.last != needs {
                eprintln!("countersign: {held} {whole}");
            }
        } else if whole.chars().count() + "held ".len() < terminal_width() {
            eprint!("\r\u{1b}[2K{held} {whole}");
        } else {
            // A line that wraps could not be written over: what does not change gets lines of its own.
            if self.last.is_empty() {
                eprintln!("{held} {head}");
            }
            eprint!("\r\u{1b}[2K     {}", short(&join(&[&left, &needs]), terminal_width().saturating_sub(6)));
        }
        // Nothing to be done when standard error is gone.
        let _ = io::stderr().flush();
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

fn terminal_width() -> usize {
    let size = rustix::termios::tcgetwinsize(io::stderr());
    size.map_or(USUAL_WIDTH, |size| usize::from(size.ws_col))
}

fn join(parts: &[&str]) -> String {
    let parts: Vec<&str> = parts.iter().copied().filter(|part| !part.is_empty()).collect();
    parts.join(" · ")
}

/// Who may decide, and how many of them have.
fn needs(progress: &[Progress]) -> String {
    let one = |progress: &Progress| {
        let who: Vec<&str> =
            progress.reviewers.iter().map(|who| if who == "*" { "any reviewer" } else { who }).collect();
        let who = short(&who.join(", "), 80);
        format!("{} {}/{} by {who}", progress.requirement, progress.have, progress.need)
    };
    progress.iter().map(one).collect::<Vec<_>>().join(" and ")
}
