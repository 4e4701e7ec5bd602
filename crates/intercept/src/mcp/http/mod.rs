//! MCP servers over streamable HTTP: the sidecar listens, and stands before servers that agents reach
//! by URL.
//!
//! One path of the listener is one server ([`ServerSettings`]). What a client POSTs is read as strictly
//! as on stdio ([`super::envelope`]), decided by the gate in the same process, and forwarded byte for
//! byte; what the server answers is streamed on, event by event, as it comes. In the order in which a
//! request passes through:
//!
//! 1. [`guard`]: who may ask, and from where (`Origin`, `Host`).
//! 2. [`posted`]: the body, held against its headers ([`revision`], [`headers`]) and taken apart.
//! 3. [`ruling`]: what policy says about each message, and the wait for people ([`patience`], [`clients`])
//!    and what their client has said that it can do ([`agreed`]).
//! 4. [`upstream`]: the server, with the credentials that the sidecar keeps.
//! 5. [`reply`]: what the server says ([`sse`], [`long`]), its questions to the client ([`asks`]) and its
//!    lists ([`lists`]) included.
//!    Output rules of the bundle take out of an answer what the agent may not see ([`outputs`]).
//! 6. [`definitions`]: what its tools are and what it tells models to do, and who has accepted that.
//!
//! | revision | batches | sessions, GET, DELETE | a client that disconnects | held for longer than the client waits |
//! |---|---|---|---|---|
//! | to 2025-03-26 | every element is decided, and none waits for another | yes | withdraws what is held | a tool result: pending, call again |
//! | 2025-06-18 | refused | yes | withdraws what is held | a tool result: pending, call again |
//! | 2025-11-25 | refused | yes | withdraws what is held | the same, or the address to decide at where the client opens addresses |
//! | 2026-07-28 | refused | no: 405 | cancels | a task where the client knows tasks ([`held`]), else `input_required` with a sealed `requestState` ([`state`]) |
//!
//! The HTTP+SSE transport of 2024-11-05 is not offered; clients of that revision that speak streamable
//! HTTP are served. A revision that is not in this table is refused, because a message of an unknown
//! language cannot be decided about (I6).
//!
//! Nothing that a message carries is authentication: neither session, task and approval ids, nor
//! `requestState`, nor `Mcp-*` headers. The caller's own `Authorization` ends here, and the server's
//! credentials begin here.

mod agreed;
mod asks;
mod channel;
mod clients;
mod definitions;
mod edit;
mod exchange;
mod guard;
mod headers;
mod held;
mod lists;
mod long;
mod outputs;
mod patience;
mod posted;
mod reply;
mod revision;
mod ruling;
mod serve;
mod session;
mod sse;
mod state;
mod tasks;
mod upstream;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use axum::{middleware, routing::any};
use countersign_gate::Gate;
use http::{HeaderName, HeaderValue, Uri};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

pub use self::upstream::UpstreamError;
use self::{
    clients::Clients, definitions::Definitions, guard::Guard, held::HeldTasks, session::Sessions,
    state::Seal, tasks::Tasks, upstream::Upstream,
};
use crate::check::Token;
/// What a listener serves.
pub use axum::Router as Routes;

/// How long a client waits for an answer, as far as is known. The shortest default of a client in use is
/// 60 seconds.
pub const PATIENCE: Duration = Duration::from_secs(50);

/// What every server behind the listener shares.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The token that callers must present.
    pub token: Token,
    /// The address at which reviewers decide, if it is known.
    pub console: Option<String>,
    /// The folder that keeps what is accepted of servers' tools. Without it a restart accepts anew.
    pub definitions: Option<PathBuf>,
    /// How long clients wait that are known to wait longer than others, or less long, by the names that they
    /// give themselves.
    pub clients: BTreeMap<String, Duration>,
    /// Cancelled when the sidecar stops: what is held then is withdrawn, and what runs may finish.
    pub stop: CancellationToken,
}

/// One server.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// The name that policy knows it by.
    pub name: String,
    /// The path on the listener.
    pub path: String,
    /// Where the server is.
    pub url: Uri,
    /// The header that authenticates the sidecar to the server. Agents never see it.
    pub credential: Option<(HeaderName, HeaderValue)>,
    /// Origins of web pages that may call, besides those of this machine.
    pub origins: Vec<String>,
    /// Names that requests may be addressed to, besides those of this machine.
    pub hosts: Vec<String>,
    /// How long a client waits before it gives up.
    pub patience: Duration,
}

/// One server, ready to be asked.
struct Server {
    name: String,
    gate: Gate,
    upstream: Upstream,
    sessions: Sessions,
    seal: Seal,
    definitions: Definitions,
    /// Held by whoever lists the server's tools on the sidecar's own account.
    listing: Mutex<()>,
    tasks: Tasks,
    held: HeldTasks,
    clients: Clients,
    console: Option<String>,
    stop: CancellationToken,
}

/// The routes of all servers.
///
/// # Errors
/// When the means to reach servers cannot be set up.
pub fn router(
    gate: &Gate,
    settings: &Settings,
    servers: Vec<ServerSettings>,
) -> Result<Routes, UpstreamError> {
    let client = upstream::client()?;
    let mut routes = Routes::new();
    for server in servers {
        let guard = Arc::new(Guard::new(settings.token, server.origins, server.hosts));
        let path = server.path;
        let server = Arc::new(Server {
            gate: gate.clone(),
            upstream: Upstream::new(client.clone(), server.url, server.credential),
            sessions: Sessions::default(),
            seal: Seal::new(&server.name)?,
            definitions: Definitions::open(settings.definitions.as_deref(), &server.name)?,
            listing: Mutex::default(),
            tasks: Tasks::default(),
            held: HeldTasks::default(),
            name: server.name,
            clients: Clients::new(server.patience, settings.clients.clone()),
            console: settings.console.clone(),
            stop: settings.stop.clone(),
        });
        let guarded =
            any(serve::serve).with_state(server).layer(middleware::from_fn_with_state(guard, guard::admit));
        routes = routes.route(&path, guarded);
    }
    Ok(routes)
}
