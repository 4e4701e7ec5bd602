//! A push: everything is checked before anything changes, and then it changes at once (I7).

use std::{collections::BTreeMap, sync::Arc};

use countersign_model::{Revision, Timestamp, TrustDomain};
use countersign_policy::{
    Bundle, BundleFiles, FilesError,
    signed::{Manifest, SignedBundle, SignedBundleError},
};
use countersign_store::{
    Author, BundleWithFiles, By, CommandError, NewBundle, PolicyRevision, PushRefusal, Store, StoreError,
};
use tokio::sync::Mutex;

use super::{Catalogue, Edition, EditionError};
use crate::{
    broker::Broker,
    clock::Clock,
    keys::Keys,
    services::{FileProblem, TestSummary, Validation},
};

/// What pushing works with.
pub(crate) struct Distribution {
    /// The store.
    pub(crate) store: Arc<dyn Store>,
    /// The time.
    pub(crate) clock: Clock,
    /// Where the edition in force is.
    pub(crate) catalogue: Arc<Catalogue>,
    /// What bundles are signed with.
    pub(crate) keys: Arc<Keys>,
    /// Whose open requests a push may invalidate.
    pub(crate) broker: Arc<Broker>,
    /// The trust domain that the bundle is for.
    pub(crate) trust_domain: TrustDomain,
    /// One push at a time: the number of the next revision is part of what is signed.
    pub(crate) turn: Mutex<()>,
}

/// Why nothing was pushed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PushError {
    /// The bundle was refused.
    #[error("the bundle was refused")]
    Invalid(Validation),
    /// There is no such revision to go back to.
    #[error("there is no policy revision {0}")]
    Unknown(Revision),
    /// It could not be signed.
    #[error(transparent)]
    Signing(#[from] SignedBundleError),
    /// The store refuses.
    #[error(transparent)]
    Refused(#[from] PushRefusal),
    /// What was stored could not be put to use.
    #[error(transparent)]
    Edition(#[from] EditionError),
    /// The store does not work.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<CommandError<PushRefusal>> for PushError {
    fn from(error: CommandError<PushRefusal>) -> Self {
        match error {
            CommandError::Refused(refusal) => Self::Refused(refusal),
            CommandError::Store(error) => Self::Store(error),
        }
    }
}

/// A bundle that passed every check.
struct Checked {
    bundle: Bundle,
    files: BundleFiles,
}

impl Distribution {
    /// Puts the revision that the store has in force into use. For the start.
    pub(crate) async fn resume(&self) -> Result<(), EditionError> {
        if let Some(stored) = self.store.active_bundle().await? {
            self.catalogue.activate(Edition::compile(stored).await?);
        }
        Ok(())
    }

    /// Validates a bundle and runs its tests.
    pub(crate) async fn validate(&self, files: BTreeMap<String, Vec<u8>>) -> Validation {
        match check_elsewhere(files).await {
            Ok((_, validation)) | Err(validation) => validation,
        }
    }

    /// Pushes a bundle as the next revision.
    pub(crate) async fn push(
        &self,
        files: BTreeMap<String, Vec<u8>>,
        note: Option<String>,
        author: Author,
    ) -> Result<PolicyRevision, PushError> {
        let (checked, _) = check_elsewhere(files).await.map_err(PushError::Invalid)?;
        self.store_and_activate(checked, note, None, author).await
    }

    /// Brings the files of an earlier revision back as the next one. They are checked as any others:
    /// what was good then may not load any more.
    pub(crate) async fn roll_back(
        &self,
        to: Revision,
        note: Option<String>,
        author: Author,
    ) -> Result<PolicyRevision, PushError> {
        let stored = self.store.bundle(to).await?.ok_or(PushError::Unknown(to))?;
        let (checked, _) = check_elsewhere(stored.files).await.map_err(PushError::Invalid)?;
        self.store_and_activate(checked, note, Some(to), author).await
    }

    async fn store_and_activate(
        &self,
        checked: Checked,
        note: Option<String>,
        rollback_of: Option<Revision>,
        author: Author,
    ) -> Result<PolicyRevision, PushError> {
        let Checked { bundle, files } = checked;
        let turn = self.turn.lock().await;
        let now = self.clock.now();
        let next = Revision(self.store.active_revision().await?.map_or(1, |active| active.0 + 1));
        let signed = self.sign(&bundle, files, next, now)?;
        let files = signed.files.into_inner();
        let new = NewBundle {
            revision: next,
            name: bundle.name().to_owned(),
            digest: bundle.digest(),
            manifest: signed.manifest,
            files: files.clone(),
            note,
            rollback_of,
        };
        let revision = self.store.push_bundle(new, By::new(author, now)).await?;
        let stored = BundleWithFiles { revision: revision.clone(), files };
        let edition = Edition::compile(stored).await?;
        self.catalogue.activate(Arc::clone(&edition));
        drop(turn);
        // The push itself is done. What it makes of open requests is found out again at the next
        // start, should it fail here.
        if let Err(error) = self.broker.invalidate_outdated(&edition).await {
            tracing::error!(%error, "open approvals could not be checked against the new policy");
        }
        Ok(revision)
    }

    fn sign(
        &self,
        bundle: &Bundle,
        files: BundleFiles,
        revision: Revision,
        now: Timestamp,
    ) -> Result<SignedBundle, SignedBundleError> {
        let manifest = Manifest {
            revision,
            digest: bundle.digest(),
            name: bundle.name().to_owned(),
            lease: bundle.lease(),
            trust_domain: self.trust_domain.clone(),
            issued_at: now,
            jwks: self.keys.grant_jwks(),
        };
        SignedBundle::sign(files, &manifest, &self.keys.bundles)
    }
}

/// Loading and testing a bundle takes a while, so it is done on a thread of its own.
async fn check_elsewhere(files: BTreeMap<String, Vec<u8>>) -> Result<(Checked, Validation), Validation> {
    let checked = tokio::task::spawn_blocking(move || check(files)).await;
    checked.unwrap_or_else(|error| Err(refused(vec![general(format!("it could not be checked: {error}"))])))
}

fn check(files: BTreeMap<String, Vec<u8>>) -> Result<(Checked, Validation), Validation> {
    let files =
        BundleFiles::new(files).map_err(|error: FilesError| refused(vec![general(error.to_string())]))?;
    let bundle = Bundle::load(&files).map_err(|problems| {
        let problem = |problem: &countersign_policy::Problem| FileProblem {
            file: problem.file.clone(),
            line: problem.line,
            message: problem.message.clone(),
            hint: problem.hint.clone(),
        };
        refused(problems.as_slice().iter().map(problem).collect())
    })?;
    let report = bundle.run_tests();
    let failures: Vec<_> = report
        .failures()
        .map(|test| {
            let failure = test.failure.as_deref().unwrap_or_default();
            format!("{}:{}: {}: {failure}", test.file, test.line, test.name)
        })
        .collect();
    let passed = report.results.len().saturating_sub(failures.len());
    let valid = failures.is_empty();
    let validation =
        Validation { valid, problems: Vec::new(), tests: Some(TestSummary { passed, failures }) };
    if valid { Ok((Checked { bundle, files }, validation)) } else { Err(validation) }
}

fn refused(problems: Vec<FileProblem>) -> Validation {
    Validation { valid: false, problems, tests: None }
}

fn general(message: String) -> FileProblem {
    FileProblem { file: String::new(), line: None, message, hint: None }
}
