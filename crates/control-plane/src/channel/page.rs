//! What a chat shows of a request: the canonical view, and what can be done about it there.

use countersign_approval::Approval;
use countersign_model::ReasonRule;

use super::Message;
use crate::review::Review;

/// A request as one chat shows it.
pub(crate) struct Page<'a> {
    /// Everything that a reviewer sees.
    pub(crate) review: &'a Review,
    /// Where it is shown in the console.
    pub(crate) link: &'a str,
    /// Whether there are buttons to decide with.
    pub(crate) takes_votes: bool,
    /// Whether a vote has to say why.
    pub(crate) needs_reason: bool,
}

impl<'a> Page<'a> {
    /// The page of a request, in a chat that `hears` what is clicked or does not.
    pub(crate) fn of(message: &'a Message, hears: bool) -> Self {
        let Message { approval, review, link } = message;
        let takes_votes = hears && takes_votes(approval);
        Self { review, link, takes_votes, needs_reason: needs_reason(approval) }
    }
}

/// Whether a vote from a chat counts for any of an approval's requirements.
fn takes_votes(approval: &Approval) -> bool {
    approval.request.requirements.iter().any(|requirement| requirement.assurance.is_any())
}

fn needs_reason(approval: &Approval) -> bool {
    approval.request.requirements.iter().any(|requirement| requirement.reason == ReasonRule::Required)
}
