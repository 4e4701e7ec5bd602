//! The body of a POST, taken apart: which messages it has, in which revision, of which session.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};

use super::{
    headers,
    revision::{Named, named},
    session::{Session, Sessions},
};
use crate::mcp::{
    batch,
    envelope::{self, Envelope, EnvelopeError},
    revision::{self, Revision},
};

/// The code for headers that do not say what the body says (2026-07-28).
const HEADER_MISMATCH: i32 = -32020;

/// Requests that 2026-07-28 has given up. What older servers would do about them is of no revision.
const GONE: [&str; 4] = ["logging/setLevel", "ping", "resources/subscribe", "resources/unsubscribe"];

/// A body, taken apart.
pub(super) struct Posted {
    pub(super) revision: Revision,
    pub(super) session: Arc<Session>,
    pub(super) is_batch: bool,
    /// All of it, as it came.
    pub(super) body: Bytes,
    pub(super) messages: Vec<Message>,
}

/// One message of it.
pub(super) struct Message {
    /// Its bytes, as they came.
    pub(super) raw: Bytes,
    pub(super) envelope: Envelope,
}

/// Why a body is refused.
#[derive(Debug)]
pub(super) struct Rejection {
    pub(super) status: StatusCode,
    pub(super) error: EnvelopeError,
    pub(super) data: Option<Box<Value>>,
}

impl From<EnvelopeError> for Rejection {
    fn from(error: EnvelopeError) -> Self {
        Self { status: StatusCode::BAD_REQUEST, error, data: None }
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        let EnvelopeError { id, code, message } = self.error;
        let mut error = json!({"code": code, "message": message});
        if let (Some(data), Some(members)) = (self.data, error.as_object_mut()) {
            members.insert("data".to_owned(), *data);
        }
        let id = id.as_deref().unwrap_or("null");
        let body = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{error}}}");
        (self.status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
    }
}

/// Headers that do not say what the body says.
pub(super) fn header_mismatch(id: Option<String>, problem: &str) -> Rejection {
    invalid(id, HEADER_MISMATCH, format!("Header mismatch: {problem}"))
}

/// What comes with a credential that does not hold.
pub(super) fn forbidden(message: String) -> Rejection {
    let error = EnvelopeError { id: None, code: -32600, message };
    Rejection { status: StatusCode::FORBIDDEN, error, data: None }
}

fn invalid(id: Option<String>, code: i32, message: impl Into<String>) -> Rejection {
    EnvelopeError { id, code, message: message.into() }.into()
}

impl Posted {
    /// Reads a body strictly, and holds it against its headers.
    pub(super) fn read(sessions: &Sessions, headers: &HeaderMap, body: Bytes) -> Result<Self, Rejection> {
        let is_batch = batch::is_batch(&body);
        let messages = if is_batch { messages(&body)? } else { vec![message(body.clone())?] };
        let session = sessions.of(headers);
        let revision = revision(headers, &session, &messages)?;
        // Without sessions every request is alone: others may use its id at the same time.
        let shares = !revision.is_stateless() && super::session::id_of(headers).is_some();
        let answers = messages.iter().any(|message| matches!(message.envelope, Envelope::Response { .. }));
        let session = if shares || answers { session } else { Arc::default() };
        let posted = Self { revision, session, is_batch, body, messages };
        posted.check_headers(headers)?;
        Ok(posted)
    }

    /// Whether it begins a session.
    pub(super) fn begins(&self) -> bool {
        let is_first = |message: &Message| matches!(&message.envelope, Envelope::Request { method, .. } if method == "initialize");
        !self.is_batch && self.messages.iter().any(is_first)
    }

    fn check_headers(&self, headers: &HeaderMap) -> Result<(), Rejection> {
        if self.is_batch && !self.revision.has_batches() {
            return Err(invalid(
                None,
                -32600,
                "this revision of MCP has no batches; send one message at a time",
            ));
        }
        if !self.revision.is_stateless() {
            return Ok(());
        }
        for message in &self.messages {
            let (method, params, is_request) = match &message.envelope {
                Envelope::Request { method, params, .. } => (method, params, true),
                Envelope::Notification { method, params } => (method, params, false),
                Envelope::Response { .. } => {
                    return Err(invalid(None, -32600, "this revision of MCP has no requests of the server"));
                }
            };
            if let Some(problem) = headers::mismatch(headers, method, is_request, params.as_deref()) {
                return Err(header_mismatch(message.id(), &problem));
            }
            if GONE.contains(&method.as_str()) {
                let refused =
                    invalid(message.id(), -32601, format!("Method not found: this revision has no {method}"));
                return Err(Rejection { status: StatusCode::NOT_FOUND, ..refused });
            }
        }
        Ok(())
    }
}

impl Message {
    fn id(&self) -> Option<String> {
        match &self.envelope {
            Envelope::Request { id, .. } => Some(id.raw().to_owned()),
            Envelope::Notification { .. } | Envelope::Response { .. } => None,
        }
    }

