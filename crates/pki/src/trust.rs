//! The authorities that are trusted: several while one replaces another.

use std::path::Path;

use countersign_model::{Digest, Timestamp};
use rustls::{RootCertStore, pki_types::CertificateDer};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};
use zeroize::Zeroizing;

use crate::{files, files::FileError, peer::timestamp, pem};

/// Why a trust bundle was refused.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// Nobody would be trusted, or too many would be.
    #[error("a trust bundle has 1 to {max} authorities, not {0}", max = TrustBundle::MAX)]
    Count(usize),
    /// One of the certificates is not a certificate authority's.
    #[error("certificate {0} of the trust bundle is not a certificate authority's")]
    NotAnAuthority(usize),
    /// The text is not PEM.
    #[error(transparent)]
    Pem(#[from] pem::PemError),
    /// The file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

/// The certificates of the authorities that are trusted, the issuing one first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustBundle {
    authorities: Vec<CertificateDer<'static>>,
}

impl TrustBundle {
    /// The most authorities that are trusted at a time.
    pub const MAX: usize = 8;

    /// A bundle of these CA certificates (DER).
    ///
    /// # Errors
    /// When there are none or too many, or one is not a CA's.
    pub fn new(authorities: Vec<CertificateDer<'static>>) -> Result<Self, TrustError> {
        if !(1..=Self::MAX).contains(&authorities.len()) {
            return Err(TrustError::Count(authorities.len()));
        }
        for (position, der) in authorities.iter().enumerate() {
            if AuthorityCertificate::read(der).is_none() {
                return Err(TrustError::NotAnAuthority(position + 1));
            }
        }
        Ok(Self { authorities })
    }

    /// The certificates, in DER, the issuing authority's first.
    #[must_use]
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.authorities
    }

    /// SHA-256 over each certificate.
    pub fn fingerprints(&self) -> impl Iterator<Item = Digest> + '_ {
        self.authorities.iter().map(|der| Digest::of(der))
    }

    /// The same bundle as roots for a TLS verifier.
    ///
    /// # Errors
    /// When a certificate cannot serve as a root.
    pub fn roots(&self) -> Result<RootCertStore, rustls::Error> {
        let mut roots = RootCertStore::empty();
        for der in &self.authorities {
            roots.add(der.clone())?;
        }
        Ok(roots)
    }

    /// Reads a bundle from PEM.
    ///
    /// # Errors
    /// When the text is not PEM, holds a private key, or is not a bundle.
    pub fn from_pem(text: &[u8]) -> Result<Self, TrustError> {
        let content = pem::read(text)?;
        if !content.keys.is_empty() {
            return Err(pem::PemError("a trust bundle has no private key".to_owned()).into());
        }
        Self::new(content.certificates)
    }

    /// The bundle as PEM.
    #[must_use]
    pub fn to_pem(&self) -> Vec<u8> {
        let mut out = Zeroizing::new(Vec::new());
        for der in &self.authorities {
            pem::write_certificate(&mut out, der);
        }
        out.to_vec()
    }

    /// Reads a bundle from a PEM file.
    ///
    /// # Errors
    /// When the file cannot be read or is not a bundle.
    pub fn load(path: &Path) -> Result<Self, TrustError> {
        Self::from_pem(&files::read_public(path)?)
    }

    /// Writes the bundle as a PEM file, whole or not at all.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), TrustError> {
        Ok(files::replace(path, &self.to_pem())?)
    }
}

/// What matters of a CA certificate.
pub(crate) struct AuthorityCertificate {
    pub(crate) public_key: Vec<u8>,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
}

impl AuthorityCertificate {
    /// Reads it; `None` when it is not a certificate that may sign others.
    pub(crate) fn read(der: &[u8]) -> Option<Self> {
        let (rest, certificate) = X509Certificate::from_der(der).ok()?;
        let constraints = certificate.basic_constraints().ok()??;
        let usage = certificate.key_usage().ok()?;
        let may_sign = usage.is_none_or(|usage| usage.value.key_cert_sign());
        if !rest.is_empty() || !constraints.value.ca || !may_sign {
            return None;
        }
        Some(Self {
            public_key: certificate.public_key().raw.to_vec(),
            not_before: timestamp(certificate.validity().not_before.timestamp()),
            not_after: timestamp(certificate.validity().not_after.timestamp()),
        })
    }
}

/// SHA-256 over a certificate, as join tokens carry it.
#[must_use]
pub fn fingerprint(der: &CertificateDer<'_>) -> [u8; 32] {
    *Digest::of(der).as_bytes()
}
