//! A tool call, as the host tells it, in the one form that is common to all hosts.

use std::path::{Path, PathBuf};

use countersign_model::{Object, Provenance, provenance::MAX_TEXT, strict_json};
use serde_json::Value;

use super::{
    files::Files,
    part::{Access, Part, Why},
    programs,
    shell::{self, Surroundings},
};
use crate::local::wire::HookCall;

/// The most bytes that a host may send.
pub const MAX_INPUT: usize = 8 * 1024 * 1024;
/// Members of a shell tool's input that say nothing about what is run. A model words them anew each time,
/// and a retry must be the same call.
pub(super) const ONLY_WORDS: [&str; 3] = ["description", "explanation", "timeout"];

/// Why a call cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// It is no acceptable JSON.
    #[error("what the host sent is {0}")]
    Json(#[from] strict_json::StrictJsonError),
    /// It is too long.
    #[error("what the host sent has more than {MAX_INPUT} bytes")]
    TooLong,
    /// Something is missing, or is not what it should be.
    #[error("what the host sent has no {0}; is it the host that this hook was installed for?")]
    Missing(&'static str),
    /// The event is none of a tool call.
    #[error("the event {0:?} is none that this hook answers; install it with `countersign hook install`")]
    Event(String),
}

/// When the host asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Before every use of a tool.
    Before,
    /// When it would ask its user for permission.
    Permission,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A shell line is run.
    Shell(String),
    /// A line of another shell is run, which is not read here.
    ForeignShell,
    /// Something is done to files.
    Files(Vec<(Access, String)>),
    /// Addresses are fetched.
    Fetch(Vec<String>),
    /// A tool of an MCP server is called.
    Mcp {
        /// The server.
        server: String,
        /// The tool.
        tool: String,
    },
    /// Something else.
    Tool,
    /// Nothing that is not asked about by another event of the same call.
    AskedElsewhere,
}

/// A tool call.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolCall {
    /// When the host asks.
    pub event: Event,
    /// The host's name of the tool.
    pub tool: String,
    /// What the tool does.
    pub what: What,
    /// The tool's input.
    pub input: Object,
    /// The working directory.
    pub cwd: PathBuf,
    /// The project, as far as the host says.
    pub project: Option<PathBuf>,
    /// Why and where.
    pub provenance: Provenance,
    /// Whether the host can be told to use the tool with another input.
    pub is_editable: bool,
}

impl ToolCall {
    /// The call as it is put to the sidecar, and why it is asked about.
    #[must_use]
    pub fn prepare(self, host: &str) -> (HookCall, Provenance) {
        let files = Files::new(&self.cwd, self.project.as_deref());
        let mut line = None;
        let parts = match self.what {
            What::Shell(text) => {
                let parts = shell::read(&text, &Surroundings::here(&self.cwd));
                line = Some(text);
                programs::find_all(parts, &files)
            }
            What::ForeignShell => vec![Part::Opaque { why: Why::Unparsed }],
            What::Files(list) if list.is_empty() => vec![Part::Opaque { why: Why::Empty }],
            What::Files(list) => list.iter().map(|(access, path)| files.part(*access, path)).collect(),
            What::Fetch(urls) => urls.into_iter().map(|url| Part::Fetch { url }).collect(),
            What::Mcp { server, tool } => vec![Part::Mcp { server, tool }],
            What::Tool | What::AskedElsewhere => vec![Part::Tool { name: self.tool.clone() }],
        };
        let mut input = self.input;
        if line.is_some() {
            input.retain(|name, _| !ONLY_WORDS.contains(&name.as_str()) && name != "command");
        }
        let cwd = self.cwd.to_string_lossy().into_owned();
        (HookCall { host: host.to_owned(), tool: self.tool, line, cwd, input, parts }, self.provenance)
    }
}

/// The members of what a host sent, or of a part of it.
#[derive(Debug, Clone)]
pub(super) struct Members(pub(super) Object);

impl Members {
    /// Reads what a host sent.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, CallError> {
        if bytes.len() > MAX_INPUT {
            return Err(CallError::TooLong);
        }
        match strict_json::parse(bytes)? {
            Value::Object(members) => Ok(Self(members)),
            _ => Err(CallError::Missing("JSON object")),
        }
    }

    /// A text that may be missing.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.0.get(name).and_then(Value::as_str).map(str::to_owned)
    }

    /// A text.
    pub(super) fn need(&self, name: &'static str) -> Result<String, CallError> {
        self.text(name).filter(|text| !text.is_empty()).ok_or(CallError::Missing(name))
    }

    /// An object, which may come as JSON in a text.
    pub(super) fn object(&self, name: &'static str) -> Result<Self, CallError> {
        match self.0.get(name) {
            Some(Value::Object(members)) => Ok(Self(members.clone())),
            Some(Value::String(text)) => Self::read(text.as_bytes()),
            _ => Err(CallError::Missing(name)),
        }
    }

    /// The working directory: what the host says, or where this process is.
    pub(super) fn cwd(&self) -> PathBuf {
        let told = self.text("cwd").filter(|cwd| Path::new(cwd).is_absolute()).map(PathBuf::from);
        told.or_else(|| std::env::current_dir().ok()).unwrap_or_else(|| PathBuf::from("/"))
    }

    /// What a model says about why it does something.
    pub(super) fn provenance(&self, session: &str, input: &Self) -> Provenance {
        let reason = input.text("description").or_else(|| input.text("explanation"));
        Provenance {
            model: self.text("model"),
            session: self.text(session),
            reason: reason.map(|reason| reason.chars().take(MAX_TEXT).collect()),
            ..Provenance::default()
        }
    }
}

/// The file that a tool's input names.
pub(super) fn file(access: Access, input: &Members, name: &'static str) -> Result<What, CallError> {
    Ok(What::Files(vec![(access, input.need(name)?)]))
}

/// The folder that a search looks into: what it names, else the working directory.
pub(super) fn search(input: &Members, names: &[&str]) -> What {
    let mut folders: Vec<String> = Vec::new();
    for value in names.iter().filter_map(|name| input.0.get(*name)) {
        match value {
            Value::String(path) => folders.push(path.clone()),
            Value::Array(paths) => folders.extend(paths.iter().filter_map(Value::as_str).map(str::to_owned)),
            _ => {}
        }
    }
    // A pattern can lead out of the folder by itself.
    let pattern =
        input.text("pattern").filter(|pattern| pattern.starts_with(['/', '~']) || pattern.contains(".."));
    folders.extend(pattern);
    folders.retain(|folder| !folder.is_empty());
    if folders.is_empty() {
        folders.push(".".to_owned());
    }
    What::Files(folders.into_iter().map(|folder| (Access::Search, folder)).collect())
}

/// The files that a patch touches, by its headers.
pub(super) fn patch(text: &str) -> What {
    let headers = [
        ("*** Add File:", Access::Write),
        ("*** Update File:", Access::Edit),
        ("*** Delete File:", Access::Delete),
        ("*** Move to:", Access::Write),
    ];
    let touched = text.lines().filter_map(|line| {
        let line = line.trim();
        headers
            .iter()
            .find_map(|(header, access)| Some((*access, line.strip_prefix(header)?.trim().to_owned())))
    });
    What::Files(touched.collect())
}

/// `mcp__SERVER__TOOL`.
pub(super) fn mcp(name: &str) -> Option<What> {
    let (server, tool) = name.strip_prefix("mcp__")?.split_once("__")?;
    Some(What::Mcp { server: server.to_owned(), tool: tool.to_owned() })
}
