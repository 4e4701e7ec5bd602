//! An allowed `tools/call` over HTTP: directly, through a proxy that only passes bytes on, and through the
//! sidecar; and how much memory a long result takes on its way.

#![allow(
    clippy::cast_precision_loss,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a bench that cannot go on should stop"
)]

use std::{
    collections::BTreeMap,
    convert::Infallible,
    env, fs,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{Request as HttpRequest, header},
    response::Response,
};
use bytes::Bytes;
use countersign_tests::{
    Site,
    measure::{quantile, quick, resident},
};
use futures::StreamExt as _;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, client::conn::http1::SendRequest};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use tokio::net::{TcpListener, TcpStream};

const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read","arguments":{"path":"/data/a.txt"}}}"#;
const LONG: &str =
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"long","arguments":{}}}"#;
const RESULT: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"done"}]}}"#;
const TOOLS: &str =
    r#"{"jsonrpc":"2.0","id":"countersign-list-0","result":{"tools":[{"name":"read"},{"name":"long"}]}}"#;
const BEGIN: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}"#;
const BEGUN: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{}}}"#;
/// How many sessions are begun and left idle.
const SESSIONS: usize = 4_000;
/// The long result, in pieces.
const PIECE: usize = 64 * 1024;
const PIECES: usize = 1_600;

/// This program again, as the server or as the proxy that only passes bytes on.
struct Helper {
    child: Child,
    address: String,
}

impl Helper {
    fn start(role: &str, to: &str) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        let mut child = command.args([role, to]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, address: line.trim().to_owned() }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn answer(body: Bytes) -> Response {
    if body.windows(6).any(|window| window == b"\"long\"") {
        let head = Bytes::from_static(b"data: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"content\":[\"");
        let piece = Bytes::from(vec![b'x'; PIECE]);
        let tail = Bytes::from_static(b"\"]}}\n\n");
        let pieces = std::iter::once(head).chain(std::iter::repeat_n(piece, PIECES)).chain([tail]);
        let body = Body::from_stream(futures::stream::iter(pieces).map(Ok::<_, Infallible>));
        return Response::builder().header(header::CONTENT_TYPE, "text/event-stream").body(body).unwrap();
    }
    if body.windows(12).any(|window| window == b"\"initialize\"") {
        static SESSION: AtomicUsize = AtomicUsize::new(0);
        let session = format!("session-{:032}", SESSION.fetch_add(1, Ordering::Relaxed));
        let answer = Response::builder().header(header::CONTENT_TYPE, "application/json");
        return answer.header("mcp-session-id", session).body(Body::from(BEGUN)).unwrap();
    }
    let is_list = body.windows(12).any(|window| window == b"\"tools/list\"");
    let json = if is_list { TOOLS } else { RESULT };
    Response::builder().header(header::CONTENT_TYPE, "application/json").body(Body::from(json)).unwrap()
}

type Pool = Client<HttpConnector, Body>;

async fn pass(State((pool, to)): State<(Pool, String)>, mut request: HttpRequest<Body>) -> Response {
    *request.uri_mut() = to.parse().unwrap();
    request.headers_mut().remove(header::HOST);
    pool.request(request).await.unwrap().map(Body::new)
}

#[tokio::main]
async fn help(role: &str, to: String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    let routes = if role == "server" {
        Router::new().fallback(answer)
    } else {
        let pool: Pool = Client::builder(TokioExecutor::new()).build_http();
        Router::new().fallback(pass).with_state((pool, to))
    };
    axum::serve(listener, routes).await.unwrap();
}

/// One kept connection, on which the same call is made again and again.
struct Caller {
    path: String,
    host: String,
    token: String,
    sender: SendRequest<Full<Bytes>>,
}

impl Caller {
    async fn connect(address: &str, path: &str, token: &str) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self { path: path.to_owned(), host: address.to_owned(), token: format!("Bearer {token}"), sender }
    }

    async fn call(&mut self, body: &'static str) -> usize {
        let request = Request::post(&self.path)
            .header(header::HOST, &self.host)
            .header(header::AUTHORIZATION, &self.token)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, text/event-stream")
            .body(Full::new(Bytes::from_static(body.as_bytes())))
            .unwrap();
        self.sender.ready().await.expect("a connection");
        let response = self.sender.send_request(request).await.expect("an answer");
        assert!(response.status().is_success(), "{}", response.status());
        let mut body = response.into_body();
        let mut length = 0;
        while let Some(frame) = body.frame().await {
            length += frame.expect("a whole answer").into_data().map_or(0, |data| data.len());
        }
        length
    }

