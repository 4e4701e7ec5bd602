//! A check over the sidecar's unix socket, audit event included, beside a handler that does nothing on
//! the same server, and beside Cerbos deciding the equivalent request over HTTP on a unix socket.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a bench that cannot go on should stop"
)]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Instant,
};

use axum::{Router, http::header, routing::post};
use bytes::Bytes;
use countersign_intercept::check::{Peers, serve_unix};
use countersign_tests::{
    Process, Site, eventually,
    measure::{quantile, quick, resident},
    operation,
};
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{UnixListener, UnixStream};

const CHECK: &str = "/access/v1/evaluation";

/// One kept connection, on which the same request is sent again and again.
struct Asker {
    name: &'static str,
    path: &'static str,
    body: Bytes,
    sender: SendRequest<Full<Bytes>>,
    samples: Vec<f64>,
}

impl Asker {
    /// `None` when nobody listens there.
    async fn connect(name: &'static str, socket: &Path, path: &'static str, body: &Value) -> Option<Self> {
        let stream = UnixStream::connect(socket).await.ok()?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(connection);
        Some(Self { name, path, body: body.to_string().into(), sender, samples: Vec::new() })
    }

    async fn ask(&mut self) -> Bytes {
        let request = Request::post(self.path)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(self.body.clone()))
            .unwrap();
        let response = self.sender.send_request(request).await.expect("an answer");
        assert!(response.status().is_success(), "{}: {}", self.name, response.status());
        response.into_body().collect().await.expect("a body").to_bytes()
    }

    async fn sample(&mut self, count: usize) {
        for _ in 0..count {
            let start = Instant::now();
            self.ask().await;
            self.samples.push(start.elapsed().as_secs_f64() * 1e6);
        }
    }

    fn report(&mut self) -> f64 {
        let p50 = quantile(&mut self.samples, 0.5);
        println!("| {} | {p50:.0} µs | {:.0} µs |", self.name, quantile(&mut self.samples, 0.99));
        p50
    }
}

/// What this program does when it is started with a socket: answers everything at once, on the server
/// that the sidecar has.
#[tokio::main]
async fn answer_at_once(socket: &str) {
    let answer = r#"{"decision":true,"context":{"evaluation_id":"eval_01jqzxw0000000000000000000"}}"#;
    let json = [(header::CONTENT_TYPE, "application/json")];
    let routes = Router::new().route(CHECK, post(async move |_: Bytes| (json, answer)));
    let listener = UnixListener::bind(socket).unwrap();
    println!("ready");
    let own = Peers::new([rustix::process::getuid().as_raw()]);
    serve_unix(listener, routes, own, std::future::pending()).await;
}

/// Cerbos, killed at the end.
struct Cerbos(Child);

impl Drop for Cerbos {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const CERBOS_POLICY: &str = r#"
apiVersion: api.cerbos.dev/v1
resourcePolicy:
  version: default
  resource: Service
  rules:
    - actions: ["read", "deploy", "pay", "restart", "rotate", "tidy"]
      effect: EFFECT_ALLOW
      roles: ["agent"]
    - actions: ["drop"]
      effect: EFFECT_DENY
      roles: ["*"]
"#;

impl Cerbos {
    /// Starts it, if `cargo xtask e2e --install-only` has installed it.
    async fn start(folder: &Path) -> Option<(Self, Asker)> {
        let modules = "../target/e2e/node_modules/@cerbos/cerbos-linux-x64/cerbos-linux-x64";
        let program = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(modules);
        if !program.is_file() {
            println!("Cerbos is not installed (`cargo xtask e2e --install-only` does it): left out");
            return None;
        }
        let (policies, socket) = (folder.join("policies"), folder.join("cerbos-http"));
        fs::create_dir(&policies).unwrap();
        fs::write(policies.join("service.yaml"), CERBOS_POLICY).unwrap();
        let mut command = Command::new(program);
        command.args(["server", "--log-level=ERROR"]).stdout(Stdio::null());
        for setting in [
            format!("server.httpListenAddr=unix:{}", socket.display()),
            format!("server.grpcListenAddr=unix:{}", folder.join("cerbos-grpc").display()),
            format!("storage.disk.directory={}", policies.display()),
            "storage.driver=disk".to_owned(),
            "telemetry.disabled=true".to_owned(),
        ] {
            command.arg(format!("--set={setting}"));
        }
        let process = Self(command.spawn().expect("Cerbos starts"));
        let request = json!({
            "requestId": "bench",
            "principal": { "id": "some-caller", "roles": ["agent"], "attr": {} },
            "resources": [{ "actions": ["read"], "resource": { "kind": "Service", "id": "payments", "attr": {} } }],
        });
        let (socket, request) = (&socket, &request);
        let asker = eventually("Cerbos listens", || async move {
            Asker::connect("Cerbos", socket, "/api/check/resources", request).await
        })
        .await;
        Some((process, asker))
    }
}

async fn measure() {
    let folder = tempfile::tempdir().unwrap();
    let null_socket = folder.path().join("null");
    let mut null_server = Command::new(env::current_exe().unwrap());
    let (null_server, _) = Process::start(null_server.arg("answer-at-once").arg(&null_socket));
    let site = Site::start(|_| ()).await;
    site.until_connected().await;
    let request = operation("read", &json!({}));
    let mut null =
        Asker::connect("a handler that does nothing", &null_socket, CHECK, &request).await.unwrap();
    let mut check = Asker::connect("check", &site.socket(), CHECK, &request).await.unwrap();
    let mut cerbos = Cerbos::start(folder.path()).await;

    let answer: Value = serde_json::from_slice(&check.ask().await).unwrap();
    assert_eq!(answer["decision"], true, "{answer}");
    if let Some((_, asker)) = &mut cerbos {
        let answer: Value = serde_json::from_slice(&asker.ask().await).unwrap();
        assert_eq!(answer["results"][0]["actions"]["read"], "EFFECT_ALLOW", "{answer}");
    }
    let (rounds, batch) = if quick() { (20, 200) } else { (100, 200) };
    for round in 0..=rounds {
        for asker in [Some(&mut null), Some(&mut check), cerbos.as_mut().map(|(_, asker)| asker)] {
            let Some(asker) = asker else { continue };
            asker.sample(batch).await;
            if round == 0 {
                asker.samples.clear();
            }
        }
    }
    println!("\n### Check over a unix socket, one connection\n\n| what | p50 | p99 |\n|---|---|---|");
    let (null, check) = (null.report(), check.report());
    let beside = cerbos.as_mut().map(|(process, asker)| (asker.report(), resident(process.0.id())));
    println!("\ncheck {:.1}× a handler that does nothing", check / null);
    if let Some((cerbos, (memory, _))) = beside {
        println!("check {:.1}× faster than Cerbos", cerbos / check);
        println!(
            "resident afterwards: sidecar {:.0} MB, Cerbos {memory:.0} MB",
            resident(site.sidecar_id()).0
        );
    }
    drop(null_server);
}

fn main() {
    let arguments: Vec<String> = env::args().collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, "answer-at-once", socket] => answer_at_once(socket),
        // One thread, so that the client's own cost is the same for all.
        _ => tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(measure()),
    }
}
