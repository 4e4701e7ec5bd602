//! A control plane and a sidecar as two processes, each of which can be killed and started again.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    ops::Deref,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::{
    binary::{binary, bundle},
    process::{Process, eventually},
    story::Story,
};

const PEOPLE: &str = r#"
["owner@example.com"]
roles = ["admin"]
["reviewer-one@example.com"]
roles = ["reviewer"]
groups = ["operations"]
["reviewer-two@example.com"]
roles = ["reviewer"]
"#;

/// The two processes, and the folder that holds their state.
#[derive(Debug)]
pub struct Site {
    control: Option<Process>,
    sidecar: Option<Process>,
    story: Story,
    link: String,
    settings: Vec<String>,
    control_settings: Vec<String>,
    folder: tempfile::TempDir,
}

impl Site {
    /// Starts a control plane with the story bundle, changed by `edit`, and a sidecar that is enrolled.
    ///
    /// # Panics
    /// When one of them does not become ready.
    pub async fn start(edit: impl FnOnce(&mut BTreeMap<String, String>)) -> Self {
        Self::with_settings(edit, Vec::new()).await
    }

    /// The same, with more settings for the sidecar, as `key=value`.
    ///
    /// # Panics
    /// When one of them does not become ready.
    pub async fn with_settings(
        edit: impl FnOnce(&mut BTreeMap<String, String>),
        settings: Vec<String>,
    ) -> Self {
        let mut site = Self::control_only(edit).await;
        site.settings = settings;
        site.add_sidecar().await;
        site
    }

    /// Starts both with the story bundle, and more settings for the control plane, as `key=value`.
    ///
    /// # Panics
    /// When one of them does not become ready.
    pub async fn with_channels(settings: Vec<String>) -> Self {
        let mut site = Self::control_with(|_| {}, settings).await;
        site.add_sidecar().await;
        site
    }

    async fn add_sidecar(&mut self) {
        let added = json!({ "name": "site-agent", "owner": "owner@example.com" });
        let added = self.admin().post("/api/v1/agents", &added).await.ok();
        let token = self.folder.path().join("join-token");
        fs::write(&token, added["token"].as_str().unwrap_or_else(|| panic!("{added}"))).expect("a file");
        self.start_sidecar();
    }

