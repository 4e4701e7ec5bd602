//! Counterparts that run beside a test.

use std::process::{Child, Command, Stdio};

use axum::Router;
use countersign_tests::eventually;
use reqwest::Client;
use tokio::net::TcpListener;

use crate::counterparts;

/// A counterpart's process, which ends with the test.
pub(crate) struct Peer(pub(crate) Child);

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The counterparts' own Node, silent.
pub(crate) fn node() -> Command {
    let mut node = Command::new(counterparts().join("node_modules/node/bin/node"));
    node.current_dir(counterparts()).stdin(Stdio::null()).stdout(Stdio::null());
    node
}

/// Serves on a free port, and tells the address.
pub(crate) async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// Waits until something answers there.
pub(crate) async fn until_answers(client: &Client, url: &str) {
    eventually("the counterpart answers", || async { client.get(url).send().await.ok().map(drop) }).await;
}
