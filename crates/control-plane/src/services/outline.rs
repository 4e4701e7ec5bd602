//! A request as reviewers see it, label by label, for whoever renders it themselves.

use countersign_model::{ApprovalId, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::approvals::{ApprovalError, Approvals, MayVote};
use crate::{
    identity::Actor,
    review::{Section, Span},
};

/// A request in the words that every channel shows. What somebody else wrote is told apart from our words, is on
/// one line, and shows exactly its characters.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Outline {
    /// The approval.
    #[schema(value_type = String)]
    pub id: ApprovalId,
    /// Its version; vote on it with `If-Match`.
    pub version: u64,
    /// Where it stands, in words.
    pub state: String,
    /// Whether what it is done to belongs to production.
    pub production: bool,
    /// The action in words.
    pub headline: Vec<Words>,
    /// Everything else, in order.
    pub sections: Vec<Labelled>,
    /// Whether the person who asks could vote now, and if not, why not.
    pub may_vote: MayVote,
    /// Until when it can be decided.
    #[schema(value_type = String)]
    pub decide_by: Timestamp,
}

/// A label, and the lines under it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Labelled {
    /// The label: always one of ours.
    pub label: String,
    /// The lines.
    pub lines: Vec<Vec<Words>>,
}

/// A stretch of a line.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Words {
    /// Our words.
    Ours(String),
    /// Somebody else's: still to be escaped for whatever shows them.
    Theirs(String),
}

impl From<Span> for Words {
    fn from(span: Span) -> Self {
        match span {
            Span::Ours(words) => Self::Ours(words),
            Span::Theirs(words) => Self::Theirs(words),
        }
    }
}

fn labelled(section: Section) -> Labelled {
    let line = |spans: Vec<Span>| spans.into_iter().map(Words::from).collect();
    Labelled { label: section.label.to_owned(), lines: section.lines.into_iter().map(line).collect() }
}

impl Approvals {
    /// One request, label by label.
    ///
    /// # Errors
    /// When there is none of that id.
    pub async fn outline(&self, actor: &Actor, id: ApprovalId) -> Result<Outline, ApprovalError> {
        let reviewed = self.review(actor, id).await?;
        let (review, may_vote) = (reviewed.review, reviewed.may_vote);
        Ok(Outline {
            id: review.id,
            version: review.version,
            state: review.standing.words.to_owned(),
            production: review.is_production,
            headline: review.headline.spans().into_iter().map(Words::from).collect(),
            sections: review.outline(self.now()).into_iter().map(labelled).collect(),
            may_vote,
            decide_by: review.decide_by,
        })
    }
}
