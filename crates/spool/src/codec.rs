//! How records are written: one version byte, then JSON.
//!
//! JSON, because these records grow members over time and must stay readable for ever: a member that
//! is added gets a serde default, and a record whose meaning changes gets the next version and its own
//! arm in [`Record::read`]. Every version ever written has a golden file under `golden/`.

use serde::{Serialize, de::DeserializeOwned};

/// A value that is stored.
pub(crate) trait Record: Serialize + DeserializeOwned {
    /// The version that is written.
    const VERSION: u8;

    /// Reads any version ever written.
    fn read(version: u8, json: &[u8]) -> Result<Self, CodecError> {
        if version != Self::VERSION {
            return Err(CodecError::Version(version));
        }
        serde_json::from_slice(json).map_err(|error| CodecError::Malformed(error.to_string()))
    }
}

/// Why stored bytes are not a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CodecError {
    #[error("a stored record is empty")]
    Empty,
    #[error("a stored record has version {0}, which this release does not know")]
    Version(u8),
    #[error("a stored record is malformed: {0}")]
    Malformed(String),
}

pub(crate) fn encode<R: Record>(record: &R) -> Result<Vec<u8>, CodecError> {
    let mut bytes = vec![R::VERSION];
    serde_json::to_writer(&mut bytes, record).map_err(|error| CodecError::Malformed(error.to_string()))?;
    Ok(bytes)
}

pub(crate) fn decode<R: Record>(bytes: &[u8]) -> Result<R, CodecError> {
    let (version, json) = bytes.split_first().ok_or(CodecError::Empty)?;
    R::read(*version, json)
}
