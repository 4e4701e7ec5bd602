//! Who a peer is, read out of its certificate and out of nothing else.

use countersign_model::{Digest, SpiffeId, Timestamp};
use rustls::pki_types::CertificateDer;
use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension},
    prelude::FromDer,
};

/// Why a certificate is not an X.509-SVID of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// It cannot be parsed.
    #[error("not an X.509 certificate")]
    Malformed,
    /// An SVID has exactly one URI and no other name (X509-SVID §2).
    #[error("the certificate must have exactly one name, a SPIFFE ID; it has {0}")]
    Names(String),
    /// The URI is not a SPIFFE ID of this product.
    #[error("{0:?} is not a SPIFFE ID of a sidecar or a control plane")]
    SpiffeId(String),
    /// A leaf must not be able to sign certificates (X509-SVID §4.1, §4.3).
    #[error("the certificate is a certificate authority's, not a workload's")]
    Authority,
    /// A leaf must be able to sign handshakes (X509-SVID §4.3).
    #[error("the certificate's key usage does not include digital signatures")]
    KeyUsage,
}

/// What a verified peer's certificate says. Only meaningful after the certificate's chain was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificate {
    /// The one SPIFFE ID in it.
    pub spiffe_id: SpiffeId,
    /// The serial number, hexadecimal, for people and for revocation lists.
    pub serial: String,
    /// SHA-256 over the whole certificate.
    pub fingerprint: Digest,
    /// From when it is valid.
    pub not_before: Timestamp,
    /// Until when it is valid.
    pub not_after: Timestamp,
}

impl PeerCertificate {
    /// Reads a leaf certificate, strictly: one URI, no other names, not an authority.
    ///
    /// # Errors
    /// When it is not such a certificate.
    pub fn read(der: &CertificateDer<'_>) -> Result<Self, CertificateError> {
        let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| CertificateError::Malformed)?;
        if !rest.is_empty() {
            return Err(CertificateError::Malformed);
        }
        check_usage(&certificate)?;
        let validity = certificate.validity();
        Ok(Self {
            spiffe_id: spiffe_id(&certificate)?,
            serial: serial_text(&certificate),
            fingerprint: Digest::of(der),
            not_before: timestamp(validity.not_before.timestamp()),
            not_after: timestamp(validity.not_after.timestamp()),
        })
    }
}

pub(crate) fn timestamp(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds.saturating_mul(1000))
}

fn serial_text(certificate: &X509Certificate<'_>) -> String {
    certificate.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn check_usage(certificate: &X509Certificate<'_>) -> Result<(), CertificateError> {
    let constraints = certificate.basic_constraints().map_err(|_| CertificateError::Malformed)?;
    if constraints.is_some_and(|extension| extension.value.ca) {
        return Err(CertificateError::Authority);
    }
    let usage = certificate.key_usage().map_err(|_| CertificateError::Malformed)?;
    let usage = usage.ok_or(CertificateError::KeyUsage)?.value;
    if usage.key_cert_sign() || usage.crl_sign() {
        return Err(CertificateError::Authority);
    }
    if usage.digital_signature() { Ok(()) } else { Err(CertificateError::KeyUsage) }
}

fn spiffe_id(certificate: &X509Certificate<'_>) -> Result<SpiffeId, CertificateError> {
    let mut names = Vec::new();
    for extension in certificate.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(san) => names.extend(&san.general_names),
            ParsedExtension::ParseError { .. } => return Err(CertificateError::Malformed),
            _ => {}
        }
    }
    match names.as_slice() {
        [GeneralName::URI(uri)] => {
            uri.parse().map_err(|_| CertificateError::SpiffeId(uri.chars().take(128).collect()))
        }
        [] => Err(CertificateError::Names("none".to_owned())),
        [other] => Err(CertificateError::Names(format!("{other:?}").chars().take(128).collect())),
        several => Err(CertificateError::Names(several.len().to_string())),
    }
}
