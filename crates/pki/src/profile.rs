//! What our certificates look like: the certificate authority's and X.509-SVIDs (SPIFFE X509-SVID §2–4).

use countersign_model::{Seconds, SpiffeId, Timestamp, TrustDomain};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, DnValue, ExtendedKeyUsagePurpose, IsCa,
    KeyUsagePurpose, SanType, SerialNumber,
};
use rustls::pki_types::CertificateDer;
use time::OffsetDateTime;
use x509_parser::{
    asn1_rs::Tag, certificate::X509Certificate, prelude::FromDer, x509::AttributeTypeAndValue,
};

use crate::{authority::AuthorityError, random};

/// How far back a certificate's validity begins, for clocks that run behind.
pub(crate) const BACKDATE: Seconds = Seconds::new(60);

/// From when and until when a certificate is valid.
#[derive(Clone, Copy)]
pub(crate) struct Validity {
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
}

impl Validity {
    /// From a little before now, for a lifetime.
    pub(crate) fn starting(now: Timestamp, lifetime: Seconds) -> Self {
        Self { not_before: now.minus(BACKDATE), not_after: now.plus(lifetime) }
    }

    /// The same, but within another one.
    pub(crate) fn within(self, outer: Self) -> Self {
        Self {
            not_before: self.not_before.max(outer.not_before),
            not_after: self.not_after.min(outer.not_after),
        }
    }
}

/// A certificate authority's certificate. Its name is for people and to link certificates; its one
/// identity is the SPIFFE ID of the trust domain (X509-SVID §4.1 allows a signing certificate one).
pub(crate) fn authority(
    trust_domain: &TrustDomain,
    validity: Validity,
) -> Result<CertificateParams, AuthorityError> {
    let serial = serial()?;
    let mut params = base(validity, &serial)?;
    let shown: String = serial.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    params.distinguished_name.push(DnType::CommonName, format!("{trust_domain} {shown}"));
    params.subject_alt_names = vec![uri(&format!("spiffe://{trust_domain}"))?];
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

/// A workload's certificate: one URI, no reliance on the subject, for both ends of a handshake.
pub(crate) fn svid(id: &SpiffeId, validity: Validity) -> Result<CertificateParams, AuthorityError> {
    let mut params = base(validity, &serial()?)?;
    params.subject_alt_names = vec![uri(&id.to_string())?];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// An empty request: the authority takes nothing from it but the public key.
pub(crate) fn request() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
}

/// The subject of a certificate, so that another one can be made for the same name.
pub(crate) fn subject_of(der: &CertificateDer<'_>) -> Result<DistinguishedName, AuthorityError> {
    let unfit = || AuthorityError::Unfit("its subject is of a form that cannot be written again");
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| unfit())?;
    let mut name = DistinguishedName::new();
    for attribute in certificate.subject().iter_attributes() {
        let kind: Vec<u64> = attribute.attr_type().iter().ok_or_else(unfit)?.collect();
        name.push(DnType::from_oid(&kind), value_of(attribute).ok_or_else(unfit)?);
    }
    Ok(name)
}

fn value_of(attribute: &AttributeTypeAndValue<'_>) -> Option<DnValue> {
    let text = attribute.as_str().ok()?;
    match attribute.attr_value().tag() {
        Tag::Utf8String => Some(DnValue::Utf8String(text.to_owned())),
        Tag::PrintableString => Some(DnValue::PrintableString(text.try_into().ok()?)),
        Tag::Ia5String => Some(DnValue::Ia5String(text.try_into().ok()?)),
        _ => None,
    }
}

fn base(validity: Validity, serial: &[u8]) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Countersign");
    params.serial_number = Some(SerialNumber::from_slice(serial));
    params.not_before = date(validity.not_before)?;
    params.not_after = date(validity.not_after)?;
    Ok(params)
}

fn uri(text: &str) -> Result<SanType, AuthorityError> {
    Ok(SanType::URI(text.try_into().map_err(AuthorityError::Certificate)?))
}

fn date(at: Timestamp) -> Result<OffsetDateTime, AuthorityError> {
    OffsetDateTime::from_unix_timestamp(at.as_seconds()).map_err(|_| AuthorityError::Clock)
}

/// Sixteen random bytes, positive as a number (RFC 5280 §4.1.2.2).
fn serial() -> Result<[u8; 16], AuthorityError> {
    let mut serial = [0; 16];
    random::fill(&mut serial)?;
    let [first, ..] = &mut serial;
    *first = (*first & 0x7f) | 0x40;
    Ok(serial)
}
