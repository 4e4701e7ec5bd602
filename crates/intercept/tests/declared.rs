//! What a server declares about its own tools, through the relay: it counts where the operator trusts the
//! server, and nowhere else.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this is test code, and a panic is how a test fails"
)]

mod common;

use std::{collections::BTreeMap, time::Duration};

use common::Sidecar;
use countersign_intercept::mcp::relay::{RelaySettings, relay};
use countersign_model::Provenance;
use countersign_policy::{Bundle, BundleFiles};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream, duplex, split};

const FILES: [(&str, &str); 3] = [
    ("bundle.toml", "name = \"crm\"\n"),
    (
        "policies/crm.cedar",
        "permit (principal, action == Mcp::Action::\"tools/list\", resource);\n\
         permit (principal, action == Crm::Action::\"get_customer\", resource == Crm::customer::\"c-1\");\n",
    ),
    ("mappings/crm.toml", "[[server]]\nname = \"crm\"\nnamespace = \"Crm\"\n"),
];

struct Session {
    client: BufReader<DuplexStream>,
    server: BufReader<DuplexStream>,
    _sidecar: Sidecar,
}

impl Session {
    /// A client, the relay, and a server of that name whose one tool declares a mapping.
    async fn start(server: &str, mapping: &Value) -> Self {
        let sidecar = Sidecar::start();
        let files: BTreeMap<String, Vec<u8>> =
            FILES.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect();
        sidecar.world.activate_bundle(3, Bundle::load(&BundleFiles::new(files).unwrap()).unwrap());
        let (client, client_end) = duplex(1024 * 1024);
        let (server_side, server_end) = duplex(1024 * 1024);
        let settings = RelaySettings {
            sidecar: sidecar.client.clone(),
            server: server.to_owned(),
            patience: Duration::from_secs(60),
            provenance: Provenance::default(),
            trace: None,
        };
        tokio::spawn(relay(settings, split(client_end), split(server_end)));
        let (client, server) = (BufReader::new(client), BufReader::new(server_side));
        let mut session = Self { client, server, _sidecar: sidecar };

        let tool = json!({"name": "get", "inputSchema": {"type": "object", "x-authzen-mapping": mapping}});
        send(&mut session.client, &json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})).await;
        assert_eq!(receive(&mut session.server).await["method"], "tools/list");
        send(&mut session.server, &json!({"jsonrpc": "2.0", "id": 1, "result": {"tools": [tool]}})).await;
        assert_eq!(receive(&mut session.client).await["id"], 1);
        session
    }

    async fn call(&mut self, customer: &str) {
        let params = json!({"name": "get", "arguments": {"id": customer}});
        let call = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params});
        send(&mut self.client, &call).await;
    }

    /// The call is refused, and the server never sees it: a ping that comes later is the next thing there.
    async fn is_refused(&mut self, customer: &str) -> Value {
        self.call(customer).await;
        let refused = receive(&mut self.client).await;
        assert_eq!(refused["id"], 2, "{refused}");
        send(&mut self.client, &json!({"jsonrpc": "2.0", "id": "fence", "method": "ping"})).await;
        assert_eq!(receive(&mut self.server).await["id"], "fence");
        refused
    }
}

async fn send(stream: &mut BufReader<DuplexStream>, message: &Value) {
    stream.write_all(format!("{message}\n").as_bytes()).await.unwrap();
}

async fn receive(stream: &mut BufReader<DuplexStream>) -> Value {
    let mut line = String::new();
    tokio::time::timeout(Duration::from_secs(30), stream.read_line(&mut line)).await.unwrap().unwrap();
    serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line:?}"))
}

fn customer() -> Value {
    json!({"evaluation": {
        "subject": {"type": "identity", "id": "$token.sub"},
        "action": {"name": "get_customer"},
        "resource": {"type": "customer", "id": "$params.arguments.id"},
        "context": {"agent": "$token.?client_id"},
    }})
}

#[tokio::test]
async fn a_trusted_servers_tool_is_decided_by_what_it_declares() {
    let mut session = Session::start("crm", &customer()).await;
    session.call("c-1").await;
    assert_eq!(receive(&mut session.server).await["params"]["arguments"]["id"], "c-1");

    let mut session = Session::start("crm", &customer()).await;
    session.is_refused("c-2").await;
}

#[tokio::test]
async fn a_server_that_nobody_trusts_gains_nothing_by_declaring() {
    let mut session = Session::start("other", &customer()).await;
    session.is_refused("c-1").await;
}

#[tokio::test]
async fn a_call_that_is_several_things_needs_a_permit_for_each() {
    let several = |second: &str| {
        json!({"evaluations": {
            "action": {"name": "get_customer"},
            "evaluations": [
                {"resource": {"type": "customer", "id": "c-1"}},
                {"resource": {"type": "customer", "id": second}},
            ],
        }})
    };
    let mut session = Session::start("crm", &several("c-1")).await;
    session.call("anything").await;
    assert_eq!(receive(&mut session.server).await["method"], "tools/call");

    let mut session = Session::start("crm", &several("$params.arguments.id")).await;
    session.is_refused("c-2").await;
}

#[tokio::test]
async fn a_broken_mapping_refuses_and_says_why() {
    let mut session = Session::start("crm", &json!({"evaluation": {"action": {"name": "x"}}})).await;
    let refused = session.is_refused("c-1").await;
    assert!(refused.to_string().contains("x-authzen-mapping"), "{refused}");
}
