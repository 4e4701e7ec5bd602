//! The certificate authority of this control plane: made at first start or brought by the operator, and
//! rotated with overlap.

use std::{
    fs,
    path::{Path, PathBuf},
};

use countersign_model::{AgentName, Digest, Seconds, SpiffeId, Timestamp, TrustDomain};
use countersign_pki::{Authority, AuthorityError, Identity, IssuedSvid, TrustBundle};

use crate::config::{AuthorityConfig, AuthorityFiles};

/// Why the authority could not be opened or used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityProblem {
    /// The files of the operator's CA cannot be read.
    #[error("{path}: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        error: std::io::Error,
    },
    /// The authority itself refuses.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// A rotation was asked for, but the operator's own CA is configured.
    #[error("the CA is yours: to rotate it, let authority.certificate and authority.key name the next one")]
    NotOurs,
}

/// The authority, shared between enrolments and renewals.
#[derive(Debug)]
pub(crate) struct CertificateAuthority {
    inner: Authority,
    lifetime: Seconds,
}

impl CertificateAuthority {
    /// Opens the authority of a data folder. When the operator brings another CA than the one in use,
    /// it takes over, and the one before stays trusted until its end.
    pub(crate) fn open(
        folder: &Path,
        trust_domain: &TrustDomain,
        config: &AuthorityConfig,
        now: Timestamp,
    ) -> Result<Self, AuthorityProblem> {
        let path = folder.join("authority.pem");
        let mut authority = match &config.files {
            None => Authority::open_or_create(&path, trust_domain, now)?,
            Some(files) => take_over(&path, trust_domain, files, now)?,
        };
        if authority.forget_expired(now) {
            authority.save(&path)?;
        }
        Ok(Self { inner: authority, lifetime: config.svid_lifetime })
    }

    /// Replaces the authority of a data folder by a fresh one, with overlap. For a process that is not running.
    pub(crate) fn rotate(
        folder: &Path,
        trust_domain: &TrustDomain,
        config: &AuthorityConfig,
        now: Timestamp,
    ) -> Result<Digest, AuthorityProblem> {
        if config.files.is_some() {
            return Err(AuthorityProblem::NotOurs);
        }
        let path = folder.join("authority.pem");
        let rotated = Authority::open_or_create(&path, trust_domain, now)?.rotate(now)?;
        rotated.save(&path)?;
        Ok(rotated.fingerprint())
    }

    /// Issues a certificate for an agent's sidecar. The name is the store's, never the request's.
    pub(crate) fn issue(
        &self,
        csr: &[u8],
        agent: &AgentName,
        now: Timestamp,
    ) -> Result<IssuedSvid, AuthorityError> {
        let id = SpiffeId::agent(self.inner.trust_domain().clone(), agent.clone());
        self.inner.issue(csr, &id, now, self.lifetime)
    }

    /// The control plane's own identity, with a new key.
    pub(crate) fn own_identity(&self, now: Timestamp) -> Result<Identity, AuthorityError> {
        self.inner.control_plane_identity(now, self.lifetime)
    }

    /// Everything that is to be trusted now.
    pub(crate) fn trust_bundle(&self) -> Result<TrustBundle, AuthorityError> {
        self.inner.trust_bundle()
    }

    /// What join tokens carry.
    pub(crate) fn fingerprint(&self) -> Digest {
        self.inner.fingerprint()
    }
}

fn take_over(
    path: &Path,
    trust_domain: &TrustDomain,
    files: &AuthorityFiles,
    now: Timestamp,
) -> Result<Authority, AuthorityProblem> {
    let read =
        |path: &Path| fs::read(path).map_err(|error| AuthorityProblem::Read { path: path.to_owned(), error });
    let certificate = read(&files.certificate)?;
    let key = read(&files.key)?;
    let brought = Authority::from_pem(trust_domain.clone(), &certificate, &key, now)?;
    let authority = if path.exists() {
        let present = Authority::load(path, trust_domain)?;
        if present.fingerprint() == brought.fingerprint() {
            return Ok(present);
        }
        present.hand_over_to(brought, now)?
    } else {
        brought
    };
    authority.save(path)?;
    Ok(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> AuthorityConfig {
        AuthorityConfig { files: None, svid_lifetime: Seconds::new(3_600) }
    }

    fn now() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_rotated_authority_still_trusts_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let domain: TrustDomain = "example.org".parse().unwrap();
        let first = CertificateAuthority::open(folder.path(), &domain, &config(), now()).unwrap();
        let before = first.fingerprint();
        drop(first);
        let after = CertificateAuthority::rotate(folder.path(), &domain, &config(), now()).unwrap();
        assert_ne!(before, after);
        let again = CertificateAuthority::open(folder.path(), &domain, &config(), now()).unwrap();
        let trusted: Vec<_> = again.trust_bundle().unwrap().fingerprints().collect();
        assert_eq!(trusted, [after, before]);
    }

    #[test]
    fn an_operators_authority_takes_over_with_overlap() {
        let folder = tempfile::tempdir().unwrap();
        let domain: TrustDomain = "example.org".parse().unwrap();
        let ours =
            CertificateAuthority::open(folder.path(), &domain, &config(), now()).unwrap().fingerprint();
        let theirs = Authority::generate(domain.clone(), now()).unwrap();
        let file = folder.path().join("theirs.pem");
        theirs.save(&file).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        let (key, certificate) = text.split_at(text.find("-----BEGIN CERTIFICATE").unwrap());
        let files =
            AuthorityFiles { certificate: folder.path().join("ca.pem"), key: folder.path().join("ca.key") };
        fs::write(&files.certificate, certificate).unwrap();
        fs::write(&files.key, key).unwrap();
        let config = AuthorityConfig { files: Some(files), ..config() };
        for _ in 0..2 {
            let open = CertificateAuthority::open(folder.path(), &domain, &config, now()).unwrap();
            let trusted: Vec<_> = open.trust_bundle().unwrap().fingerprints().collect();
            assert_eq!(trusted, [theirs.fingerprint(), ours]);
        }
    }
}
