//! The hooks of coding agents: `countersign hook HOST`.
//!
//! Claude Code, Codex, Copilot CLI, Gemini CLI and Cursor run a command before they use a tool, and go by
//! its answer. That command is this interceptor's client: it reads what the host is about to do, turns it
//! into operations, asks the sidecar, and answers in the host's own schema. It relies on the host's
//! cooperation: a host that does not ask, or does not heed the answer, is not stopped.
//!
//! # What becomes of a tool call
//!
//! | what the agent is about to do | action | resource |
//! |---|---|---|
//! | a command of a shell line, all words known | as `mappings.toml` says, else `Exec::run` | `Exec::Program::"git"` |
//! | the same, but some of its words are not known (`$x`, `*.c`, `$(…)`) | `Exec::unclear` | `Exec::Program::"git"` |
//! | a program that runs a command which is judged by itself (`sudo`, `timeout`, `xargs`, `bash -c`, …) | `Exec::wrap` | `Exec::Program::"sudo"` |
//! | what cannot be read as shell, or not with certainty | `Exec::opaque` | `Exec::Line::"…"` |
//! | a redirection from a file; reading a file | `Agent::read` | `Agent::File::"/abs/path"` |
//! | a redirection to a file; writing a file whole | `Agent::write` | `Agent::File::"/abs/path"` |
//! | changing a file in place | `Agent::edit` | `Agent::File::"/abs/path"` |
//! | deleting a file by a tool | `Agent::delete` | `Agent::File::"/abs/path"` |
//! | listing and searching files | `Agent::search` | `Agent::File::"/abs/path"` of the folder |
//! | fetching a page | `Agent::fetch` | `Agent::Url::"https://host/path"` |
//! | a tool of an MCP server | as `mappings.toml` says, else `Mcp::tools/call` | `Mcp::Tool::"server/tool"` |
//! | any other tool of the host | `Agent::tool` | `Agent::Tool::"WebSearch"` |
//!
//! The attributes: `Exec::Line` has `why` (a word: `"unparsed"`, `"eval"`, `"alias"`, …). `Agent::File` has
//! `path` (absolute, symbolic links resolved), `name` (its last component) and `inside` (whether it is in
//! the project). `Agent::Url` has `scheme`, `host` and `path`. `Agent::Tool` has `name`.
//!
//! `context.hook` has `host` (`"claude-code"`, …) and `tool` (the host's name of it). A call that comes to
//! several operations runs only if all of them are permitted. It is approved as a whole
//! ([`Act::Several`](countersign_gate::Act)): what people approve, and what binds, is the line, the directory, the rest of the tool's
//! input, and every operation, so that an approval of `a && b` is none of `a && c`, nor of `a` alone.
//! A program binds by the file that its name finds in the `PATH` of the hook's process, not by its content.
//!
//! # In which order
//!
//! 1. [`host`]: what each host sends, and how it is answered.
//! 2. [`call`]: a tool call in the form that is common to all.
//! 3. [`shell`]: a shell line as the commands and redirections that it comes to.
//! 4. [`normalise`]: on the sidecar's side, from parts to what the gate decides about.

pub mod call;
mod files;
pub mod host;
pub mod normalise;
pub mod part;
mod programs;
pub mod shell;
