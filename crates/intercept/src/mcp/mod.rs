//! MCP servers: on stdio (`countersign mcp --name files -- CMD…`), and over HTTP ([`http`]).
//!
//! On stdio the relay ([`relay`]) stands between an MCP client and a server and forwards every message byte for
//! byte, unless policy must act. What it forwards it has read more strictly than any server would
//! ([`envelope`]), so that a message cannot be one thing here and another there. What a message means
//! to policy is said in [`normalise`], on the sidecar's side, from the same bytes.
//!
//! | message | what happens |
//! |---|---|
//! | `ping`, `notifications/*` | passes |
//! | `tools/call`, `resources/read`, `prompts/get`, `initialize`, lists, … | evaluated by COAZ-MCP's mappings, held, forwarded, its outcome recorded |
//! | any other request | evaluated under its own name: without a policy for it, denied (I6) |
//! | `notifications/cancelled` of a held request | withdraws it; neither is ever forwarded |
//! | any request of the server but `ping` | evaluated; the server's other messages pass |
//! | batches (on stdio), and whatever two readers could read differently | refused (I6) |
//!
//! A refused `tools/call` is answered with a tool result that says so (`isError: true`), so that the
//! model can read it; other requests with a JSON-RPC error.

pub mod envelope;
mod framing;
pub mod http;
mod lane;
pub mod normalise;
mod pins;
pub mod refusal;
pub mod relay;
