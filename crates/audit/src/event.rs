//! One audit event. Its canonical JSON bytes are *the* form: stored, shipped, hashed and exported as such.

use countersign_model::{
    ApprovalId, Digest, EventId, SpiffeId, Timestamp,
    canonical::{is_canonical, to_canonical_json},
    operation::Object,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::shorten;

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
    /// Makes the event that has this place in its source's chain.
    ///
    /// Always succeeds: what cannot be recorded as it is, is recorded shortened ([`shorten`]), down to
    /// no more than the digest of what was there.
    #[must_use]
    pub fn seal(self, id: EventId, source: SpiffeId, seq: u64, previous: Digest) -> CanonicalEvent {
        let mut event = Event {
            v: 1,
            id,
            source,
            seq,
            previous,
            at: self.at,
            kind: self.kind.to_owned(),
            trace_id: self.trace_id.filter(|id| is_trace_id(id)),
            approval: self.approval,
            digest: self.digest,
            actor: self.actor.map(|actor| shorten::cut(&actor, MAX_ACTOR)).filter(|actor| !actor.is_empty()),
            body: self.body,
        };
        shorten::tame(&mut event.body);
        let mut bytes = event.write();
        if bytes.len() > MAX_EVENT_BYTES {
            let whole = std::mem::take(&mut event.body);
            let around = event.write().len();
            event.body = shorten::to_fit(whole, MAX_EVENT_BYTES.saturating_sub(around));
            bytes = event.write();
        }
        CanonicalEvent { digest: Digest::of(&bytes), event, bytes }
    }

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
        if !is_canonical(&bytes).map_err(|error| malformed(&error))? {
            return Err(EventError::NotCanonical);
        }
        let event: Event = serde_json::from_slice(&bytes).map_err(|error| malformed(&error))?;
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
    /// Nothing in an event can fail to be written: its body went through [`shorten::tame`]. The body is
    /// lent to the writer rather than copied, as this is on the way of every operation.
    fn write(&mut self) -> Vec<u8> {
        let body = std::mem::take(&mut self.body);
        let mut value = serde_json::to_value(&*self).unwrap_or_default();
        if let Some(place) = value.get_mut("body") {
            *place = Value::Object(body);
        }
        let bytes = to_canonical_json(&value).unwrap_or_default().into_bytes();
        if let Some(Value::Object(body)) = value.get_mut("body").map(Value::take) {
            self.body = body;
        }
        bytes
    }

    fn check(&self) -> Result<(), EventError> {
        let Self { v, seq, previous, kind, trace_id, actor, .. } = self;
        check_fields(*v, (*seq, previous), kind, trace_id.as_deref(), actor.as_deref())
    }
}

/// What holds for the members of every event.
pub(crate) fn check_fields(
    v: u32,
    (seq, previous): (u64, &Digest),
    kind: &str,
    trace_id: Option<&str>,
    actor: Option<&str>,
) -> Result<(), EventError> {
    let wrong = |what: &str| Err(EventError::Malformed(what.to_owned()));
    if v != 1 {
        return wrong("its version is not 1");
    }
    if seq == 0 || (seq == 1) != (*previous == Digest::ZERO) {
        return wrong("the first event of a source, and no other, follows on nothing");
    }
    if !is_kind(kind) {
        return wrong("its kind is not a dotted name");
    }
    if trace_id.is_some_and(|id| !is_trace_id(id)) {
        return wrong("its trace_id is not 32 hexadecimal digits");
    }
    if actor.is_some_and(|actor| actor.is_empty() || actor.len() > MAX_ACTOR) {
        return wrong("its actor is empty or too long");
    }
    Ok(())
}

pub(crate) fn is_kind(text: &str) -> bool {
    let words = text.bytes().all(|b| b.is_ascii_lowercase() || matches!(b, b'.' | b'_'));
    words && (1..=64).contains(&text.len()) && text.contains('.')
}

