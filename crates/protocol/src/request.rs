//! Which frame answers which.

use countersign_approval::{Status, Submission};

use crate::{
    frame::{Frame, FrameKind},
    message::{
        Ack, AskEdit, AuditAck, AuditBatch, BundleAck, CancelApproval, Enrol, Enrolled, Heartbeat,
        HeartbeatAck, Hello, ProposedEdit, PushBundle, Refused, Renew, ReportClaim, ReportOutcome,
        RevokeApproval, Substitutable, Svid, WaitApproval, Welcome,
    },
};

/// A frame that asks something, and the frame that answers it.
pub trait Request: Into<Frame> {
    /// What answers it, when it is not refused.
    type Answer: TryFrom<Frame, Error = Frame>;

    /// Reads the answer out of the frame that came.
    ///
    /// # Errors
    /// When the other side refused, or answered something else.
    fn answer(frame: Frame) -> Result<Self::Answer, AnswerError> {
        match frame {
            Frame::Refused(refused) => Err(AnswerError::Refused(refused)),
            frame => Self::Answer::try_from(frame).map_err(|other| AnswerError::Unexpected(other.kind())),
        }
    }
}

/// Why there is no answer, although a frame came.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// The other side refused.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The other side answered a question that was not asked.
    #[error("unexpected answer: {}", .0.as_str())]
    Unexpected(FrameKind),
}

macro_rules! answered_by {
    ($($request:ty => $answer:ty;)+) => {
        $(impl Request for $request {
            type Answer = $answer;
        })+
    };
}

answered_by! {
    Hello => Welcome;
    Submission => Status;
    Substitutable => Status;
    AskEdit => ProposedEdit;
    WaitApproval => Status;
    CancelApproval => Status;
    ReportClaim => Ack;
    ReportOutcome => Ack;
    RevokeApproval => Ack;
    AuditBatch => AuditAck;
    Heartbeat => HeartbeatAck;
    Renew => Svid;
    PushBundle => BundleAck;
    Enrol => Enrolled;
}
