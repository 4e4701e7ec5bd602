//! The frames, their kinds, and who may send which.

use countersign_approval::{Status, Submission};

use crate::{
    limits,
    message::{
        Ack, AskEdit, AuditAck, AuditBatch, BundleAck, CancelApproval, Enrol, Enrolled, Heartbeat,
        HeartbeatAck, Hello, ProposedEdit, PushBundle, Refused, Renew, ReportClaim, ReportOutcome,
        RevokeApproval, Substitutable, Svid, WaitApproval, Welcome,
    },
};

/// Who sends to whom. A frame on the wrong lane is refused before its body is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// From an enrolled sidecar to the control plane.
    ToControl,
    /// From the control plane to an enrolled sidecar.
    ToSidecar,
    /// From a machine without an identity to the control plane.
    EnrolToControl,
    /// From the control plane to a machine without an identity.
    EnrolToSidecar,
}

macro_rules! frames {
    ($($(#[$doc:meta])* $name:ident($content:ty) = $number:literal, $lanes:expr, $limit:expr;)+) => {
        /// One frame, in its domain form.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Frame {
            $($(#[$doc])* $name($content),)+
        }

        /// What a frame is, as its header says.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum FrameKind {
            $($(#[$doc])* $name = $number,)+
        }

        impl FrameKind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The kind with this number; `None` when it is one of a later release, or none at all.
            #[must_use]
            pub const fn from_number(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)+
                    _ => None,
                }
            }

            /// The lanes on which it may travel.
            #[must_use]
            pub const fn lanes(self) -> &'static [Lane] {
                match self {
                    $(Self::$name => $lanes,)+
                }
            }

            /// The longest body that it can have.
            #[must_use]
            pub const fn limit(self) -> usize {
                match self {
                    $(Self::$name => $limit,)+
                }
            }

            /// Its name, for logs.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }
        }

        impl Frame {
            /// What it is.
            #[must_use]
            pub const fn kind(&self) -> FrameKind {
                match self {
                    $(Self::$name(_) => FrameKind::$name,)+
                }
            }
        }

        $(
            impl From<$content> for Frame {
                fn from(content: $content) -> Self {
                    Self::$name(content)
                }
            }

            impl TryFrom<Frame> for $content {
                type Error = Frame;

                fn try_from(frame: Frame) -> Result<Self, Frame> {
                    match frame {
                        Frame::$name(content) => Ok(content),
                        other => Err(other),
                    }
                }
            }
        )+
    };
}

const ASK: &[Lane] = &[Lane::ToControl];
const TELL: &[Lane] = &[Lane::ToSidecar];
const BOTH: &[Lane] = &[Lane::ToControl, Lane::ToSidecar];
const ALL_BUT_STRANGERS: &[Lane] = &[Lane::ToControl, Lane::ToSidecar, Lane::EnrolToSidecar];
/// Room for a few fixed fields and one text.
const SMALL: usize = 16 * 1024;

frames! {
    /// The first words of a sidecar on a new connection.
    Hello(Hello) = 1, ASK, 128 * 1024;
    /// The answer to [`Hello`].
    Welcome(Welcome) = 2, TELL, SMALL;
    /// The other side did not do what was asked, and says why.
    Refused(Refused) = 3, ALL_BUT_STRANGERS, SMALL;
    /// Done.
    Ack(Ack) = 4, BOTH, SMALL;
    /// A sidecar asks for an approval.
    SubmitApproval(Box<Submission>) = 10, ASK, limits::MAX_FRAME;
    /// A sidecar waits for news of an approval.
    WaitApproval(WaitApproval) = 11, ASK, SMALL;
    /// A sidecar gives an approval up.
    CancelApproval(CancelApproval) = 12, ASK, SMALL;
    /// Where an approval stands.
    ApprovalStatus(Box<Status>) = 13, TELL, limits::MAX_FRAME;
    /// A sidecar has consumed one use of a grant.
    ReportClaim(ReportClaim) = 14, ASK, SMALL;
    /// A sidecar says how a use ended.
    ReportOutcome(ReportOutcome) = 15, ASK, SMALL;
    /// The control plane takes an approval back.
    RevokeApproval(RevokeApproval) = 16, TELL, SMALL;
    /// A sidecar asks for an approval of what it can also run with other arguments.
    SubmitSubstitutable(Box<Substitutable>) = 17, ASK, limits::MAX_FRAME;
    /// A sidecar asks what a reviewer made of the arguments.
    AskEdit(AskEdit) = 18, ASK, SMALL;
    /// What a reviewer made of them.
    ProposedEdit(Box<ProposedEdit>) = 19, TELL, limits::MAX_FRAME;
    /// Audit events of a sidecar.
    AuditBatch(AuditBatch) = 20, ASK, limits::MAX_FRAME;
    /// How far the audit events are durable in the ledger.
    AuditAck(AuditAck) = 21, TELL, SMALL;
    /// A sidecar's sign of life.
    Heartbeat(Heartbeat) = 30, ASK, 128 * 1024;
    /// The answer to it, which renews the lease.
    HeartbeatAck(HeartbeatAck) = 31, TELL, SMALL;
    /// A sidecar asks for its next certificate.
    Renew(Renew) = 40, ASK, SMALL;
    /// The next certificate.
    Svid(Svid) = 41, TELL, 256 * 1024;
    /// A policy bundle.
    PushBundle(PushBundle) = 50, TELL, limits::MAX_BUNDLE_FRAME;
    /// What became of the bundle.
    BundleAck(BundleAck) = 51, ASK, SMALL;
    /// A machine without an identity asks for one.
    Enrol(Enrol) = 60, &[Lane::EnrolToControl], limits::MAX_ENROL_FRAME;
    /// Its identity, and whom to trust.
    Enrolled(Enrolled) = 61, &[Lane::EnrolToSidecar], 256 * 1024;
}

impl From<Submission> for Frame {
    fn from(submission: Submission) -> Self {
        Self::SubmitApproval(Box::new(submission))
    }
}

impl From<Status> for Frame {
    fn from(status: Status) -> Self {
        Self::ApprovalStatus(Box::new(status))
    }
}

impl From<Substitutable> for Frame {
    fn from(submission: Substitutable) -> Self {
        Self::SubmitSubstitutable(Box::new(submission))
    }
}

impl From<ProposedEdit> for Frame {
    fn from(edit: ProposedEdit) -> Self {
        Self::ProposedEdit(Box::new(edit))
    }
}

impl TryFrom<Frame> for ProposedEdit {
    type Error = Frame;

    fn try_from(frame: Frame) -> Result<Self, Frame> {
        Box::<Self>::try_from(frame).map(|edit| *edit)
    }
}

impl TryFrom<Frame> for Status {
    type Error = Frame;

    fn try_from(frame: Frame) -> Result<Self, Frame> {
        Box::<Self>::try_from(frame).map(|status| *status)
    }
}
