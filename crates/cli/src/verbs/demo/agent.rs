//! The demo's agent: a small program that does real things, and knows nothing of approvals. What it
//! starts, it starts through `countersign exec` and `countersign mcp`, as an agent's operator would set
//! it up.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

/// How a command of the agent's ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) output: String,
    pub(crate) complaint: String,
}

/// The agent.
#[derive(Debug)]
pub(crate) struct Agent {
    countersign: PathBuf,
    socket: PathBuf,
    folder: PathBuf,
}

impl Agent {
    /// An agent that works in a folder, beside a sidecar.
    pub(crate) fn new(socket: &Path, folder: &Path) -> Result<Self> {
        let countersign = std::env::current_exe().context("this program's own file")?;
        Ok(Self { countersign, socket: socket.to_owned(), folder: folder.to_owned() })
    }

    fn countersign(&self) -> Command {
        let mut command = Command::new(&self.countersign);
        command.env("COUNTERSIGN_SOCKET", &self.socket).current_dir(&self.folder).kill_on_drop(true);
        command
    }

    /// Runs a command.
    pub(crate) async fn run(&self, words: &[&str], reason: &str, traceparent: &str) -> Result<Ran> {
        let mut command = self.countersign();
        command.args(["exec", "--reason", reason, "--"]).args(words);
        let output = command.env("TRACEPARENT", traceparent).stdin(Stdio::null()).output().await?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Ran { code: output.status.code(), output: text(&output.stdout), complaint: text(&output.stderr) })
    }

    /// Connects to the MCP server with the folder's files.
    pub(crate) async fn connect(&self) -> Result<McpClient> {
        let mut command = self.countersign();
        // This client waits for as long as whoever watches the demo takes.
        command.args(["mcp", "--name", "files", "--patience", "3600", "--"]).arg(&self.countersign);
        command.args(["demo-files", "--root"]).arg(&self.folder);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let (input, output) =
            child.stdin.take().zip(child.stdout.take()).context("the MCP server has no pipes")?;
        let mut client =
            McpClient { _child: child, input, output: BufReader::new(output).lines(), next_id: 0 };
        let hello = json!({
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "countersign-demo-agent", "version": env!("CARGO_PKG_VERSION")},
        });
        client.request("initialize", hello).await?;
        client.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await?;
        Ok(client)
    }
}

/// An MCP client of a few lines.
#[derive(Debug)]
pub(crate) struct McpClient {
    _child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    next_id: u32,
}

/// What a tool call came to.
#[derive(Debug)]
pub(crate) struct Called {
    pub(crate) is_error: bool,
    pub(crate) text: String,
}

impl McpClient {
    async fn send(&mut self, message: &Value) -> Result<()> {
        self.input.write_all(format!("{message}\n").as_bytes()).await?;
        Ok(self.input.flush().await?)
    }

    async fn request(&mut self, method: &str, params: Value) -> Result<Value> {
        self.next_id += 1;
        let id = self.next_id;
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})).await?;
        loop {
            let line = self.output.next_line().await?.context("the MCP server went away")?;
            let message: Value = serde_json::from_str(&line)?;
            if message.get("id") == Some(&json!(id)) {
                return Ok(message);
            }
        }
    }

    /// Calls a tool.
    pub(crate) async fn call(&mut self, tool: &str, arguments: Value, traceparent: &str) -> Result<Called> {
        let params = json!({"name": tool, "arguments": arguments, "_meta": {"traceparent": traceparent}});
        let answer = self.request("tools/call", params).await?;
        let text = answer.pointer("/result/content/0/text").or_else(|| answer.pointer("/error/message"));
        let is_error =
            answer.pointer("/result/isError") == Some(&Value::Bool(true)) || answer.get("error").is_some();
        Ok(Called { is_error, text: text.and_then(Value::as_str).unwrap_or_default().to_owned() })
    }
}
