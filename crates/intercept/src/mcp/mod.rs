//! MCP servers: on stdio (`countersign mcp --name files -- CMD…`), and over HTTP ([`http`]).
//!
//! On stdio the relay ([`relay`]) stands between an MCP client and a server and forwards every message byte for
//! byte, unless policy must act. What it forwards it has read more strictly than any server would
//! ([`envelope`]), so that a message cannot be one thing here and another there. What a message means
//! to policy is said in [`normalise`], on the sidecar's side, from the same bytes.
//!
//! Both transports decide and show the same, because there is one place that does: what is known of a server
//! ([`known`]: its tools in `definitions`, its `tasks`) and what becomes of its answers ([`review`]: `questions`,
//! [`lists`]) is in the sidecar. The relay, in a process of its own, shows it the answers that it has to see.
//!
//! | message | what happens |
//! |---|---|
//! | `ping`, `notifications/*` | passes |
//! | `tools/call`, `resources/read`, `prompts/get`, `initialize`, lists, … | evaluated by COAZ-MCP's mappings, held, forwarded, its outcome recorded |
//! | the answers to lists | what policy could never let through is left out; definitions of tools are remembered |
//! | a `tools/call` while it is not known what the tools are | they are listed first; policy sees `context.tool.status` |
//! | questions to the client inside an answer | evaluated; one that is refused takes the answer with it |
//! | tasks | evaluated; policy sees `context.task.own` |
//! | any other request | evaluated under its own name: without a policy for it, denied (I6) |
//! | what people have not decided when the client would give up | answered as pending; the same again attaches to it (a task of the sidecar's own over HTTP alone) |
//! | `notifications/cancelled` of a held request | withdraws it; neither is ever forwarded |
//! | any request of the server but `ping` | evaluated; the server's other messages pass |
//! | an answer, of either side, to what is not under way | not forwarded |
//! | whatever two readers could read differently | refused (I6) |
//! | batches | every element is decided; over HTTP to 2025-03-26, on stdio whatever the revision |
//!
//! A refused `tools/call` is answered with a tool result that says so (`isError: true`), so that the
//! model can read it; other requests with a JSON-RPC error.

mod accepted;
pub(crate) mod agreed;
mod batch;
mod changes;
mod definitions;
mod edit;
pub mod envelope;
mod framing;
pub mod http;
pub(crate) mod known;
mod lane;
pub(crate) mod lists;
mod mirrored;
pub mod normalise;
mod outputs;
mod patience;
mod pins;
mod progress;
mod questions;
pub mod refusal;
pub mod relay;
pub(crate) mod review;
pub(crate) mod revision;
pub(crate) mod ruling;
pub mod servers;
mod state;
pub(crate) mod substitute;
mod tasks;

use std::time::Duration;

pub use servers::Servers;

/// How long a client waits for an answer, as far as is known. The shortest default of a client in use is
/// 60 seconds.
pub const PATIENCE: Duration = Duration::from_secs(50);
