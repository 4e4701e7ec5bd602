//! What the inbox shows and what keys do to it, without a terminal.
//!
//! Nothing is decided by one key: a decision is begun (`a`, `d`), takes a reason, shows once more what it is
//! about, and is confirmed by another key (`y`). It counts only for the version that was shown.

use countersign_model::{ApprovalId, Timestamp};
use serde::Deserialize;

use super::terminal::Key;
use crate::verbs::approvals::Approval;

/// The longest reason, in characters.
const MAX_REASON: usize = 2_000;

/// A request as the control plane shows it to everybody.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Review {
    pub(super) id: ApprovalId,
    pub(super) version: u64,
    pub(super) state: String,
    pub(super) production: bool,
    pub(super) headline: Vec<Span>,
    pub(super) sections: Vec<Section>,
    pub(super) may_vote: MayVote,
    pub(super) decide_by: Timestamp,
}

/// A label, and what stands under it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Section {
    pub(super) label: String,
    pub(super) lines: Vec<Vec<Span>>,
}

/// A stretch of a line, in our words or somebody else's.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Span {
    Ours(String),
    Theirs(String),
}

/// Whether a vote would count.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct MayVote {
    pub(super) allowed: bool,
    pub(super) reason: Option<String>,
}

/// An answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    Approve,
    Deny,
}

impl Decision {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Deny => "deny",
        }
    }
}

/// What is on the screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Screen {
    /// Everything that waits.
    List,
    /// One request, from a line on.
    Details { review: Review, top: usize },
    /// A decision that is begun: its reason is asked for.
    Reason { review: Review, decision: Decision, text: String },
    /// A decision that is to be confirmed.
    Confirm { review: Review, decision: Decision, reason: String, top: usize },
}

/// What is to be done about a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Nothing, but showing.
    None,
    /// The end.
    Quit,
    /// Read a request, and begin a decision about it if there is one.
    Open(ApprovalId, Option<Decision>),
    /// Vote.
    Vote { id: ApprovalId, version: u64, decision: Decision, reason: String },
}

/// The inbox.
#[derive(Debug)]
pub(super) struct Inbox {
    pub(super) waiting: Vec<Approval>,
    /// By its id, so that what comes and goes does not move the choice to another one.
    pub(super) chosen: Option<ApprovalId>,
    pub(super) screen: Screen,
    /// What has just happened.
    pub(super) note: String,
}

impl Inbox {
    pub(super) fn new() -> Self {
        Self { waiting: Vec::new(), chosen: None, screen: Screen::List, note: String::new() }
    }

    /// Takes in what waits now. A request that is being looked at and has changed is shown anew first.
    pub(super) fn take_waiting(&mut self, waiting: Vec<Approval>) {
        self.waiting = waiting;
        let is_there = |id| self.waiting.iter().any(|approval| approval.id == id);
        if !self.chosen.is_some_and(is_there) {
            self.chosen = self.waiting.first().map(|approval| approval.id);
        }
        let shown = match &self.screen {
            Screen::List => return,
            Screen::Details { review, .. }
            | Screen::Reason { review, .. }
            | Screen::Confirm { review, .. } => (review.id, review.version),
        };
        if !self.waiting.iter().any(|approval| (approval.id, approval.version) == shown) {
            self.note = "it changed while you looked at it: nothing was decided; look again".to_owned();
            self.screen = Screen::List;
        }
    }

    /// Shows a request, and begins a decision about it if that was wished.
    pub(super) fn open(&mut self, review: Review, decision: Option<Decision>) {
        self.note.clear();
        self.screen = Screen::Details { review, top: 0 };
        if let Some(decision) = decision {
            self.begin(decision);
        }
    }

    /// Takes a key in.
    pub(super) fn press(&mut self, key: Key) -> Action {
        if key == Key::Interrupt {
            return Action::Quit;
        }
        self.note.clear();
        match &mut self.screen {
            Screen::List => self.press_in_list(key),
            Screen::Details { top, .. } => {
                if scroll(top, key) {
                    return Action::None;
                }
                match key {
                    Key::Char('a') => self.begin(Decision::Approve),
                    Key::Char('d') => self.begin(Decision::Deny),
                    Key::Escape | Key::Char('q') => self.screen = Screen::List,
                    _ => {}
                }
                Action::None
            }
            Screen::Reason { text, .. } => {
                match key {
                    Key::Char(c) if text.chars().count() < MAX_REASON => text.push(c),
                    Key::Backspace => drop(text.pop()),
                    Key::Enter => self.ask_to_confirm(),
                    Key::Escape => self.step_back(),
                    _ => {}
                }
                Action::None
            }
            Screen::Confirm { top, .. } => {
                if scroll(top, key) {
                    return Action::None;
                }
                self.press_to_confirm(key)
            }
        }
    }

    fn press_in_list(&mut self, key: Key) -> Action {
        let open = |decision| self.chosen.map_or(Action::None, |id| Action::Open(id, decision));
        match key {
            Key::Enter => open(None),
            Key::Char('a') => open(Some(Decision::Approve)),
            Key::Char('d') => open(Some(Decision::Deny)),
            Key::Char('q') | Key::Escape => Action::Quit,
            Key::Up | Key::Char('k') => self.choose(|at| at.saturating_sub(1)),
            Key::Down | Key::Char('j') => self.choose(|at| at + 1),
            _ => Action::None,
        }
    }

    fn choose(&mut self, step: impl Fn(usize) -> usize) -> Action {
        let at = self.waiting.iter().position(|approval| Some(approval.id) == self.chosen).unwrap_or(0);
        let next = step(at).min(self.waiting.len().saturating_sub(1));
        self.chosen = self.waiting.get(next).map(|approval| approval.id);
        Action::None
    }

    /// Begins a decision about what is shown, if the vote would count.
    fn begin(&mut self, decision: Decision) {
        let Screen::Details { review, .. } = &self.screen else { return };
        if !review.may_vote.allowed {
            let why = review.may_vote.reason.as_deref().unwrap_or("it is decided");
            self.note = format!("you cannot decide this: {why}");
            return;
        }
        self.screen = Screen::Reason { review: review.clone(), decision, text: String::new() };
    }

    fn ask_to_confirm(&mut self) {
        if let Screen::Reason { review, decision, text } = &self.screen {
            let (review, decision, reason) = (review.clone(), *decision, text.trim().to_owned());
            self.screen = Screen::Confirm { review, decision, reason, top: 0 };
        }
    }

    /// Away from a decision, back to what it is about.
    fn step_back(&mut self) {
        if let Screen::Reason { review, .. } | Screen::Confirm { review, .. } = &self.screen {
            self.screen = Screen::Details { review: review.clone(), top: 0 };
        }
    }

    fn press_to_confirm(&mut self, key: Key) -> Action {
        let Screen::Confirm { review, decision, reason, .. } = &self.screen else { return Action::None };
        if key != Key::Char('y') {
            self.step_back();
            self.note = "nothing was decided".to_owned();
            return Action::None;
        }
        let vote = Action::Vote {
            id: review.id,
            version: review.version,
            decision: *decision,
            reason: reason.clone(),
        };
        self.screen = Screen::List;
        vote
    }
}

/// Scrolls, if that is what a key is for.
fn scroll(top: &mut usize, key: Key) -> bool {
    match key {
        Key::Up | Key::Char('k') => *top = top.saturating_sub(1),
        Key::Down | Key::Char('j') => *top += 1,
        Key::PageUp => *top = top.saturating_sub(10),
        Key::PageDown | Key::Char(' ') => *top += 10,
        _ => return false,
    }
    true
}
