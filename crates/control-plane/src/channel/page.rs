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
    /// Whether it hears what is clicked. Refusing is safe, so a denial is taken however surely it is theirs.
    pub(crate) takes_denials: bool,
    /// Whether an approval from here counts for anything, too.
    pub(crate) takes_approvals: bool,
    /// Whether a vote has to say why.
    pub(crate) needs_reason: bool,
}

impl<'a> Page<'a> {
    /// The page of a request, in a chat that `hears` what is clicked or does not.
    pub(crate) fn of(message: &'a Message, hears: bool) -> Self {
        let Message { approval, review, link } = message;
        let takes_approvals = hears && takes_approvals(approval);
        Self { review, link, takes_denials: hears, takes_approvals, needs_reason: needs_reason(approval) }
    }
}

/// Whether an approval from a chat counts for any of the requirements.
fn takes_approvals(approval: &Approval) -> bool {
    approval.request.requirements.iter().any(|requirement| requirement.assurance.is_any())
}

fn needs_reason(approval: &Approval) -> bool {
    approval.request.requirements.iter().any(|requirement| requirement.reason == ReasonRule::Required)
}
