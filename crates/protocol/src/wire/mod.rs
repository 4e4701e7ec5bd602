//! The form in which frames travel: plain structures whose every text, list and byte string says in its
//! type how long it can be, and the checked steps between them and the domain.

mod approval;
mod bounded;
mod edit;
mod enrol;
mod link;

pub(crate) use approval::{
    CancelApprovalV1, ReportClaimV1, ReportOutcomeV1, RevokeApprovalV1, StatusV1, SubmissionV1,
    WaitApprovalV1,
};
pub(crate) use bounded::FieldError;
pub(crate) use edit::{AskEditV1, ProposedEditV1, SubstitutableV1};
pub(crate) use enrol::{EnrolV1, EnrolledV1, RenewV1, SvidV1};
pub(crate) use link::{
    AckV1, AuditAckV1, AuditBatchV1, BundleAckV1, HeartbeatAckV1, HeartbeatV1, HelloV1, PushBundleV1,
    RefusedV1, WelcomeV1,
};
