//! Policy revisions. Files are kept once per content: a rollback stores none.

use async_trait::async_trait;
use countersign_audit::kind;
use countersign_model::{Digest, Revision};
use redb::ReadableTable;
use serde_json::json;

use super::{
    EmbeddedStore,
    codec::{self, Record},
    layout::{BUNDLE_FILES, Bytes, REVISIONS, join},
    lookup::{Lookup, View, storage},
    work::Work,
};
use crate::{
    BundleFiles, BundleStore, BundleWithFiles, By, CommandError, NewBundle, Page, PageError, PageRequest,
    PolicyRevision, PushRefusal, StoreError,
};

impl Record for PolicyRevision {
    const TABLE: Bytes = REVISIONS;
}

fn revision_key(revision: Revision) -> [u8; 8] {
    revision.0.to_be_bytes()
}

fn push(
    work: &mut Work<'_>,
    bundle: NewBundle,
    by: &By,
) -> Result<PolicyRevision, CommandError<PushRefusal>> {
    let next = Revision(work.last_revision()?.0 + 1);
    if bundle.revision != next {
        return Err(CommandError::Refused(PushRefusal::NotNext { next, given: bundle.revision }));
    }
    if let Some(old) = bundle.rollback_of {
        let found: Option<PolicyRevision> = work.get(&revision_key(old))?;
        if found.is_none_or(|found| found.digest != bundle.digest) {
            return Err(CommandError::Refused(PushRefusal::NotARollback(old)));
        }
    }
    let revision = PolicyRevision {
        revision: bundle.revision,
        name: bundle.name,
        digest: bundle.digest,
        manifest: bundle.manifest,
        by: by.actor.clone(),
        at: by.at,
        note: bundle.note,
        rollback_of: bundle.rollback_of,
    };
    for (path, content) in &bundle.files {
        work.insert(BUNDLE_FILES, &join(bundle.digest.as_bytes(), path.as_bytes()), content)?;
    }
    work.put(&revision_key(revision.revision), &revision)?;
    record_push(work, &revision, by)?;
    Ok(revision)
}

fn record_push(work: &mut Work<'_>, revision: &PolicyRevision, by: &By) -> Result<(), StoreError> {
    let stored = if revision.rollback_of.is_some() { kind::POLICY_ROLLED_BACK } else { kind::POLICY_PUSHED };
    for kind in [stored, kind::POLICY_ACTIVATED] {
        let mut event = Work::draft(by, kind);
        event.digest = Some(revision.digest);
        event.body.insert("revision".into(), json!(revision.revision));
        event.body.insert("name".into(), json!(revision.name));
        event.body.insert("note".into(), json!(revision.note));
        event.body.insert("rollback_of".into(), json!(revision.rollback_of));
        work.record(event)?;
    }
    Ok(())
}

/// The number of the newest revision, which is the one in force; 0 before the first.
fn newest(revisions: &impl ReadableTable<&'static [u8], &'static [u8]>) -> Result<Revision, StoreError> {
    let Some((_, value)) = revisions.last().map_err(storage)? else { return Ok(Revision(0)) };
    Ok(codec::decode::<PolicyRevision>(value.value())?.revision)
}

impl Work<'_> {
    fn last_revision(&self) -> Result<Revision, StoreError> {
        newest(&self.table(REVISIONS)?)
    }
}

impl View {
    fn active_revision(&self) -> Result<Option<Revision>, StoreError> {
        let table = self.transaction().open_table(REVISIONS).map_err(storage)?;
        Ok(Some(newest(&table)?).filter(|revision| *revision > Revision(0)))
    }

    fn bundle(&self, revision: Revision) -> Result<Option<BundleWithFiles>, StoreError> {
        let Some(revision) = self.get::<PolicyRevision>(&revision_key(revision))? else { return Ok(None) };
        let files = self.bundle_files(&revision.digest)?;
        Ok(Some(BundleWithFiles { revision, files }))
    }

    fn bundle_files(&self, digest: &Digest) -> Result<BundleFiles, StoreError> {
        let mut files = BundleFiles::new();
        for (key, content) in self.prefixed(BUNDLE_FILES, digest.as_bytes(), usize::MAX)? {
            let path = key.get(digest.as_bytes().len()..).unwrap_or_default();
            let path =
                std::str::from_utf8(path).map_err(|_| StoreError::Damaged("a bundle's path".into()))?;
            files.insert(path.to_owned(), content);
        }
        Ok(files)
    }
}

#[async_trait]
impl BundleStore for EmbeddedStore {
    async fn push_bundle(
        &self,
        bundle: NewBundle,
        by: By,
    ) -> Result<PolicyRevision, CommandError<PushRefusal>> {
        self.writer.run(move |work| push(work, bundle, &by)).await
    }

    async fn active_bundle(&self) -> Result<Option<BundleWithFiles>, StoreError> {
        self.read(|view| view.active_revision()?.map_or(Ok(None), |revision| view.bundle(revision))).await
    }

    async fn active_revision(&self) -> Result<Option<Revision>, StoreError> {
        self.read(View::active_revision).await
    }

    async fn bundle(&self, revision: Revision) -> Result<Option<BundleWithFiles>, StoreError> {
        self.read(move |view| view.bundle(revision)).await
    }

    async fn policy_history(&self, page: PageRequest) -> Result<Page<PolicyRevision>, PageError> {
        self.read(move |view| view.page(&page, true, |_| true)).await
    }
}
