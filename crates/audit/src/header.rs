//! An event without its body: what a ledger has to know of each of very many.

use std::{borrow::Cow, str::FromStr};

use countersign_model::{
    ApprovalId, Digest, EventId, SpiffeId, Timestamp,
    canonical::{is_canonical, plain_members},
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::event::{EventError, MAX_EVENT_BYTES, check_fields};

/// The members of an [`Event`](crate::Event), but for its body, which is only looked over.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    pub kind: Cow<'a, str>,
    /// The trace that tells the same story.
    pub trace_id: Option<Cow<'a, str>>,
    /// The approval that it is about.
    pub approval: Option<ApprovalId>,
    /// The digest of the operation that it is about.
    pub digest: Option<Digest>,
    /// Who did it.
    pub actor: Option<Cow<'a, str>>,
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
        let header = match Self::at_a_glance(bytes) {
            Some(header) => header,
            None if !is_canonical(bytes).map_err(|error| malformed(&error))? => {
                return Err(EventError::NotCanonical);
            }
            None => Self::read(bytes)?,
        };
        let Self { v, seq, previous, kind, trace_id, actor, .. } = &header;
        check_fields(*v, (*seq, previous), kind, trace_id.as_deref(), actor.as_deref())?;
        Ok(header)
    }

    /// Reads all but the body of an event that was checked before it was stored.
    ///
    /// # Errors
    /// When it is not an event after all.
    pub fn of_stored(bytes: &'a [u8]) -> Result<Self, EventError> {
        Self::at_a_glance(bytes).map_or_else(|| Self::read(bytes), Ok)
    }

    /// Most events are canonical beyond doubt, and one walk over their bytes finds every member. `None`
    /// says nothing.
    fn at_a_glance(bytes: &'a [u8]) -> Option<Self> {
        let mut members = Members::default();
        let mut all_known = true;
        plain_members(bytes, &mut |name, text| all_known &= members.set(name, text))?;
        all_known.then(|| members.header())?
    }

    /// Reads any JSON of an event.
    fn read(bytes: &'a [u8]) -> Result<Self, EventError> {
        let Wire { v, id, source, seq, previous, at, kind, trace_id, approval, digest, actor, body } =
            serde_json::from_slice(bytes).map_err(|error| malformed(&error))?;
        if !body.get().starts_with('{') {
            return Err(EventError::Malformed("its body is not an object".to_owned()));
        }
        Ok(Self { v, id, source, seq, previous, at, kind, trace_id, approval, digest, actor })
    }
}

fn malformed(error: &dyn std::fmt::Display) -> EventError {
    EventError::Malformed(error.to_string())
}

/// An event's members as they are written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire<'a> {
    v: u32,
    id: EventId,
    source: SpiffeId,
    seq: u64,
    previous: Digest,
    at: Timestamp,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(default, borrow)]
    trace_id: Option<Cow<'a, str>>,
    #[serde(default)]
    approval: Option<ApprovalId>,
    #[serde(default)]
    digest: Option<Digest>,
    #[serde(default, borrow)]
    actor: Option<Cow<'a, str>>,
    #[serde(borrow)]
    body: &'a RawValue,
}

/// The members that an event can have, in their canonical order.
const NAMES: [&str; 12] =
    ["actor", "approval", "at", "body", "digest", "id", "kind", "previous", "seq", "source", "trace_id", "v"];

/// The texts of an event's members, in the order of [`NAMES`].
#[derive(Default)]
struct Members<'a> {
    texts: [Option<&'a str>; NAMES.len()],
    /// The first that can still come: members are in order, and none comes twice.
    next: usize,
}

impl<'a> Members<'a> {
    /// Whether an event has such a member.
    fn set(&mut self, name: &str, text: &'a str) -> bool {
        let left = NAMES.iter().zip(&mut self.texts).skip(self.next);
        let Some((ahead, (_, place))) = left.enumerate().find(|(_, (known, _))| **known == name) else {
            return false;
        };
        *place = Some(text);
        self.next += ahead + 1;
        true
    }

    fn header(&self) -> Option<EventHeader<'a>> {
        let [actor, approval, at, body, digest, id, kind, previous, seq, source, trace_id, v] = self.texts;
        if !body?.starts_with('{') {
            return None;
        }
        Some(EventHeader {
            v: v?.parse().ok()?,
            id: parsed(id?)?,
            source: parsed(source?)?,
            seq: seq?.parse().ok()?,
            previous: parsed(previous?)?,
            at: parsed(at?)?,
            kind: plain(kind?)?.into(),
            trace_id: optional(trace_id, |text| plain(text).map(Cow::from))?,
            approval: optional(approval, parsed)?,
            digest: optional(digest, parsed)?,
            actor: optional(actor, |text| plain(text).map(Cow::from))?,
        })
    }
}

/// A string without escapes.
fn plain(text: &str) -> Option<&str> {
    let text = text.strip_prefix('"')?.strip_suffix('"')?;
    (!text.contains('\\')).then_some(text)
}

fn parsed<T: FromStr>(text: &str) -> Option<T> {
    plain(text)?.parse().ok()
}

/// A member that may be left out, but not be wrong.
fn optional<'a, T>(text: Option<&'a str>, read: impl Fn(&'a str) -> Option<T>) -> Option<Option<T>> {
    match text {
        Some(text) => read(text).map(Some),
        None => Some(None),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{CanonicalEvent, EventDraft, kind};

    /// One that is read at a glance, and one that is not: it has a fraction and an unusual escape.
    fn sealed() -> [CanonicalEvent; 2] {
        [json!({"deep": [1, "\u{e9}", null]}), json!({"deep": [1.5, "\u{1}", null]})].map(|body| {
            let source = "spiffe://example.org/agent/a".parse().unwrap();
            let mut draft = EventDraft::new(Timestamp::from_millis(1_000), kind::OPERATION_PERMITTED);
            draft.actor = Some("someone é".into());
            draft.digest = Some(Digest::of(b"operation"));
            draft.trace_id = Some("0af7651916cd43dd8448eb211c80319c".into());
            draft.body.insert("n".into(), body);
            draft.seal(EventId::from_bytes([1; 16]), source, 1, Digest::ZERO)
        })
    }

    #[test]
    fn a_header_says_what_the_event_says() {
        for sealed in sealed() {
            let header = EventHeader::parse(sealed.bytes()).unwrap();
            let event = sealed.event();
            assert_eq!((header.id, header.seq, header.at), (event.id, event.seq, event.at));
            assert_eq!((&header.source, &header.previous), (&event.source, &event.previous));
            assert_eq!(
                (&*header.kind, header.trace_id.as_deref()),
                (&*event.kind, event.trace_id.as_deref())
            );
            assert_eq!(header.actor.as_deref(), event.actor.as_deref());
            assert_eq!((header.approval, header.digest), (event.approval, event.digest));
            assert_eq!(EventHeader::read(sealed.bytes()).unwrap(), header);
        }
        let [plain, other] = sealed();
        assert!(EventHeader::at_a_glance(plain.bytes()).is_some());
        assert!(EventHeader::at_a_glance(other.bytes()).is_none());
    }

    /// Whatever the whole event is refused for, the header is refused for, wherever a byte is changed.
    #[test]
    fn a_header_is_taken_exactly_when_the_event_is() {
        for bytes in sealed().map(CanonicalEvent::into_bytes) {
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
            assert!(
                EventHeader::parse(not_an_object.replacen("},\"digest\"", "}],\"digest\"", 1).as_bytes())
                    .is_err()
            );
        }
    }
}
