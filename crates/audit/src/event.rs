//! One audit event. Its canonical JSON bytes are *the* form: stored, shipped, hashed and exported as such.

use countersign_model::{
    ApprovalId, Digest, EventId, SpiffeId, Timestamp, canonical::to_canonical_json, operation::Object,
    strict_json,
};
use serde::{Deserialize, Serialize};

/// The largest event, in bytes. C2SP tlog-tiles put entries into bundles with 16-bit lengths.
pub const MAX_EVENT_BYTES: usize = 65_535;
/// The longest actor, in bytes.
pub const MAX_ACTOR: usize = 320;

/// One audit event. JSON only, and only in its canonical form: see [`CanonicalEvent`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// The version of this form: 1.
    pub v: u32,
    /// The event's id.
    pub id: EventId,
    /// Where it happened: the SPIFFE ID of a sidecar or of the control plane.
    pub source: SpiffeId,
    /// Its number at its source, from 1, without gaps (I8).
    pub seq: u64,
    /// The digest of its source's event before it; zeros for the first.
    pub previous: Digest,
    /// When it happened, by its source's clock.
    pub at: Timestamp,
    /// What happened: one of [`crate::kind`].
    pub kind: String,
    /// The trace that tells the same story (32 hexadecimal digits).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// The approval that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalId>,
    /// The digest of the operation that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Who did it: a person, an agent's SPIFFE ID, a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// Everything else about it, redacted (I10).
    pub body: Object,
}

/// What a source says about an event; the chain adds the rest.
#[derive(Debug, Clone, PartialEq)]
pub struct EventDraft {
    /// When it happened.
    pub at: Timestamp,
    /// What happened: a constant of [`crate::kind`].
    pub kind: &'static str,
    /// The trace that tells the same story (32 hexadecimal digits; anything else is left out).
    pub trace_id: Option<String>,
    /// The approval that it is about.
    pub approval: Option<ApprovalId>,
    /// The digest of the operation that it is about.
    pub digest: Option<Digest>,
    /// Who did it.
    pub actor: Option<String>,
    /// Everything else about it, redacted. What is too large or too deep is shortened, and says so.
    pub body: Object,
}

impl EventDraft {
    /// A draft with nothing but a time and a kind.
    #[must_use]
    pub fn new(at: Timestamp, kind: &'static str) -> Self {
        Self { at, kind, trace_id: None, approval: None, digest: None, actor: None, body: Object::new() }
    }
}

/// Why some bytes are not an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// Larger than an event can be.
    #[error("{0} bytes are more than the {MAX_EVENT_BYTES} of an event")]
    TooLarge(usize),
    /// Not the canonical JSON of an event.
    #[error("not an event: {0}")]
    Malformed(String),
    /// An event, but not in its one form.
    #[error("not in canonical form (RFC 8785)")]
    NotCanonical,
}

/// An event together with its bytes, which are its canonical JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct CanonicalEvent {
    event: Event,
    bytes: Vec<u8>,
    digest: Digest,
}

impl CanonicalEvent {
    /// Reads an event from its canonical bytes.
    ///
    /// # Errors
    /// When they are too many, not an event, or an event in any other form than the canonical one.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, EventError> {
        if bytes.len() > MAX_EVENT_BYTES {
            return Err(EventError::TooLarge(bytes.len()));
        }
        let malformed = |error: &dyn std::fmt::Display| EventError::Malformed(error.to_string());
        let value = strict_json::parse(&bytes).map_err(|error| malformed(&error))?;
        if to_canonical_json(&value).map_err(|error| malformed(&error))?.as_bytes() != bytes {
            return Err(EventError::NotCanonical);
        }
        let event: Event = serde_json::from_value(value).map_err(|error| malformed(&error))?;
        event.check()?;
        Ok(Self { event, digest: Digest::of(&bytes), bytes })
    }

    /// The event.
    #[must_use]
    pub fn event(&self) -> &Event {
        &self.event
    }

    /// The bytes that are stored, shipped and hashed.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes, without a copy.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// SHA-256 over the bytes: the `previous` of the next event of the same source.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

impl Event {
    fn check(&self) -> Result<(), EventError> {
        let wrong = |what: &str| Err(EventError::Malformed(what.to_owned()));
        if self.v != 1 {
            return wrong("its version is not 1");
        }
        if self.seq == 0 || (self.seq == 1) != (self.previous == Digest::ZERO) {
            return wrong("the first event of a source, and no other, follows on nothing");
        }
        if !is_kind(&self.kind) {
            return wrong("its kind is not a dotted name");
        }
        if self.trace_id.as_deref().is_some_and(|id| !is_trace_id(id)) {
            return wrong("its trace_id is not 32 hexadecimal digits");
        }
        if self.actor.as_deref().is_some_and(|actor| actor.is_empty() || actor.len() > MAX_ACTOR) {
            return wrong("its actor is empty or too long");
        }
        Ok(())
    }
}

pub(crate) fn is_kind(text: &str) -> bool {
    let words = text.bytes().all(|b| b.is_ascii_lowercase() || matches!(b, b'.' | b'_'));
    words && (1..=64).contains(&text.len()) && text.contains('.')
}

pub(crate) fn is_trace_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'))
}
