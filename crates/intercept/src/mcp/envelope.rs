//! The outside of a JSON-RPC message, read so that no two readers can disagree about it.
//!
//! The message itself is never changed: what is parsed here is only looked at, and the bytes that were
//! received are the bytes that are forwarded. Everything on which JSON readers are known to differ is
//! refused: member names twice in one object (at any depth), names that differ from the protocol's by
//! case only, invalid UTF-8, data after the message, and batches.

use std::{collections::BTreeMap, fmt};

use countersign_model::Digest;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::batch;

/// The most bytes that a message to be evaluated may have.
pub const MAX_MESSAGE: usize = 4 * 1024 * 1024;

/// The members of a JSON-RPC message.
pub(super) const MEMBERS: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];

/// A message, as far as the relay looks into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Envelope {
    /// Wants an answer.
    Request {
        /// Under which id.
        id: Id,
        /// What is asked.
        method: String,
        /// The raw `params`, if any.
        params: Option<String>,
    },
    /// Wants none.
    Notification {
        /// What is told.
        method: String,
        /// The raw `params`, if any.
        params: Option<String>,
    },
    /// Answers a request of the other side.
    Response {
        /// The request's id; `None` when it was `null`.
        id: Option<Id>,
        /// The raw `result`; `None` when it is an error.
        result: Option<String>,
    },
}

/// The id of a request.
#[derive(Debug, Clone)]
pub struct Id {
    raw: String,
    key: String,
}

impl Id {
    /// The id as it was written, to be put in an answer.
    #[must_use]
    pub fn raw(&self) -> &str {
        &self.raw
    }

    fn read(raw: &RawValue) -> Option<Self> {
        Self::from_raw(raw.get())
    }

    /// The id that is written so.
    pub(super) fn from_raw(text: &str) -> Option<Self> {
        let key = match serde_json::from_str(text).ok()? {
            serde_json::Value::String(text) => format!("text {text}"),
            // 1, 1.0 and 1e0 are one id to some readers, so they are one here.
            serde_json::Value::Number(number) => match number.as_f64() {
                Some(float) if !number.is_u64() && !number.is_i64() && float.fract() == 0.0 => {
                    format!("number {float:.0}")
                }
                _ => format!("number {number}"),
            },
            _ => return None,
        };
        Some(Self { raw: text.to_owned(), key })
    }
}

impl PartialEq for Id {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Id {}

impl std::hash::Hash for Id {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

/// Why a message is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct EnvelopeError {
    /// The id to answer under, as it was written, if it could be made out.
    pub id: Option<String>,
    /// The JSON-RPC error code: -32700 or -32600.
    pub code: i32,
    /// What is wrong.
    pub message: String,
}

impl EnvelopeError {
    pub(super) fn parse(message: impl fmt::Display) -> Self {
        Self { id: None, code: -32700, message: format!("not acceptable JSON: {message}") }
    }

    pub(super) fn invalid(id: Option<&Id>, message: impl Into<String>) -> Self {
        Self { id: id.map(|id| id.raw.clone()), code: -32600, message: message.into() }
    }
}

/// Reads a message strictly.
///
/// # Errors
/// When it is not one JSON-RPC message that every reader reads alike.
pub fn read(bytes: &[u8]) -> Result<Envelope, EnvelopeError> {
    if bytes.len() > MAX_MESSAGE {
        return Err(EnvelopeError::parse(format!("longer than {MAX_MESSAGE} bytes")));
    }
    let text = std::str::from_utf8(bytes).map_err(EnvelopeError::parse)?;
    if batch::is_batch(bytes) {
        return Err(EnvelopeError::invalid(None, "a batch is not accepted here; send one message at a time"));
    }
    check_unambiguous(text).map_err(|error| {
        // The id of a message that is otherwise broken, when there is exactly one that everybody sees.
        let id = shallow(text).ok().and_then(|members| members.id());
        EnvelopeError { id: id.map(|id| id.raw), ..EnvelopeError::parse(error) }
    })?;
    let members = shallow(text).map_err(EnvelopeError::parse)?;
    members.envelope()
}

/// The members of a message, each as raw text.
struct Members<'a>(BTreeMap<String, &'a RawValue>);

