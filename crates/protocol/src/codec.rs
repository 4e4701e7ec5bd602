//! Frames to bytes and back. The only module that knows bincode.
//!
//! ```text
//! 0        1        2                          6
//! +--------+--------+--------------------------+----------- - -
//! | version| kind   | length of the body (BE)  | body: bincode, little-endian varints
//! +--------+--------+--------------------------+----------- - -
//! ```

use std::{borrow::Borrow, sync::Arc};

use bincode::{
    Decode, Encode,
    config::{Configuration, Limit, LittleEndian, Varint},
};
use countersign_approval::{Status, Submission};

use crate::{
    frame::{Frame, FrameKind, Lane},
    limits,
    message::{
        Ack, AskEdit, AuditAck, AuditBatch, BundleAck, CancelApproval, Enrol, Enrolled, Heartbeat,
        HeartbeatAck, Hello, ProposedEdit, PushBundle, RefusalCode, Refused, Renew, ReportClaim,
        ReportOutcome, RevokeApproval, Substitutable, Svid, WaitApproval, Welcome,
    },
    wire::{
        AckV1, AskEditV1, AuditAckV1, AuditBatchV1, BundleAckV1, CancelApprovalV1, EnrolV1, EnrolledV1,
        FieldError, HeartbeatAckV1, HeartbeatV1, HelloV1, ProposedEditV1, PushBundleV1, RefusedV1, RenewV1,
        ReportClaimV1, ReportOutcomeV1, RevokeApprovalV1, StatusV1, SubmissionV1, SubstitutableV1, SvidV1,
        WaitApprovalV1, WelcomeV1,
    },
};

/// The version of the frames that this release writes, and the newest that it reads.
pub const PROTOCOL_VERSION: u8 = 1;

/// A second bound behind those of the fields. bincode counts a number by its size in memory and not
/// by its bytes on the wire, hence the factor.
const DECODE_LIMIT: usize = 2 * limits::MAX_BUNDLE_FRAME;

const CONFIG: Configuration<LittleEndian, Varint, Limit<DECODE_LIMIT>> =
    bincode::config::standard().with_limit::<DECODE_LIMIT>();

/// Why a frame could not be written: it is larger than the link allows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A part of it is too large or otherwise not fit to be sent.
    #[error("{}: {error}", kind.as_str())]
    Field {
        /// The frame.
        kind: FrameKind,
        /// The part, and what is wrong with it.
        error: FieldError,
    },
    /// All of it together is too large.
    #[error("{}: a body of {length} bytes, of at most {limit}", kind.as_str())]
    TooLarge {
        /// The frame.
        kind: FrameKind,
        /// The length of its body.
        length: usize,
        /// The most that it can be.
        limit: usize,
    },
    /// The codec refused; never expected.
    #[error("{}: {message}", kind.as_str())]
    Codec {
        /// The frame.
        kind: FrameKind,
        /// What the codec said.
        message: String,
    },
}

/// Why some bytes are not a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A frame or version of a later release, or none at all. Answer [`Self::refusal`]; the
    /// connection may go on.
    #[error("frame kind {kind} of version {version} is not known here (newest: {PROTOCOL_VERSION})")]
    Unsupported {
        /// The version that its header says.
        version: u8,
        /// The kind that its header says.
        kind: u8,
    },
    /// This side of the link does not receive such frames.
    #[error("a {} frame does not travel this way", .0.as_str())]
    WrongLane(FrameKind),
    /// Its header announces more than such a frame can have.
    #[error("a {} frame of {length} bytes, of at most {limit}", kind.as_str())]
    TooLarge {
        /// The frame.
        kind: FrameKind,
        /// The announced length.
        length: usize,
        /// The most that it can be.
        limit: usize,
    },
    /// The bytes are not those of such a frame.
    #[error("malformed {} frame: {message}", kind.as_str())]
    Malformed {
        /// The frame.
        kind: FrameKind,
        /// What is wrong.
        message: String,
    },
    /// A part of it is not what it must be.
    #[error("invalid {} frame: {error}", kind.as_str())]
    Invalid {
        /// The frame.
        kind: FrameKind,
        /// The part, and what is wrong with it.
        error: FieldError,
    },
    /// There are fewer bytes than a header, or other than it announces.
    #[error("the bytes end before or go on after the frame")]
    Length,
}

impl DecodeError {
    /// What to answer to a frame of a later release; `None` for frames that are simply wrong.
    #[must_use]
    pub fn refusal(&self) -> Option<Refused> {
        matches!(self, Self::Unsupported { .. })
            .then(|| Refused { code: RefusalCode::Unsupported, message: self.to_string() })
    }
}

/// The header of a frame of a known version and kind, with an allowed length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    kind: FrameKind,
    length: usize,
}

impl Header {
    /// The bytes of a header.
    pub const LENGTH: usize = 6;

    /// Reads a header that came on a lane, before anything of the body is read.
    ///
    /// # Errors
    /// When such a frame is not known, does not travel that way, or would be too large.
    pub fn read(bytes: [u8; Self::LENGTH], lane: Lane) -> Result<Self, DecodeError> {
        let header = Self::read_any(bytes)?;
        if header.kind.lanes().contains(&lane) {
            Ok(header)
        } else {
            Err(DecodeError::WrongLane(header.kind))
        }
    }

    fn read_any([version, kind, length @ ..]: [u8; Self::LENGTH]) -> Result<Self, DecodeError> {
        let unsupported = DecodeError::Unsupported { version, kind };
        if version != PROTOCOL_VERSION {
            return Err(unsupported);
        }
        let kind = FrameKind::from_number(kind).ok_or(unsupported)?;
        let (length, limit) = (u32::from_be_bytes(length) as usize, kind.limit());
        if length > limit {
            return Err(DecodeError::TooLarge { kind, length, limit });
        }
        Ok(Self { kind, length })
    }

