//! Where the sidecar's socket is.

use std::path::PathBuf;

use clap::Args;

/// Which sidecar is asked.
#[derive(Debug, Clone, Args)]
pub(crate) struct SocketArguments {
    /// The sidecar's socket.
    #[arg(long, value_name = "PATH", env = "COUNTERSIGN_SOCKET")]
    socket: Option<PathBuf>,
}

impl SocketArguments {
    /// The socket that is named, else the first that there is: that of this user's sidecar, of the
    /// machine's, of a `countersign dev` in this folder.
    pub(crate) fn path(&self) -> PathBuf {
        if let Some(socket) = &self.socket {
            return socket.clone();
        }
        let candidates = candidates();
        let there = candidates.iter().find(|path| path.exists()).or(candidates.first());
        there.cloned().unwrap_or_default()
    }
}

fn candidates() -> Vec<PathBuf> {
    let user = std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty());
    let user = user.map(|folder| PathBuf::from(folder).join("countersign").join("sidecar.sock"));
    let others = ["/run/countersign/sidecar.sock", "countersign-data/sidecar/sidecar.sock"];
    user.into_iter().chain(others.map(PathBuf::from)).collect()
}
