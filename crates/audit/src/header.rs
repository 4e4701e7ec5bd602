//! An event without its body: what a ledger has to know of each of very many.

use countersign_model::{ApprovalId, Digest, EventId, SpiffeId, Timestamp, canonical::is_canonical};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::event::{EventError, MAX_EVENT_BYTES, check_fields};

/// The members of an [`Event`](crate::Event), but for its body, which is only looked over.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventHeader<'a> {
    v: u32,
    /// The event's id.
    pub id: EventId,
    /// Where it happened.
    pub source: SpiffeId,
    /// Its number at its source.
    pub seq: u64,
    /// The digest of its source's event before it.
    pub previous: Digest,
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    pub kind: String,
    /// The trace that tells the same story.
    #[serde(default)]
    pub trace_id: Option<String>,
    /// The approval that it is about.
    #[serde(default)]
    pub approval: Option<ApprovalId>,
    /// The digest of the operation that it is about.
    #[serde(default)]
    pub digest: Option<Digest>,
    /// Who did it.
    #[serde(default)]
    pub actor: Option<String>,
    #[serde(borrow)]
    body: &'a RawValue,
}

impl<'a> EventHeader<'a> {
    /// Checks that some bytes are an event in its one form, as
    /// [`CanonicalEvent::parse`](crate::CanonicalEvent::parse) does, and reads all but its body.
    ///
    /// # Errors
    /// When they are too many, not an event, or an event in any other form than the canonical one.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, EventError> {
        if bytes.len() > MAX_EVENT_BYTES {
            return Err(EventError::TooLarge(bytes.len()));
        }
        if !is_canonical(bytes).map_err(|error| EventError::Malformed(error.to_string()))? {
            return Err(EventError::NotCanonical);
        }
        let header = Self::of_stored(bytes)?;
        let Self { v, seq, previous, kind, trace_id, actor, body, .. } = &header;
        if !body.get().starts_with('{') {
            return Err(EventError::Malformed("its body is not an object".to_owned()));
        }
        check_fields(*v, (*seq, previous), kind, trace_id.as_deref(), actor.as_deref())?;
        Ok(header)
    }

    /// Reads all but the body of an event that was checked before it was stored.
    ///
    /// # Errors
    /// When it is not an event after all.
    pub fn of_stored(bytes: &'a [u8]) -> Result<Self, EventError> {
        serde_json::from_slice(bytes).map_err(|error| EventError::Malformed(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use countersign_model::Digest;
    use serde_json::json;

    use super::*;
    use crate::{CanonicalEvent, EventDraft, kind};

    fn sealed() -> CanonicalEvent {
        let source = "spiffe://example.org/agent/a".parse().unwrap();
        let mut draft = EventDraft::new(Timestamp::from_millis(1_000), kind::OPERATION_PERMITTED);
        draft.actor = Some("someone é".into());
        draft.body.insert("n".into(), json!({"deep": [1.5, "\u{1}", null]}));
        draft.seal(EventId::from_bytes([1; 16]), source, 1, Digest::ZERO)
    }

    #[test]
    fn a_header_says_what_the_event_says() {
        let sealed = sealed();
        let header = EventHeader::parse(sealed.bytes()).unwrap();
        let event = sealed.event();
        assert_eq!((header.id, header.seq, header.at), (event.id, event.seq, event.at));
        assert_eq!((&header.source, &header.previous), (&event.source, &event.previous));
        assert_eq!((&header.kind, &header.trace_id), (&event.kind, &event.trace_id));
        assert_eq!(
            (&header.actor, header.approval, header.digest),
            (&event.actor, event.approval, event.digest)
        );
    }

    /// Whatever the whole event is refused for, the header is refused for, wherever a byte is changed.
    #[test]
    fn a_header_is_taken_exactly_when_the_event_is() {
        let bytes = sealed().into_bytes();
        for position in 0..bytes.len() {
            for put in *b"\"{}[],:0a \\" {
                let mut changed = bytes.clone();
                changed[position] = put;
                let whole = CanonicalEvent::parse(changed.clone());
                let header = EventHeader::parse(&changed);
                assert_eq!(whole.is_ok(), header.is_ok(), "{}", String::from_utf8_lossy(&changed));
            }
        }
        let not_an_object = String::from_utf8(bytes).unwrap().replacen(r#""body":{"#, r#""body":[{"#, 1);
        assert!(EventHeader::parse(not_an_object.replacen("},\"id\"", "}],\"id\"", 1).as_bytes()).is_err());
    }
}
