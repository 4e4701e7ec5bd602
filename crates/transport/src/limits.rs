//! How long and how much a peer may take.

use std::{sync::Arc, time::Duration};

use quinn::{IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};

/// The bounds of sessions. The defaults suit production; tests shorten them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// For a handshake, and on the client for name resolution and the greeting too.
    pub handshake: Duration,
    /// Without a packet, after which a connection is given up.
    pub idle: Duration,
    /// How often the client sends a packet when there is nothing to say.
    pub keep_alive: Duration,
    /// For a frame to come in or go out, once it has begun. Large ones get a second more for each
    /// [`Self::MIN_RATE`] bytes.
    pub frame: Duration,
    /// For an answer to begin.
    pub answer: Duration,
    /// Between two exchanges of a sidecar, and before the first one, on the control plane's side.
    pub silence: Duration,
    /// Exchanges that one peer may have open at once.
    pub exchanges: u32,
    /// Exchanges that one peer may begin per second, in the long run.
    pub exchanges_per_second: u32,
    /// Exchanges that one peer may begin at once after a pause.
    pub exchange_burst: u32,
    /// Handshakes at a time; beyond half of it, clients must show that their address is theirs.
    pub handshakes: usize,
    /// Connections at a time.
    pub connections: usize,
    /// Connections of machines without an identity at a time.
    pub enrolments: usize,
}

impl Limits {
    /// The slowest a peer may send or take a large frame, in bytes per second.
    pub const MIN_RATE: u64 = 64 * 1024;
    /// Frames above this size are received only a few at a time for each peer.
    pub(crate) const LARGE_FRAME: usize = 64 * 1024;
    /// How many large frames of one peer are received at a time.
    pub(crate) const LARGE_FRAMES: usize = 4;

    /// The time for a whole frame.
    pub(crate) fn for_frame(&self, length: usize) -> Duration {
        self.frame + Duration::from_secs(length as u64 / Self::MIN_RATE)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            idle: Duration::from_secs(45),
            keep_alive: Duration::from_secs(15),
            frame: Duration::from_secs(10),
            answer: Duration::from_secs(45),
            silence: Duration::from_secs(60),
            exchanges: 1_024,
            exchanges_per_second: 1_000,
            exchange_burst: 4_000,
            handshakes: 512,
            connections: 20_000,
            enrolments: 64,
        }
    }
}

/// The bytes in flight that one connection may make this side hold.
const CONNECTION_WINDOW: u32 = 2 * 1024 * 1024;
const STREAM_WINDOW: u32 = 512 * 1024;
/// The room for exchanges that an authenticated peer begins with. The QUIC library reserves memory for
/// each one that it would take, used or not; more is made when it is needed.
const FIRST_ROOM: u32 = 16;
/// For peers that are not known yet.
const STRANGER_WINDOW: u32 = 32 * 1024;

/// The server's side: small until a peer is authenticated, see [`open_up`].
pub(crate) fn server_transport(limits: &Limits) -> Arc<TransportConfig> {
    let mut config = transport(limits);
    config.max_concurrent_bidi_streams(VarInt::from_u32(1));
    config.receive_window(VarInt::from_u32(STRANGER_WINDOW));
    Arc::new(config)
}

/// The client's side: it keeps the connection alive, and takes pushes.
pub(crate) fn client_transport(limits: &Limits) -> Arc<TransportConfig> {
    let mut config = transport(limits);
    config.max_concurrent_bidi_streams(VarInt::from_u32(first_room(limits)));
    config.receive_window(VarInt::from_u32(CONNECTION_WINDOW));
    config.keep_alive_interval(Some(limits.keep_alive));
    // Until it is measured: a control plane that comes back is found within a fraction of a second.
    config.initial_rtt(Duration::from_millis(100));
    Arc::new(config)
}

/// Gives an authenticated peer its full share.
pub(crate) fn open_up(connection: &quinn::Connection, limits: &Limits) {
    connection.set_receive_window(VarInt::from_u32(CONNECTION_WINDOW));
    connection.set_max_concurrent_bi_streams(VarInt::from_u32(first_room(limits)));
}

pub(crate) fn first_room(limits: &Limits) -> u32 {
    limits.exchanges.min(FIRST_ROOM)
}

fn transport(limits: &Limits) -> TransportConfig {
    // Path MTU rarely changes: looking for it seldom keeps thousands of idle links quiet.
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.interval(Duration::from_secs(60 * 60));
    let mut config = TransportConfig::default();
    config
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .max_idle_timeout(IdleTimeout::try_from(limits.idle).ok())
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .send_window(u64::from(CONNECTION_WINDOW))
        .datagram_receive_buffer_size(None)
        .datagram_send_buffer_size(0)
        .mtu_discovery_config(Some(mtu))
        .allow_spin(false);
    config
}
