//! A process of this machine: started with nothing but what it was given, spoken with line by line, and
//! ended with everything that it has started itself.

use std::{
    convert::Infallible,
    io,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    sync::mpsc,
    time::timeout,
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use tracing::debug;

use super::{UpstreamError, command::CommandSettings};
use crate::mcp::framing::{Line, Lines, content};

/// The most bytes of one line of complaints.
const MAX_COMPLAINT: usize = 8 * 1024;
/// How long a process has to end once its input is closed, and once it has got SIGTERM.
const CLOSED_FOR: Duration = Duration::from_secs(1);
const TERMINATED_FOR: Duration = Duration::from_secs(2);

/// The processes of all servers that are commands.
#[derive(Debug, Clone, Default)]
pub struct Processes {
    tasks: TaskTracker,
    end: CancellationToken,
}

impl Processes {
    /// Ends them, and waits until they have ended.
    pub async fn end(&self) {
        self.end.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Ends them when the guard is dropped, without waiting.
    #[must_use]
    pub fn guard(&self) -> DropGuard {
        self.end.clone().drop_guard()
    }

    /// Cancelled when all processes are to end.
    pub(super) fn ending(&self) -> CancellationToken {
        self.end.child_token()
    }

    /// Takes on work that lasts as long as a process does.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(work);
    }
}

/// A process that runs. Without it the process does not, and neither does what that has started, unless it
/// left the group.
pub(super) struct Running {
    child: Child,
    group: Group,
}

/// The ways to speak with a process.
pub(super) struct Pipes {
    pub(super) input: ChildStdin,
    pub(super) output: ChildStdout,
    pub(super) complaints: ChildStderr,
}

impl Running {
    pub(super) fn start(settings: &CommandSettings) -> Result<(Self, Pipes), UpstreamError> {
        let mut child = spawn(settings)?;
        let group = Group::of(&child);
        let pipes = child.stdin.take().zip(child.stdout.take()).zip(child.stderr.take());
        let ((input, output), complaints) =
            pipes.ok_or_else(|| UpstreamError::Unreachable("its process has no pipes".to_owned()))?;
        Ok((Self { child, group }, Pipes { input, output, complaints }))
    }

    /// Waits until it has ended by itself.
    pub(super) async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Ends it. Its input must be closed already, which is how a server learns of it first.
    pub(super) async fn end(mut self) {
        for (within, signal) in [(CLOSED_FOR, Signal::TERM), (TERMINATED_FOR, Signal::KILL)] {
            if timeout(within, self.child.wait()).await.is_ok() {
                return;
            }
            self.group.signal(signal);
        }
        let _ = self.child.wait().await;
    }
}

fn spawn(settings: &CommandSettings) -> Result<Child, UpstreamError> {
    let cannot = |why: String| UpstreamError::Unreachable(format!("its command cannot be started: {why}"));
    let (program, words) = settings.words.split_first().ok_or_else(|| cannot("it is empty".to_owned()))?;
    let mut command = Command::new(program);
    command.args(words).env_clear().envs(settings.env.iter().map(|(name, value)| (name, value)));
    if let Some(folder) = &settings.cwd {
        command.current_dir(folder);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // In a group of its own, what it starts can be ended with it, and a terminal's interrupt does not reach it.
    command.process_group(0).kill_on_drop(true);
    command.spawn().map_err(|error| cannot(format!("{program}: {error}")))
}

/// Writes messages until the process is to end or takes no more. Its input is closed then.
pub(super) async fn write(
    mut stdin: ChildStdin,
    mut lines: mpsc::Receiver<String>,
    ended: CancellationToken,
) {
    let writing = async {
        while let Some(mut line) = lines.recv().await {
            line.push('\n');
            if stdin.write_all(line.as_bytes()).await.is_err() || stdin.flush().await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = writing => {}
        () = ended.cancelled() => {}
    }
}

/// Passes on what a process complains about.
pub(super) async fn log(server: &str, stderr: impl AsyncRead + Unpin) -> Infallible {
    let mut lines = Lines::new(BufReader::new(stderr), MAX_COMPLAINT);
    while let Ok(Some(line)) = lines.next().await {
        match line {
            Line::Whole(line) => {
                let text = String::from_utf8_lossy(content(&line));
                debug!(server, "the process says: {text:?}");
            }
            Line::TooLong => debug!(server, "the process says something that is too long to be shown"),
        }
    }
    std::future::pending().await
}

/// A process and what it has started. It is killed with the value.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }

    fn signal(&self, signal: Signal) {
        if let Some(leader) = self.0 {
            // It may have ended just now.
            let _ = kill_process_group(leader, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}
