//! A sidecar's local API on a socket of its own, over a gate in a fake world.

#![allow(dead_code, reason = "each test uses its own part of it")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "this is test code, and a panic is how a test fails")]

use std::path::Path;

use countersign_intercept::{
    local::{self, LocalClient, Settings},
    mcp::{Servers, servers::Shared},
};
use countersign_testkit::{World, world::REQUIREMENTS};
use tokio::{net::UnixListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

const POLICIES: &str = r#"
permit (principal, action == Exec::Action::"run", resource);
@id("exec.deploy") @approval("sre") @reason("Deploying needs an SRE")
forbid (principal, action == Exec::Action::"run", resource == Exec::Program::"deploy")
unless { context.approvals.contains("sre") };
@id("exec.rm") @reason("Agents delete nothing")
forbid (principal, action == Exec::Action::"run", resource == Exec::Program::"rm");

permit (principal, action in [
  Mcp::Action::"initialize", Mcp::Action::"tools/list", Mcp::Action::"tools/call", Mcp::Action::"resources/read",
  Mcp::Action::"roots/list", Mcp::Action::"prompts/list"
], resource);
permit (principal, action == Mcp::Action::"tasks/get", resource)
when { context has task && context.task.own };
@id("mcp.write") @approval("sre") @reason("Writing needs an SRE")
forbid (principal, action == Mcp::Action::"tools/call", resource == Mcp::Tool::"files/write")
unless { context.approvals.contains("sre") };
@id("mcp.delete") @reason("Nothing is deleted")
forbid (principal, action == Mcp::Action::"tools/call", resource == Mcp::Tool::"files/delete");
@id("mcp.quarantine") @approval("sre") @reason("This tool is not what it was")
forbid (principal, action == Mcp::Action::"tools/call", resource)
when { context has tool && (context.tool.status == "new" || context.tool.status == "changed") }
unless { context.approvals.contains("sre") };
@id("mcp.sampling") @reason("No model is lent out")
forbid (principal, action == Mcp::Action::"sampling/createMessage", resource);
"#;

/// A sidecar.
pub(crate) struct Sidecar {
    /// The gate and what is around it.
    pub(crate) world: World,
    /// The way to it.
    pub(crate) client: LocalClient,
    /// Cancelled when it stops.
    pub(crate) stop: CancellationToken,
    folder: tempfile::TempDir,
    server: JoinHandle<()>,
}

impl Sidecar {
    /// Starts one.
    pub(crate) fn start() -> Self {
        let world = World::new();
        world.activate(2, POLICIES, REQUIREMENTS);
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("sidecar.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let stop = CancellationToken::new();
        let console = Some("http://127.0.0.1:7700/".to_owned());
        let shared = Shared { console: console.clone(), stop: stop.clone(), ..Shared::default() };
        let settings = Settings {
            console,
            folders: countersign_intercept::exec::normalise::ProgramFolders::of_path("/usr/bin".as_ref()),
            stop: stop.clone(),
            ..Settings::default()
        };
        let router = local::router(world.gate.clone(), Servers::new(world.gate.clone(), shared), settings);
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { world, client: LocalClient::new(&socket), stop, folder, server }
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> &Path {
        self.client.socket()
    }

    /// It is gone.
    pub(crate) fn stop(&self) {
        self.server.abort();
        std::fs::remove_file(self.socket()).unwrap();
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        self.server.abort();
    }
}
