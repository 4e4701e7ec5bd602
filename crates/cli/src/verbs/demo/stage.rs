//! How the demo tells its story.

use serde_json::Value;

use super::{Wanted, hint};
use crate::{
    output::{Paint, Style, plain, style_of},
    verbs::approvals::what,
};

/// The most lines of a command's output that are shown.
const MOST_LINES: usize = 8;

/// Standard output, with a voice.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stage {
    paint: Paint,
}

impl Stage {
    pub(super) fn new() -> Self {
        Self { paint: Paint::stdout() }
    }

    pub(super) fn title(self, text: &str) {
        println!("\n{}\n", self.paint.paint(Style::Bold, text));
    }

    pub(super) fn told(self, text: &str) {
        println!("{text}");
    }

    pub(super) fn link(self, url: &str) -> String {
        self.paint.paint(Style::Link, url)
    }

    /// A new chapter.
    pub(super) fn act(self, number: &str, text: &str) {
        println!("\n{} {}", self.paint.paint(Style::Dim, number), self.paint.paint(Style::Bold, text));
    }

    /// Something that the agent did, what became of it, and what it printed.
    pub(super) fn command(self, command: &str, outcome: &str, style: Style, output: &str) {
        println!("  agent ▸ {command}  {}", self.paint.paint(style, outcome));
        for line in output.lines().take(MOST_LINES) {
            println!("    {}", self.paint.paint(Style::Dim, &plain(line)));
        }
    }

    /// Something waits.
    pub(super) fn held(self, approval: &Value, console: &str, sign_in: &str, wanted: Wanted) {
        let text = |pointer| approval.pointer(pointer).and_then(Value::as_str).map(plain).unwrap_or_default();
        let operation = approval.get("operation").map(what).unwrap_or_default();
        println!("  agent ▸ MCP write_file letter.txt  {}", self.paint.paint(Style::Held, "held"));
        println!("    {}", plain(&operation));
        println!(
            "    {}",
            self.paint
                .paint(Style::Dim, &format!("{}: {}", text("/policies/0/id"), text("/policies/0/reason")))
        );
        if wanted != Wanted::Nobody {
            println!(
                "    {}  {}",
                self.link(&format!("{console}/approvals/{}", text("/id"))),
                self.paint.paint(Style::Dim, "the approval")
            );
            println!(
                "    {}  {}",
                self.link(sign_in),
                self.paint.paint(Style::Dim, "signs you in as a reviewer, once")
            );
        }
        println!("    {}", self.paint.paint(Style::Held, hint(wanted)));
    }

    /// Somebody at this terminal has voted.
    pub(super) fn voted(self, decision: &str) {
        println!("    vote: {}", self.paint.paint(style_of(decision), decision));
    }

    /// What to do next.
    pub(super) fn closing(self) {
        println!("\n{}", self.paint.paint(Style::Bold, "Next"));
        println!("  countersign dev                  the same, to play with");
        println!("  countersign policy init policy   the policy that decided here, to make your own");
        println!();
    }
}
