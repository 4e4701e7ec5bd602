//! An identity of one's own: a private key and the certificate for it, from request to file.

use std::{fmt, path::Path, sync::Arc};

use countersign_model::{SpiffeId, Timestamp};
use rcgen::{KeyPair, PKCS_ED25519};
use rustls::{
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    sign::CertifiedKey,
};
use zeroize::Zeroizing;

use crate::{
    files::{self, FileError},
    peer::{CertificateError, PeerCertificate},
    pem, profile,
};

/// The most certificates in a chain: the leaf, and cross certificates from rotations.
pub(crate) const MAX_CHAIN: usize = 12;

/// Why an identity could not be made, read or written.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A new key or a request for it could not be made.
    #[error("could not make a key: {0}")]
    Key(rcgen::Error),
    /// There is no certificate, or too many.
    #[error("an identity has 1 to {MAX_CHAIN} certificates, not {0}")]
    Chain(usize),
    /// The certificate is not an X.509-SVID of ours.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The private key does not belong to the certificate, or is of no use.
    #[error("the private key does not fit the certificate: {0}")]
    Mismatch(rustls::Error),
    /// The text is not PEM, or has not exactly one key.
    #[error(transparent)]
    Pem(#[from] pem::PemError),
    /// The file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

/// A fresh key and the request for a certificate for it. The key never leaves the process but into
/// its owner's file (I11); what is sent is [`Self::csr`].
pub struct IdentityRequest {
    key: Zeroizing<Vec<u8>>,
    csr: Vec<u8>,
}

impl IdentityRequest {
    /// Makes a new Ed25519 key and a PKCS #10 request that names nothing: names are the authority's to give.
    ///
    /// # Errors
    /// When the cryptographic library fails.
    pub fn generate() -> Result<Self, IdentityError> {
        let key = KeyPair::generate_for(&PKCS_ED25519).map(Zeroizing::new).map_err(IdentityError::Key)?;
        let csr = profile::request().serialize_request(&*key).map_err(IdentityError::Key)?;
        Ok(Self { key: Zeroizing::new(key.serialize_der()), csr: csr.der().to_vec() })
    }

    /// The request (PKCS #10, DER).
    #[must_use]
    pub fn csr(&self) -> &[u8] {
        &self.csr
    }

    /// Puts the issued certificate to the key. The leaf comes first.
    ///
    /// # Errors
    /// When the certificate is for another key, or is not an SVID.
    pub fn complete(self, chain: Vec<CertificateDer<'static>>) -> Result<Identity, IdentityError> {
        Identity::new(self.key, chain)
    }
}

impl fmt::Debug for IdentityRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdentityRequest(…)")
    }
}

/// A private key and its X.509-SVID.
#[derive(Clone)]
pub struct Identity {
    key: Arc<Zeroizing<Vec<u8>>>,
    chain: Vec<CertificateDer<'static>>,
    certificate: PeerCertificate,
    certified: Arc<CertifiedKey>,
}

impl Identity {
    fn new(key: Zeroizing<Vec<u8>>, chain: Vec<CertificateDer<'static>>) -> Result<Self, IdentityError> {
        let leaf = match chain.first() {
            Some(leaf) if chain.len() <= MAX_CHAIN => leaf,
            _ => return Err(IdentityError::Chain(chain.len())),
        };
        let certificate = PeerCertificate::read(leaf)?;
        let for_tls = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.to_vec()));
        let provider = aws_lc_rs::default_provider();
        let certified =
            CertifiedKey::from_der(chain.clone(), for_tls, &provider).map_err(IdentityError::Mismatch)?;
        Ok(Self { key: Arc::new(key), chain, certificate, certified: Arc::new(certified) })
    }

    /// The SPIFFE ID in the certificate.
    #[must_use]
    pub fn spiffe_id(&self) -> &SpiffeId {
        &self.certificate.spiffe_id
    }

    /// What the certificate says.
    #[must_use]
    pub fn certificate(&self) -> &PeerCertificate {
        &self.certificate
    }

    /// The certificates, leaf first, in DER.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// Key and certificates for a TLS handshake.
    #[must_use]
    pub fn certified_key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }

    /// When to renew: half of the certificate's life before its end.
    #[must_use]
    pub fn renew_at(&self) -> Timestamp {
        let (from, until) = (self.certificate.not_before, self.certificate.not_after);
        Timestamp::from_millis(until.as_millis().saturating_sub(until.millis_since(from) / 2))
    }

    /// Whether the certificate is valid at a time.
    #[must_use]
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        self.certificate.not_before <= now && now <= self.certificate.not_after
    }

    /// Reads an identity from one PEM file with the key and its certificates.
    ///
    /// # Errors
    /// When the file cannot be read, can be read by others, or does not hold one identity.
    pub fn load(path: &Path) -> Result<Self, IdentityError> {
        let mut content = pem::read(&files::read_secret(path)?)?;
        match (content.keys.pop(), content.keys.is_empty()) {
            (Some(key), true) => Self::new(key, content.certificates),
            _ => Err(pem::PemError("there must be exactly one private key".to_owned()).into()),
        }
    }

    /// Writes the identity as one PEM file with mode 0600. Key and certificate are replaced together:
    /// after a crash there is the old pair or the new one.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), IdentityError> {
        let mut out = Zeroizing::new(Vec::new());
        pem::write_key(&mut out, &PrivatePkcs8KeyDer::from(self.key.as_slice()));
        for certificate in &self.chain {
            pem::write_certificate(&mut out, certificate);
        }
        Ok(files::replace(path, &out)?)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}
