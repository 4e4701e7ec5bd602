//! A bundle on its way to the sidecars: its files, and a signed manifest that stands for all of them.

use countersign_model::{
    Digest, Revision, Seconds, Timestamp, TrustDomain,
    signing::{Jwks, SigningError, SigningKey},
};
use serde::{Deserialize, Serialize};

use crate::files::BundleFiles;

/// The `typ` of a signed manifest.
pub const MANIFEST_TYPE: &str = "countersign-bundle+jwt";

/// What the control plane says about one revision of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The revision's number.
    pub revision: Revision,
    /// The digest of the bundle's files.
    pub digest: Digest,
    /// The bundle's name.
    pub name: String,
    /// How long it may be enforced without hearing from the control plane (I9).
    pub lease: Seconds,
    /// The trust domain that it is for.
    pub trust_domain: TrustDomain,
    /// When it was signed.
    pub issued_at: Timestamp,
    /// The keys that grants under this revision may be signed with.
    pub jwks: Jwks,
}

/// Why a signed bundle was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignedBundleError {
    /// The manifest is not signed by a trusted key, or is malformed.
    #[error("the bundle's manifest is refused: {0}")]
    Manifest(#[from] SigningError),
    /// The files are not those that were signed.
    #[error("the bundle's files are not those that were signed")]
    Files,
}

/// A bundle and its signed manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedBundle {
    /// The manifest: a JWS of type [`MANIFEST_TYPE`].
    pub manifest: String,
    /// The files that it stands for.
    pub files: BundleFiles,
}

impl SignedBundle {
    /// Signs a bundle.
    ///
    /// # Errors
    /// When the manifest is about other files, or cannot be written.
    pub fn sign(
        files: BundleFiles,
        manifest: &Manifest,
        key: &SigningKey,
    ) -> Result<Self, SignedBundleError> {
        if files.digest() != manifest.digest {
            return Err(SignedBundleError::Files);
        }
        Ok(Self { manifest: key.sign_jws(MANIFEST_TYPE, manifest)?, files })
    }

    /// Checks the signature and that the files are those that were signed.
    ///
    /// # Errors
    /// When either does not hold. Such a bundle must not be looked at any further (I6).
    pub fn verify(&self, trusted: &Jwks) -> Result<Manifest, SignedBundleError> {
        let manifest: Manifest = trusted.verify_jws(MANIFEST_TYPE, &self.manifest)?;
        if self.files.digest() == manifest.digest { Ok(manifest) } else { Err(SignedBundleError::Files) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32]).unwrap()
    }

    fn files(text: &str) -> BundleFiles {
        BundleFiles::new(BTreeMap::from([("bundle.toml".into(), text.into())])).unwrap()
    }

    fn manifest(files: &BundleFiles) -> Manifest {
        Manifest {
            revision: Revision(3),
            digest: files.digest(),
            name: "starter".into(),
            lease: Seconds::new(3600),
            trust_domain: "example.org".parse().unwrap(),
            issued_at: Timestamp::from_millis(0),
            jwks: [key(9).verifying_key()].into_iter().collect(),
        }
    }

    #[test]
    fn only_what_a_trusted_key_signed_is_a_bundle() {
        let files = files("name = \"a\"");
        let signed = SignedBundle::sign(files.clone(), &manifest(&files), &key(1)).unwrap();
        let trusted: Jwks = [key(1).verifying_key()].into_iter().collect();
        assert_eq!(signed.verify(&trusted), Ok(manifest(&files)));

        let stranger: Jwks = [key(2).verifying_key()].into_iter().collect();
        assert!(matches!(signed.verify(&stranger), Err(SignedBundleError::Manifest(_))));
        let swapped = SignedBundle { files: self::files("name = \"b\""), ..signed };
        assert_eq!(swapped.verify(&trusted), Err(SignedBundleError::Files));
    }

    #[test]
    fn a_manifest_about_other_files_is_not_signed() {
        let other = manifest(&files("x"));
        assert_eq!(SignedBundle::sign(files("y"), &other, &key(1)), Err(SignedBundleError::Files));
    }
}