    async fn sample(&mut self, count: usize) -> Vec<f64> {
        let mut samples = Vec::with_capacity(count);
        for _ in 0..count {
            let start = Instant::now();
            self.call(CALL).await;
            samples.push(start.elapsed().as_secs_f64() * 1e6);
        }
        samples
    }
}

/// A way to the server.
struct Way {
    name: &'static str,
    address: String,
    path: &'static str,
    token: String,
}

impl Way {
    async fn sequential(&self, count: usize) -> Vec<f64> {
        let mut caller = Caller::connect(&self.address, self.path, &self.token).await;
        caller.sample(count / 10).await;
        caller.sample(count).await
    }

    async fn concurrent(&self, count: usize) -> Vec<f64> {
        let callers = (0..16).map(|_| async {
            Caller::connect(&self.address, self.path, &self.token).await.sample(count / 16).await
        });
        futures::future::join_all(callers).await.concat()
    }
}

/// The most memory that a process has had, in kB.
fn peak(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn permit_calls(files: &mut BTreeMap<String, String>) {
    let policy =
        "permit (principal, action in [Mcp::Action::\"tools/call\", Mcp::Action::\"initialize\"], resource);";
    files.insert("policies/mcp.cedar".to_owned(), policy.to_owned());
}

/// Begins sessions and leaves them alone.
async fn sessions(site: &Site, sidecar: &str) {
    let mut caller = Caller::connect(sidecar, "/mcp/files", &site.mcp_token).await;
    // What the first calls cost, they cost once.
    for _ in 0..SESSIONS / 20 {
        caller.call(CALL).await;
    }
    let (_, before) = resident(site.sidecar_id());
    for _ in 0..SESSIONS {
        caller.call(BEGIN).await;
    }
    let (_, after) = resident(site.sidecar_id());
    println!("\nan idle session costs the sidecar {:.1} kB", (after - before) * 1e3 / SESSIONS as f64);
}

#[tokio::main]
async fn measure() {
    let server = Helper::start("server", "");
    let null = Helper::start("null", &format!("http://{}/mcp", server.address));
    let settings = vec![
        "mcp.listen=127.0.0.1:0".to_owned(),
        "mcp.servers.0.name=files".to_owned(),
        format!("mcp.servers.0.url=http://{}/mcp", server.address),
    ];
    let site = Site::with_settings(permit_calls, settings).await;
    let sidecar = site.mcp.trim_start_matches("http://").to_owned();
    let way = |name, address: &str, path| Way {
        name,
        address: address.to_owned(),
        path,
        token: site.mcp_token.clone(),
    };
    let ways = [
        way("direct", &server.address, "/mcp"),
        way("null proxy", &null.address, "/mcp"),
        way("sidecar", &sidecar, "/mcp/files"),
    ];
    sessions(&site, &sidecar).await;
    let count = if quick() { 2_000 } else { 20_000 };
    let mut medians = [Vec::new(), Vec::new()];
    for (number, how) in ["sequential", "16 at a time"].into_iter().enumerate() {
        println!("\n| {how} | p50 | p99 |\n|---|---|---|");
        for way in &ways {
            let mut samples =
                if number == 0 { way.sequential(count).await } else { way.concurrent(count).await };
            let p50 = quantile(&mut samples, 0.5);
            println!("| {} | {p50:.0} µs | {:.0} µs |", way.name, quantile(&mut samples, 0.99));
            medians[number].push(p50);
        }
    }
    let [direct, null, sidecar_p50] = medians[0][..] else { return };
    println!(
        "\nadded p50, one at a time: null proxy {:.0} µs, sidecar {:.0} µs",
        null - direct,
        sidecar_p50 - direct
    );
    println!(
        "the sidecar adds {:.1}x what the null proxy adds (aim: 3x)",
        (sidecar_p50 - direct) / (null - direct)
    );
    let before = peak(site.sidecar_id());
    let length = Caller::connect(&sidecar, "/mcp/files", &site.mcp_token).await.call(LONG).await;
    let after = peak(site.sidecar_id());
    let length = length / 1024 / 1024;
    println!(
        "a result of {length} MiB on a stream: the sidecar's peak was {before} kB before and {after} kB after"
    );
}

fn main() {
    let arguments: Vec<String> = env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some(role @ ("server" | "null")) => help(role, arguments[2].clone()),
        _ => measure(),
    }
}
