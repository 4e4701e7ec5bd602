//! Serving: loopback TCP, and a unix socket whose callers are known by their user id.

use std::{collections::BTreeSet, future::Future, io, sync::Arc, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// The most connections that one listener serves at a time.
const MAX_CONNECTIONS: usize = 1_024;
/// How long a caller may take to send the head of a request.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// How long to pause when the system has no more file descriptors.
const OUT_OF_FILES: Duration = Duration::from_millis(100);

/// Which users may use a unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peers(BTreeSet<u32>);

impl Peers {
    /// Only users with these ids.
    #[must_use]
    pub fn new(ids: impl IntoIterator<Item = u32>) -> Self {
        Self(ids.into_iter().collect())
    }

    /// Whether the one at the other end may. One whose id is not known may not.
    fn admit(&self, stream: &UnixStream) -> bool {
        match stream.peer_cred() {
            Ok(credentials) if self.0.contains(&credentials.uid()) => true,
            Ok(credentials) => {
                warn!(uid = credentials.uid(), "a user who may not use this socket was turned away");
                false
            }
            Err(error) => {
                warn!(%error, "a caller whose user id is not known was turned away");
                false
            }
        }
    }
}

/// Where callers come from.
trait Accept {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next caller; `None` when it may not call.
    fn accept(&self) -> impl Future<Output = io::Result<Option<Self::Stream>>> + Send;
}

impl Accept for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<Option<TcpStream>> {
        let (stream, _) = Self::accept(self).await?;
        // Answers are small; waiting to fill a packet only delays them.
        stream.set_nodelay(true)?;
        Ok(Some(stream))
    }
}

impl Accept for (UnixListener, Peers) {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<Option<UnixStream>> {
        let (listener, peers) = self;
        let (stream, _) = listener.accept().await?;
        Ok(peers.admit(&stream).then_some(stream))
    }
}

/// Serves routes on TCP until told to stop; then lets requests in flight finish. Dropping the future
/// breaks them off.
pub async fn serve_tcp(listener: TcpListener, routes: Router, stop: impl Future<Output = ()> + Send) {
    serve(&listener, routes, stop).await;
}

/// Serves routes on a unix socket, to some users only, until told to stop, as [`serve_tcp`] does.
pub async fn serve_unix(
    listener: UnixListener,
    routes: Router,
    peers: Peers,
    stop: impl Future<Output = ()> + Send,
) {
    serve(&(listener, peers), routes, stop).await;
}

async fn serve(callers: &impl Accept, routes: Router, stop: impl Future<Output = ()> + Send) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let stopping = CancellationToken::new();
    // Dropped with this future, so that a drain that takes too long ends what is left.
    let mut connections = JoinSet::new();
    tokio::pin!(stop);
    loop {
        let place = tokio::select! {
            () = &mut stop => break,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        let Ok(place) = place else { break };
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = callers.accept() => accepted,
        };
        match accepted {
            Ok(Some(stream)) => {
                connections.spawn(connection(stream, routes.clone(), stopping.clone(), place));
            }
            Ok(None) => {}
            Err(error) => {
                warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(OUT_OF_FILES).await;
            }
        }
    }
    stopping.cancel();
    while connections.join_next().await.is_some() {}
}

async fn connection<S>(stream: S, routes: Router, stopping: CancellationToken, place: OwnedSemaphorePermit)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    tokio::pin!(served);
    let result = tokio::select! {
        result = served.as_mut() => result,
        () = stopping.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = result {
        debug!(%error, "a connection broke off");
    }
    drop(place);
}
