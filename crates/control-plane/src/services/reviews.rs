//! Requests as reviewers see them.

use countersign_approval::Approval;
use countersign_model::{ApprovalId, Timestamp};
use serde::Serialize;

use super::{
    Page, PageRequest,
    approval_view::may_vote,
    approvals::{ApprovalError, ApprovalFilter, Approvals, MayVote},
    require,
};
use crate::{
    identity::{Actor, Right},
    review::{Past, Review},
};

/// A request as one person reviews it.
#[derive(Debug, Clone, Serialize)]
pub struct Reviewed {
    /// What everybody sees of it.
    #[serde(flatten)]
    pub review: Review,
    /// Whether this person could vote now, and if not, why not.
    pub may_vote: MayVote,
}

impl Approvals {
    /// One request, as a reviewer sees it.
    ///
    /// # Errors
    /// When there is none of that id.
    pub async fn review(&self, actor: &Actor, id: ApprovalId) -> Result<Reviewed, ApprovalError> {
        require(actor, Right::Read)?;
        let approval = self.parts.broker.approval(id).await?;
        let past = self.past(std::slice::from_ref(&approval)).await?;
        Ok(self.reviewed(&approval, &past, actor))
    }

    /// Requests that match, newest first, as a reviewer sees them.
    ///
    /// # Errors
    /// When the filter or cursor is not one of ours.
    pub async fn reviews(
        &self,
        actor: &Actor,
        filter: &ApprovalFilter,
        page: &PageRequest,
    ) -> Result<Page<Reviewed>, ApprovalError> {
        let found = self.find(actor, filter, page).await?;
        let past = match found.items.is_empty() {
            true => Past::default(),
            false => self.past(&found.items).await?,
        };
        Ok(Page::of(found, |approval| self.reviewed(approval, &past, actor)))
    }

    pub(super) fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    async fn past(&self, shown: &[Approval]) -> Result<Past, ApprovalError> {
        Ok(Past::read(&*self.parts.store, shown, self.now()).await?)
    }

    fn reviewed(&self, approval: &Approval, past: &Past, actor: &Actor) -> Reviewed {
        let now = self.now();
        Reviewed { review: Review::of(approval, past, now), may_vote: may_vote(approval, actor, now) }
    }
}
