//! The control plane and the sidecar, started in one process and brought together over real QUIC.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use countersign_control_plane::{App, Running as Control, config::Config as ControlConfig};
use countersign_model::{Digest, Seconds, TrustDomain};
use countersign_pki::{Identity, JoinToken};
use countersign_policy::{BundleFiles, Template};
use countersign_settings::Sources;
use countersign_sidecar::{Config as SidecarConfig, Running as Beside, Sidecar};
use serde_json::{Value, json};

use super::{
    people::{OWNER, People},
    server::McpServer,
};
use crate::{
    api::{Api, ApiError},
    credentials::Credentials,
    output::now,
    verbs::policy::push_to,
};

/// The name of the agent.
const AGENT: &str = "dev-agent";
/// The trust domain.
const TRUST_DOMAIN: &str = "countersign.local";
/// The longest path of a unix socket, with a little to spare.
const MAX_SOCKET_PATH: usize = 100;
/// How long the sidecar may take to have the policy that is in force.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How often it is asked whether it has.
const GLANCE: Duration = Duration::from_millis(20);

/// What is wanted.
#[derive(Debug)]
pub(crate) struct Wish {
    /// The folder for everything that is kept.
    pub(crate) data: PathBuf,
    /// Where to listen.
    pub(crate) ports: Ports,
    /// The bundle; the starter bundle, if no policy is in force yet, when `None`.
    pub(crate) bundle: Option<BundleFiles>,
    /// The MCP servers that agents reach over HTTP.
    pub(crate) mcp: Vec<McpServer>,
    /// Whether callers of the check API are trusted to say who the principal is.
    pub(crate) trust_subject: bool,
}

/// Ports on this machine alone; 0 for any.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) api: u16,
    pub(crate) link: u16,
    pub(crate) check: u16,
    pub(crate) mcp: u16,
}

/// Where everything is.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    pub(crate) api: String,
    pub(crate) link: String,
    pub(crate) check: String,
    pub(crate) socket: PathBuf,
    pub(crate) check_token: String,
    pub(crate) mcp: Option<McpPlace>,
    pub(crate) data: PathBuf,
}

/// Where MCP servers are reached over HTTP.
#[derive(Debug, Clone)]
pub(crate) struct McpPlace {
    pub(crate) address: String,
    pub(crate) token: String,
    /// The servers' names.
    pub(crate) servers: Vec<String>,
}

impl Places {
    /// Where the token of the check API is kept.
    pub(crate) fn check_token_file(&self) -> PathBuf {
        self.data.join("sidecar").join("check-token")
    }

    /// Where the token for MCP servers is kept.
    pub(crate) fn mcp_token_file(&self) -> PathBuf {
        self.data.join("sidecar").join("mcp-token")
    }
}

/// A control plane with one enrolled sidecar.
pub(crate) struct Stack {
    control: Control,
    sidecar: Beside,
    pub(crate) places: Places,
    pub(crate) people: People,
}

impl Stack {
    /// Starts both, enrols the agent if it is not yet, and waits until policy has arrived.
    ///
    /// # Errors
    /// When any of that fails.
    pub(crate) async fn start(mut wish: Wish) -> Result<Self> {
        let data = private_folder(&wish.data)?;
        let control = start_control(&data, wish.ports).await?;
        let people = People::settle(control.identity(), &data.join("people.json")).await?;
        let url = format!("http://{}", control.api_addr());
        let admin = Api::with(Credentials { url: url.clone(), token: people.admin().token.clone() })?;
        enforce(&admin, wish.bundle.take()).await?;
        let servers = wish.mcp.iter().map(|server| server.name.clone()).collect();
        let config = sidecar_config(&data, &wish, &control, &admin).await?;
        let sidecar = Sidecar::start(config).await.context("the sidecar did not start")?;
        let mcp = sidecar.mcp().map(|(address, token)| McpPlace {
            address: format!("http://{address}"),
            token: token.to_owned(),
            servers,
        });
        let places = Places {
            api: url,
            link: control.link_addr().to_string(),
            check: format!("http://{}", sidecar.check_addr()),
            socket: sidecar.socket().to_owned(),
            check_token: sidecar.check_token().to_owned(),
            mcp,
            data,
        };
        let stack = Self { control, sidecar, places, people };
        stack.wait_for_policy(&admin).await?;
        Ok(stack)
    }

    async fn wait_for_policy(&self, admin: &Api) -> Result<()> {
        let arrived = async {
            let wanted: Value = admin.get("/api/v1/policy/revisions/active", &[]).await?;
            loop {
                let agent: Value = admin.get(&format!("/api/v1/agents/{AGENT}"), &[]).await?;
                let connected = agent.get("connected") == Some(&Value::Bool(true));
                if connected && agent.get("revision") == wanted.get("revision") {
                    return Ok(());
                }
                tokio::time::sleep(GLANCE).await;
            }
        };
        tokio::time::timeout(READY_WITHIN, arrived).await.context("the sidecar did not take up the policy")?
    }

    /// Where everything is, for programs.
    pub(crate) fn summary(&self) -> Value {
        let Places { api, link, check, socket, check_token, mcp, data } = &self.places;
        let mut summary = json!({
            "ready": true,
            "api": api,
            "link": link,
            "check": check,
            "check_socket": socket,
            "check_token": check_token,
            "admin_token": self.people.admin().token,
            "reviewers": self.people.reviewers(),
            "data": data,
        });
        if let (Some(mcp), Some(members)) = (mcp, summary.as_object_mut()) {
            members.insert("mcp".to_owned(), json!(mcp.address));
            members.insert("mcp_token".to_owned(), json!(mcp.token));
        }
        summary
    }

