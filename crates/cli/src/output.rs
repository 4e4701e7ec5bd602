//! What is printed, and how: tables and colours for people, JSON for programs.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal as _, Write as _},
};

use countersign_model::Timestamp;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::api::Page;

/// How a text looks on a terminal that has colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Bold,
    Dim,
    Good,
    Bad,
    Held,
    Link,
}

impl Style {
    const fn code(self) -> &'static str {
        match self {
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Good => "32",
            Self::Bad => "31",
            Self::Held => "33",
            Self::Link => "36;4",
        }
    }
}

/// Where text goes, and whether it may have colours there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paint {
    colours: bool,
}

impl Paint {
    /// For standard output.
    pub(crate) fn stdout() -> Self {
        Self { colours: io::stdout().is_terminal() && wanted() }
    }

    /// For standard error.
    pub(crate) fn stderr() -> Self {
        Self { colours: io::stderr().is_terminal() && wanted() }
    }

    /// Never with colours.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self { colours: false }
    }

    /// A text in a style.
    pub(crate) fn paint(self, style: Style, text: &str) -> String {
        if self.colours { format!("\u{1b}[{}m{text}\u{1b}[0m", style.code()) } else { text.to_owned() }
    }
}

/// `NO_COLOR` (no-color.org) and dumb terminals switch colours off.
fn wanted() -> bool {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    !no_color && !dumb
}

/// The style of a decision, state or outcome.
pub(crate) fn style_of(state: &str) -> Style {
    match state {
        "approved" | "executed" | "approve" | "permit" | "permitted" | "claimed" => Style::Good,
        "pending" | "held" | "hold" => Style::Held,
        "denied" | "deny" | "failed" | "revoked" | "invalidated" | "outcome_unknown" | "refused" => {
            Style::Bad
        }
        _ => Style::Dim,
    }
}

/// A text that cannot steer a terminal: what agents write is shown, not obeyed. Control characters and
/// those that reorder text become visible.
pub(crate) fn plain(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        let reorders =
            matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || reorders {
            let _ = write!(safe, "\\u{{{:x}}}", u32::from(c));
        } else {
            safe.push(c);
        }
    }
    safe
}

/// At most so many characters of a text, on one line.
pub(crate) fn short(text: &str, most: usize) -> String {
    let safe = plain(text);
    if safe.chars().count() <= most {
        return safe;
    }
    let mut cut: String = safe.chars().take(most.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// Prints a value as JSON, for programs.
pub(crate) fn print_json<T: Serialize>(value: &T) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    if out.is_terminal() {
        serde_json::to_writer_pretty(&mut out, value)?;
    } else {
        serde_json::to_writer(&mut out, value)?;
    }
    writeln!(out)?;
    Ok(())
}

/// Prints what came of something: as it is for programs, in words for people.
pub(crate) fn tell(as_json: bool, answer: &Value, words: &str) -> anyhow::Result<()> {
    if as_json {
        return print_json(answer);
    }
    println!("{words}");
    Ok(())
}

/// Prints a page of a list: as it is for programs, as a table for people. `row` gets the time of now, too.
pub(crate) fn list<T: DeserializeOwned>(
    as_json: bool,
    page: &Page<Value>,
    head: &[&'static str],
    if_empty: &str,
    row: impl Fn(&T, Timestamp) -> Vec<Cell>,
) -> anyhow::Result<()> {
    if as_json {
        return print_json(page);
    }
    let (now, mut table) = (now(), Table::new(head));
    for item in &page.items {
        table.row(row(&serde_json::from_value(item.clone())?, now));
    }
    print!("{}", table.render(Paint::stdout(), if_empty));
    more(page.next.as_deref());
    Ok(())
}

/// What to say below a list when it goes on.
pub(crate) fn more(next: Option<&str>) {
    if let Some(next) = next {
        println!("… there is more: --cursor {next}");
    }
}

/// What stands in a table, and in which style.
pub(crate) type Cell = (String, Option<Style>);

/// A table without lines: a head, rows, columns two spaces apart.
#[derive(Debug)]
pub(crate) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(crate) fn new(head: &[&'static str]) -> Self {
        Self { head: head.to_vec(), rows: Vec::new() }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// The table as text; without rows, what to say instead.
    pub(crate) fn render(&self, paint: Paint, if_empty: &str) -> String {
        if self.rows.is_empty() {
            return format!("{if_empty}\n");
        }
        let widths: Vec<usize> = (0..self.head.len()).map(|column| self.width(column)).collect();
        let mut text = String::new();
        let head = self.head.iter().map(|name| ((*name).to_owned(), Some(Style::Dim)));
        line(&mut text, head, &widths, paint);
        for row in &self.rows {
            line(&mut text, row.iter().cloned(), &widths, paint);
        }
        text
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|(text, _)| text.chars().count());
        let head = self.head.get(column).map_or(0, |name| name.chars().count());
        cells.max().unwrap_or(0).max(head)
    }
}

fn line(text: &mut String, cells: impl Iterator<Item = Cell>, widths: &[usize], paint: Paint) {
    let mut line = String::new();
    for ((cell, style), width) in cells.zip(widths) {
        let padding = " ".repeat(width.saturating_sub(cell.chars().count()) + 2);
        let cell = style.map_or_else(|| cell.clone(), |style| paint.paint(style, &cell));
        line.push_str(&cell);
        line.push_str(&padding);
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

/// A cell without a style.
pub(crate) fn cell(text: &str) -> Cell {
    (plain(text), None)
}

/// A cell for a state, in its style.
pub(crate) fn state_cell(state: &str) -> Cell {
    (plain(state), Some(style_of(state)))
}

/// The time from `now` to a moment, or since it: `4m 10s`, `2h`, `3d ago`.
pub(crate) fn distance(moment: Timestamp, now: Timestamp) -> String {
    let millis = moment.millis_since(now);
    let span = span(millis.unsigned_abs() / 1000);
    if millis < 0 { format!("{span} ago") } else { span }
}

/// A span of seconds in its one or two largest units.
pub(crate) fn span(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}m {:02}s", seconds % 60),
        (0, hours, minutes) => format!("{hours}h {minutes:02}m"),
        (days, hours, _) => format!("{days}d {hours}h"),
    }
}

/// The time now.
pub(crate) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_agent_writes_cannot_steer_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\u{a}");
        assert_eq!(plain("rm \u{202e}txt"), "rm \\u{202e}txt");
        assert_eq!(short("abcdef", 4), "abc…");
    }

    #[test]
    fn tables_line_up() {
        let mut table = Table::new(&["NAME", "STATE"]);
        table.row(vec![cell("a"), state_cell("pending")]);
        table.row(vec![cell("longer"), state_cell("approved")]);
        let text = table.render(Paint { colours: false }, "none");
        assert_eq!(text, "NAME    STATE\na       pending\nlonger  approved\n");
        let painted = table.render(Paint { colours: true }, "none");
        assert!(painted.contains("\u{1b}[33mpending\u{1b}[0m"));
        assert_eq!(Table::new(&["NAME"]).render(Paint { colours: false }, "none"), "none\n");
    }

    #[test]
    fn spans_are_told_in_their_largest_units() {
        for (seconds, text) in [(5, "5s"), (65, "1m 05s"), (3_700, "1h 01m"), (90_000, "1d 1h")] {
            assert_eq!(span(seconds), text);
        }
        let at = Timestamp::from_millis;
        assert_eq!(distance(at(65_000), at(0)), "1m 05s");
        assert_eq!(distance(at(0), at(65_000)), "1m 05s ago");
    }
}
