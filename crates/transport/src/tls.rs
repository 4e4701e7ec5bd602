//! TLS 1.3 for both sides: who is believed, and with what one shows oneself. All of it can be replaced
//! while connections go on: it counts from the next handshake.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use countersign_pki::{Identity, PeerCertificate, SpiffeId, TrustBundle, TrustDomain};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    ServerConfig, SignatureScheme,
    client::{
        ResolvesClientCert, Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
    version::TLS13,
};

use crate::{ENROL_ALPN, LINK_ALPN};

/// Why TLS could not be set up with an identity or trust bundle.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate cannot be used.
    #[error("TLS: {0}")]
    Rustls(#[from] Error),
    /// The verifier could not be made.
    #[error("TLS: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    /// The cryptographic provider lacks what QUIC needs; never expected.
    #[error("TLS: no cipher suite for QUIC")]
    NoInitialCipher(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
}

/// The cryptography in use: aws-lc, with the X25519MLKEM768 hybrid key exchange preferred.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// What both sides check of a handshake's signatures, once they believe the certificate.
struct Signatures(Arc<CryptoProvider>);

impl Signatures {
    fn verify(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    /// TLS 1.2 is not even built for; this holds should it ever be.
    fn refuse_tls12() -> Result<HandshakeSignatureValid, Error> {
        Err(refused("only TLS 1.3 is spoken here"))
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

fn refused(reason: impl fmt::Display) -> Error {
    Error::General(reason.to_string())
}

/// What one shows, replaceable.
#[derive(Debug)]
pub(crate) struct Shown(ArcSwap<CertifiedKey>);

impl Shown {
    pub(crate) fn new(identity: &Identity) -> Self {
        Self(ArcSwap::new(identity.certified_key()))
    }

    pub(crate) fn replace(&self, identity: &Identity) {
        self.0.store(identity.certified_key());
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }

    fn only_raw_public_keys(&self) -> bool {
        false
    }
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _roots: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }

    fn only_raw_public_keys(&self) -> bool {
        false
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Believes sidecars: an SVID under a trusted root, of an agent of this trust domain.
pub(crate) struct SidecarVerifier {
    trust_domain: TrustDomain,
    signatures: Signatures,
    chain: ArcSwap<Arc<dyn ClientCertVerifier>>,
}

impl SidecarVerifier {
    pub(crate) fn new(trust_domain: TrustDomain, trust: &TrustBundle) -> Result<Self, TlsError> {
        let provider = provider();
        let chain = ArcSwap::from_pointee(chain_verifier(trust, &provider)?);
        Ok(Self { trust_domain, signatures: Signatures(provider), chain })
    }

    pub(crate) fn replace(&self, trust: &TrustBundle) -> Result<(), TlsError> {
        self.chain.store(Arc::new(chain_verifier(trust, &self.signatures.0)?));
        Ok(())
    }

    /// Reads who it is out of a certificate, and checks that such a one may have a link.
    pub(crate) fn identify(&self, leaf: &CertificateDer<'_>) -> Result<PeerCertificate, String> {
        let peer = PeerCertificate::read(leaf).map_err(|error| error.to_string())?;
        if peer.spiffe_id.trust_domain() != &self.trust_domain {
            return Err(format!("{} is of another trust domain", peer.spiffe_id));
        }
        match peer.spiffe_id.agent_name() {
            Some(_) => Ok(peer),
            None => Err(format!("{} is not a sidecar", peer.spiffe_id)),
        }
    }
}

fn chain_verifier(
    trust: &TrustBundle,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let roots = Arc::new(trust.roots()?);
    Ok(WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider)).build()?)
}

impl fmt::Debug for SidecarVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SidecarVerifier").field("trust_domain", &self.trust_domain).finish_non_exhaustive()
    }
}

impl ClientCertVerifier for SidecarVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    /// A certificate that is shown must be good. That none is shown is fine for enrolment alone; the
    /// server checks that once it knows which protocol was agreed on, before it reads a single byte.
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.chain.load().verify_client_cert(leaf, intermediates, now)?;
        self.identify(leaf).map_err(refused)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Signatures::refuse_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures.verify(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signatures.schemes()
    }
}

