//! One connection: who is at the other end, and how it ends.

use std::{
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use countersign_pki::PeerCertificate;
use countersign_protocol::{Encoded, Frame, Hello, Lane, Request};
use quinn::{Connection, ConnectionError, VarInt};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Duration, Instant, sleep_until, timeout},
};
use tracing::{debug, warn};

use crate::{
    exchange::{Exchange, ExchangeError, RequestError},
    limits::{Limits, first_room},
};

/// Why a connection was closed. The number travels with the end of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseCode {
    /// Nothing more to say.
    Done,
    /// The program stops; come back later.
    Shutdown,
    /// The agent's identity was revoked.
    Revoked,
    /// The same agent has a newer connection.
    Replaced,
    /// A frame made no sense, or came the wrong way.
    Protocol,
    /// Nothing was asked for too long.
    Silent,
    /// A frame took too long.
    Slow,
    /// Too many exchanges.
    TooMany,
    /// No certificate, or not one for this.
    Unauthenticated,
    /// No room at the moment.
    Busy,
    /// A code of a later release, or one of the transport's own.
    Other(u64),
}

impl CloseCode {
    const KNOWN: [Self; 10] = [
        Self::Done,
        Self::Shutdown,
        Self::Revoked,
        Self::Replaced,
        Self::Protocol,
        Self::Silent,
        Self::Slow,
        Self::TooMany,
        Self::Unauthenticated,
        Self::Busy,
    ];

    fn number(self) -> u64 {
        match self {
            Self::Done => 0,
            Self::Shutdown => 1,
            Self::Revoked => 2,
            Self::Replaced => 3,
            Self::Protocol => 4,
            Self::Silent => 5,
            Self::Slow => 6,
            Self::TooMany => 7,
            Self::Unauthenticated => 8,
            Self::Busy => 9,
            Self::Other(number) => number,
        }
    }

    fn of(number: VarInt) -> Self {
        let number = number.into_inner();
        Self::KNOWN.into_iter().find(|code| code.number() == number).unwrap_or(Self::Other(number))
    }

    pub(crate) fn to_wire(self) -> VarInt {
        VarInt::from_u64(self.number()).unwrap_or(VarInt::MAX)
    }
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionEnd {
    /// The other side closed it.
    #[error("closed by the other side ({code:?}): {reason}")]
    ByPeer {
        /// Why, for the program.
        code: CloseCode,
        /// Why, for a person.
        reason: String,
    },
    /// This side closed it.
    #[error("closed here ({code:?}): {reason}")]
    Here {
        /// Why, for the program.
        code: CloseCode,
        /// Why, for a person.
        reason: String,
    },
    /// Nothing came for too long.
    #[error("the connection went silent")]
    TimedOut,
    /// It failed otherwise, as when a certificate was refused.
    #[error("the connection failed: {0}")]
    Failed(String),
}

/// Which end of which protocol this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    ControlPlane,
    Sidecar,
    EnrolmentDesk,
    Newcomer,
}

impl Role {
    /// The lane on which frames come in.
    fn incoming(self) -> Lane {
        match self {
            Self::ControlPlane => Lane::ToControl,
            Self::Sidecar => Lane::ToSidecar,
            Self::EnrolmentDesk => Lane::EnrolToControl,
            Self::Newcomer => Lane::EnrolToSidecar,
        }
    }

    fn is_server(self) -> bool {
        matches!(self, Self::ControlPlane | Self::EnrolmentDesk)
    }

    /// How long a peer may ask nothing. A stranger has come to ask one thing.
    fn patience(self, limits: &Limits) -> Duration {
        if self == Self::EnrolmentDesk { limits.handshake } else { limits.silence }
    }

    /// How many exchanges a peer may begin at once, and how many it earns per second.
    fn allowance(self, limits: &Limits) -> (f64, f64) {
        if self == Self::EnrolmentDesk {
            (1.0, 0.0)
        } else {
            (f64::from(limits.exchange_burst), f64::from(limits.exchanges_per_second))
        }
    }
}