pub(crate) fn is_trace_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::kind;

    fn seal(draft: EventDraft) -> CanonicalEvent {
        let source = "spiffe://example.org/agent/a".parse().unwrap();
        draft.seal(EventId::from_bytes([1; 16]), source, 1, Digest::ZERO)
    }

    fn draft(body: Value) -> EventDraft {
        let Value::Object(body) = body else { panic!("an object") };
        EventDraft { body, ..EventDraft::new(Timestamp::from_millis(1_000), kind::OPERATION_PERMITTED) }
    }

    #[test]
    fn an_event_is_its_canonical_bytes() {
        let sealed = seal(draft(json!({"b": 1, "a": "é"})));
        let text = String::from_utf8(sealed.bytes().to_vec()).unwrap();
        assert_eq!(
            text,
            format!(
                r#"{{"at":"1970-01-01T00:00:01.000Z","body":{{"a":"é","b":1}},"id":"{}","kind":"operation.permitted","previous":"{}","seq":1,"source":"spiffe://example.org/agent/a","v":1}}"#,
                EventId::from_bytes([1; 16]),
                Digest::ZERO
            )
        );
        assert_eq!(CanonicalEvent::parse(text.clone().into_bytes()), Ok(sealed));
        let spaced = text.replacen(':', ": ", 1);
        assert_eq!(CanonicalEvent::parse(spaced.into_bytes()), Err(EventError::NotCanonical));
    }

    #[test]
    fn bytes_that_are_no_event_are_refused() {
        let good = seal(draft(json!({}))).into_bytes();
        let value: Value = serde_json::from_slice(&good).unwrap();
        let changes = [
            ("v", json!(2)),
            ("seq", json!(0)),
            ("seq", json!(2)),
            ("kind", json!("Operation")),
            ("trace_id", json!("xyz")),
            ("actor", json!("")),
            ("extra", json!(1)),
            ("source", json!("spiffe://example.org/other")),
        ];
        for (name, changed) in changes {
            let mut value = value.clone();
            value[name] = changed;
            let bytes = to_canonical_json(&value).unwrap().into_bytes();
            assert!(CanonicalEvent::parse(bytes).is_err(), "{name}");
        }
        assert!(CanonicalEvent::parse(vec![b' '; MAX_EVENT_BYTES + 1]).is_err());
    }

    /// The attack: make an operation so large, deep or odd that its event cannot be recorded.
    #[test]
    fn nothing_is_too_strange_to_be_recorded() {
        let deep = (0..500).fold(json!("x"), |inner, _| json!({"a": [inner]}));
        let wide: Vec<_> = (0..50_000).collect();
        let names: Object = (0..9_000).map(|n| (format!("member-{n}"), json!(n))).collect();
        let bodies = [
            json!({"text": "é\u{0}\n".repeat(200_000)}),
            json!({"deep": deep}),
            json!({"wide": wide, "kept": "yes"}),
            json!({"names": names}),
            json!({"number": u64::MAX, "negative": i64::MIN}),
            json!({"x".repeat(100_000): 1}),
        ];
        for body in bodies {
            let mut odd = draft(body);
            odd.actor = Some("é".repeat(1_000));
            odd.trace_id = Some("not a trace".into());
            let sealed = seal(odd);
            assert!(sealed.bytes().len() <= MAX_EVENT_BYTES);
            assert_eq!(CanonicalEvent::parse(sealed.bytes().to_vec()).as_ref(), Ok(&sealed));
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::btree_map(".*", inner, 0..8)
                    .prop_map(|members| { Value::Object(members.into_iter().collect()) }),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_is_sealed_is_read_back(body in any_json()) {
            let sealed = seal(draft(json!({"body": body})));
            let read = CanonicalEvent::parse(sealed.bytes().to_vec());
            prop_assert_eq!(read.map(CanonicalEvent::into_bytes), Ok(sealed.into_bytes()));
        }
    }
}
