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
//! 3. [`serve`]: what policy says about each message, and the wait for people ([`clients`], [`held`]) and what
//!    their client has said that it can do ([`super::agreed`]).
//! 4. [`upstream`]: the server, with the credentials that the sidecar keeps: at a URL, or a command whose
//!    stdio server is presented as one over HTTP, so that nothing else has to know.
//! 5. [`reply`]: what the server says ([`sse`], [`long`], [`exchange`]), its questions to the client ([`asks`])
//!    included.
//!
//! What is decided, and what is known of a server, is the same as on stdio ([`super`]).
//!
//! | revision | batches | sessions, GET, DELETE | a client that disconnects | held for longer than the client waits |
//! |---|---|---|---|---|
//! | to 2025-03-26 | every element is decided, and none waits for another | yes | withdraws what is held | a tool result: pending, call again |
//! | 2025-06-18 | refused | yes | withdraws what is held | a tool result: pending, call again |
//! | 2025-11-25 | refused | yes | withdraws what is held | the same, or the address to decide at where the client opens addresses |
//! | 2026-07-28 | refused | no: 405 | cancels | a task where the client knows tasks ([`held`]), else `input_required` with a sealed `requestState` ([`super::state`]) |
//!
//! The HTTP+SSE transport of 2024-11-05 is not offered; clients of that revision that speak streamable
//! HTTP are served. A revision that is not in this table is refused, because a message of an unknown
//! language cannot be decided about (I6).
//!
//! Nothing that a message carries is authentication: neither session, task and approval ids, nor
//! `requestState`, nor `Mcp-*` headers. The caller's own `Authorization` ends here, and the server's
//! credentials begin here.

mod asks;
mod channel;
mod clients;
mod exchange;
mod guard;
mod headers;
mod held;
mod job;
mod listing;
mod long;
mod posted;
mod reply;
mod revision;
mod serve;
mod session;
mod sse;
mod upstream;
mod waiting;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{middleware, routing::any};
use tokio::sync::Mutex;

pub use self::upstream::{CommandSettings, Processes, UpstreamError, UpstreamSettings};
pub(crate) use self::upstream::{HttpClient, client};
use self::{clients::Clients, guard::Guard, held::HeldTasks, session::Sessions, upstream::Upstream};
use super::{known::Known, servers::Servers};
use crate::check::Token;
/// What a listener serves.
pub use axum::Router as Routes;

/// What every server behind the listener shares.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The token that callers must present.
    pub token: Token,
    /// How long clients wait that are known to wait longer than others, or less long, by the names that they
    /// give themselves.
    pub clients: BTreeMap<String, Duration>,
    /// The processes of servers that are commands. They outlive the stop, for the sake of what runs.
    pub processes: Processes,
}

/// One server.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// The name that policy knows it by.
    pub name: String,
    /// The path on the listener.
    pub path: String,
    /// Where the server is.
    pub upstream: UpstreamSettings,
    /// Origins of web pages that may call, besides those of this machine.
    pub origins: Vec<String>,
    /// Names that requests may be addressed to, besides those of this machine.
    pub hosts: Vec<String>,
    /// How long a client waits before it gives up.
    pub patience: Duration,
}

/// One server, ready to be asked.
struct Server {
    known: Arc<Known>,
    upstream: Upstream,
    sessions: Sessions,
    /// Held by whoever lists the server's tools on the sidecar's own account.
    listing: Mutex<()>,
    held: HeldTasks,
    clients: Clients,
}

/// The routes of servers.
///
/// # Errors
/// When the means to reach servers cannot be set up.
pub fn router(
    known: &Servers,
    settings: &Settings,
    servers: Vec<ServerSettings>,
) -> Result<Routes, UpstreamError> {
    let client = upstream::client()?;
    let mut routes = Routes::new();
    for server in servers {
        let guard = Arc::new(Guard::new(settings.token, server.origins, server.hosts));
        let path = server.path;
        let known = Arc::new(known.reach(&server.name)?);
        let told = Arc::clone(&known);
        let tools_changed = Arc::new(move || told.definitions.outdated());
        let server = Arc::new(Server {
            upstream: Upstream::new(
                server.upstream,
                &client,
                (&server.name, &settings.processes),
                tools_changed,
            ),
            known,
            sessions: Sessions::default(),
            listing: Mutex::default(),
            held: HeldTasks::default(),
            clients: Clients::new(server.patience, settings.clients.clone()),
        });
        let guarded =
            any(serve::serve).with_state(server).layer(middleware::from_fn_with_state(guard, guard::admit));
        routes = routes.route(&path, guarded);
    }
    Ok(routes)
}
