//! The link itself: greeting, heartbeats, audit batches, bundles, refusals.

use std::collections::BTreeMap;

use bincode::{Decode, Encode};
use countersign_model::{ApprovalId, Digest, Revision, Seconds, Timestamp};

use super::bounded::{Blob, FieldError, List, Text};
use crate::{
    limits,
    message::{
        Ack, AuditAck, AuditBatch, BundleAck, BundleOutcome, Heartbeat, HeartbeatAck, Hello, PushBundle,
        RefusalCode, Refused, Welcome,
    },
};

type Software = Text<{ limits::MAX_SOFTWARE }>;
type Message = Text<{ limits::MAX_MESSAGE }>;
type Pending = List<[u8; 16], { limits::MAX_PENDING }>;

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct AckV1;

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct HelloV1 {
    protocol: u8,
    software: Software,
    revision: Option<u64>,
    bundle: Option<[u8; 32]>,
    last_seq: u64,
    spool_depth: u64,
    pending: Pending,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct WelcomeV1 {
    protocol: u8,
    software: Software,
    now: i64,
    heartbeat_every: u32,
    revision: Option<u64>,
    audit_through: u64,
    audit_head: [u8; 32],
    lease_renewed_at: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct RefusedV1 {
    code: u16,
    message: Message,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct AuditBatchV1 {
    events: List<Blob<{ limits::MAX_EVENT }>, { limits::MAX_EVENTS }>,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct AuditAckV1 {
    through: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct HeartbeatV1 {
    revision: Option<u64>,
    spool_depth: u64,
    pending: Pending,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct HeartbeatAckV1 {
    lease_renewed_at: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct PushBundleV1 {
    manifest: Text<{ limits::MAX_MANIFEST }>,
    files: List<FileV1, { limits::MAX_FILES }>,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
struct FileV1 {
    path: Text<{ limits::MAX_PATH }>,
    content: Blob<{ limits::MAX_FILE }>,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct BundleAckV1 {
    revision: Option<u64>,
    outcome: BundleOutcomeV1,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
enum BundleOutcomeV1 {
    Activated,
    Unchanged,
    Refused(Message),
}

fn pending(ids: &[ApprovalId]) -> Result<Pending, FieldError> {
    List::collect("pending", ids, |id| Ok(id.to_bytes()))
}

fn approvals(ids: Pending) -> Result<Vec<ApprovalId>, FieldError> {
    ids.map(|id| Ok(ApprovalId::from_bytes(id)))
}

impl From<&Ack> for AckV1 {
    fn from(_: &Ack) -> Self {
        Self
    }
}

impl From<AckV1> for Ack {
    fn from(_: AckV1) -> Self {
        Self
    }
}

impl TryFrom<&Hello> for HelloV1 {
    type Error = FieldError;

    fn try_from(from: &Hello) -> Result<Self, FieldError> {
        Ok(Self {
            protocol: from.protocol,
            software: Text::new("software", &from.software)?,
            revision: from.revision.map(|revision| revision.0),
            bundle: from.bundle.map(|digest| *digest.as_bytes()),
            last_seq: from.last_seq,
            spool_depth: from.spool_depth,
            pending: pending(&from.pending)?,
        })
    }
}

impl TryFrom<HelloV1> for Hello {
    type Error = FieldError;

    fn try_from(from: HelloV1) -> Result<Self, FieldError> {
        Ok(Self {
            protocol: from.protocol,
            software: from.software.into_string(),
            revision: from.revision.map(Revision),
            bundle: from.bundle.map(Digest::from_bytes),
            last_seq: from.last_seq,
            spool_depth: from.spool_depth,
            pending: approvals(from.pending)?,
        })
    }
}

impl TryFrom<&Welcome> for WelcomeV1 {
    type Error = FieldError;

    fn try_from(from: &Welcome) -> Result<Self, FieldError> {
        Ok(Self {
            protocol: from.protocol,
            software: Text::new("software", &from.software)?,
            now: from.now.as_millis(),
            heartbeat_every: from.heartbeat_every.get(),
            revision: from.revision.map(|revision| revision.0),
            audit_through: from.audit_through,
            audit_head: *from.audit_head.as_bytes(),
            lease_renewed_at: from.lease_renewed_at.as_millis(),
        })
    }
}

impl TryFrom<WelcomeV1> for Welcome {
    type Error = FieldError;

    fn try_from(from: WelcomeV1) -> Result<Self, FieldError> {
        if from.heartbeat_every == 0 {
            return Err(FieldError::new("heartbeat_every", "must be at least one second"));
        }
        Ok(Self {
            protocol: from.protocol,
            software: from.software.into_string(),
            now: Timestamp::from_millis(from.now),
            heartbeat_every: Seconds::new(from.heartbeat_every),
            revision: from.revision.map(Revision),
            audit_through: from.audit_through,
            audit_head: Digest::from_bytes(from.audit_head),
            lease_renewed_at: Timestamp::from_millis(from.lease_renewed_at),
        })
    }
}

impl TryFrom<&Refused> for RefusedV1 {
    type Error = FieldError;

    fn try_from(from: &Refused) -> Result<Self, FieldError> {
        Ok(Self { code: code_number(from.code), message: Text::new("message", &from.message)? })
    }
}

impl From<RefusedV1> for Refused {
    fn from(from: RefusedV1) -> Self {
        Self { code: code_of(from.code), message: from.message.into_string() }
    }
}

fn code_number(code: RefusalCode) -> u16 {
    match code {
        RefusalCode::Other => 0,
        RefusalCode::Unsupported => 1,
        RefusalCode::Invalid => 2,
        RefusalCode::NotFound => 3,
        RefusalCode::Conflict => 4,
        RefusalCode::Busy => 5,
        RefusalCode::Revoked => 6,
        RefusalCode::JoinToken => 7,
        RefusalCode::AuditGap => 8,
        RefusalCode::Internal => 9,
        RefusalCode::TooMany => 10,
    }
}

/// A number that a later release added is still a refusal.
fn code_of(number: u16) -> RefusalCode {
    match number {
        1 => RefusalCode::Unsupported,
        2 => RefusalCode::Invalid,
        3 => RefusalCode::NotFound,
        4 => RefusalCode::Conflict,
        5 => RefusalCode::Busy,
        6 => RefusalCode::Revoked,
        7 => RefusalCode::JoinToken,
        8 => RefusalCode::AuditGap,
        9 => RefusalCode::Internal,
        10 => RefusalCode::TooMany,
        _ => RefusalCode::Other,
    }
}

impl TryFrom<&AuditBatch> for AuditBatchV1 {
    type Error = FieldError;

    fn try_from(from: &AuditBatch) -> Result<Self, FieldError> {
        Ok(Self { events: List::collect("events", &from.events, |event| Blob::new("event", event))? })
    }
}

impl TryFrom<AuditBatchV1> for AuditBatch {
    type Error = FieldError;

    fn try_from(from: AuditBatchV1) -> Result<Self, FieldError> {
        Ok(Self { events: from.events.map(|event| Ok(event.into_vec()))? })
    }
}

impl From<&AuditAck> for AuditAckV1 {
    fn from(from: &AuditAck) -> Self {
        Self { through: from.through }
    }
}

impl From<AuditAckV1> for AuditAck {
    fn from(from: AuditAckV1) -> Self {
        Self { through: from.through }
    }
}

impl TryFrom<&Heartbeat> for HeartbeatV1 {
    type Error = FieldError;

    fn try_from(from: &Heartbeat) -> Result<Self, FieldError> {
        Ok(Self {
            revision: from.revision.map(|revision| revision.0),
            spool_depth: from.spool_depth,
            pending: pending(&from.pending)?,
        })
    }
}

impl TryFrom<HeartbeatV1> for Heartbeat {
    type Error = FieldError;

    fn try_from(from: HeartbeatV1) -> Result<Self, FieldError> {
        Ok(Self {
            revision: from.revision.map(Revision),
            spool_depth: from.spool_depth,
            pending: approvals(from.pending)?,
        })
    }
}

impl From<&HeartbeatAck> for HeartbeatAckV1 {
    fn from(from: &HeartbeatAck) -> Self {
        Self { lease_renewed_at: from.lease_renewed_at.as_millis() }
    }
}

impl From<HeartbeatAckV1> for HeartbeatAck {
    fn from(from: HeartbeatAckV1) -> Self {
        Self { lease_renewed_at: Timestamp::from_millis(from.lease_renewed_at) }
    }
}

impl TryFrom<&PushBundle> for PushBundleV1 {
    type Error = FieldError;

    fn try_from(from: &PushBundle) -> Result<Self, FieldError> {
        let file = |(path, content): (&String, &Vec<u8>)| {
            Ok(FileV1 { path: Text::new("path", path)?, content: Blob::new("file", content)? })
        };
        Ok(Self {
            manifest: Text::new("manifest", &from.manifest)?,
            files: List::collect("files", &from.files, file)?,
        })
    }
}

impl TryFrom<PushBundleV1> for PushBundle {
    type Error = FieldError;

    fn try_from(from: PushBundleV1) -> Result<Self, FieldError> {
        let mut files = BTreeMap::new();
        let listed: Vec<FileV1> = from.files.map(Ok)?;
        for file in listed {
            if files.insert(file.path.into_string(), file.content.into_vec()).is_some() {
                return Err(FieldError::new("files", "one path is there twice"));
            }
        }
        Ok(Self { manifest: from.manifest.into_string(), files })
    }
}

impl TryFrom<&BundleAck> for BundleAckV1 {
    type Error = FieldError;

    fn try_from(from: &BundleAck) -> Result<Self, FieldError> {
        Ok(Self {
            revision: from.revision.map(|revision| revision.0),
            outcome: match &from.outcome {
                BundleOutcome::Activated => BundleOutcomeV1::Activated,
                BundleOutcome::Unchanged => BundleOutcomeV1::Unchanged,
                BundleOutcome::Refused(why) => BundleOutcomeV1::Refused(Text::new("refused", why)?),
            },
        })
    }
}

impl From<BundleAckV1> for BundleAck {
    fn from(from: BundleAckV1) -> Self {
        Self {
            revision: from.revision.map(Revision),
            outcome: match from.outcome {
                BundleOutcomeV1::Activated => BundleOutcome::Activated,
                BundleOutcomeV1::Unchanged => BundleOutcome::Unchanged,
                BundleOutcomeV1::Refused(why) => BundleOutcome::Refused(why.into_string()),
            },
        }
    }
}
