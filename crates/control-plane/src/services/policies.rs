//! Policy revisions: push, history, rollback.

use std::{collections::BTreeMap, sync::Arc};

use countersign_model::{Digest, Revision, Timestamp};
use countersign_store::{CursorError, PageError, PolicyRevision, StoreError};
use serde::Serialize;
use utoipa::ToSchema;

use super::{MissingRight, Page, PageRequest, Parts, require};
use crate::{
    distribution::PushError,
    identity::{Actor, Right},
};

/// A bundle to validate or push: relative paths and contents, as they lie in the directory.
#[derive(Debug, Clone)]
pub struct PushPolicy {
    /// The files.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Why, for the history.
    pub note: Option<String>,
}

/// Something wrong in a file of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FileProblem {
    /// The file.
    pub file: String,
    /// The line, from 1, when it is known.
    pub line: Option<u32>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// How a bundle's own tests went.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct TestSummary {
    /// How many passed.
    pub passed: usize,
    /// What each of the others got and should have got.
    pub failures: Vec<String>,
}

/// What validation found.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Validation {
    /// Whether a push would be taken.
    pub valid: bool,
    /// Everything that is wrong, at once.
    pub problems: Vec<FileProblem>,
    /// How the bundle's own tests went; `null` when it does not load.
    pub tests: Option<TestSummary>,
}

/// One policy revision.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct RevisionView {
    /// Its number.
    pub revision: u64,
    /// The bundle's name for itself.
    pub name: String,
    /// The digest of its files.
    #[schema(value_type = String)]
    pub digest: Digest,
    /// Whether it is the one in force.
    pub active: bool,
    /// The revision whose files it brought back, when it is a rollback.
    pub rollback_of: Option<u64>,
    /// Who pushed it.
    pub by: String,
    /// When.
    #[schema(value_type = String)]
    pub at: Timestamp,
    /// Why.
    pub note: Option<String>,
    /// How many connected sidecars enforce it.
    pub enforced_by: usize,
}

/// One policy revision with its files.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct RevisionDetail {
    /// The revision.
    #[serde(flatten)]
    pub revision: RevisionView,
    /// Its files as text.
    pub files: BTreeMap<String, String>,
}

/// Why a policy was not pushed or shown.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The actor may not.
    #[error(transparent)]
    Right(#[from] MissingRight),
    /// The bundle was refused.
    #[error("the bundle was refused: {} problems, {} failed tests", .0.problems.len(), .0.tests.as_ref().map_or(0, |tests| tests.failures.len()))]
    Invalid(Validation),
    /// There is no such revision.
    #[error("there is no policy revision {0}")]
    NotFound(Revision),
    /// The cursor is none that a page gave out.
    #[error("the cursor is none that a page gave out")]
    Cursor,
    /// The store cannot answer. The text is for the log, not for the caller.
    #[error("the store cannot answer: {0}")]
    Store(String),
}

impl From<StoreError> for PolicyError {
    fn from(error: StoreError) -> Self {
        Self::Store(error.to_string())
    }
}

impl From<CursorError> for PolicyError {
    fn from(_: CursorError) -> Self {
        Self::Cursor
    }
}

impl From<PageError> for PolicyError {
    fn from(error: PageError) -> Self {
        match error {
            PageError::Cursor(error) => error.into(),
            PageError::Store(error) => error.into(),
        }
    }
}

impl From<PushError> for PolicyError {
    fn from(error: PushError) -> Self {
        match error {
            PushError::Invalid(validation) => Self::Invalid(validation),
            PushError::Unknown(revision) => Self::NotFound(revision),
            other => Self::Store(other.to_string()),
        }
    }
}

/// Manages policy revisions.
#[derive(Debug, Clone)]
pub struct Policies {
    parts: Arc<Parts>,
}

impl Policies {
    pub(super) fn new(parts: Arc<Parts>) -> Self {
        Self { parts }
    }

    /// Validates a bundle and runs its own tests, and changes nothing.
    ///
    /// # Errors
    /// When the actor may not; a bad bundle is an answer, not an error.
    pub async fn validate(&self, actor: &Actor, push: PushPolicy) -> Result<Validation, PolicyError> {
        require(actor, Right::Read)?;
        Ok(self.parts.distribution.validate(push.files).await)
    }

    /// Validates, tests, stores, signs and activates a bundle, and sends it to every connected sidecar (I7).
    ///
    /// # Errors
    /// When the actor may not, or the bundle is refused.
    pub async fn push(&self, actor: &Actor, push: PushPolicy) -> Result<RevisionView, PolicyError> {
        require(actor, Right::Policy)?;
        let pushed = self.parts.distribution.push(push.files, push.note, actor.into()).await?;
        Ok(self.view(&pushed))
    }

    /// Brings the files of an earlier revision back, as a new revision.
    ///
    /// # Errors
    /// When the actor may not, there is no such revision, or its files no longer pass.
    pub async fn rollback(
        &self,
        actor: &Actor,
        revision: Revision,
        note: Option<String>,
    ) -> Result<RevisionView, PolicyError> {
        require(actor, Right::Policy)?;
        let pushed = self.parts.distribution.roll_back(revision, note, actor.into()).await?;
        Ok(self.view(&pushed))
    }

    /// Revisions, newest first.
    ///
    /// # Errors
    /// When the cursor is not one of ours.
    pub async fn history(
        &self,
        actor: &Actor,
        page: &PageRequest,
    ) -> Result<Page<RevisionView>, PolicyError> {
        require(actor, Right::Read)?;
        let found = self.parts.store.policy_history(page.to_store()?).await?;
        Ok(Page::of(found, |revision| self.view(revision)))
    }

    /// One revision with its files; the active one when none is named.
    ///
    /// # Errors
    /// When there is none.
    pub async fn show(
        &self,
        actor: &Actor,
        revision: Option<Revision>,
    ) -> Result<RevisionDetail, PolicyError> {
        require(actor, Right::Read)?;
        let found = match revision {
            Some(revision) => self.parts.store.bundle(revision).await?,
            None => self.parts.store.active_bundle().await?,
        };
        let found = found.ok_or(PolicyError::NotFound(revision.unwrap_or_default()))?;
        let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
        let files = found.files.iter().map(|(path, bytes)| (path.clone(), text(bytes))).collect();
        Ok(RevisionDetail { revision: self.view(&found.revision), files })
    }

    fn view(&self, stored: &PolicyRevision) -> RevisionView {
        let active = self.parts.catalogue.active().is_some_and(|edition| edition.revision == stored.revision);
        RevisionView {
            revision: stored.revision.0,
            name: stored.name.clone(),
            digest: stored.digest,
            active,
            rollback_of: stored.rollback_of.map(|revision| revision.0),
            by: stored.by.clone(),
            at: stored.at,
            note: stored.note.clone(),
            enforced_by: self.parts.registry.enforcing(stored.revision),
        }
    }
}