fn shallow(text: &str) -> Result<Members<'_>, serde_json::Error> {
    struct Shallow;

    impl<'de> Visitor<'de> for Shallow {
        type Value = Members<'de>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a JSON-RPC message, which is an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
            let mut members = BTreeMap::new();
            while let Some(name) = map.next_key::<String>()? {
                let value = map.next_value::<&RawValue>()?;
                if members.insert(name, value).is_some() {
                    return Err(A::Error::custom("duplicate member name"));
                }
            }
            Ok(Members(members))
        }
    }

    let mut reader = serde_json::Deserializer::from_str(text);
    let members = reader.deserialize_map(Shallow)?;
    reader.end()?;
    Ok(members)
}

impl Members<'_> {
    fn raw(&self, name: &str) -> Option<String> {
        self.0.get(name).map(|raw| raw.get().to_owned())
    }

    fn id(&self) -> Option<Id> {
        self.0.get("id").and_then(|raw| Id::read(raw))
    }

    fn envelope(&self) -> Result<Envelope, EnvelopeError> {
        let id = self.id();
        let invalid = |message: &str| EnvelopeError::invalid(id.as_ref(), message);
        if let Some(name) = self.0.keys().find(|name| imitates(name, &MEMBERS)) {
            return Err(invalid(&format!("the member {name:?} differs from a known one by case only")));
        }
        if self.0.get("jsonrpc").map(|raw| raw.get()) != Some(r#""2.0""#) {
            return Err(invalid("not a JSON-RPC 2.0 message"));
        }
        let answers = self.0.contains_key("result") || self.0.contains_key("error");
        let Some(method) = self.0.get("method") else {
            return self.response(id);
        };
        let method: String =
            serde_json::from_str(method.get()).map_err(|_| invalid("the method is not a string"))?;
        if answers {
            return Err(invalid("a message is either a request or a response, not both"));
        }
        let params = self.raw("params");
        match (id, self.0.contains_key("id")) {
            (Some(id), _) => Ok(Envelope::Request { id, method, params }),
            (None, false) => Ok(Envelope::Notification { method, params }),
            (None, true) => Err(EnvelopeError::invalid(None, "the id is neither a string nor a number")),
        }
    }

    fn response(&self, id: Option<Id>) -> Result<Envelope, EnvelopeError> {
        let invalid = |message: &str| EnvelopeError::invalid(None, message);
        if self.0.contains_key("result") == self.0.contains_key("error") {
            return Err(invalid("neither a request, nor a notification, nor a response"));
        }
        let is_null = self.0.get("id").is_some_and(|raw| raw.get() == "null");
        if id.is_none() && !is_null {
            return Err(invalid("a response needs the id of its request"));
        }
        Ok(Envelope::Response { id, result: self.raw("result") })
    }
}

/// Whether a name differs from a known one by case only, which some readers do not notice.
#[must_use]
pub fn imitates(name: &str, known: &[&str]) -> bool {
    !known.contains(&name) && known.iter().any(|known| folded(known) == folded(name))
}

fn folded(name: &str) -> String {
    // Beyond ASCII, too: U+017F and U+212A fold to `s` and `k` in readers that fold by Unicode.
    name.chars().flat_map(char::to_lowercase).map(|c| if c == 'ſ' { 's' } else { c }).collect()
}

/// Checks that no object, at any depth, has a member name twice.
fn check_unambiguous(text: &str) -> Result<(), serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_str(text);
    Unambiguous.deserialize(&mut reader)?;
    reader.end()
}

struct Unambiguous;

impl<'de> DeserializeSeed<'de> for Unambiguous {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unambiguous {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut names = std::collections::BTreeSet::new();
        while let Some(name) = members.next_key::<String>()? {
            members.next_value_seed(Self)?;
            if names.contains(&name) {
                return Err(A::Error::custom(format!("duplicate member name {name:?}")));
            }
            names.insert(name);
        }
        Ok(())
    }
}

