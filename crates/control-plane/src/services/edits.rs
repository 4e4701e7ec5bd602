//! Changing the arguments of what an agent asks, instead of voting on it.

use countersign_approval::{ArgumentChange, Edit, Input};
use countersign_model::{ApprovalId, PersonId, Timestamp};
use countersign_store::Change;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    approval_view::voter,
    approvals::{ApprovalError, ApprovalView, Approvals},
    require,
};
use crate::identity::{Actor, Right};

/// What a reviewer made of the arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct EditView {
    /// Who.
    #[schema(value_type = String)]
    pub by: PersonId,
    /// What they changed: JSON Pointers, and the new values.
    #[schema(value_type = Vec<Object>)]
    pub changes: Vec<ArgumentChange>,
    /// Why.
    pub reason: Option<String>,
    /// When.
    #[schema(value_type = String)]
    pub at: Timestamp,
}

impl From<&Edit> for EditView {
    fn from(edit: &Edit) -> Self {
        let Edit { by, changes, reason, at, channel: _, method: _ } = edit.clone();
        Self { by, changes, reason, at }
    }
}

/// Changes as they come in.
#[derive(Debug, Clone)]
pub struct Proposal {
    /// What is to be changed.
    pub changes: Vec<ArgumentChange>,
    /// Why.
    pub reason: Option<String>,
    /// Through which channel it came: `api`, `console`.
    pub channel: String,
    /// The version that the editor saw (`If-Match`); any when `None`.
    pub expected_version: Option<u64>,
}

impl Approvals {
    /// Closes a request in favour of the same operation with other arguments, which policy decides about
    /// anew. For those who could approve it, and nobody else (I3).
    ///
    /// # Errors
    /// When the actor may not, when the arguments cannot be changed, or when it is decided or has changed.
    pub async fn edit(
        &self,
        actor: &Actor,
        id: ApprovalId,
        proposal: Proposal,
    ) -> Result<ApprovalView, ApprovalError> {
        require(actor, Right::Vote)?;
        let Proposal { changes, reason, channel, expected_version } = proposal;
        let input = Input::Edit { voter: voter(actor, &channel), changes, reason };
        let change = Change { id, input, agent: None, expected_version };
        let applied = self.parts.broker.apply(change, actor.into()).await?;
        Ok(self.view(&applied.approval, actor))
    }
}