    /// A link that signs whoever holds the token in to the console, once.
    pub(crate) async fn sign_in_link(&self, token: &str) -> Result<String> {
        let api = Api::with(Credentials { url: self.places.api.clone(), token: token.to_owned() })?;
        let link: Value = api.post("/api/v1/sign-in-links", &json!({})).await?;
        let path = link.get("path").and_then(Value::as_str).context("the link has no path")?;
        Ok(format!("{}{path}", self.places.api))
    }

    /// Waits until one of the two fails.
    ///
    /// # Errors
    /// With what failed.
    pub(crate) async fn ended(&mut self) -> Result<()> {
        tokio::select! {
            ended = self.control.ended() => ended.context("the control plane ended"),
            ended = self.sidecar.ended() => ended.context("the sidecar ended"),
        }
    }

    /// Ends both, the sidecar first, so that what it knows arrives.
    ///
    /// # Errors
    /// When a part of them had failed.
    pub(crate) async fn shutdown(self) -> Result<()> {
        let sidecar = self.sidecar.shutdown().await;
        self.control.shutdown().await?;
        Ok(sidecar?)
    }
}

/// The data folder, for this user alone, as an absolute path.
fn private_folder(path: &Path) -> Result<PathBuf> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| path.display().to_string())?;
    path.canonicalize().with_context(|| path.display().to_string())
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

async fn start_control(data: &Path, ports: Ports) -> Result<Control> {
    let domain: TrustDomain = TRUST_DOMAIN.parse()?;
    let mut config = ControlConfig::new(data.join("control"), domain);
    config.api.listen = loopback(ports.api);
    config.link.listen = loopback(ports.link);
    // People look at the log while they try things out.
    config.times.checkpoint = Seconds::new(1);
    App::start(config).await.context("the control plane did not start")
}

/// Brings a bundle in force, unless it is already.
async fn enforce(admin: &Api, bundle: Option<BundleFiles>) -> Result<()> {
    let active = match admin.get::<Value>("/api/v1/policy/revisions/active", &[]).await {
        Ok(active) => Some(active),
        Err(error) if is_not_found(&error) => None,
        Err(error) => return Err(error),
    };
    let files = match (bundle, &active) {
        (Some(bundle), _) => bundle,
        (None, None) => Template::Starter.files(),
        (None, Some(_)) => return Ok(()),
    };
    let in_force = active.as_ref().and_then(|active| active.get("digest")).and_then(Value::as_str);
    if in_force != Some(files.digest().to_string().as_str()) {
        push_to(admin, files, Some("countersign dev".to_owned())).await.context("the bundle was refused")?;
    }
    Ok(())
}

fn is_not_found(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<ApiError>(), Some(ApiError::Refused { status: 404, .. }))
}

async fn sidecar_config(data: &Path, wish: &Wish, control: &Control, admin: &Api) -> Result<SidecarConfig> {
    let home = data.join("sidecar");
    let pair = |key: &str, text: String| (key.to_owned(), text);
    let mut flags = vec![
        pair("data", home.to_string_lossy().into_owned()),
        pair("control", control.link_addr().to_string()),
        pair("mcp.listen", loopback(wish.ports.mcp).to_string()),
    ];
    flags.extend(wish.mcp.iter().enumerate().flat_map(|(number, server)| server.settings(number)));
    let mut config = SidecarConfig::load(&Sources { flags, ..Sources::default() })?;
    config.data.clone_from(&home);
    config.agent = Some(AGENT.parse()?);
    config.console = Some(admin.url().to_owned());
    config.check.listen = loopback(wish.ports.check);
    config.check.trust_subject = wish.trust_subject;
    config.socket.path = socket_elsewhere(&home)?;
    config.join_token = join_token(admin, &home).await?;
    Ok(config)
}

/// A join token, if the sidecar needs one: at first, and after its certificate has run out.
async fn join_token(admin: &Api, home: &Path) -> Result<Option<JoinToken>> {
    let identity = Identity::load(&home.join("identity.pem"));
    if identity.is_ok_and(|identity| identity.is_valid_at(now())) {
        return Ok(None);
    }
    let path = format!("/api/v1/agents/{AGENT}");
    let added: Value = match admin.get::<Value>(&path, &[]).await {
        Ok(_) => admin.post(&format!("{path}/join-tokens"), &json!({})).await?,
        Err(error) if is_not_found(&error) => {
            admin.post("/api/v1/agents", &json!({"name": AGENT, "owner": OWNER})).await?
        }
        Err(error) => return Err(error),
    };
    let token = added.get("token").and_then(Value::as_str).context("the agent has no join token")?;
    Ok(Some(token.parse()?))
}

/// Another place for the socket, when the data folder's path is too long for one.
fn socket_elsewhere(home: &Path) -> Result<Option<PathBuf>> {
    if home.as_os_str().len() + "/sidecar.sock".len() <= MAX_SOCKET_PATH {
        return Ok(None);
    }
    let name = Digest::of(home.as_os_str().as_encoded_bytes()).short();
    let folder = private_folder(&std::env::temp_dir().join(format!("countersign-{name}")))?;
    Ok(Some(folder.join("sidecar.sock")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_path_gets_its_socket_elsewhere() {
        assert_eq!(socket_elsewhere(Path::new("/tmp/data/sidecar")).unwrap(), None);
        let long = PathBuf::from(format!("/tmp/{}", "x".repeat(200)));
        let socket = socket_elsewhere(&long).unwrap().unwrap();
        assert!(socket.as_os_str().len() <= MAX_SOCKET_PATH);
        fs::remove_dir(socket.parent().unwrap()).unwrap();
    }
}
