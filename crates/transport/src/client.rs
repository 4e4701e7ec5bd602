//! The sidecar's end: connecting once, enrolling, renewing.

use std::{io, net::SocketAddr, sync::Arc};

use countersign_pki::{
    AgentName, Identity, IdentityError, IdentityRequest, JoinToken, SpiffeId, TrustBundle, TrustError,
};
use countersign_protocol::{Enrol, Enrolled, Svid};
use quinn::{ClientConfig, Endpoint, crypto::rustls::QuicClientConfig};
use rustls::pki_types::CertificateDer;
use tokio::{net::lookup_host, time::timeout};

use crate::{
    ENROL_ALPN,
    exchange::RequestError,
    limits::{Limits, client_transport},
    session::{CloseCode, Role, Session, SessionEnd, end_of},
    tls::{self, ControlPlaneVerifier, TlsError},
};

/// The name that the QUIC library asks for. Nothing is derived from it: see `tls`.
const SERVER_NAME: &str = "control-plane";

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address cannot be resolved.
    #[error("cannot resolve {address}: {error}")]
    Resolve {
        /// The address, as configured.
        address: String,
        /// What the resolver said.
        error: io::Error,
    },
    /// No socket can be had.
    #[error("cannot open a socket: {0}")]
    Socket(io::Error),
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The library does not want to connect.
    #[error("cannot connect: {0}")]
    Connect(#[from] quinn::ConnectError),
    /// The handshake failed.
    #[error(transparent)]
    Handshake(#[from] SessionEnd),
    /// Nobody answered in time.
    #[error("no answer from {0}")]
    NoAnswer(String),
}

/// Connects to the first address of `control` (host and port) at which somebody answers. The endpoint
/// is there to wait until the other side has heard the last word.
pub(crate) async fn connect(
    control: &str,
    crypto: QuicClientConfig,
    role: Role,
    limits: &Arc<Limits>,
) -> Result<(Session, Endpoint), ConnectError> {
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(client_transport(limits));
    let attempt = async {
        let resolve = |error| ConnectError::Resolve { address: control.to_owned(), error };
        let addresses: Vec<SocketAddr> = lookup_host(control).await.map_err(resolve)?.collect();
        let mut last = resolve(io::Error::from(io::ErrorKind::NotFound));
        for address in addresses {
            match connect_to(address, config.clone()).await {
                Ok(connected) => return Ok(connected),
                Err(error) => last = error,
            }
        }
        Err(last)
    };
    let connected = timeout(limits.handshake, attempt).await;
    let (connection, endpoint) = connected.map_err(|_| ConnectError::NoAnswer(control.to_owned()))??;
    Ok((Session::new(connection, role, None, Arc::clone(limits), None), endpoint))
}

/// A socket of its own for each connection, so that a new one also gets over a changed network.
async fn connect_to(
    address: SocketAddr,
    config: ClientConfig,
) -> Result<(quinn::Connection, Endpoint), ConnectError> {
    let any: SocketAddr = if address.is_ipv4() {
        (std::net::Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (std::net::Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let endpoint = Endpoint::client(any).map_err(ConnectError::Socket)?;
    let connecting = endpoint.connect_with(config, address, SERVER_NAME)?;
    Ok((connecting.await.map_err(end_of)?, endpoint))
}

/// What a machine has when it has enrolled.
#[derive(Debug)]
pub struct Enrolment {
    /// Its identity, to be saved.
    pub identity: Identity,
    /// Whom it trusts, to be saved.
    pub trust: TrustBundle,
    /// The whole answer of the control plane.
    pub enrolled: Enrolled,
}

/// Why a machine could not enrol.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// The control plane was not reached, or is not the one that the token names.
    #[error("{0}")]
    Connect(#[from] ConnectError),
    /// It refused, or did not answer.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// What it gave is not an identity for the key that was made here.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// What it gave is not a trust bundle.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// What it gave does not fit together.
    #[error("the control plane answered with {0}")]
    Inconsistent(&'static str),
}

/// Enrols: makes a key, connects to the control plane that the token names, and gets a certificate. The
/// secret is said only after the control plane has shown that it is the right one.
///
/// # Errors
/// When the control plane is not reached, is not the right one, or refuses.
pub async fn enrol(
    control: &str,
    token: &JoinToken,
    agent: Option<AgentName>,
    software: String,
    limits: Limits,
) -> Result<Enrolment, EnrolError> {
    let request = IdentityRequest::generate()?;
    let verifier = ControlPlaneVerifier::pinned(*token.authority.as_bytes());
    let crypto = tls::client(ENROL_ALPN, Arc::new(verifier), None).map_err(ConnectError::Tls)?;
    let (session, _endpoint) = connect(control, crypto, Role::Newcomer, &Arc::new(limits)).await?;
    let secret = *token.secret.expose();
    let ask = Enrol { token: token.id, secret, csr: request.csr().to_vec(), agent, software };
    let enrolled = session.request(ask).await?;
    session.close(CloseCode::Done, "enrolled");
    complete(token, request, enrolled)
}

fn complete(
    token: &JoinToken,
    request: IdentityRequest,
    enrolled: Enrolled,
) -> Result<Enrolment, EnrolError> {
    let identity = request.complete(ders(&enrolled.chain))?;
    let trust = TrustBundle::new(ders(&enrolled.trust))?;
    let named = SpiffeId::agent(enrolled.trust_domain.clone(), enrolled.name.clone());
    if identity.spiffe_id() != &named {
        return Err(EnrolError::Inconsistent("a certificate for somebody else"));
    }
    if !trust.fingerprints().any(|known| known == token.authority) {
        return Err(EnrolError::Inconsistent("a trust bundle without the token's authority"));
    }
    Ok(Enrolment { identity, trust, enrolled })
}

/// Why a certificate was not renewed.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// The control plane refused, or was not reached.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// What it gave is not an identity for the key that was made here.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// What it gave is not a trust bundle.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// What it gave is for somebody else.
    #[error("the renewed certificate is for {0}")]
    Renamed(SpiffeId),
}

/// Puts a renewed certificate to its key.
pub(crate) fn renewed(
    request: IdentityRequest,
    svid: &Svid,
    present: &SpiffeId,
) -> Result<(Identity, TrustBundle), RenewError> {
    let identity = request.complete(ders(&svid.chain))?;
    if identity.spiffe_id() != present {
        return Err(RenewError::Renamed(identity.spiffe_id().clone()));
    }
    Ok((identity, TrustBundle::new(ders(&svid.trust))?))
}

fn ders(list: &[Vec<u8>]) -> Vec<CertificateDer<'static>> {
    list.iter().cloned().map(CertificateDer::from).collect()
}