/// A message from a server, as far as the relay must know it. A server's messages pass as they are, so
/// this looks at no more than what tells requests, answers and the rest apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromServer {
    /// A request to the client, read strictly.
    Request {
        /// Under which id.
        id: Id,
        /// What is asked.
        method: String,
    },
    /// An answer to the request of that id.
    Answer {
        /// The request's id.
        id: Id,
        /// Whether the request did what was asked.
        success: bool,
        /// The digest of the result, as it was written.
        result: Option<Digest>,
    },
    /// The server takes a request back.
    Cancelled {
        /// Its id.
        id: Id,
    },
    /// The server's tools are not what they were.
    ToolsChanged,
    /// Anything else that cannot be a request.
    Other,
    /// It might be a request to some readers, but not to all.
    Ambiguous,
}

/// Looks at a line that a server sent.
#[must_use]
pub fn read_from_server(line: &[u8]) -> FromServer {
    let Ok(text) = std::str::from_utf8(line) else {
        return if may_be_request(line) { FromServer::Ambiguous } else { FromServer::Other };
    };
    let Ok(members) = shallow(text) else {
        return if may_be_request(line) { FromServer::Ambiguous } else { FromServer::Other };
    };
    if !members.0.keys().any(|name| folded(name) == "method") {
        return members.answer();
    }
    match members.envelope() {
        Ok(Envelope::Request { id, method, .. }) if check_unambiguous(text).is_ok() => {
            FromServer::Request { id, method }
        }
        Ok(Envelope::Notification { method, .. }) if method == "notifications/tools/list_changed" => {
            FromServer::ToolsChanged
        }
        Ok(Envelope::Notification { method, params }) if method.starts_with("notifications/") => {
            let cancelled = (method == "notifications/cancelled").then_some(params).flatten();
            let id = cancelled.and_then(|params| cancelled_request(&params));
            id.map_or(FromServer::Other, |id| FromServer::Cancelled { id })
        }
        _ => FromServer::Ambiguous,
    }
}

/// Whether bytes that are not readable as a message could be a request to a more lenient reader.
fn may_be_request(line: &[u8]) -> bool {
    let folded = line.to_ascii_lowercase();
    let has = |needle: &[u8]| folded.windows(needle.len()).any(|window| window == needle);
    has(b"method") || has(b"\\u")
}

impl Members<'_> {
    fn answer(&self) -> FromServer {
        let Some(id) = self.id() else {
            return FromServer::Other;
        };
        let success = self.0.get("result").is_some_and(|result| {
            let members = serde_json::from_str::<BTreeMap<String, &RawValue>>(result.get());
            let is_error = members.ok().and_then(|members| members.get("isError").copied());
            is_error.is_none_or(|flag| flag.get() == "false")
        });
        let result = self.0.get("result").map(|result| Digest::of(result.get().as_bytes()));
        FromServer::Answer { id, success, result }
    }
}

/// The request that the raw `params` of `notifications/cancelled` take back.
#[must_use]
pub fn cancelled_request(params: &str) -> Option<Id> {
    shallow(params).ok()?.0.get("requestId").and_then(|raw| Id::read(raw))
}