    /// What follows.
    #[must_use]
    pub const fn kind(&self) -> FrameKind {
        self.kind
    }

    /// How many bytes of body follow.
    #[must_use]
    pub const fn body_length(&self) -> usize {
        self.length
    }
}

/// A frame as it travels, header and body. Cheap to clone, so that one can be sent to many.
#[derive(Clone, PartialEq, Eq)]
pub struct Encoded {
    kind: FrameKind,
    bytes: Arc<[u8]>,
}

impl Encoded {
    /// What it is.
    #[must_use]
    pub const fn kind(&self) -> FrameKind {
        self.kind
    }

    /// Header and body.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl std::fmt::Debug for Encoded {
    /// Never the content: it may be an enrolment's secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Encoded({}, {} bytes)", self.kind.as_str(), self.bytes.len())
    }
}

/// Writes a frame.
///
/// # Errors
/// When it is larger than the link allows.
pub fn encode(frame: &Frame) -> Result<Encoded, EncodeError> {
    let kind = frame.kind();
    let mut bytes = vec![0; Header::LENGTH];
    encode_body(frame, kind, &mut bytes)?;
    let (length, limit) = (bytes.len() - Header::LENGTH, kind.limit());
    let announced = u32::try_from(length).ok().filter(|_| length <= limit);
    let announced = announced.ok_or(EncodeError::TooLarge { kind, length, limit })?;
    if let Some((header, _)) = bytes.split_first_chunk_mut::<{ Header::LENGTH }>() {
        let [a, b, c, d] = announced.to_be_bytes();
        *header = [PROTOCOL_VERSION, kind as u8, a, b, c, d];
    }
    Ok(Encoded { kind, bytes: bytes.into() })
}

/// Reads a body of which the header was read before.
///
/// # Errors
/// When it is not the body of such a frame.
pub fn decode(header: Header, body: &[u8]) -> Result<Frame, DecodeError> {
    if body.len() != header.length {
        return Err(DecodeError::Length);
    }
    decode_body(header.kind, body)
}

/// Reads a whole frame, wherever it may travel.
///
/// # Errors
/// When the bytes are not exactly one frame.
pub fn decode_whole(bytes: &[u8]) -> Result<Frame, DecodeError> {
    let (header, body) = bytes.split_first_chunk().ok_or(DecodeError::Length)?;
    decode(Header::read_any(*header)?, body)
}

macro_rules! bodies {
    ($($name:ident: $domain:ty as $wire:ty;)+) => {
        fn encode_body(frame: &Frame, kind: FrameKind, out: &mut Vec<u8>) -> Result<(), EncodeError> {
            match frame {
                $(Frame::$name(content) => {
                    let wire = <$wire>::try_from(Borrow::<$domain>::borrow(content));
                    write_body(&wire.map_err(|error| EncodeError::Field { kind, error: error.into() })?, kind, out)
                })+
            }
        }

        fn decode_body(kind: FrameKind, body: &[u8]) -> Result<Frame, DecodeError> {
            match kind {
                $(FrameKind::$name => {
                    let content = <$domain>::try_from(read_body::<$wire>(kind, body)?);
                    content.map(Frame::from).map_err(|error| DecodeError::Invalid { kind, error: error.into() })
                })+
            }
        }
    };
}

bodies! {
    Hello: Hello as HelloV1;
    Welcome: Welcome as WelcomeV1;
    Refused: Refused as RefusedV1;
    Ack: Ack as AckV1;
    SubmitApproval: Submission as SubmissionV1;
    WaitApproval: WaitApproval as WaitApprovalV1;
    CancelApproval: CancelApproval as CancelApprovalV1;
    ApprovalStatus: Status as StatusV1;
    ReportClaim: ReportClaim as ReportClaimV1;
    ReportOutcome: ReportOutcome as ReportOutcomeV1;
    RevokeApproval: RevokeApproval as RevokeApprovalV1;
    SubmitSubstitutable: Substitutable as SubstitutableV1;
    AskEdit: AskEdit as AskEditV1;
    ProposedEdit: ProposedEdit as ProposedEditV1;
    AuditBatch: AuditBatch as AuditBatchV1;
    AuditAck: AuditAck as AuditAckV1;
    Heartbeat: Heartbeat as HeartbeatV1;
    HeartbeatAck: HeartbeatAck as HeartbeatAckV1;
    Renew: Renew as RenewV1;
    Svid: Svid as SvidV1;
    PushBundle: PushBundle as PushBundleV1;
    BundleAck: BundleAck as BundleAckV1;
    Enrol: Enrol as EnrolV1;
    Enrolled: Enrolled as EnrolledV1;
}

fn write_body<T: Encode>(wire: &T, kind: FrameKind, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    bincode::encode_into_std_write(wire, out, CONFIG)
        .map(drop)
        .map_err(|error| EncodeError::Codec { kind, message: error.to_string() })
}

fn read_body<T: Decode<()>>(kind: FrameKind, body: &[u8]) -> Result<T, DecodeError> {
    let malformed = |message: String| DecodeError::Malformed { kind, message };
    let (wire, read) =
        bincode::decode_from_slice(body, CONFIG).map_err(|error| malformed(error.to_string()))?;
    if read == body.len() { Ok(wire) } else { Err(malformed("bytes are left over".to_owned())) }
}
