//! The terminal while the inbox has it: a screen of its own, and keys one by one.

use std::{
    fs::File,
    io::{self, IsTerminal as _, Read as _, Write as _},
};

use rustix::termios::{
    LocalModes, OptionalActions, QueueSelector, SpecialCodeIndex, Termios, tcflush, tcgetattr, tcgetwinsize,
    tcsetattr,
};
use tokio::sync::mpsc;

/// A screen of its own, without a cursor, whose lines end at the edge.
const ENTER: &str = "\u{1b}[?1049h\u{1b}[?25l\u{1b}[?7l";
/// What was there before.
const LEAVE: &str = "\u{1b}[?7h\u{1b}[?25h\u{1b}[?1049l";

/// A key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Up,
    Down,
    PageUp,
    PageDown,
    Enter,
    Escape,
    Backspace,
    /// Ctrl-C, Ctrl-D: away from here.
    Interrupt,
    Char(char),
}

/// The terminal. Dropping it puts back what was there before.
pub(super) struct Terminal {
    device: File,
    before: Termios,
    keys: mpsc::Receiver<Key>,
}

impl Terminal {
    /// Whether there is one to be used.
    pub(super) fn is_there() -> bool {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        io::stdin().is_terminal() && io::stdout().is_terminal() && !is_dumb
    }

    /// Takes the terminal over.
    ///
    /// # Errors
    /// When it cannot be.
    pub(super) fn open() -> io::Result<Self> {
        let device = File::open("/dev/tty")?;
        let before = tcgetattr(&device)?;
        let mut single = before.clone();
        // Ctrl-C is a key like others here, or it would leave the terminal as it is now.
        single.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG);
        single.special_codes[SpecialCodeIndex::VMIN] = 1;
        single.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(&device, OptionalActions::Flush, &single)?;
        let keys = read_keys(device.try_clone()?);
        show(ENTER)?;
        Ok(Self { device, before, keys })
    }

    /// The next key; `None` when the terminal is gone.
    pub(super) async fn key(&mut self) -> Option<Key> {
        self.keys.recv().await
    }

    /// Forgets the keys that were pressed and not read.
    pub(super) fn forget_keys(&mut self) {
        let _ = tcflush(&self.device, QueueSelector::IFlush);
        while self.keys.try_recv().is_ok() {}
    }

    /// Its columns and rows.
    pub(super) fn size(&self) -> (usize, usize) {
        let size = tcgetwinsize(&self.device).map(|size| (size.ws_col, size.ws_row)).unwrap_or((80, 24));
        (usize::from(size.0).max(20), usize::from(size.1).max(6))
    }

    /// Shows these lines, and nothing else.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub(super) fn show(&self, lines: &[String]) -> io::Result<()> {
        let mut text = String::from("\u{1b}[H");
        for (number, line) in lines.iter().enumerate() {
            text.push_str(if number == 0 { "" } else { "\r\n" });
            text.push_str(line);
            text.push_str("\u{1b}[K");
        }
        text.push_str("\u{1b}[J");
        show(&text)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Nothing to be done when the terminal is gone.
        let _ = show(LEAVE);
        let _ = tcsetattr(&self.device, OptionalActions::Flush, &self.before);
    }
}

fn show(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Ends with the process: a read of the terminal cannot be interrupted otherwise.
fn read_keys(mut device: File) -> mpsc::Receiver<Key> {
    let (press, keys) = mpsc::channel(64);
    std::thread::spawn(move || {
        let mut bytes = [0; 256];
        while let Ok(read) = device.read(&mut bytes) {
            let Some(chunk) = bytes.get(..read).filter(|chunk| !chunk.is_empty()) else { return };
            for key in keys_of(chunk) {
                if press.blocking_send(key).is_err() {
                    return;
                }
            }
        }
    });
    keys
}

/// The keys in what a terminal sends at once.
fn keys_of(chunk: &[u8]) -> Vec<Key> {
    let text = String::from_utf8_lossy(chunk);
    let mut rest: &str = &text;
    let mut keys = Vec::new();
    while let Some(first) = rest.chars().next() {
        let (key, taken) = match first {
            '\u{1b}' => escaped(rest),
            '\r' | '\n' => (Some(Key::Enter), 1),
            '\u{7f}' | '\u{8}' => (Some(Key::Backspace), 1),
            '\u{3}' | '\u{4}' => (Some(Key::Interrupt), 1),
            c if c.is_control() => (None, c.len_utf8()),
            c => (Some(Key::Char(c)), c.len_utf8()),
        };
        keys.extend(key);
        rest = rest.get(taken..).unwrap_or_default();
    }
    keys
}

/// The key of an escape sequence, and how long that is. What is not known is no key.
fn escaped(text: &str) -> (Option<Key>, usize) {
    let Some(body) = text.strip_prefix("\u{1b}[").or_else(|| text.strip_prefix("\u{1b}O")) else {
        return (Some(Key::Escape), 1);
    };
    let end = body.find(|c: char| c.is_ascii_alphabetic() || c == '~').unwrap_or(body.len());
    let key = match body.get(..=end) {
        Some("A") => Some(Key::Up),
        Some("B") => Some(Key::Down),
        Some("5~") => Some(Key::PageUp),
        Some("6~") => Some(Key::PageDown),
        _ => None,
    };
    (key, (2 + end + 1).min(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_apart() {
        use Key::{Backspace, Char, Down, Enter, Escape, Interrupt, PageDown, PageUp, Up};
        assert_eq!(keys_of(b"\x1b[A\x1b[B\x1bOA"), [Up, Down, Up]);
        assert_eq!(keys_of(b"\x1b[5~\x1b[6~"), [PageUp, PageDown]);
        assert_eq!(keys_of(b"\x1b"), [Escape]);
        assert_eq!(keys_of("aé\r\x7f\x03".as_bytes()), [Char('a'), Char('é'), Enter, Backspace, Interrupt]);
    }

    /// A sequence that is not known does not leave letters behind that decide something.
    #[test]
    fn unknown_sequences_are_no_keys() {
        assert_eq!(keys_of(b"\x1b[200~"), []);
        assert_eq!(keys_of(b"\x1b[1;5D\x1b[24~"), []);
        assert_eq!(keys_of(b"\x1b["), []);
    }
}
