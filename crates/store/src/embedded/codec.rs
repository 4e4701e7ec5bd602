//! How records are written: one version byte, then JSON.
//!
//! JSON, because these records hold domain types that grow members over time (an approval, its
//! requirements, its grant shape) and must stay readable for ever: a member that is added gets a serde
//! default, and a record whose meaning changes gets the next version and its own arm in
//! [`Record::read`]. Every version ever written has a golden file under `golden/`. Keys are not
//! records: they are fixed layouts in [`super::layout`].

use serde::{Serialize, de::DeserializeOwned};

use super::layout::Bytes;
use crate::StoreError;

/// A value that is stored, in a table of its own.
pub(super) trait Record: Serialize + DeserializeOwned {
    /// Where it is stored.
    const TABLE: Bytes;
    /// The version that is written.
    const VERSION: u8 = 1;

    /// Reads any version ever written.
    fn read(version: u8, json: &[u8]) -> Result<Self, StoreError> {
        if version != Self::VERSION {
            return Err(StoreError::Damaged(format!("a record of version {version}")));
        }
        serde_json::from_slice(json).map_err(|error| StoreError::Damaged(error.to_string()))
    }
}

pub(super) fn encode<R: Record>(record: &R) -> Result<Vec<u8>, StoreError> {
    let mut bytes = vec![R::VERSION];
    serde_json::to_writer(&mut bytes, record).map_err(|error| StoreError::Damaged(error.to_string()))?;
    Ok(bytes)
}

pub(super) fn decode<R: Record>(bytes: &[u8]) -> Result<R, StoreError> {
    let (version, json) =
        bytes.split_first().ok_or_else(|| StoreError::Damaged("an empty record".to_owned()))?;
    R::read(*version, json)
}
