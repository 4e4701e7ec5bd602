//! The server behind. It is reached by URL ([`remote`]), or it is a command that the sidecar starts
//! ([`command`]); nothing that stands before it has to know which.

mod answer;
mod child;
mod command;
mod process;
mod remote;
mod table;

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, Uri};

pub(crate) use self::remote::{HttpClient, client};
pub use self::{child::Processes, command::CommandSettings};
use self::{command::Command, remote::Remote};
use super::posted::Rejection;
use crate::mcp::{revision::Revision, servers::ServerError};

/// Why a server cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// This machine's trusted certificates cannot be used.
    #[error("TLS towards other machines cannot be set up: {0}")]
    Tls(String),
    /// No connection: the message was not delivered.
    #[error("the MCP server cannot be reached: {0}")]
    Unreachable(String),
    /// The connection broke: the message may have been delivered.
    #[error("the MCP server broke off: {0}")]
    Broken(String),
    /// What is kept of a server cannot be had.
    #[error(transparent)]
    Server(#[from] ServerError),
}

/// Where a server is.
#[derive(Debug, Clone)]
pub enum UpstreamSettings {
    /// At a URL.
    Url {
        /// The URL.
        url: Uri,
        /// The header that authenticates the sidecar to the server. Agents never see it.
        credential: Option<(HeaderName, HeaderValue)>,
    },
    /// In processes of this machine, which the sidecar starts.
    Command(CommandSettings),
}

/// Told that a server's tools may not be what they were.
pub(super) type ToolsChanged = Arc<dyn Fn() + Send + Sync>;

/// One server.
pub(super) struct Upstream(End);

enum End {
    Remote(Box<Remote>),
    Command(Box<Command>),
}

impl Upstream {
    pub(super) fn new(
        settings: UpstreamSettings,
        client: &HttpClient,
        (server, processes): (&str, &Processes),
        tools_changed: ToolsChanged,
    ) -> Self {
        Self(match settings {
            UpstreamSettings::Url { url, credential } => {
                End::Remote(Box::new(Remote::new(client.clone(), url, credential)))
            }
            UpstreamSettings::Command(command) => {
                End::Command(Box::new(Command::new(server, command, processes, tools_changed)))
            }
        })
    }

    /// Sends a request, and returns with the head of its answer.
    pub(super) async fn send(
        &self,
        method: Method,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Body>, UpstreamError> {
        match &self.0 {
            End::Remote(remote) => remote.send(method, headers, body).await,
            End::Command(command) => command.send(&method, &headers, &body).await,
        }
    }

    /// Whether a request can reach the server at all. It is asked before policy is, so that nobody decides
    /// about what could not be carried out. `begins` says whether it begins a session.
    pub(super) fn admit(
        &self,
        headers: &HeaderMap,
        revision: Revision,
        begins: bool,
    ) -> Result<(), Rejection> {
        match &self.0 {
            End::Remote(_) => Ok(()),
            End::Command(command) => command.admit(headers, revision, begins),
        }
    }

    /// Waits until the session that a request belongs to is known to be over.
    pub(super) async fn session_ended(&self, headers: &HeaderMap) {
        match &self.0 {
            End::Remote(_) => std::future::pending().await,
            End::Command(command) => command.session_ended(headers).await,
        }
    }
}
