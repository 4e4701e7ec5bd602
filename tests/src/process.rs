//! Child processes that end with the test, and waiting for conditions.

use std::{
    future::Future,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// How long a condition may take at most. Generous: the machine may be busy, and a test that passes
/// does not wait for it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A child process, killed when the test ends.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts a command and reads its standard output's first line.
    ///
    /// # Panics
    /// When it does not start, or says nothing in time.
    pub fn start(command: &mut Command) -> (Self, String) {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the command starts");
        let output = child.stdout.take().expect("standard output is piped");
        let (sender, lines) = mpsc::channel();
        // Goes on reading to the end, so that the child never blocks on a full pipe.
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let process = Self { child };
        let first = lines.recv_timeout(PATIENCE).expect("the process says that it is ready");
        (process, first)
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, as a crash would be; waits for the end.
    pub fn kill(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Asks again until the answer is there.
///
/// # Panics
/// When it does not come in a minute.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "still not so after {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
