//! What people say about approvals beyond one vote: several votes at once, breaking the glass, reviewing that,
//! and comments.

use countersign_approval::Input;
use countersign_model::{ApprovalId, PersonId, Timestamp};
use countersign_store::{Change, CommandError, Comment, CommentRefusal};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    ApprovalError, ApprovalView, Approvals, Ballot, Parts, VoteDecision, approval_view::voter, require,
};
use crate::identity::{Actor, ActorKind, Right};

/// A vote of several that are cast at once.
#[derive(Debug, Clone)]
pub struct BatchedVote {
    /// On which approval.
    pub id: ApprovalId,
    /// The version that the voter saw; any when `None`.
    pub version: Option<u64>,
    /// The answer.
    pub decision: VoteDecision,
    /// Why.
    pub reason: Option<String>,
}

/// What became of one of several votes.
#[derive(Debug)]
pub struct VoteResult {
    /// Which approval.
    pub id: ApprovalId,
    /// The approval after the vote, or why the vote was not taken.
    pub result: Result<ApprovalView, ApprovalError>,
}

/// What somebody said about an approval.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct CommentView {
    /// Who.
    #[schema(value_type = String)]
    pub person: PersonId,
    /// What.
    pub text: String,
    /// When.
    #[schema(value_type = String)]
    pub at: Timestamp,
    /// Through which channel.
    pub channel: String,
    /// Whether a program said it, with a token that the person made for it.
    pub by_program: bool,
}

/// How a program's comment is kept apart from its person's.
const BY_PROGRAM: &str = "token:machine";

impl From<Comment> for CommentView {
    fn from(comment: Comment) -> Self {
        let Comment { person, text, at, channel, method, .. } = comment;
        Self { person, text, at, channel, by_program: method == BY_PROGRAM }
    }
}

impl Approvals {
    /// Casts several votes, one after another. Each is a vote of its own, on the version that was seen, and
    /// stands whatever becomes of the others.
    ///
    /// # Errors
    /// When the actor may not vote at all. What is wrong with one vote is its own result.
    pub async fn vote_on_several(
        &self,
        actor: &Actor,
        votes: Vec<BatchedVote>,
        channel: &str,
    ) -> Result<Vec<VoteResult>, ApprovalError> {
        require(actor, Right::Vote)?;
        let mut results = Vec::with_capacity(votes.len());
        for BatchedVote { id, version, decision, reason } in votes {
            let ballot = Ballot { decision, reason, channel: channel.to_owned(), expected_version: version };
            results.push(VoteResult { id, result: self.vote(actor, id, ballot).await });
        }
        Ok(results)
    }

    /// Approves alone, in an emergency. Whether policy lets the actor is for the approval to say (I3).
    ///
    /// # Errors
    /// When the actor may not, or the approval is decided or has changed.
    pub async fn break_glass(
        &self,
        actor: &Actor,
        id: ApprovalId,
        reason: String,
        channel: &str,
        expected_version: Option<u64>,
    ) -> Result<ApprovalView, ApprovalError> {
        require(actor, Right::Vote)?;
        let input = Input::BreakGlass { voter: voter(actor, channel), reason };
        let change = Change { id, input, agent: None, expected_version };
        let applied = self.parts.broker.apply(change, actor.into()).await?;
        Ok(self.view(&applied.approval, actor))
    }

    /// Reviews what somebody else approved alone.
    ///
    /// # Errors
    /// When there is nothing to review, or the actor is not the one to do it.
    pub async fn review_glass(
        &self,
        actor: &Actor,
        id: ApprovalId,
        comment: String,
        channel: &str,
    ) -> Result<ApprovalView, ApprovalError> {
        require(actor, Right::Vote)?;
        let input = Input::ReviewGlass { voter: voter(actor, channel), comment };
        let change = Change { id, input, agent: None, expected_version: None };
        let applied = self.parts.broker.apply(change, actor.into()).await?;
        Ok(self.view(&applied.approval, actor))
    }

    /// Says something about an approval, pending or over. It counts for nothing.
    ///
    /// # Errors
    /// When there is no such approval, or enough was said.
    pub async fn comment(
        &self,
        actor: &Actor,
        id: ApprovalId,
        text: String,
        channel: &str,
    ) -> Result<CommentView, ApprovalError> {
        require(actor, Right::Read)?;
        let Parts { store, clock, broker, hub, .. } = &*self.parts;
        let comment = Comment {
            approval: id,
            person: actor.person.clone(),
            text,
            at: clock.now(),
            channel: channel.to_owned(),
            method: match actor.kind {
                ActorKind::Human => actor.method.clone(),
                ActorKind::Machine => BY_PROGRAM.to_owned(),
            },
        };
        let by = countersign_store::By::new(actor, comment.at);
        store.add_comment(comment.clone(), by).await?;
        hub.approval_changed(&broker.approval(id).await?);
        Ok(comment.into())
    }

    /// What was said about an approval, oldest first.
    ///
    /// # Errors
    /// When there is no such approval.
    pub async fn comments(&self, actor: &Actor, id: ApprovalId) -> Result<Vec<CommentView>, ApprovalError> {
        require(actor, Right::Read)?;
        let approval = self.parts.broker.approval(id).await?;
        let comments = self.parts.store.comments(approval.request.id).await?;
        Ok(comments.into_iter().map(CommentView::from).collect())
    }
}

impl From<CommandError<CommentRefusal>> for ApprovalError {
    fn from(error: CommandError<CommentRefusal>) -> Self {
        match error {
            CommandError::Refused(CommentRefusal::Unknown(id)) => Self::NotFound(id),
            CommandError::Refused(refusal @ CommentRefusal::TooMany) => {
                Self::Refused { code: "too_many_comments".to_owned(), reason: refusal.to_string() }
            }
            CommandError::Store(error) => error.into(),
        }
    }
}
