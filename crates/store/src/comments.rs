//! What people say about an approval. It is kept beside the approval, because it counts for nothing in it.

use async_trait::async_trait;
use countersign_model::{ApprovalId, PersonId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{By, CommandError, StoreError};

/// The most comments on one approval.
pub const MAX_COMMENTS: usize = 200;

/// A comment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comment {
    /// The approval.
    pub approval: ApprovalId,
    /// Who says it; for a machine, the person who answers for it.
    pub person: PersonId,
    /// What.
    pub text: String,
    /// When.
    pub at: Timestamp,
    /// Where they were: `console`, `api`, …
    pub channel: String,
    /// How they had signed in.
    pub method: String,
}

/// Why a comment was not kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommentRefusal {
    /// There is no such approval.
    #[error("there is no approval {0}")]
    Unknown(ApprovalId),
    /// Enough was said.
    #[error("there are {MAX_COMMENTS} comments on this request, which is as many as are kept")]
    TooMany,
}

/// Comments.
#[async_trait]
pub trait CommentStore {
    /// Keeps a comment (`approval.commented`).
    async fn add_comment(&self, comment: Comment, by: By) -> Result<(), CommandError<CommentRefusal>>;

    /// The comments on an approval, oldest first.
    async fn comments(&self, approval: ApprovalId) -> Result<Vec<Comment>, StoreError>;
}
