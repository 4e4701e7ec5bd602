//! The MCP servers that the sidecar stands before, by their names. What is kept of a server is one thing,
//! whether clients reach it on stdio or over HTTP.

use std::{
    collections::HashMap,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use countersign_gate::Gate;
use tokio_util::sync::CancellationToken;

use super::{accepted::Accepted, known::Known, state::Seal};
use crate::initiator::Initiators;

/// The most servers.
const MAX_SERVERS: usize = 512;
/// The longest name of a server.
const MAX_NAME: usize = 64;

/// What all servers share.
#[derive(Debug, Clone, Default)]
pub struct Shared {
    /// The address at which reviewers decide, if it is known.
    pub console: Option<String>,
    /// The folder that keeps what is accepted of servers' tools. Without it a restart accepts anew.
    pub definitions: Option<PathBuf>,
    /// Cancelled when the sidecar stops: what is held then is withdrawn, and what runs may finish.
    pub stop: CancellationToken,
    /// Who vouches for the people on whose behalf agents reach servers over HTTP.
    pub initiators: Initiators,
}

/// Why a server is not known.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Its name could be no file's.
    #[error("{0:?} is no name of an MCP server: use 1 to {MAX_NAME} letters, digits, '.', '-' or '_'")]
    Name(String),
    /// There are too many.
    #[error(
        "there are more than {MAX_SERVERS} MCP servers; restart the sidecar to forget those that are gone"
    )]
    TooMany,
    /// What was accepted of its tools cannot be read. Nothing is accepted by an accident.
    #[error("what was accepted of an MCP server's tools cannot be read: {0}; remove the file to begin anew")]
    Definitions(#[from] io::Error),
    /// There is no randomness for keys.
    #[error("no key can be made")]
    Key,
}

/// What is kept of one server.
pub(super) struct Kept {
    pub(super) accepted: Arc<Accepted>,
    pub(super) seal: Seal,
}

/// The servers.
#[derive(Clone)]
pub struct Servers {
    gate: Gate,
    shared: Shared,
    kept: Arc<Mutex<HashMap<String, Arc<Kept>>>>,
}

impl Servers {
    /// No server is known yet.
    #[must_use]
    pub fn new(gate: Gate, shared: Shared) -> Self {
        Self { gate, shared, kept: Arc::default() }
    }

    /// Cancelled when the sidecar stops.
    #[must_use]
    pub fn stop(&self) -> &CancellationToken {
        &self.shared.stop
    }

    /// A server, as it is reached in one way from now on.
    pub(crate) fn reach(&self, name: &str) -> Result<Known, ServerError> {
        Ok(Known::new(name, self.gate.clone(), self.kept(name)?, self.shared.clone()))
    }

    fn kept(&self, name: &str) -> Result<Arc<Kept>, ServerError> {
        if !is_name(name) {
            return Err(ServerError::Name(name.chars().take(MAX_NAME).collect()));
        }
        let mut all = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = all.get(name) {
            return Ok(Arc::clone(kept));
        }
        if all.len() >= MAX_SERVERS {
            return Err(ServerError::TooMany);
        }
        let accepted = Arc::new(Accepted::open(self.shared.definitions.as_deref(), name)?);
        let kept = Arc::new(Kept { accepted, seal: Seal::new(name)? });
        all.insert(name.to_owned(), Arc::clone(&kept));
        Ok(kept)
    }
}

/// Whether a server can have this name, which is a file's name, too.
#[must_use]
pub fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
}

#[cfg(test)]
mod tests {
    use countersign_testkit::World;

    use super::*;
    use crate::mcp::lists::take_page;

    #[test]
    fn a_name_leads_nowhere() {
        for name in ["files", "a.b-c_D9", ".."] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "a/b", "../x", "a\\b", "a b", "ä", &"x".repeat(65)] {
            assert!(!is_name(name), "{name}");
        }
    }

    #[tokio::test]
    async fn what_is_accepted_of_a_server_is_so_however_it_is_reached() {
        let world = World::new();
        let servers = Servers::new(world.gate.clone(), Shared::default());
        let list = |server: &Known, description: &str| {
            let tools = format!(r#"[{{"name":"read","description":"{description}"}}]"#);
            take_page(server, &format!(r#"{{"id":1,"result":{{"tools":{tools}}}}}"#), true, 0).unwrap();
        };
        let status = |server: &Known| server.definitions.facts("read")["status"].clone();
        let [http, stdio, other] = ["files", "files", "crm"].map(|name| servers.reach(name).unwrap());
        list(&http, "Reads");
        assert_eq!((status(&http), status(&stdio)), ("accepted".into(), "unlisted".into()));
        list(&stdio, "Reads, and sends it away");
        list(&other, "Reads, and sends it away");
        assert_eq!((status(&stdio), status(&other)), ("changed".into(), "accepted".into()));
    }

    #[tokio::test]
    async fn servers_are_not_remembered_without_end() {
        let world = World::new();
        let servers = Servers::new(world.gate.clone(), Shared::default());
        for number in 0..MAX_SERVERS {
            servers.reach(&number.to_string()).unwrap();
        }
        assert!(servers.reach("0").is_ok());
        assert!(matches!(servers.reach("one-more"), Err(ServerError::TooMany)));
    }
}
