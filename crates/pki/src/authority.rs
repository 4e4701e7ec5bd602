//! The certificate authority of a trust domain, its files and its rotation.
//!
//! Rotation is one step and cuts nobody off. The new authority's key is certified twice: by itself, as
//! a new root, and by the old authority, as a *cross certificate*. Then the old private key is
//! forgotten; its certificate stays trusted until its end. A sidecar that knows only the old root
//! verifies the control plane through the cross certificate, and learns the new root when it renews.
//!
//! Key, certificate, earlier roots and cross certificates are one file, so that a crash leaves the
//! state before a rotation or the one after it.

use std::{fmt, path::Path};

use countersign_model::{Digest, Seconds, SpiffeId, Timestamp, TrustDomain};
use rcgen::{CertificateParams, Issuer, KeyPair, PKCS_ED25519, PublicKeyData, SubjectPublicKeyInfo};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use x509_parser::{
    certificate::X509Certificate, certification_request::X509CertificationRequest, prelude::FromDer,
};
use zeroize::Zeroizing;

use crate::{
    files::{self, FileError},
    identity::{Identity, IdentityError, IdentityRequest},
    peer::{CertificateError, PeerCertificate},
    pem,
    profile::{self, Validity},
    random::NoRandomness,
    trust::{AuthorityCertificate, TrustBundle, TrustError},
};

/// The largest certificate request that is looked at.
const MAX_CSR: usize = 4 * 1024;