/// The members of raw `params`, each as raw text.
///
/// # Errors
/// When they are not an object.
pub fn params_members(params: &str) -> Result<BTreeMap<String, Box<RawValue>>, serde_json::Error> {
    BTreeMap::deserialize(&mut serde_json::Deserializer::from_str(params))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(bytes: &[u8]) -> Option<(Option<String>, i32)> {
        read(bytes).err().map(|error| (error.id, error.code))
    }

    #[test]
    fn requests_notifications_and_responses_are_told_apart() {
        let request =
            read(br#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"x"}}"#).unwrap();
        assert!(matches!(request, Envelope::Request { id, method, params }
            if id.raw() == "7" && method == "tools/call" && params.as_deref() == Some(r#"{"name":"x"}"#)));
        let notification = read(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).unwrap();
        assert!(matches!(notification, Envelope::Notification { .. }));
        let response = read(br#"{"jsonrpc":"2.0","id":"a","result":{}}"#).unwrap();
        assert!(matches!(response, Envelope::Response { id: Some(_), result: Some(_) }));
    }

    #[test]
    fn what_readers_could_read_differently_is_refused_under_its_id() {
        let known = |id: &str| Some(id.to_owned());
        for (bytes, expected) in [
            (br#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}"#.as_slice(), (None, -32700)),
            (
                br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","name":"b"}}"#,
                (known("1"), -32700),
            ),
            (
                br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"arguments":{"p":{"a":1,"\u0061":2}}}}"#,
                (known("1"), -32700),
            ),
            (br#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call"}"#, (known("1"), -32600)),
            (br#"{"jsonrpc":"2.0","id":1,"method":"ping","PARAMS":{}}"#, (known("1"), -32600)),
            ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"param\u{17f}\":{}}".as_bytes(), (known("1"), -32600)),
            (br#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, (None, -32600)),
            (br#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, (None, -32600)),
            (br#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#, (known("1"), -32600)),
            (br#"{"jsonrpc":"2.0","id":1,"method":["ping"]}"#, (known("1"), -32600)),
            (br#"{"id":1,"method":"ping"}"#, (known("1"), -32600)),
            (br#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, (None, -32600)),
            (br#" [] "#, (None, -32600)),
            (br#"{"jsonrpc":"2.0","id":1,"method":"ping"} {}"#, (None, -32700)),
            (b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\"}", (None, -32700)),
            (b"\xef\xbb\xbf{}", (None, -32700)),
            (b"hello", (None, -32700)),
        ] {
            assert_eq!(code(bytes), Some(expected), "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn deep_nesting_is_refused_and_does_not_overflow() {
        let deep = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{}}}"#, "[".repeat(100_000));
        assert_eq!(code(deep.as_bytes()), Some((None, -32700)));
    }

    #[test]
    fn one_id_is_one_id_however_it_is_written() {
        let id = |raw: &str| {
            let line = format!(r#"{{"jsonrpc":"2.0","id":{raw},"method":"ping"}}"#);
            match read(line.as_bytes()).unwrap() {
                Envelope::Request { id, .. } => id,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(id("1"), id("1.0"));
        assert_eq!(id("1"), id("1e0"));
        assert_eq!(id(r#""a""#), id(r#""\u0061""#));
        assert_ne!(id("1"), id(r#""1""#));
        assert_eq!(id("1152921504606846977").raw(), "1152921504606846977");
        assert_ne!(id("1152921504606846977"), id("1152921504606846976"));
    }

    #[test]
    fn a_server_cannot_hide_a_request_from_the_relay() {
        for line in [
            br#"{"jsonrpc":"2.0","id":1,"method":"x","method":"sampling/createMessage"}"#.as_slice(),
            br#"{"jsonrpc":"2.0","id":1,"METHOD":"sampling/createMessage"}"#,
            br#"{"jsonrpc":"2.0","id":1,"\u006dethod":"a","Method":"sampling/createMessage"}"#,
            br#"[{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage"}]"#,
            br#"{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","result":{}}"#,
            br#"{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{"a":1,"a":2}}"#,
            br#"{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage",}"#,
            br#"{"jsonrpc":"2.0","method":"sampling/createMessage"}"#,
            b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"sampling/createMessage\",\"x\":\"\xff\"}",
            br#"[{"id":1,"\u006d\u0065thod":"sampling/createMessage"}]"#,
        ] {
            assert_eq!(read_from_server(line), FromServer::Ambiguous, "{}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn a_servers_other_messages_pass() {
        for (line, success) in [
            (br#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#.as_slice(), true),
            (br#"{"jsonrpc":"2.0","id":1,"result":{"isError":false,"a":1,"a":2}}"#, true),
            (br#"{"jsonrpc":"2.0","id":1,"result":{"isError":true}}"#, false),
            (br#"{"jsonrpc":"2.0","id":1,"result":{"isError":"yes"}}"#, false),
            (br#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"no"}}"#, false),
        ] {
            let read = read_from_server(line);
            assert!(
                matches!(read, FromServer::Answer { success: s, .. } if s == success),
                "{read:?}: {}",
                String::from_utf8_lossy(line)
            );
        }
        for line in [
            br#"{"jsonrpc":"2.0","method":"notifications/progress","params":{}}"#.as_slice(),
            b"starting up\xff",
            br#"{"result": NaN}"#,
        ] {
            assert_eq!(read_from_server(line), FromServer::Other);
        }
        let changed = br#"{"jsonrpc":"2.0","method":"notifications\/tools\/list_changed"}"#;
        assert_eq!(read_from_server(changed), FromServer::ToolsChanged);
    }
}