/// One connection. Cheap to clone; it is closed when the last clone is dropped.
#[derive(Clone)]
pub struct Session(Arc<Inner>);

struct Inner {
    connection: Connection,
    role: Role,
    peer: Option<PeerCertificate>,
    limits: Arc<Limits>,
    pace: Mutex<Pace>,
    large_frames: Semaphore,
    closed_here: OnceLock<(CloseCode, String)>,
    _place: Option<OwnedSemaphorePermit>,
}

/// How many exchanges the peer may still begin, when it began the last one, and how many are open.
struct Pace {
    tokens: f64,
    last: Instant,
    open: u32,
    room: u32,
}

/// Counts an exchange of the peer as open, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place(Session);

impl Drop for Place {
    fn drop(&mut self) {
        let mut pace = self.0.pace();
        pace.open = pace.open.saturating_sub(1);
    }
}

impl Session {
    pub(crate) fn new(
        connection: Connection,
        role: Role,
        peer: Option<PeerCertificate>,
        limits: Arc<Limits>,
        place: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self(Arc::new(Inner {
            connection,
            role,
            peer,
            pace: Mutex::new(Pace {
                tokens: role.allowance(&limits).0,
                last: Instant::now(),
                open: 0,
                room: first_room(&limits),
            }),
            limits,
            large_frames: Semaphore::new(Limits::LARGE_FRAMES),
            closed_here: OnceLock::new(),
            _place: place,
        }))
    }

    /// Who is at the other end, from its verified certificate; `None` for a machine that enrols.
    #[must_use]
    pub fn peer(&self) -> Option<&PeerCertificate> {
        self.0.peer.as_ref()
    }

    /// Where the other end is at the moment.
    #[must_use]
    pub fn remote_address(&self) -> SocketAddr {
        self.0.connection.remote_address()
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.0.limits
    }

    pub(crate) fn lane(&self) -> Lane {
        self.0.role.incoming()
    }

    pub(crate) fn large_frames(&self) -> &Semaphore {
        &self.0.large_frames
    }

    /// Waits for the peer's next exchange. A peer that begins too many, or (on the control plane's
    /// side) none for too long, is dropped. Can be cancelled and called again.
    ///
    /// # Errors
    /// How the session ended.
    pub async fn accept(&self) -> Result<Exchange, SessionEnd> {
        let (send, receive) = tokio::select! {
            stream = self.0.connection.accept_bi() => stream.map_err(|error| self.end(error))?,
            () = self.silence() => {
                self.drop_peer(CloseCode::Silent, "nothing was asked for too long");
                return Err(self.closed().await);
            }
        };
        if !self.pace().begin(self.0.role.allowance(&self.0.limits)) {
            self.drop_peer(CloseCode::TooMany, "too many exchanges per second");
            return Err(self.closed().await);
        }
        Ok(Exchange::new(self.clone(), send, receive, Some(self.take_place())))
    }

    /// Counts one more open exchange, and makes room for more when half of it is taken: room costs
    /// memory, and most sidecars never need much.
    fn take_place(&self) -> Place {
        let (mut pace, limits) = (self.pace(), &self.0.limits);
        pace.open += 1;
        if self.0.role == Role::ControlPlane && pace.open > pace.room / 2 && pace.room < limits.exchanges {
            pace.room = pace.room.saturating_mul(2).min(limits.exchanges);
            self.0.connection.set_max_concurrent_bi_streams(VarInt::from_u32(pace.room));
        }
        Place(self.clone())
    }

    /// The first exchange of a sidecar, which must be its greeting.
    ///
    /// # Errors
    /// When the session ends, or the peer begins with anything else.
    pub async fn greeting(&self) -> Result<(Hello, Exchange), ExchangeError> {
        let mut exchange = self.accept().await?;
        match exchange.receive().await? {
            Frame::Hello(hello) => Ok((hello, exchange)),
            other => {
                let reason = format!("began with {} instead of a greeting", other.kind().as_str());
                self.drop_peer(CloseCode::Protocol, &reason);
                Err(self.closed().await.into())
            }
        }
    }

