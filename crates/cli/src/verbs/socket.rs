//! Where the sidecar's socket is.

use std::path::PathBuf;

use clap::Args;
use countersign_intercept::local::LocalClient;

/// Which sidecar is asked.
#[derive(Debug, Clone, Args)]
pub(crate) struct SocketArguments {
    /// The sidecar's socket.
    #[arg(long, value_name = "PATH", env = "COUNTERSIGN_SOCKET")]
    socket: Option<PathBuf>,
    /// A file with the OIDC token of the person on whose behalf this is done. It is read for each operation.
    #[arg(long, value_name = "PATH", env = "COUNTERSIGN_INITIATOR_TOKEN_FILE")]
    initiator_token_file: Option<PathBuf>,
}

impl SocketArguments {
    /// The socket that is named, else the first that there is: that of this user's sidecar, of the
    /// machine's, of a `countersign dev` in this folder.
    pub(crate) fn path(&self) -> PathBuf {
        if let Some(socket) = &self.socket {
            return socket.clone();
        }
        let candidates: Vec<PathBuf> = of_services().into_iter().chain([PathBuf::from(OF_DEV)]).collect();
        let there = candidates.iter().find(|path| path.exists()).or(candidates.first());
        there.cloned().unwrap_or_default()
    }

    /// The way to that sidecar.
    pub(crate) fn client(&self) -> LocalClient {
        LocalClient::new(self.path()).with_initiator_token(self.initiator_token_file.clone())
    }

    /// The same, but to none that is within the agent's reach.
    pub(crate) fn client_out_of_reach(&self) -> Option<LocalClient> {
        let path = self.path_out_of_reach()?;
        Some(LocalClient::new(path).with_initiator_token(self.initiator_token_file.clone()))
    }

    /// The same, but none that is in the folder where this runs: an agent can write there, and could put
    /// up a sidecar of its own.
    fn path_out_of_reach(&self) -> Option<PathBuf> {
        let services = of_services();
        let there = services.iter().find(|path| path.exists()).or(services.first());
        self.socket.clone().or_else(|| there.cloned())
    }
}

/// The socket of a `countersign dev` in this folder.
const OF_DEV: &str = "countersign-data/sidecar/sidecar.sock";

/// The sockets of sidecars that run as services: this user's, then the machine's.
fn of_services() -> Vec<PathBuf> {
    let user = std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty());
    let user = user.map(|folder| PathBuf::from(folder).join("countersign").join("sidecar.sock"));
    user.into_iter().chain([PathBuf::from("/run/countersign/sidecar.sock")]).collect()
}
