//! Where callers reach the sidecar: loopback TCP with a token, and a unix socket with a user id.

use std::{
    fs::{self, Permissions},
    io,
    net::SocketAddr,
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::UnixStream as BlockingStream,
    },
    path::{Path, PathBuf},
};

use countersign_intercept::check::Peers;
use tokio::net::{TcpListener, UnixListener};

use super::mcp::McpError;
use crate::{
    chance::random,
    config::Config,
    files::{FileError, read_private, write_private},
};

/// The fewest characters of a token that somebody else chose.
const SHORTEST_TOKEN: usize = 32;

/// Why nobody can reach the sidecar.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The port cannot be had.
    #[error("cannot listen on {address}: {error}")]
    Tcp {
        /// The wanted address.
        address: SocketAddr,
        /// What the operating system said.
        error: io::Error,
    },
    /// The socket cannot be had.
    #[error("cannot listen on {}: {error}", path.display())]
    Unix {
        /// The wanted path.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// Another sidecar is there already.
    #[error("another process listens on {}", .0.display())]
    InUse(PathBuf),
    /// An MCP server cannot be set up.
    #[error(transparent)]
    Mcp(#[from] McpError),
    /// The check token cannot be read or written.
    #[error(transparent)]
    Token(#[from] FileError),
}

/// The listeners, before anybody is served.
pub(super) struct Listeners {
    pub(super) tcp: TcpListener,
    pub(super) address: SocketAddr,
    pub(super) unix: UnixListener,
    pub(super) socket: PathBuf,
    pub(super) peers: Peers,
    pub(super) token: String,
    pub(super) mcp: Option<McpListener>,
}

/// The listener for MCP servers.
pub(super) struct McpListener {
    pub(super) tcp: TcpListener,
    pub(super) address: SocketAddr,
    pub(super) token: String,
}

impl Listeners {
    pub(super) async fn bind(config: &Config) -> Result<Self, ListenError> {
        let (tcp, address) = bind_tcp(config.check.listen).await?;
        let (socket, users) = (config.socket_path(), &config.socket.users.0);
        let unix = bind_unix(&socket, !users.is_empty())?;
        let own = rustix::process::getuid().as_raw();
        let peers = Peers::new(users.iter().copied().chain([own]));
        let mcp = if config.mcp.servers.is_empty() { None } else { Some(McpListener::bind(config).await?) };
        let token = token(&config.data, "check")?;
        Ok(Self { tcp, address, unix, socket, peers, token, mcp })
    }
}

impl McpListener {
    async fn bind(config: &Config) -> Result<Self, ListenError> {
        let (tcp, address) = bind_tcp(config.mcp.listen).await?;
        Ok(Self { tcp, address, token: token(&config.data, "mcp")? })
    }
}

async fn bind_tcp(wanted: SocketAddr) -> Result<(TcpListener, SocketAddr), ListenError> {
    let fail = |error| ListenError::Tcp { address: wanted, error };
    let tcp = TcpListener::bind(wanted).await.map_err(fail)?;
    let address = tcp.local_addr().map_err(fail)?;
    Ok((tcp, address))
}

/// Binds the socket in place of one that a process left behind. With other users than its own, every user
/// can connect, and those who may not are turned away by their id; that check stands in any case.
fn bind_unix(path: &Path, shared: bool) -> Result<UnixListener, ListenError> {
    let fail = |error| ListenError::Unix { path: path.to_owned(), error };
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {
            if BlockingStream::connect(path).is_ok() {
                return Err(ListenError::InUse(path.to_owned()));
            }
            fs::remove_file(path).map_err(fail)?;
        }
        // Whatever else is there is not ours to remove: binding fails.
        Ok(_) | Err(_) => {}
    }
    let listener = UnixListener::bind(path).map_err(fail)?;
    let mode = if shared { 0o666 } else { 0o600 };
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(fail)?;
    Ok(listener)
}

/// The bearer token of a listener, made at first start.
fn token(data: &Path, listener: &str) -> Result<String, FileError> {
    let path = data.join(format!("{listener}-token"));
    if let Some(text) = read_private(&path)? {
        let token = text.trim();
        if token.len() < SHORTEST_TOKEN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            let why = format!("a token has at least {SHORTEST_TOKEN} printable characters");
            return Err(FileError::Malformed { path, why });
        }
        return Ok(token.to_owned());
    }
    let token = format!("cs-{listener}.{}", hex::encode(random::<32>()));
    write_private(&path, format!("{token}\n").as_bytes())?;
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_that_was_left_behind_is_replaced_and_a_living_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sidecar.sock");
        let first = bind_unix(&path, false).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(bind_unix(&path, false), Err(ListenError::InUse(_))));
        drop(first);
        drop(bind_unix(&path, true).unwrap());
        let file = folder.path().join("file");
        fs::write(&file, "precious").unwrap();
        assert!(matches!(bind_unix(&file, false), Err(ListenError::Unix { .. })));
        assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    }

    #[test]
    fn the_token_is_made_once_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let made = token(folder.path(), "check").unwrap();
        assert_eq!(token(folder.path(), "check").unwrap(), made);
        let file = folder.path().join("check-token");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&file, "short").unwrap();
        assert!(matches!(token(folder.path(), "check"), Err(FileError::Malformed { .. })));
    }
}
