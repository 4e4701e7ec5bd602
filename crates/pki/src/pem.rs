//! PEM (RFC 7468): just what is needed to keep keys and certificates in files.

use base64::{Engine, engine::general_purpose::STANDARD};
use rustls::pki_types::{
    CertificateDer, PrivatePkcs8KeyDer,
    pem::{PemObject, SectionKind},
};
use zeroize::{Zeroize, Zeroizing};

const LINE: usize = 64;

/// What a PEM text holds, in its order.
#[derive(Default)]
pub(crate) struct PemContent {
    pub(crate) keys: Vec<Zeroizing<Vec<u8>>>,
    pub(crate) certificates: Vec<CertificateDer<'static>>,
}

/// A text that is not PEM, or not of what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not PEM with certificates and a PKCS #8 private key: {0}")]
pub struct PemError(pub(crate) String);

/// Reads certificates and PKCS #8 keys. Anything else is refused, so that nothing is silently left out.
pub(crate) fn read(text: &[u8]) -> Result<PemContent, PemError> {
    let mut content = PemContent::default();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text) {
        match section.map_err(|error| PemError(error.to_string()))? {
            (SectionKind::Certificate, der) => content.certificates.push(der.into()),
            (SectionKind::PrivateKey, der) => content.keys.push(Zeroizing::new(der)),
            (other, mut der) => {
                der.zeroize();
                return Err(PemError(format!("unexpected section {other:?}")));
            }
        }
    }
    Ok(content)
}

/// Writes a PKCS #8 key.
pub(crate) fn write_key(out: &mut Zeroizing<Vec<u8>>, key: &PrivatePkcs8KeyDer<'_>) {
    write(out, "PRIVATE KEY", key.secret_pkcs8_der());
}

/// Writes a certificate.
pub(crate) fn write_certificate(out: &mut Zeroizing<Vec<u8>>, certificate: &CertificateDer<'_>) {
    write(out, "CERTIFICATE", certificate);
}

fn write(out: &mut Zeroizing<Vec<u8>>, label: &str, der: &[u8]) {
    let text = Zeroizing::new(STANDARD.encode(der));
    // Reserved at once, so that a secret is not left behind by a buffer that grew.
    let total = out.len() + text.len() + text.len() / LINE + 2 * label.len() + 40;
    if total > out.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(total.max(16 * 1024)));
        larger.extend_from_slice(out);
        std::mem::swap(out, &mut larger);
    }
    out.extend_from_slice(format!("-----BEGIN {label}-----\n").as_bytes());
    for line in text.as_bytes().chunks(LINE) {
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    out.extend_from_slice(format!("-----END {label}-----\n").as_bytes());
}
