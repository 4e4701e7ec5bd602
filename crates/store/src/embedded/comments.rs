//! Comments, in order of their coming.

use async_trait::async_trait;
use countersign_audit::kind;
use countersign_model::ApprovalId;
use serde_json::json;

use super::{
    EmbeddedStore,
    approvals::ApprovalRow,
    codec::{self, Record},
    layout::{Bytes, COMMENTS, join},
    lookup::Lookup,
    work::Work,
};
use crate::{By, CommandError, Comment, CommentRefusal, CommentStore, MAX_COMMENTS, StoreError};

impl Record for Comment {
    const TABLE: Bytes = COMMENTS;
}

fn add(work: &mut Work<'_>, comment: &Comment, by: &By) -> Result<(), CommandError<CommentRefusal>> {
    let id = comment.approval.to_bytes();
    let Some(row) = work.get::<ApprovalRow>(&id)? else {
        return Err(CommandError::Refused(CommentRefusal::Unknown(comment.approval)));
    };
    let number = work.prefixed(COMMENTS, &id, MAX_COMMENTS)?.len();
    if number >= MAX_COMMENTS {
        return Err(CommandError::Refused(CommentRefusal::TooMany));
    }
    work.put(&join(&id, &(number as u64).to_be_bytes()), comment)?;
    let mut event = Work::draft(by, kind::APPROVAL_COMMENTED);
    event.approval = Some(comment.approval);
    event.digest = Some(row.approval.request.submission.digest);
    event.body.insert("comment".into(), json!(comment));
    Ok(work.record(event)?)
}

#[async_trait]
impl CommentStore for EmbeddedStore {
    async fn add_comment(&self, comment: Comment, by: By) -> Result<(), CommandError<CommentRefusal>> {
        self.writer.run(move |work| add(work, &comment, &by)).await
    }

    async fn comments(&self, approval: ApprovalId) -> Result<Vec<Comment>, StoreError> {
        self.read(move |view| {
            let found = view.prefixed(COMMENTS, &approval.to_bytes(), MAX_COMMENTS)?;
            found.iter().map(|(_, value)| codec::decode(value)).collect()
        })
        .await
    }
}
