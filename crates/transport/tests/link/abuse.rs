//! Peers that send garbage, nothing, half of something, or too much.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use countersign_pki::Identity;
use countersign_protocol::{Enrol, Frame, FrameKind, PROTOCOL_VERSION, RefusalCode, codec};
use countersign_transport::{ENROL_ALPN, LINK_ALPN, Limits};
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, RecvStream, SendStream};
use rustls::{
    DigitallySignedStruct, Error, SignatureScheme,
    client::{
        ResolvesClientCert,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, UnixTime},
    sign::CertifiedKey,
};

use crate::fixture::{Log, Plane, Sidecar, Told, authority, enrolled, heartbeat, hello, patient, soon, wait};

/// A peer that believes anyone and does as it likes.
#[derive(Debug)]
pub(crate) struct Raw {
    pub(crate) connection: Connection,
}

#[derive(Debug)]
struct Credulous;

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesClientCert for Always {
    fn resolve(&self, _roots: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl Raw {
    pub(crate) async fn try_connect(
        to: SocketAddr,
        alpn: &[u8],
        identity: Option<&Identity>,
    ) -> Result<Self, ConnectionError> {
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Credulous));
        let mut config = match identity {
            Some(identity) => config.with_client_cert_resolver(Arc::new(Always(identity.certified_key()))),
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = vec![alpn.to_vec()];
        let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(config).unwrap();
        let mut config = ClientConfig::new(Arc::new(crypto));
        let mut transport = quinn::TransportConfig::default();
        // It never lets the connection idle out: what ends it is what is tested.
        transport.keep_alive_interval(Some(Duration::from_secs(1)));
        config.transport_config(Arc::new(transport));
        let endpoint = Endpoint::client((std::net::Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let connection = endpoint.connect_with(config, to, "any").unwrap();
        Ok(Self { connection: soon(connection).await? })
    }

    pub(crate) async fn connect(to: SocketAddr, alpn: &[u8], identity: Option<&Identity>) -> Self {
        Self::try_connect(to, alpn, identity).await.unwrap()
    }

    /// How the other side ended it.
    pub(crate) async fn ended(&self) -> String {
        let error = soon(self.connection.closed()).await;
        match error {
            ConnectionError::ApplicationClosed(close) => {
                format!("{}: {}", close.error_code, String::from_utf8_lossy(&close.reason))
            }
            ConnectionError::ConnectionClosed(close) => format!("TLS: {close}"),
            other => format!("{other:?}"),
        }
    }

    async fn say(&self, bytes: &[u8]) -> (SendStream, RecvStream) {
        let (mut send, receive) = soon(self.connection.open_bi()).await.unwrap();
        send.write_all(bytes).await.unwrap();
        (send, receive)
    }

    async fn ask(&self, frame: impl Into<Frame>) -> Frame {
        self.ask_bytes(codec::encode(&frame.into()).unwrap().as_bytes()).await
    }

    async fn ask_bytes(&self, bytes: &[u8]) -> Frame {
        let (mut send, mut receive) = self.say(bytes).await;
        send.finish().unwrap();
        codec::decode_whole(&soon(receive.read_to_end(1 << 20)).await.unwrap()).unwrap()
    }
}

fn framed(kind: u8, length: u32, body: &[u8]) -> Vec<u8> {
    [&[PROTOCOL_VERSION, kind][..], &length.to_be_bytes()[..], body].concat()
}

/// A control plane with these limits and a peer with a good certificate.
async fn meet(limits: Limits) -> (Plane, Raw) {
    let authority = authority();
    let identity = enrolled(&authority, "a");
    let plane = Plane::start(authority, limits);
    let raw = Raw::connect(plane.address, LINK_ALPN, Some(&identity)).await;
    (plane, raw)
}

/// The same, after the greeting.
async fn meet_and_greet(limits: Limits) -> (Plane, Raw) {
    let (mut plane, raw) = meet(limits).await;
    assert!(matches!(raw.ask(hello()).await, Frame::Welcome(_)));
    plane.greeted().await;
    (plane, raw)
}

#[tokio::test]
async fn garbage_is_dropped_and_the_log_says_why() {
    let large = u32::try_from(FrameKind::Heartbeat.limit() + 1).unwrap();
    let welcome = FrameKind::Welcome as u8;
    for (what, bytes, reason) in [
        ("no body of its kind", framed(30, 4, &[0xff; 4]), "malformed Heartbeat frame"),
        ("a length above the limit", framed(30, large, b""), "a Heartbeat frame of"),
        ("the wrong way", framed(welcome, 0, b""), "a Welcome frame does not travel this way"),
        ("a stranger's word", framed(60, 0, b""), "a Enrol frame does not travel this way"),
        ("bytes left over", framed(4, 1, b"x"), "bytes are left over"),
    ] {
        let (log, _guard) = Log::start();
        let (_plane, raw) = meet_and_greet(patient()).await;
        raw.say(&bytes).await;
        let ended = raw.ended().await;
        assert!(ended.starts_with("4: ") && ended.contains(reason), "{what}: {ended}");
        let text = log.text();
        assert!(text.contains("dropping a peer") && text.contains(reason), "{what}: {text}");
        assert!(text.contains("spiffe://example.org/agent/a"), "{text}");
    }
}

#[tokio::test]
async fn who_does_not_greet_first_is_dropped() {
    let (_plane, raw) = meet(patient()).await;
    raw.say(codec::encode(&heartbeat().into()).unwrap().as_bytes()).await;
    let ended = raw.ended().await;
    assert!(ended.contains("began with Heartbeat instead of a greeting"), "{ended}");
}

#[tokio::test]
async fn a_frame_of_a_later_release_is_answered_and_the_link_goes_on() {
    let (_plane, raw) = meet_and_greet(patient()).await;
    let mut later = framed(30, 0, b"");
    later[0] = PROTOCOL_VERSION + 1;
    for bytes in [framed(222, 3, b"new"), later] {
        match raw.ask_bytes(&bytes).await {
            Frame::Refused(refused) => assert_eq!(refused.code, RefusalCode::Unsupported),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(raw.ask(heartbeat()).await, Frame::HeartbeatAck(_)));
}

#[tokio::test]
async fn a_silent_peer_is_dropped_before_and_after_its_greeting() {
    let limits = || Limits { silence: Duration::from_millis(1_500), ..patient() };
    let (log, _guard) = Log::start();
    let (_plane, raw) = meet(limits()).await;
    assert!(raw.ended().await.contains("nothing was asked for too long"));
    let (_plane, raw) = meet(limits()).await;
    raw.ask(hello()).await;
    assert!(raw.ended().await.contains("nothing was asked for too long"));
    assert_eq!(log.text().matches("nothing was asked for too long").count(), 2);
}

#[tokio::test]
async fn a_stranger_who_says_nothing_does_not_stay() {
    let limits = Limits { handshake: Duration::from_millis(1_500), ..patient() };
    let plane = Plane::start(authority(), limits);
    let raw = Raw::connect(plane.address, ENROL_ALPN, None).await;
    assert!(raw.ended().await.contains("nothing was asked for too long"));
}

#[tokio::test]
async fn a_stranger_may_ask_one_thing() {
    let plane = Plane::start(authority(), patient());
    let raw = Raw::connect(plane.address, ENROL_ALPN, None).await;
    assert!(matches!(raw.ask(wrong_token()).await, Frame::Refused(_)));
    raw.say(codec::encode(&wrong_token().into()).unwrap().as_bytes()).await;
    assert!(raw.ended().await.contains("too many exchanges"));
    // What sidecars say to each other's control plane is not for strangers.
    let raw = Raw::connect(plane.address, ENROL_ALPN, None).await;
    raw.say(codec::encode(&hello().into()).unwrap().as_bytes()).await;
    assert!(raw.ended().await.contains("a Hello frame does not travel this way"));
}

#[tokio::test]
async fn only_so_many_strangers_are_there_at_a_time() {
    let plane = Plane::start(authority(), Limits { enrolments: 1, ..patient() });
    let first = Raw::connect(plane.address, ENROL_ALPN, None).await;
    // The first has its place once it was answered.
    assert!(matches!(first.ask(wrong_token()).await, Frame::Refused(_)));
    let second = Raw::connect(plane.address, ENROL_ALPN, None).await;
    assert!(second.ended().await.contains("too many enrolments at a time"));
}

fn wrong_token() -> Enrol {
    let token = countersign_model::JoinTokenId::from_bytes([1; 16]);
    Enrol { token, secret: [1; 32], csr: vec![1], agent: None, software: "test".to_owned() }
}

#[tokio::test]
async fn a_slow_peer_is_dropped() {
    for part in [&b"\x01"[..], &framed(20, 1_000, b"half of it")] {
        let (log, _guard) = Log::start();
        let (_plane, raw) = meet_and_greet(Limits { frame: Duration::from_millis(1_500), ..patient() }).await;
        let _open = raw.say(part).await;
        assert!(raw.ended().await.contains("a frame took too long"));
        assert!(log.text().contains("a frame took too long"));
    }
}

#[tokio::test]
async fn only_so_many_exchanges_are_open_at_a_time() {
    let (mut plane, raw) = meet_and_greet(Limits { exchanges: 4, ..patient() }).await;
    let question = codec::encode(&wait().into()).unwrap();
    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(raw.say(question.as_bytes()).await);
    }
    let connection = raw.connection.clone();
    let fifth = tokio::spawn(async move {
        let (mut send, receive) = connection.open_bi().await.unwrap();
        send.write_all(question.as_bytes()).await.unwrap();
        (send, receive)
    });
    // Only when one is given up is there room for the fifth.
    drop(open.pop());
    assert!(matches!(plane.next().await, Told::Abandoned));
    let fifth = soon(fifth).await.unwrap();
    drop(open);
    drop(fifth);
    for _ in 0..4 {
        assert!(matches!(plane.next().await, Told::Abandoned));
    }
    assert!(plane.most_waiting.load(std::sync::atomic::Ordering::SeqCst) <= 4);
}

#[tokio::test]
async fn room_for_exchanges_grows_with_the_need_for_it() {
    let (plane, raw) = meet_and_greet(patient()).await;
    let question = codec::encode(&wait().into()).unwrap();
    let mut open = Vec::new();
    for _ in 0..300 {
        open.push(raw.say(question.as_bytes()).await);
    }
    soon(async {
        while plane.most_waiting.load(std::sync::atomic::Ordering::SeqCst) < 300 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn who_asks_too_often_is_dropped() {
    let (log, _guard) = Log::start();
    let limits = Limits { exchanges_per_second: 0, exchange_burst: 3, ..patient() };
    let (_plane, raw) = meet_and_greet(limits).await;
    for _ in 0..2 {
        assert!(matches!(raw.ask(heartbeat()).await, Frame::HeartbeatAck(_)));
    }
    raw.say(codec::encode(&heartbeat().into()).unwrap().as_bytes()).await;
    assert!(raw.ended().await.contains("too many exchanges per second"));
    assert!(log.text().contains("too many exchanges per second"));
}

#[tokio::test]
async fn garbage_from_a_control_plane_drops_the_link_which_then_tries_again() {
    let authority = authority();
    let identity = enrolled(&authority, "a");
    let trust = authority.trust_bundle().unwrap();
    let mut plane = Plane::start(authority, patient());
    let mut sidecar = Sidecar::start(plane.address, identity, trust);
    let session = plane.greeted().await;
    // A control plane has no business to send a sidecar's greeting.
    let mut exchange = session.open().await.unwrap();
    exchange.send(&hello().into()).await.unwrap();
    let mut push = soon(sidecar.pushes.next()).await.unwrap();
    assert!(push.receive().await.is_err());
    let ended = soon(session.closed()).await.to_string();
    assert!(ended.contains("a Hello frame does not travel this way"), "{ended}");
    plane.greeted().await;
    sidecar.up().await;
}

#[tokio::test]
async fn datagrams_that_are_not_quic_are_ignored() {
    let (plane, raw) = meet_and_greet(patient()).await;
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for length in [0, 1, 20, 100, 1_200, 1_472, 9_000] {
        for byte in [0x00, 0x40, 0xc0, 0xff] {
            socket.send_to(&vec![byte; length], plane.address).unwrap();
        }
    }
    assert!(matches!(raw.ask(heartbeat()).await, Frame::HeartbeatAck(_)));
}