/// Why the authority could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The cryptographic or certificate library refused.
    #[error("certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The request is not a PKCS #10 request that is signed with its own Ed25519 key.
    #[error("the certificate request is not valid: {0}")]
    Request(&'static str),
    /// The certificate that was brought cannot issue others.
    #[error("the CA certificate cannot issue others: {0}")]
    Unfit(&'static str),
    /// The private key is not the certificate's.
    #[error("the CA private key does not belong to the CA certificate")]
    KeyMismatch,
    /// The authority's certificate is not valid now.
    #[error("the CA certificate is not valid now; rotate the authority")]
    Expired,
    /// An id of another trust domain was asked for.
    #[error("{0} is not in this trust domain")]
    Foreign(SpiffeId),
    /// The time cannot be written in a certificate.
    #[error("the clock shows a time that cannot be")]
    Clock,
    /// The operating system gives no randomness.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// The issued certificate is not what it should be; never expected.
    #[error(transparent)]
    Issued(#[from] CertificateError),
    /// An identity could not be put together.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A trust bundle could not be put together.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The text is not PEM.
    #[error(transparent)]
    Pem(#[from] pem::PemError),
    /// The file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

/// A certificate that was just issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedSvid {
    /// The certificate and, after a rotation, cross certificates; leaf first, DER.
    pub chain: Vec<CertificateDer<'static>>,
    /// What it says, for the record.
    pub certificate: PeerCertificate,
}

/// The certificate authority of one trust domain.
pub struct Authority {
    trust_domain: TrustDomain,
    key: Zeroizing<KeyPair>,
    certificate: CertificateDer<'static>,
    validity: Validity,
    /// Roots from before, newest first.
    earlier: Vec<CertificateDer<'static>>,
    /// The present key certified by the root before it, that one's by the one before, and so on.
    crosses: Vec<CertificateDer<'static>>,
}

impl Authority {
    /// The default lifetime of an X.509-SVID.
    pub const SVID_LIFETIME: Seconds = Seconds::new(60 * 60);
    /// How long an authority that is made here lives: five years.
    pub const LIFETIME: Seconds = Seconds::new(5 * 365 * 24 * 60 * 60);

    /// Makes a new authority with an Ed25519 key.
    ///
    /// # Errors
    /// When the cryptographic library fails.
    pub fn generate(trust_domain: TrustDomain, now: Timestamp) -> Result<Self, AuthorityError> {
        let key = Zeroizing::new(KeyPair::generate_for(&PKCS_ED25519)?);
        let validity = Validity::starting(now, Self::LIFETIME);
        let certificate = profile::authority(&trust_domain, validity)?.self_signed(&*key)?.into();
        Ok(Self { trust_domain, key, certificate, validity, earlier: Vec::new(), crosses: Vec::new() })
    }

    /// Takes an authority that the operator brings: a CA certificate and its PKCS #8 key, both PEM.
    /// It is tried at once, so that a CA that cannot issue is found at start and not at enrolment.
    ///
    /// # Errors
    /// When they do not fit each other, or the certificate may not issue or is not valid now.
    pub fn from_pem(
        trust_domain: TrustDomain,
        certificate: &[u8],
        key: &[u8],
        now: Timestamp,
    ) -> Result<Self, AuthorityError> {
        let mut text = Zeroizing::new(Vec::with_capacity(certificate.len() + key.len() + 1));
        text.extend_from_slice(key);
        text.push(b'\n');
        text.extend_from_slice(certificate);
        let authority = Self::parse(trust_domain, &text)?;
        authority.control_plane_identity(now, Self::SVID_LIFETIME)?;
        Ok(authority)
    }

    /// Reads the authority from its file, or makes one there at first start. Of two processes that
    /// start at once, both end up with the same authority.
    ///
    /// # Errors
    /// When the file is there but cannot be used, or cannot be written.
    pub fn open_or_create(
        path: &Path,
        trust_domain: &TrustDomain,
        now: Timestamp,
    ) -> Result<Self, AuthorityError> {
        match Self::load(path, trust_domain) {
            Err(AuthorityError::File(error)) if error.is_not_found() => {}
            loaded => return loaded,
        }
        let fresh = Self::generate(trust_domain.clone(), now)?;
        match files::create(path, &fresh.to_pem()) {
            Ok(()) => Ok(fresh),
            Err(error) if error.is_already_there() => Self::load(path, trust_domain),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads the authority from its file.
    ///
    /// # Errors
    /// When the file cannot be read, can be read by others, or does not hold an authority.
    pub fn load(path: &Path, trust_domain: &TrustDomain) -> Result<Self, AuthorityError> {
        Self::parse(trust_domain.clone(), &files::read_secret(path)?)
    }

    /// Writes the authority to its file (mode 0600), whole or not at all.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), AuthorityError> {
        Ok(files::replace(path, &self.to_pem())?)
    }

    /// Replaces the authority by a new one. The old root stays trusted until its end, its key is gone.
    /// The caller saves the result before it uses it.
    ///
    /// # Errors
    /// When the cryptographic library fails.
    pub fn rotate(self, now: Timestamp) -> Result<Self, AuthorityError> {
        let next = Self::generate(self.trust_domain.clone(), now)?;
        self.hand_over_to(next, now)
    }

    /// Replaces the authority by another one that the operator brings, with the same overlap.
    ///
    /// # Errors
    /// When it belongs to another trust domain, or the cryptographic library fails.
    pub fn hand_over_to(self, next: Self, now: Timestamp) -> Result<Self, AuthorityError> {
        if next.trust_domain != self.trust_domain {
            return Err(AuthorityError::Foreign(SpiffeId::control_plane(next.trust_domain)));
        }
        let cross = self.cross_certify(&next)?;
        let mut rotated = Self {
            earlier: [vec![self.certificate], self.earlier].concat(),
            crosses: [vec![cross], self.crosses].concat(),
            ..next
        };
        rotated.forget_expired(now);
        Ok(rotated)
    }

    /// Forgets earlier roots that have ended. Answers whether there were any.
    pub fn forget_expired(&mut self, now: Timestamp) -> bool {
        let before = self.earlier.len();
        let ends = |der: &CertificateDer<'_>| {
            AuthorityCertificate::read(der).map_or(Timestamp::from_millis(0), |ca| ca.not_after)
        };
        self.earlier.retain(|der| ends(der) >= now);
        self.earlier.truncate(TrustBundle::MAX - 1);
        // Cross certificate n leads to earlier root n: a chain of them ends with the oldest root.
        self.crosses.truncate(self.earlier.len());
        before != self.earlier.len()
    }

    /// The trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// SHA-256 over the authority's certificate, as join tokens carry it.
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        Digest::of(&self.certificate)
    }

    /// Until when the authority's own certificate is valid.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.validity.not_after
    }

    /// Everything that is to be trusted now: this authority and the ones before it.
    ///
    /// # Errors
    /// Never in practice; the parts were checked when they were read.
    pub fn trust_bundle(&self) -> Result<TrustBundle, AuthorityError> {
        let mut authorities = vec![self.certificate.clone()];
        authorities.extend(self.earlier.iter().cloned());
        Ok(TrustBundle::new(authorities)?)
    }

    /// Issues an X.509-SVID for a request. Only the public key is taken from the request: the name, the
    /// lifetime and the usages are set here.
    ///
    /// # Errors
    /// When the request is not valid or the authority cannot issue now.
    pub fn issue(
        &self,
        csr: &[u8],
        id: &SpiffeId,
        now: Timestamp,
        lifetime: Seconds,
    ) -> Result<IssuedSvid, AuthorityError> {
        if id.trust_domain() != &self.trust_domain {
            return Err(AuthorityError::Foreign(id.clone()));
        }
        self.check_validity(now)?;
        let public_key = read_request(csr)?;
        let validity = Validity::starting(now, lifetime).within(self.validity);
        let leaf = sign(&profile::svid(id, validity)?, &public_key, &self.certificate, &self.key)?;
        let certificate = PeerCertificate::read(&leaf)?;
        Ok(IssuedSvid { chain: [vec![leaf], self.crosses.clone()].concat(), certificate })
    }

    /// Makes the control plane's own identity, with a new key. Its chain ends with the roots
    /// themselves, so that a machine which knows only a root's fingerprint can enrol.
    ///
    /// # Errors
    /// When the authority cannot issue now.
    pub fn control_plane_identity(
        &self,
        now: Timestamp,
        lifetime: Seconds,
    ) -> Result<Identity, AuthorityError> {
        let request = IdentityRequest::generate()?;
        let id = SpiffeId::control_plane(self.trust_domain.clone());
        let mut chain = self.issue(request.csr(), &id, now, lifetime)?.chain;
        chain.push(self.certificate.clone());
        chain.extend(
            self.earlier.iter().take(crate::identity::MAX_CHAIN.saturating_sub(chain.len())).cloned(),
        );
        Ok(request.complete(chain)?)
    }

    fn check_validity(&self, now: Timestamp) -> Result<(), AuthorityError> {
        let valid = self.validity.not_before <= now && now < self.validity.not_after;
        if valid { Ok(()) } else { Err(AuthorityError::Expired) }
    }

    /// The next authority's key and name, certified by this one.
    fn cross_certify(&self, next: &Self) -> Result<CertificateDer<'static>, AuthorityError> {
        let mut params = profile::authority(&self.trust_domain, next.validity.within(self.validity))?;
        params.distinguished_name = profile::subject_of(&next.certificate)?;
        params.use_authority_key_identifier_extension = true;
        let key = SubjectPublicKeyInfo::from_der(&next.key.subject_public_key_info())?;
        sign(&params, &key, &self.certificate, &self.key)
    }

    fn parse(trust_domain: TrustDomain, text: &[u8]) -> Result<Self, AuthorityError> {
        let content = pem::read(text)?;
        let [key] = content.keys.as_slice() else {
            return Err(pem::PemError("there must be exactly one private key".to_owned()).into());
        };
        let key = Zeroizing::new(KeyPair::try_from(&PrivatePkcs8KeyDer::from(key.as_slice()))?);
        let mut certificates = content.certificates.into_iter();
        let certificate = certificates.next().ok_or(AuthorityError::Unfit("there is none"))?;
        let read = AuthorityCertificate::read(&certificate)
            .ok_or(AuthorityError::Unfit("it is not a certificate authority's"))?;
        if read.public_key != key.subject_public_key_info() {
            return Err(AuthorityError::KeyMismatch);
        }
        let validity = Validity { not_before: read.not_before, not_after: read.not_after };
        let (earlier, crosses) = sort_out(read.public_key, certificates)?;
        Ok(Self { trust_domain, key, certificate, validity, earlier, crosses })
    }

    fn to_pem(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::new());
        pem::write_key(&mut out, &PrivatePkcs8KeyDer::from(self.key.serialized_der()));
        pem::write_certificate(&mut out, &self.certificate);
        for certificate in self.earlier.iter().chain(&self.crosses) {
            pem::write_certificate(&mut out, certificate);
        }
        out
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("trust_domain", &self.trust_domain)
            .field("fingerprint", &self.fingerprint())
            .finish_non_exhaustive()
    }
}