/// Whom a client takes for the control plane.
pub(crate) enum Expected {
    /// The control plane of this trust domain, under one of these roots.
    Trusted { trust_domain: TrustDomain, roots: ArcSwap<RootCertStore> },
    /// A control plane under the root with this fingerprint, as a join token gives it.
    Pinned { root: [u8; 32] },
}

/// Believes the control plane, and nobody else: not an agent with a certificate of the same authority.
pub(crate) struct ControlPlaneVerifier {
    expected: Expected,
    signatures: Signatures,
}

impl ControlPlaneVerifier {
    pub(crate) fn trusting(trust_domain: TrustDomain, trust: &TrustBundle) -> Result<Self, TlsError> {
        let roots = ArcSwap::from_pointee(trust.roots()?);
        Ok(Self { expected: Expected::Trusted { trust_domain, roots }, signatures: Signatures(provider()) })
    }

    pub(crate) fn pinned(root: [u8; 32]) -> Self {
        Self { expected: Expected::Pinned { root }, signatures: Signatures(provider()) }
    }

    pub(crate) fn replace(&self, trust: &TrustBundle) -> Result<(), TlsError> {
        if let Expected::Trusted { roots, .. } = &self.expected {
            roots.store(Arc::new(trust.roots()?));
        }
        Ok(())
    }

    fn roots(&self, shown: &[CertificateDer<'_>]) -> Result<Arc<RootCertStore>, Error> {
        match &self.expected {
            Expected::Trusted { roots, .. } => Ok(roots.load_full()),
            Expected::Pinned { root } => {
                // The root itself is among what the control plane shows; its fingerprint makes it trusted.
                let pinned = shown.iter().find(|der| digest(der) == *root);
                let mut roots = RootCertStore::empty();
                roots.add(pinned.ok_or(CertificateError::UnknownIssuer)?.clone().into_owned())?;
                Ok(Arc::new(roots))
            }
        }
    }

    fn check_name(&self, id: &SpiffeId) -> Result<(), Error> {
        let known = match &self.expected {
            Expected::Trusted { trust_domain, .. } => id.trust_domain() == trust_domain,
            Expected::Pinned { .. } => true,
        };
        if known && id.agent_name().is_none() {
            Ok(())
        } else {
            Err(refused(format!("{id} is not the control plane")))
        }
    }
}

fn digest(der: &CertificateDer<'_>) -> [u8; 32] {
    countersign_pki::trust::fingerprint(der)
}

impl fmt::Debug for ControlPlaneVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ControlPlaneVerifier(…)")
    }
}

impl ServerCertVerifier for ControlPlaneVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let roots = self.roots(intermediates)?;
        let parsed = ParsedCertificate::try_from(leaf)?;
        let algorithms = self.signatures.0.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &roots, intermediates, now, algorithms)?;
        // Not the DNS name, as web browsers do, but the SPIFFE ID says who it is.
        self.check_name(&PeerCertificate::read(leaf).map_err(refused)?.spiffe_id)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Signatures::refuse_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures.verify(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signatures.schemes()
    }
}

/// The server's side of both protocols.
pub(crate) fn server(
    shown: Arc<Shown>,
    verifier: Arc<SidecarVerifier>,
) -> Result<QuicServerConfig, TlsError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(shown);
    config.alpn_protocols = vec![LINK_ALPN.to_vec(), ENROL_ALPN.to_vec()];
    // No resumption and no early data: every connection is authenticated anew.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config.try_into()?)
}

/// The client's side of one of the protocols; `shown` is `None` for enrolment.
pub(crate) fn client(
    alpn: &[u8],
    verifier: Arc<ControlPlaneVerifier>,
    shown: Option<Arc<Shown>>,
) -> Result<QuicClientConfig, TlsError> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match shown {
        Some(shown) => config.with_client_cert_resolver(shown),
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    // There is nothing to hide behind one port, and nothing to choose: no name is sent.
    config.enable_sni = false;
    Ok(config.try_into()?)
}

#[cfg(test)]
mod tests {
    use rustls::NamedGroup;

    use super::*;

    #[test]
    fn the_post_quantum_hybrid_is_preferred() {
        let groups: Vec<_> = provider().kx_groups.iter().map(|group| group.name()).collect();
        assert_eq!(groups.first(), Some(&NamedGroup::X25519MLKEM768));
    }
}
