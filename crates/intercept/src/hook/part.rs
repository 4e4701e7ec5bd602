//! What a tool call comes to: its parts, each of which is an operation of its own.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One operation of a tool call, as the hook's process found it out. The sidecar normalises it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "part", rename_all = "snake_case", deny_unknown_fields)]
pub enum Part {
    /// A simple command of a shell line.
    Command {
        /// The command.
        command: SimpleCommand,
        /// How much of it is known.
        clarity: Clarity,
    },
    /// Something of a shell line that cannot be told with certainty.
    Opaque {
        /// Why not.
        why: Why,
    },
    /// Something that is done to a file.
    File {
        /// What.
        access: Access,
        /// The file.
        file: NamedFile,
    },
    /// Something that is fetched.
    Fetch {
        /// The address.
        url: String,
    },
    /// A tool of an MCP server.
    Mcp {
        /// The server's name, as the host knows it.
        server: String,
        /// The tool's name.
        tool: String,
    },
    /// A tool of the host that is nothing of all that.
    Tool {
        /// Its name.
        name: String,
    },
}

/// How much of a command is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Clarity {
    /// All of its words.
    Clear,
    /// Its program, but not all of its words.
    Unclear,
    /// It runs another command, which is a part of its own.
    Wrap,
}

/// A simple command of a shell line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimpleCommand {
    /// Its words, without quotes. A word that is not known stands as it was written.
    pub argv: Vec<String>,
    /// The directory it would run in; empty when that is not known.
    pub cwd: String,
    /// The variables that are set for it alone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Where the program was found, absolute. None for what the shell does itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
}

/// What is done to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// It is read.
    Read,
    /// It is written as a whole, or made.
    Write,
    /// It is changed.
    Edit,
    /// It is deleted.
    Delete,
    /// It is a folder that is listed or searched.
    Search,
}

impl Access {
    /// The action that policy is asked about.
    #[must_use]
    pub const fn action(self) -> &'static str {
        match self {
            Self::Read => "Agent::read",
            Self::Write => "Agent::write",
            Self::Edit => "Agent::edit",
            Self::Delete => "Agent::delete",
            Self::Search => "Agent::search",
        }
    }
}

/// A file by its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedFile {
    /// The path, absolute, and without symbolic links as far as it exists.
    pub path: String,
    /// Whether it is in the project that the agent works on.
    pub inside: bool,
}

/// Why a shell line cannot be read with certainty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// There is no command in it.
    Empty,
    /// It is too long, nested too deeply, or has too many parts.
    TooLarge,
    /// Reading it took too long.
    TooSlow,
    /// It has characters that mislead a reader, or that shells read in different ways.
    Characters,
    /// It is not shell, or shell that is not understood here.
    Unparsed,
    /// The program itself is not known: it is computed when the line runs.
    Program,
    /// There is no such program where programs are.
    NotFound,
    /// Text is run that is computed when the line runs (`eval`, `trap`).
    Eval,
    /// A file is read into the shell (`source`).
    Source,
    /// A shell reads its commands from elsewhere (`curl … | sh`).
    Shell,
    /// A name is given another meaning (`alias`).
    Alias,
    /// A name is given another meaning (a function).
    Function,
    /// A variable is set that changes what runs (`PATH`, `LD_PRELOAD`, …).
    Variable,
    /// The shell itself is changed (`set`, `shopt`, `enable`).
    Option,
    /// A program that runs others is called in a way that is not understood here.
    Wrapper,
    /// An expansion that can run commands, or changes variables.
    Expansion,
    /// Arithmetic, which can run commands through what a variable holds.
    Arithmetic,
    /// A redirection whose target is not known.
    Redirection,
    /// A redirection to or from the network.
    Network,
    /// The directory is not known in which a path is meant.
    Directory,
}
