//! The control plane's own signing keys, made at first start and kept in files of mode 0600 (I11).

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use countersign_model::{
    Digest,
    signing::{Jwks, SigningError, SigningKey},
};
use countersign_transport::ResetKey;

use crate::clock::{NoEntropy, entropy};

/// Why a key or a folder could not be opened or made.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The operating system refused.
    #[error("{path}: {error}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// Others than the owner can read it.
    #[error("{path} holds secrets and can be read by others; run: chmod go= {path}")]
    Exposed {
        /// The file or folder.
        path: PathBuf,
    },
    /// It is not a 32-byte seed.
    #[error("{path} is not a key: it must have exactly 32 bytes")]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// No randomness for a new key.
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
    /// The cryptographic library refused the seed.
    #[error(transparent)]
    Signing(#[from] SigningError),
}

/// The keys that sign what the control plane says.
pub(crate) struct Keys {
    /// Signs grants. Its public half travels in the bundle's manifest.
    pub(crate) grants: SigningKey,
    /// Signs bundles. Its public half is given to a sidecar when it enrols.
    pub(crate) bundles: SigningKey,
    /// Signs the ledger's checkpoints.
    pub(crate) checkpoints: SigningKey,
    /// Tells sidecars that this process took the place of one that was killed.
    resets: [u8; 32],
}

impl Keys {
    /// Opens the keys of a folder, and makes those that are not there.
    pub(crate) fn open_or_create(folder: &Path) -> Result<Self, KeyError> {
        private_folder(folder)?;
        Ok(Self {
            grants: SigningKey::from_seed(&open_or_create(&folder.join("grants.seed"))?)?,
            bundles: SigningKey::from_seed(&open_or_create(&folder.join("bundles.seed"))?)?,
            checkpoints: SigningKey::from_seed(&open_or_create(&folder.join("checkpoints.seed"))?)?,
            resets: open_or_create(&folder.join("resets.seed"))?,
        })
    }

    /// What verifies grants.
    pub(crate) fn grant_jwks(&self) -> Jwks {
        [self.grants.verifying_key()].into_iter().collect()
    }

    /// What stateless resets follow from: a hash keyed twice, so that no message extends another.
    pub(crate) fn reset_key(&self) -> ResetKey {
        let seed = self.resets;
        ResetKey::new(move |data| {
            let inner = Digest::of_parts(&[&seed, b"inner", data]);
            *Digest::of_parts(&[&seed, b"outer", inner.as_bytes()]).as_bytes()
        })
    }

    /// What verifies bundles.
    pub(crate) fn bundle_jwks(&self) -> Jwks {
        [self.bundles.verifying_key()].into_iter().collect()
    }
}

/// Makes a folder that only its owner can enter, or refuses one that others can.
pub(crate) fn private_folder(path: &Path) -> Result<(), KeyError> {
    let fail = |error| KeyError::Io { path: path.to_owned(), error };
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(fail)?;
    let mode = fs::metadata(path).map_err(fail)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed { path: path.to_owned() });
    }
    Ok(())
}

fn open_or_create(path: &Path) -> Result<[u8; 32], KeyError> {
    let fail = |error| KeyError::Io { path: path.to_owned(), error };
    match File::open(path) {
        Ok(file) => read_seed(file, path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let seed = entropy::<32>()?;
            private_file(path, &seed)?;
            Ok(seed)
        }
        Err(error) => Err(fail(error)),
    }
}

fn read_seed(file: File, path: &Path) -> Result<[u8; 32], KeyError> {
    let fail = |error| KeyError::Io { path: path.to_owned(), error };
    if file.metadata().map_err(fail)?.permissions().mode() & 0o077 != 0 {
        return Err(KeyError::Exposed { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    file.take(33).read_to_end(&mut bytes).map_err(fail)?;
    bytes.try_into().map_err(|_| KeyError::Malformed { path: path.to_owned() })
}

/// Writes a file that only its owner can read.
pub(crate) fn private_file(path: &Path, content: &[u8]) -> Result<(), KeyError> {
    create(path, content).map_err(|error| KeyError::Io { path: path.to_owned(), error })
}

/// Writes beside, syncs and renames, so that a crash leaves the whole file or none.
fn create(path: &Path, seed: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(seed)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_once_and_for_their_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let first = Keys::open_or_create(&path).unwrap();
        let again = Keys::open_or_create(&path).unwrap();
        assert_eq!(first.grant_jwks(), again.grant_jwks());
        assert_ne!(first.grant_jwks(), first.bundle_jwks());
        let mode = |file: &str| fs::metadata(path.join(file)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode("grants.seed"), 0o600);
        assert_eq!(mode(""), 0o700);
    }

    #[test]
    fn a_key_that_others_can_read_or_that_is_cut_short_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        Keys::open_or_create(&path).unwrap();
        let file = path.join("grants.seed");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(Keys::open_or_create(&path), Err(KeyError::Exposed { .. })));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&file, [1; 31]).unwrap();
        assert!(matches!(Keys::open_or_create(&path), Err(KeyError::Malformed { .. })));
    }
}
