//! Identities: enrolment and renewal.

use bincode::{Decode, Encode};
use countersign_model::{
    AgentId, JoinTokenId,
    signing::{Jwk, Jwks, VerifyingKey},
};

use super::bounded::{Blob, FieldError, List, Text};
use crate::{
    limits,
    message::{Enrol, Enrolled, Renew, Svid},
};

type Certificate = Blob<{ limits::MAX_CERTIFICATE }>;
type Certificates = List<Certificate, { limits::MAX_CERTIFICATES }>;

#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct EnrolV1 {
    token: [u8; 16],
    secret: [u8; 32],
    csr: Certificate,
    agent: Option<Text<{ limits::MAX_NAME }>>,
    software: Text<{ limits::MAX_SOFTWARE }>,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct EnrolledV1 {
    agent: [u8; 16],
    name: Text<{ limits::MAX_NAME }>,
    trust_domain: Text<{ limits::MAX_NAME }>,
    chain: Certificates,
    trust: Certificates,
    bundle_keys: List<[u8; 32], { limits::MAX_KEYS }>,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct RenewV1 {
    csr: Certificate,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct SvidV1 {
    chain: Certificates,
    trust: Certificates,
}

fn certificates(field: &'static str, list: &[Vec<u8>]) -> Result<Certificates, FieldError> {
    List::collect(field, list, |certificate| Blob::new(field, certificate))
}

/// There is always at least one: a leaf, or a root.
fn ders(field: &'static str, list: Certificates) -> Result<Vec<Vec<u8>>, FieldError> {
    let ders: Vec<Vec<u8>> = list.map(|certificate| Ok(certificate.into_vec()))?;
    if ders.is_empty() { Err(FieldError::new(field, "there is none")) } else { Ok(ders) }
}

impl TryFrom<&Enrol> for EnrolV1 {
    type Error = FieldError;

    fn try_from(from: &Enrol) -> Result<Self, FieldError> {
        Ok(Self {
            token: from.token.to_bytes(),
            secret: from.secret,
            csr: Blob::new("csr", &from.csr)?,
            agent: from.agent.as_ref().map(|name| Text::new("agent", name.as_str())).transpose()?,
            software: Text::new("software", &from.software)?,
        })
    }
}

impl TryFrom<EnrolV1> for Enrol {
    type Error = FieldError;

    fn try_from(from: EnrolV1) -> Result<Self, FieldError> {
        Ok(Self {
            token: JoinTokenId::from_bytes(from.token),
            secret: from.secret,
            csr: from.csr.into_vec(),
            agent: from.agent.map(|name| name.parse("agent")).transpose()?,
            software: from.software.into_string(),
        })
    }
}

impl TryFrom<&Enrolled> for EnrolledV1 {
    type Error = FieldError;

    fn try_from(from: &Enrolled) -> Result<Self, FieldError> {
        let key = |jwk: &Jwk| {
            jwk.verifying_key()
                .map(|key| *key.as_bytes())
                .map_err(|error| FieldError::new("bundle_keys", error.to_string()))
        };
        Ok(Self {
            agent: from.agent.to_bytes(),
            name: Text::new("name", from.name.as_str())?,
            trust_domain: Text::new("trust_domain", from.trust_domain.as_str())?,
            chain: certificates("chain", &from.chain)?,
            trust: certificates("trust", &from.trust)?,
            bundle_keys: List::collect("bundle_keys", &from.bundle_keys.keys, key)?,
        })
    }
}

impl TryFrom<EnrolledV1> for Enrolled {
    type Error = FieldError;

    fn try_from(from: EnrolledV1) -> Result<Self, FieldError> {
        let keys: Vec<VerifyingKey> = from.bundle_keys.map(|key| Ok(VerifyingKey::from_bytes(key)))?;
        Ok(Self {
            agent: AgentId::from_bytes(from.agent),
            name: from.name.parse("name")?,
            trust_domain: from.trust_domain.parse("trust_domain")?,
            chain: ders("chain", from.chain)?,
            trust: ders("trust", from.trust)?,
            bundle_keys: keys.into_iter().collect::<Jwks>(),
        })
    }
}

impl TryFrom<&Renew> for RenewV1 {
    type Error = FieldError;

    fn try_from(from: &Renew) -> Result<Self, FieldError> {
        Ok(Self { csr: Blob::new("csr", &from.csr)? })
    }
}

impl From<RenewV1> for Renew {
    fn from(from: RenewV1) -> Self {
        Self { csr: from.csr.into_vec() }
    }
}

impl TryFrom<&Svid> for SvidV1 {
    type Error = FieldError;

    fn try_from(from: &Svid) -> Result<Self, FieldError> {
        Ok(Self { chain: certificates("chain", &from.chain)?, trust: certificates("trust", &from.trust)? })
    }
}

impl TryFrom<SvidV1> for Svid {
    type Error = FieldError;

    fn try_from(from: SvidV1) -> Result<Self, FieldError> {
        Ok(Self { chain: ders("chain", from.chain)?, trust: ders("trust", from.trust)? })
    }
}