    /// Starts a control plane with the story bundle, changed by `edit`, and nothing else.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn control_only(edit: impl FnOnce(&mut BTreeMap<String, String>)) -> Self {
        Self::control_with(edit, Vec::new()).await
    }

    async fn control_with(
        edit: impl FnOnce(&mut BTreeMap<String, String>),
        control_settings: Vec<String>,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("people.toml"), PEOPLE).expect("a file");
        let mut site = Self {
            control: None,
            sidecar: None,
            story: Story { api: "http://127.0.0.1:0".into(), ..Story::default() },
            link: "127.0.0.1:0".into(),
            settings: Vec::new(),
            control_settings,
            folder,
        };
        site.start_control();
        site.story.admin_token = site.first_token("owner@example.com");
        let reviewers = ["reviewer-one@example.com", "reviewer-two@example.com"];
        site.story.reviewers = reviewers.map(|name| (name.to_owned(), site.first_token(name))).into();
        let mut files = files(&bundle("story"));
        edit(&mut files);
        site.admin().post("/api/v1/policy/revisions", &json!({ "files": files })).await.ok();
        site
    }

    fn first_token(&self, person: &str) -> String {
        let file = self.folder.path().join("control/first-tokens").join(format!("{person}.token"));
        fs::read_to_string(file).expect("a first token")
    }

    /// Starts the control plane, at the address that it had before.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn start_control(&mut self) {
        let folder = self.folder.path();
        let api = self.story.api.trim_start_matches("http://").to_owned();
        let mut command = Command::new(binary("countersign-control"));
        command.arg("--json");
        let usual = [
            format!("data={}", folder.join("control").display()),
            format!("people={}", folder.join("people.toml").display()),
            format!("api.listen={api}"),
            format!("link.listen={}", self.link),
            "trust_domain=site.test".to_owned(),
            "times.requester_lease=5s".to_owned(),
            "times.checkpoint=1s".to_owned(),
            "limits.requests_per_agent.count=100000".to_owned(),
        ];
        for setting in usual.iter().chain(&self.control_settings) {
            command.args(["--set", setting]);
        }
        let (process, first) = Process::start(&mut command);
        let ready: Value = serde_json::from_str(&first).expect("the ready line is JSON");
        self.story.api = ready["api"].as_str().unwrap_or_default().to_owned();
        self.link = ready["link"].as_str().unwrap_or_default().to_owned();
        self.control = Some(process);
    }

    /// Starts the sidecar: enrols it at the first start, and goes on where it was later.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn start_sidecar(&mut self) {
        let (process, first) = Process::start(&mut self.sidecar_command());
        let ready: Value = serde_json::from_str(&first).expect("the ready line is JSON");
        self.story.check = ready["check"].as_str().unwrap_or_default().to_owned();
        self.story.check_token = ready["check_token"].as_str().unwrap_or_default().to_owned();
        self.story.mcp = ready["mcp"].as_str().unwrap_or_default().to_owned();
        self.story.mcp_token = ready["mcp_token"].as_str().unwrap_or_default().to_owned();
        self.sidecar = Some(process);
    }

    fn sidecar_command(&self) -> Command {
        let folder = self.folder.path();
        let mut command = Command::new(binary("countersign-sidecar"));
        command.args(["--json", "--join-token-file"]).arg(folder.join("join-token"));
        let usual = [
            format!("data={}", folder.join("sidecar").display()),
            format!("control={}", self.link),
            "check.listen=127.0.0.1:0".to_owned(),
        ];
        for setting in usual.iter().chain(&self.settings) {
            command.args(["--set", setting]);
        }
        let log = File::options().create(true).append(true).open(folder.join("sidecar.log")).expect("a log");
        command.stderr(Stdio::from(log));
        command
    }

    /// Tries to start the sidecar again, and says whether it becomes connected before it has had
    /// every chance: the control plane has seen and refused it, or it has ended by itself.
    pub async fn comes_back(&self) -> bool {
        let mut command = self.sidecar_command();
        let mut child = command.stdout(Stdio::null()).spawn().expect("the sidecar starts");
        let refused = eventually("the sidecar is refused", || async {
            let ended = fs::read_to_string(self.folder.path().join("sidecar.log")).unwrap_or_default();
            let agent = self.admin().get("/api/v1/agents/site-agent").await.ok();
            let said = ended.contains("revoked") || ended.contains("refused");
            (agent["connected"] == true || said).then_some(agent["connected"] == false)
        })
        .await;
        let _ = child.kill();
        let _ = child.wait();
        !refused
    }

    /// SIGKILL for the control plane.
    pub fn kill_control(&mut self) {
        drop(self.control.take());
    }

    /// SIGKILL for the sidecar.
    pub fn kill_sidecar(&mut self) {
        drop(self.sidecar.take());
    }

    /// The process id of the sidecar.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn sidecar_id(&self) -> u32 {
        self.sidecar.as_ref().expect("a running sidecar").id()
    }

    /// The address of the link (UDP).
    #[must_use]
    pub fn link(&self) -> &str {
        &self.link
    }

    /// The folder that holds the state of both.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The sidecar's unix socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("sidecar/sidecar.sock")
    }

    /// Waits until the control plane sees the sidecar connected.
    pub async fn until_connected(&self) {
        let admin = self.admin();
        eventually("the sidecar is connected", || async {
            let agent = admin.get("/api/v1/agents/site-agent").await.ok();
            (agent["connected"] == true).then_some(())
        })
        .await;
    }
}

impl Deref for Site {
    type Target = Story;

    fn deref(&self) -> &Story {
        &self.story
    }
}

/// A file with a secret that only its owner can read; returns its path.
///
/// # Panics
/// When it cannot be written.
#[must_use]
pub fn secret_file(folder: &Path, name: &str, secret: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, secret).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("permissions");
    path.display().to_string()
}

/// The files of a bundle folder, by their paths within it.
fn files(folder: &Path) -> BTreeMap<String, String> {
    let names = ["bundle.toml", "approvals.toml", "policies/story.cedar"];
    names
        .into_iter()
        .map(|name| (name.to_owned(), fs::read_to_string(folder.join(name)).expect("a bundle file")))
        .collect()
}
