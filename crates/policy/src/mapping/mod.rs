//! From a command line or an MCP message to the action and resource that policy is asked about
//! (`mappings.toml`, after COAZ).
//!
//! Whatever has no mapping gets a default one, so that everything can be asked about; whatever
//! cannot be mapped is an error, which the caller must treat as a deny (I6).

mod command;
mod declared;
mod expression;
mod pattern;
mod target;
mod tool;
mod words;

use std::collections::BTreeMap;

use cedar_policy::Schema;
use countersign_model::{Action, Object, Operation, Projection, Resource, Subject};

pub(crate) use self::pattern::{OneOrMore, Pattern};
use self::{command::Commands, tool::Tools};
use crate::{problem::Problems, toml_reader};

pub use self::command::{ACTION_RUN, ACTION_UNCLEAR, PROGRAM_TYPE};
pub use self::tool::{ACTION_TOOL, TOOL_TYPE, ToolCall};

/// Why something cannot be mapped. It is a deny for the caller (I6).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MappingError {
    /// There is no program to run.
    #[error("the command line is empty")]
    NoProgram,
    /// A word that no program can be given.
    #[error("the command line has a NUL byte in it")]
    Nul,
    /// More than is acceptable.
    #[error("the {0} is too large")]
    TooLarge(&'static str),
    /// A server or tool name that would make two tools look like one.
    #[error(
        "{0:?} cannot be the name of an MCP server: 1 to 128 characters without '/' or control characters"
    )]
    Server(String),
    /// A message without the parameter that names what it is about.
    #[error("{method} needs the parameter {parameter}")]
    Parameter {
        /// The MCP method.
        method: String,
        /// What is missing, or is no text.
        parameter: &'static str,
    },
    /// An expression of the mapping failed.
    #[error("the mapping's expression `{expression}` failed: {reason}")]
    Expression {
        /// The expression.
        expression: String,
        /// Why it failed.
        reason: String,
    },
    /// The mapping that a server declares about its own tool is not one that can be used.
    #[error("the mapping that {tool} declares (x-authzen-mapping) cannot be used: {why}")]
    Declared {
        /// The tool.
        tool: String,
        /// What is wrong with its mapping.
        why: String,
    },
    /// The mapping did not come to what is needed.
    #[error("the mapping gives no {0}")]
    Missing(&'static str),
}

/// A command that is about to run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandLine {
    /// The program as it was named, and its arguments.
    pub argv: Vec<String>,
    /// The working directory.
    pub cwd: String,
    /// The selected environment variables.
    pub env: BTreeMap<String, String>,
}

/// What policy is asked about a command or message.
#[derive(Debug, Clone, PartialEq)]
pub struct Mapped {
    /// What is done.
    pub action: Action,
    /// To what.
    pub resource: Resource,
    /// Under which circumstances. Always holds the whole command (`command`) or the server, method and
    /// tool (`mcp`), so that the digest binds them whatever the mapping makes of them.
    pub context: Object,
    /// What does not bind.
    pub projection: Projection,
    /// The files whose content the operation depends on, as the mapping knows them. An interceptor that
    /// can read them should bind their digests, too.
    pub files: Vec<String>,
    /// What it comes to, if that is not itself: each of these must be permitted, and this as a whole binds.
    pub parts: Vec<Mapped>,
}

impl Mapped {
    /// The operation of a subject, without its parts.
    #[must_use]
    pub fn into_operation(self, subject: Subject) -> (Operation, Projection) {
        let Self { action, resource, context, projection, files: _, parts: _ } = self;
        (Operation { subject, action, resource, context }, projection)
    }
}

/// The compiled `mappings.toml`, and `mappings/*.toml`.
#[derive(Debug, Default)]
pub struct Mappings {
    commands: Commands,
    tools: Tools,
}

impl Mappings {
    /// Reads and compiles the files, each after those before it.
    pub(crate) fn read<'a>(
        files: impl Iterator<Item = (&'a str, &'a [u8])>,
        schema: Option<&Schema>,
        problems: &mut Problems,
    ) -> Self {
        let mut mappings = Self::default();
        for (file, bytes) in files {
            toml_reader::read_file(file, bytes, problems, |section, problems| {
                mappings.commands.read(section, schema, problems);
                mappings.tools.read(section, schema, problems);
            });
        }
        mappings
    }

    /// Maps a command. Without a mapping it is [`ACTION_RUN`] on the program; when the program has
    /// mappings but its arguments cannot be read with certainty, it is [`ACTION_UNCLEAR`] on it.
    ///
    /// # Errors
    /// When the command line is malformed or too large, or the mapping fails on it.
    pub fn command(&self, line: &CommandLine) -> Result<Mapped, MappingError> {
        self.commands.map(line)
    }

    /// Maps a call of an MCP tool: by the operator's mapping, else by what a trusted server declares about
    /// its own tool, else to [`ACTION_TOOL`] on the tool.
    ///
    /// # Errors
    /// When the names are malformed, or the mapping fails on the call.
    pub fn tool(&self, call: &ToolCall<'_>) -> Result<Mapped, MappingError> {
        self.tools.map(call)
    }

    /// Maps any other MCP request, by the default mappings of COAZ-MCP: `Mcp::METHOD` on the resource,
    /// prompt or task that it names, else on the server.
    ///
    /// # Errors
    /// When the names are malformed, or a parameter that names the target is missing.
    pub fn method(&self, server: &str, method: &str, params: &Object) -> Result<Mapped, MappingError> {
        tool::map_method(server, method, params)
    }
}
