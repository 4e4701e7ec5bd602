//! Single keys from the terminal.

use std::{
    fs::File,
    io::{self, IsTerminal as _, Read as _},
};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use tokio::sync::mpsc;

/// The terminal, as long as it hands over keys one by one. Dropping it puts the terminal back.
pub(super) struct Keys {
    terminal: File,
    before: Termios,
    pressed: mpsc::Receiver<u8>,
}

impl Keys {
    /// `None` when there is no terminal to press keys at.
    pub(super) fn open() -> Option<Self> {
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return None;
        }
        let terminal = File::open("/dev/tty").ok()?;
        let before = tcgetattr(&terminal).ok()?;
        let mut single = before.clone();
        // Ctrl-C stays what it is.
        single.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        single.special_codes[SpecialCodeIndex::VMIN] = 1;
        single.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(&terminal, OptionalActions::Flush, &single).ok()?;
        let (press, pressed) = mpsc::channel(8);
        let mut input = terminal.try_clone().ok()?;
        // Ends with the process: a read of the terminal cannot be interrupted otherwise.
        std::thread::spawn(move || {
            let mut keys = [0];
            while input.read(&mut keys).is_ok_and(|read| read == 1) {
                let [key] = keys;
                if press.blocking_send(key).is_err() {
                    return;
                }
            }
        });
        Some(Self { terminal, before, pressed })
    }

    /// Waits for a key that decides.
    pub(super) async fn decision(&mut self) -> &'static str {
        loop {
            match self.pressed.recv().await {
                Some(b'a' | b'A' | b'y' | b'Y') => return "approve",
                Some(b'd' | b'D' | b'n' | b'N') => return "deny",
                Some(_) => {}
                None => std::future::pending().await,
            }
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        // Nothing to be done when the terminal is gone.
        let _ = tcsetattr(&self.terminal, OptionalActions::Flush, &self.before);
    }
}