    /// The revision that the message itself says it is in.
    fn version(&self) -> Option<String> {
        let params = match &self.envelope {
            Envelope::Request { params, .. } | Envelope::Notification { params, .. } => params.as_deref(),
            Envelope::Response { .. } => return None,
        };
        revision::said(params)
    }
}

fn message(raw: Bytes) -> Result<Message, Rejection> {
    let envelope = envelope::read(raw.trim_ascii())?;
    Ok(Message { raw, envelope })
}

fn messages(body: &Bytes) -> Result<Vec<Message>, Rejection> {
    batch::elements(body)?.into_iter().map(message).collect()
}

fn revision(headers: &HeaderMap, session: &Session, messages: &[Message]) -> Result<Revision, Rejection> {
    let id = messages.iter().find_map(Message::id);
    let in_body = messages.iter().find_map(Message::version);
    let mismatch =
        |message: &str| invalid(id.clone(), HEADER_MISMATCH, format!("Header mismatch: {message}"));
    let revision = match named(headers) {
        Named::Unclear => return Err(mismatch("MCP-Protocol-Version is there more than once or is no text")),
        Named::Unknown(requested) => return Err(unsupported(id, &requested)),
        Named::Known(revision) => revision,
        Named::Not if in_body.is_some() => return Err(mismatch("MCP-Protocol-Version is missing")),
        // The header was not defined from the beginning.
        Named::Not => session.revision(),
    };
    match in_body {
        Some(said) if said != revision.as_str() => {
            Err(mismatch("MCP-Protocol-Version differs from the body"))
        }
        _ if headers::repeats_the_body(headers) && messages.len() > 1 => {
            Err(mismatch("a batch cannot have Mcp-Method or Mcp-Name"))
        }
        _ => Ok(revision),
    }
}

fn unsupported(id: Option<String>, requested: &str) -> Rejection {
    let (message, data) = revision::unsupported(requested);
    let error = EnvelopeError { id, code: revision::UNSUPPORTED, message: message.to_owned() };
    Rejection { status: StatusCode::BAD_REQUEST, error, data: Some(Box::new(data)) }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    const MODERN: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
    const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

    fn read(pairs: &[(&'static str, &'static str)], body: &str) -> Result<Posted, (u16, i32)> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        Posted::read(&Sessions::default(), &headers, Bytes::copy_from_slice(body.as_bytes()))
            .map_err(|rejection| (rejection.status.as_u16(), rejection.error.code))
    }

    #[test]
    fn the_revision_is_the_one_that_header_and_body_agree_on() {
        let version = |revision| ("mcp-protocol-version", revision);
        let list = ("mcp-method", "tools/list");
        assert_eq!(
            read(&[version("2026-07-28"), list], MODERN).map(|posted| posted.revision),
            Ok(Revision::July2026)
        );
        assert_eq!(
            read(&[version("2025-11-25")], PING).map(|posted| posted.revision),
            Ok(Revision::November2025)
        );
        assert_eq!(read(&[], PING).map(|posted| posted.revision), Ok(Revision::March2025));
        for (pairs, code) in [
            (&[list][..], HEADER_MISMATCH),
            (&[version("2025-11-25"), list], HEADER_MISMATCH),
            (&[version("2026-07-28")], HEADER_MISMATCH),
            (&[version("2026-07-28"), ("mcp-method", "ping")], HEADER_MISMATCH),
            (&[version("2026-07-28"), version("2026-07-28"), list], HEADER_MISMATCH),
            (&[version("2027-01-01"), list], revision::UNSUPPORTED),
        ] {
            assert_eq!(read(pairs, MODERN).map(|posted| posted.revision), Err((400, code)), "{pairs:?}");
        }
    }

    #[test]
    fn what_a_revision_has_given_up_is_not_found() {
        let body = MODERN.replace("tools/list", "resources/subscribe");
        let pairs = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "resources/subscribe")];
        assert_eq!(read(&pairs, &body).map(|_| ()), Err((404, -32601)));
    }

    #[test]
    fn a_batch_is_taken_apart_where_the_revision_has_batches() {
        let body = format!("[ {PING} , {} ]", PING.replace('1', "2"));
        let posted = read(&[], &body).unwrap();
        assert_eq!(posted.messages.len(), 2);
        assert_eq!(posted.messages[0].raw, PING.as_bytes());
        let june = [("mcp-protocol-version", "2025-06-18")];
        assert_eq!(read(&june, &body).map(|_| ()), Err((400, -32600)));
        for (body, code) in [
            ("[]".to_owned(), -32600),
            (format!("[{PING}] x"), -32700),
            (format!("[{PING},[{PING}]]"), -32600),
            (format!("[{}]", vec![PING; 101].join(",")), -32600),
            (r#"[{"jsonrpc":"2.0","id":1,"method":"ping","method":"x"}]"#.to_owned(), -32700),
        ] {
            assert_eq!(read(&[], &body).map(|_| ()), Err((400, code)), "{body}");
        }
        assert_eq!(
            read(&[("mcp-name", "x")], &format!("[{PING},{PING}]")).map(|_| ()),
            Err((400, HEADER_MISMATCH))
        );
    }
}