type Certificates = Vec<CertificateDer<'static>>;

/// Tells earlier roots and cross certificates apart: a cross certificate is for a key that has been seen.
fn sort_out(
    present_key: Vec<u8>,
    certificates: impl Iterator<Item = CertificateDer<'static>>,
) -> Result<(Certificates, Certificates), AuthorityError> {
    let (mut earlier, mut crosses, mut seen) = (Vec::new(), Vec::new(), vec![present_key]);
    for certificate in certificates {
        let read = AuthorityCertificate::read(&certificate)
            .ok_or(AuthorityError::Unfit("one after it is not a certificate authority's"))?;
        if seen.contains(&read.public_key) {
            crosses.push(certificate);
        } else {
            seen.push(read.public_key);
            earlier.push(certificate);
        }
    }
    Ok((earlier, crosses))
}

/// Reads the public key of a request, after checking that whoever made it has the private key. The
/// rest of it, names and extensions, is not even looked at.
fn read_request(csr: &[u8]) -> Result<SubjectPublicKeyInfo, AuthorityError> {
    if csr.len() > MAX_CSR {
        return Err(AuthorityError::Request("it is too long"));
    }
    let malformed = || AuthorityError::Request("it is malformed");
    let (rest, request) = X509CertificationRequest::from_der(csr).map_err(|_| malformed())?;
    if !rest.is_empty() {
        return Err(malformed());
    }
    request.verify_signature().map_err(|_| AuthorityError::Request("its signature is wrong"))?;
    let key = SubjectPublicKeyInfo::from_der(request.certification_request_info.subject_pki.raw)
        .map_err(|_| malformed())?;
    if PublicKeyData::algorithm(&key) == &PKCS_ED25519 {
        Ok(key)
    } else {
        Err(AuthorityError::Request("its key is not an Ed25519 key"))
    }
}

/// Signs a certificate and checks that it names its issuer exactly as the issuer names itself, which
/// is how chains are built. (A CA that was brought may have a name that cannot be written again.)
fn sign(
    params: &CertificateParams,
    key: &SubjectPublicKeyInfo,
    issuer: &CertificateDer<'_>,
    issuer_key: &KeyPair,
) -> Result<CertificateDer<'static>, AuthorityError> {
    let unfit = || AuthorityError::Unfit("its name cannot be written as an issuer");
    let signed = params.signed_by(key, &Issuer::from_ca_cert_der(issuer, issuer_key)?)?;
    let (_, issuer) = X509Certificate::from_der(issuer).map_err(|_| unfit())?;
    let (_, made) = X509Certificate::from_der(signed.der()).map_err(|_| unfit())?;
    let same = made.issuer().as_raw() == issuer.subject().as_raw();
    if same { Ok(signed.into()) } else { Err(unfit()) }
}
