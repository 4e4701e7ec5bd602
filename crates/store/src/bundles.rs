//! Policy revisions: immutable, numbered from 1 without gaps, the newest in force.
//!
//! A rollback is a new revision with the files of an old one: what is in force never gets an older
//! number, so that a sidecar can refuse any revision that does not grow.

use std::collections::BTreeMap;

use async_trait::async_trait;
use countersign_model::{Digest, Revision, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{By, CommandError, Page, PageError, PageRequest, StoreError};

/// A bundle's files by relative path.
pub type BundleFiles = BTreeMap<String, Vec<u8>>;

/// A policy revision, without its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyRevision {
    /// Its number.
    pub revision: Revision,
    /// The bundle's name for itself.
    pub name: String,
    /// The digest of its files.
    pub digest: Digest,
    /// The signed manifest.
    pub manifest: String,
    /// Who pushed it.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The revision whose files it brought back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_of: Option<Revision>,
}

/// A policy revision and its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleWithFiles {
    /// The revision.
    pub revision: PolicyRevision,
    /// Its files.
    pub files: BundleFiles,
}

/// A bundle that is to be the next revision. Its manifest is signed over its number already.
#[derive(Debug, Clone)]
pub struct NewBundle {
    /// The number: the latest one's plus 1.
    pub revision: Revision,
    /// The bundle's name for itself.
    pub name: String,
    /// The digest of its files.
    pub digest: Digest,
    /// The signed manifest.
    pub manifest: String,
    /// Its files.
    pub files: BundleFiles,
    /// Why.
    pub note: Option<String>,
    /// The revision whose files it brings back, if it is a rollback.
    pub rollback_of: Option<Revision>,
}

/// Why a bundle was not stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PushRefusal {
    /// Another push was faster, so that the manifest has to be signed over another number.
    #[error("the next revision is {next}, not {given}")]
    NotNext {
        /// The number that the next revision gets.
        next: Revision,
        /// The number that was given.
        given: Revision,
    },
    /// The revision that is to be brought back does not exist, or has other files.
    #[error("revision {0} does not exist, or its files are not these")]
    NotARollback(Revision),
}

/// Policy revisions.
#[async_trait]
pub trait BundleStore {
    /// Stores a bundle as the next revision and puts it in force (`policy.pushed` or
    /// `policy.rolled_back`, then `policy.activated`).
    async fn push_bundle(
        &self,
        bundle: NewBundle,
        by: By,
    ) -> Result<PolicyRevision, CommandError<PushRefusal>>;

    /// The revision in force.
    async fn active_bundle(&self) -> Result<Option<BundleWithFiles>, StoreError>;

    /// The number of the revision in force.
    async fn active_revision(&self) -> Result<Option<Revision>, StoreError>;

    /// One revision and its files.
    async fn bundle(&self, revision: Revision) -> Result<Option<BundleWithFiles>, StoreError>;

    /// Revisions, newest first.
    async fn policy_history(&self, page: PageRequest) -> Result<Page<PolicyRevision>, PageError>;
}