    /// Begins an exchange. Waits while the peer has too many open already, for the time of a frame.
    ///
    /// # Errors
    /// When the session ended, or the peer does not let another one begin.
    pub async fn open(&self) -> Result<Exchange, ExchangeError> {
        let opened = timeout(self.0.limits.frame, self.0.connection.open_bi()).await;
        let (send, receive) =
            opened.map_err(|_| ExchangeError::TimedOut)?.map_err(|error| self.end(error))?;
        Ok(Exchange::new(self.clone(), send, receive, None))
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// When the question cannot be sent, no answer comes in time, or the answer is a refusal.
    pub async fn request<R: Request>(&self, request: R) -> Result<R::Answer, RequestError> {
        let frame: Frame = request.into();
        self.ask::<R>(&countersign_protocol::codec::encode(&frame)?).await
    }

    /// Asks with a frame that was encoded before, as when one bundle goes to many sidecars.
    ///
    /// # Errors
    /// As [`Self::request`].
    pub async fn ask<R: Request>(&self, encoded: &Encoded) -> Result<R::Answer, RequestError> {
        let mut exchange = self.open().await?;
        exchange.send_encoded(encoded).await?;
        exchange.finish();
        Ok(R::answer(exchange.receive_answer().await?)?)
    }

    /// Closes the connection at once. What was not yet delivered is lost.
    pub fn close(&self, code: CloseCode, reason: &str) {
        if self.0.connection.close_reason().is_none()
            && self.0.closed_here.set((code, reason.to_owned())).is_ok()
        {
            debug!(peer = %self, ?code, reason, "closing");
            self.0.connection.close(code.to_wire(), reason.as_bytes());
        }
    }

    /// Waits until the peer closes the connection, as it does when it has all answers, and closes it
    /// after the given time at the latest.
    pub async fn drain(&self, within: Duration, code: CloseCode, reason: &str) {
        if timeout(within, self.0.connection.closed()).await.is_err() {
            self.close(code, reason);
        }
    }

    /// Waits for the end of the session.
    pub async fn closed(&self) -> SessionEnd {
        let error = self.0.connection.closed().await;
        self.end(error)
    }

    /// Drops a peer that broke a rule, and says so in the log.
    pub(crate) fn drop_peer(&self, code: CloseCode, reason: &str) {
        warn!(peer = %self, ?code, reason, "dropping a peer");
        self.close(code, reason);
    }

    pub(crate) fn end(&self, error: ConnectionError) -> SessionEnd {
        match (error, self.0.closed_here.get()) {
            (ConnectionError::LocallyClosed, Some((code, reason))) => {
                SessionEnd::Here { code: *code, reason: reason.clone() }
            }
            (error, _) => end_of(error),
        }
    }

    async fn silence(&self) {
        if !self.0.role.is_server() {
            return std::future::pending().await;
        }
        loop {
            let until = self.pace().last + self.0.role.patience(&self.0.limits);
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.0.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pace {
    /// Takes note of an exchange. `false` when it is one too many.
    fn begin(&mut self, (burst, per_second): (f64, f64)) -> bool {
        let now = Instant::now();
        let earned = now.duration_since(self.last).as_secs_f64() * per_second;
        self.tokens = (self.tokens + earned).min(burst) - 1.0;
        self.last = now;
        self.tokens >= 0.0
    }
}

/// How a connection ended, as far as the transport knows.
pub(crate) fn end_of(error: ConnectionError) -> SessionEnd {
    match error {
        ConnectionError::ApplicationClosed(close) => SessionEnd::ByPeer {
            code: CloseCode::of(close.error_code),
            reason: String::from_utf8_lossy(&close.reason).chars().take(256).collect(),
        },
        ConnectionError::LocallyClosed => {
            SessionEnd::Here { code: CloseCode::Done, reason: "no longer needed".to_owned() }
        }
        ConnectionError::TimedOut => SessionEnd::TimedOut,
        other => SessionEnd::Failed(other.to_string()),
    }
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.peer() {
            Some(peer) => write!(f, "{} at {}", peer.spiffe_id, self.remote_address()),
            None => write!(f, "{}", self.remote_address()),
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({self})")
    }
}
