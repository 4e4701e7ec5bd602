//! A stdio server that a test plays. What runs in its processes is this test program once more, which does
//! nothing but pass lines on between its standard streams and a socket of the test.

use std::{
    env,
    io::{self, BufRead as _, Read as _, Write as _},
    net::Shutdown,
    os::unix::net::UnixStream as BlockingStream,
    process, thread,
    time::Duration,
};

use countersign_intercept::mcp::http::{CommandSettings, UpstreamSettings};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{
        UnixListener,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::timeout,
};

/// Where a process finds the test.
const SOCKET: &str = "PROGRAM_SOCKET";
const PATIENCE: Duration = Duration::from_secs(30);

/// No test: what the processes do.
#[test]
fn pass_lines_on() {
    let Some(path) = env::var_os(SOCKET) else { return };
    let mut from_test = BlockingStream::connect(path).unwrap();
    let mut to_test = from_test.try_clone().unwrap();
    thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            writeln!(to_test, "{}", line.unwrap()).unwrap();
        }
        to_test.shutdown(Shutdown::Write).unwrap();
    });
    let mut buffer = [0; 8 * 1024];
    loop {
        match from_test.read(&mut buffer).unwrap() {
            0 => process::exit(0),
            length => io::stdout().write_all(&buffer[..length]).unwrap(),
        }
        io::stdout().flush().unwrap();
    }
}

/// A program whose processes a test plays.
pub(crate) struct Program {
    folder: tempfile::TempDir,
    listener: UnixListener,
}

impl Program {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("socket")).unwrap();
        Self { folder, listener }
    }

    pub(crate) fn command(&self) -> CommandSettings {
        let this = env::current_exe().unwrap().into_os_string().into_string().unwrap();
        let words = [&this, "--exact", "program::pass_lines_on", "--nocapture", "--test-threads=2"];
        let socket = self.folder.path().join("socket");
        CommandSettings {
            words: words.map(str::to_owned).into(),
            env: vec![(SOCKET.to_owned(), socket.into())],
            cwd: None,
            max_sessions: 4,
            idle: Duration::from_secs(600),
        }
    }

    pub(crate) fn upstream(&self) -> UpstreamSettings {
        UpstreamSettings::Command(self.command())
    }

    /// The process that was started next.
    pub(crate) async fn process(&self) -> Process {
        let (stream, _) = timeout(PATIENCE, self.listener.accept()).await.expect("a process").unwrap();
        let (input, output) = stream.into_split();
        Process { input: BufReader::new(input), output, listed: 0 }
    }

    /// Whether no other process was started.
    pub(crate) fn has_started_nothing(&self) -> bool {
        use futures::FutureExt as _;

        self.listener.accept().now_or_never().is_none()
    }
}

/// A process of the program. Dropping it ends the process.
pub(crate) struct Process {
    input: BufReader<OwnedReadHalf>,
    output: OwnedWriteHalf,
    /// How often it was asked what its tools are.
    pub(crate) listed: usize,
}

impl Process {
    /// The next line that it gets.
    pub(crate) async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = timeout(PATIENCE, self.input.read_line(&mut line)).await.expect("a line in time");
        (read.unwrap() > 0).then_some(line)
    }

    /// The next message that it gets, but for pings and questions for its tools, which it answers.
    pub(crate) async fn hears(&mut self) -> Value {
        loop {
            let line = self.line().await.expect("its input is open");
            let message: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
            let result = match message["method"].as_str() {
                Some("tools/list") => {
                    self.listed += 1;
                    json!({"tools": [{"name": "read"}, {"name": "write"}]})
                }
                Some("ping") => json!({}),
                _ => return message,
            };
            self.answers(&message, &result).await;
        }
    }

    pub(crate) async fn says(&mut self, message: impl ToString) {
        self.output.write_all(format!("{}\n", message.to_string()).as_bytes()).await.unwrap();
    }

    pub(crate) async fn answers(&mut self, request: &Value, result: &Value) {
        self.says(json!({"jsonrpc": "2.0", "id": request["id"], "result": result})).await;
    }

    /// Waits until its input is closed.
    pub(crate) async fn is_told_to_end(&mut self) {
        while self.line().await.is_some() {}
    }
}
