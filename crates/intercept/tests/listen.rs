//! The check API on real sockets: who may connect, what becomes of those who misbehave, and how it ends.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::{net::SocketAddr, os::unix::fs::MetadataExt as _, path::Path};

use axum::Router;
use countersign_intercept::check::{Check, Peers, Settings, Token, serve_tcp, serve_unix};
use countersign_testkit::World;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

const HEALTH: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

fn check(world: &World) -> Check {
    Check::new(world.gate.clone(), Settings::default(), "http://localhost")
}

async fn on_tcp(routes: Router, stop: CancellationToken) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (address, tokio::spawn(serve_tcp(listener, routes, stop.cancelled_owned())))
}

fn on_unix(path: &Path, routes: Router, peers: Peers) -> JoinHandle<()> {
    let listener = UnixListener::bind(path).unwrap();
    tokio::spawn(serve_unix(listener, routes, peers, std::future::pending()))
}

fn own_uid(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().uid()
}

/// Sends some bytes and returns everything that comes back.
async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, bytes: &[u8]) -> String {
    // The other end may have hung up already; then there is nothing to read.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn the_own_user_may_use_the_socket_and_another_may_not() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let uid = own_uid(folder.path());
    let (mine, theirs) = (folder.path().join("mine"), folder.path().join("theirs"));
    let admitted = on_unix(&mine, check(&world).routes(), Peers::new([uid]));
    let refused = on_unix(&theirs, check(&world).routes(), Peers::new([uid.wrapping_add(1)]));
    let answer = exchange(UnixStream::connect(&mine).await.unwrap(), HEALTH).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let answer = exchange(UnixStream::connect(&theirs).await.unwrap(), HEALTH).await;
    assert_eq!(answer, "");
    admitted.abort();
    refused.abort();
}

#[tokio::test]
async fn garbage_does_not_stop_the_server() {
    let world = World::new();
    let routes = check(&world).routes_with_token(Token::new("t"));
    let (address, server) = on_tcp(routes, CancellationToken::new()).await;
    let tls = b"\x16\x03\x01\x02\x00\x01\x00".as_slice();
    for garbage in [tls, b"GET\r\n\r\n", &[0; 4096], b"\r\n\r\n\r\n"] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let _ = stream.write_all(garbage).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP/1.1 2"));
    }
    let answer = exchange(TcpStream::connect(address).await.unwrap(), HEALTH).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    server.abort();
}

#[tokio::test]
async fn told_to_stop_it_ends_idle_connections_and_itself() {
    let world = World::new();
    let stop = CancellationToken::new();
    let (address, server) = on_tcp(check(&world).routes(), stop.clone()).await;
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.unwrap();
    stop.cancel();
    server.await.unwrap();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}
