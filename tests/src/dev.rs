//! `countersign dev`: control plane and sidecar in one process, over real QUIC.

use std::{ops::Deref, path::PathBuf, process::Command};

use serde_json::Value;

use crate::{
    binary::{binary, bundle},
    process::Process,
    story::Story,
};

/// How to start it.
#[derive(Debug, Clone, Default)]
pub struct DevOptions {
    /// The bundle folder; the tests' own `story` when not given.
    pub bundle: Option<PathBuf>,
    /// Take the starter bundle that ships with the command instead.
    pub starter: bool,
    /// The data folder of an earlier run; a new one when not given.
    pub data: Option<PathBuf>,
    /// More arguments.
    pub args: Vec<String>,
    /// More environment.
    pub env: Vec<(String, String)>,
}

/// A running `countersign dev`.
#[derive(Debug)]
pub struct Dev {
    process: Process,
    ready: Value,
    story: Story,
    // Held so that the folder lives as long as the process.
    folder: Option<tempfile::TempDir>,
}

impl Dev {
    /// Starts it on free ports and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    #[must_use]
    pub fn start(options: DevOptions) -> Self {
        let folder = options.data.is_none().then(|| tempfile::tempdir().expect("a folder"));
        let data = options.data.clone().or_else(|| folder.as_ref().map(|folder| folder.path().join("data")));
        let mut command = Command::new(binary("countersign"));
        command
            .args(["dev", "--json", "--api", "0", "--link", "0", "--check", "0", "--data"])
            .arg(data.expect("a data folder"))
            .args(options.args)
            .envs(options.env);
        if !options.starter {
            command.arg("--bundle").arg(options.bundle.unwrap_or_else(|| bundle("story")));
        }
        let (process, first) = Process::start(&mut command);
        let ready: Value = serde_json::from_str(&first).expect("the ready line is JSON");
        assert_eq!(ready["ready"], true, "{ready}");
        let story = story(&ready);
        Self { process, ready, story, folder }
    }

    /// The line it printed when it was ready.
    #[must_use]
    pub fn ready(&self) -> &Value {
        &self.ready
    }

    /// A text of the ready line.
    #[must_use]
    pub fn text(&self, name: &str) -> String {
        self.ready[name].as_str().unwrap_or_default().to_owned()
    }

    /// `countersign` as the agent's host would run it: it knows where the sidecar's socket is.
    #[must_use]
    pub fn countersign(&self) -> Command {
        let mut command = Command::new(binary("countersign"));
        command.env("COUNTERSIGN_SOCKET", self.text("check_socket"));
        command
    }

    /// SIGKILL, as a crash would be. Returns the folder, to start again in.
    #[must_use]
    pub fn kill(self) -> (PathBuf, Option<tempfile::TempDir>) {
        let data = PathBuf::from(self.text("data"));
        self.process.kill();
        (data, self.folder)
    }
}

impl Deref for Dev {
    type Target = Story;

    fn deref(&self) -> &Story {
        &self.story
    }
}

fn story(ready: &Value) -> Story {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let reviewers = ready["reviewers"].as_array().cloned().unwrap_or_default();
    Story {
        api: text(&ready["api"]),
        check: text(&ready["check"]),
        check_token: text(&ready["check_token"]),
        admin_token: text(&ready["admin_token"]),
        reviewers: reviewers.iter().map(|one| (text(&one["name"]), text(&one["token"]))).collect(),
        ..Story::default()
    }
}
