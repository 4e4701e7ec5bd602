//! From an MCP message to what the gate decides about, on the sidecar's side.
//!
//! The sidecar reads the message again, from the same bytes that the relay would forward: what the
//! relay thinks of it decides nothing.

use countersign_gate::Act;
use countersign_model::{Object, strict_json};
use serde_json::{Value, value::RawValue};

use super::{
    envelope::{self, Envelope, imitates},
    ruling::Call,
};
use crate::local::wire::Direction;

/// The member of an operation's context that holds parameters which no mapping knows of.
const PARAMS: &str = "params";
/// The member of an operation's context that says that a request goes from the server to the client.
const DIRECTION: &str = "direction";
/// The member of an operation's context that says where a URL leads that a server wants opened.
const URL: &str = "url";

/// The parameters that the protocol knows, as far as evaluated requests have them.
const KNOWN_PARAMS: [&str; 10] = [
    "_meta",
    "arguments",
    "inputResponses",
    "name",
    "ref",
    "requestId",
    "requestState",
    "task",
    "taskId",
    "uri",
];

/// Why a message is no operation. It is a deny (I6).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Unreadable {
    /// What it seems to be about.
    pub about: String,
    /// What is wrong with it.
    pub why: String,
}

/// Reads a request from its bytes.
///
/// # Errors
/// When it is not one request that every reader reads alike.
pub(crate) fn call_in(server: &str, message: &str) -> Result<Call, Unreadable> {
    let unreadable = |about: &str, why: String| Unreadable { about: format!("{server}/{about}"), why };
    match envelope::read(message.as_bytes()).map_err(|error| unreadable("", error.message))? {
        Envelope::Request { id, method, params } => Ok(Call { id, method, params }),
        Envelope::Notification { method, .. } => Err(unreadable(&method, "not a request".to_owned())),
        Envelope::Response { .. } => Err(unreadable("", "not a request".to_owned())),
    }
}

/// A request whose envelope has been read strictly.
pub(super) struct Seen<'a> {
    /// The server's name.
    pub(super) server: &'a str,
    /// Which way the message goes.
    pub(super) direction: Direction,
    /// What is asked.
    pub(super) method: &'a str,
    /// The raw parameters.
    pub(super) params: Option<&'a str>,
}

/// What a request is to do, and the `traceparent` in its `_meta`.
///
/// # Errors
/// When its parameters can be read in more than one way, or lack what they need.
pub(super) fn act(seen: &Seen<'_>) -> Result<(Act, Option<String>), Unreadable> {
    let unreadable = |why| Unreadable { about: format!("{}/{}", seen.server, seen.method), why };
    let (params, meta) = read_params(seen.params.unwrap_or("{}")).map_err(unreadable)?;
    let act = match (seen.direction, seen.method) {
        (Direction::ToServer, "tools/call") => call(seen.server, params),
        (direction, method) => Ok(request(seen.server, direction, method, params)),
    };
    Ok((act.map_err(unreadable)?, meta.and_then(|meta| traceparent(&meta))))
}

/// The parameters, strictly read, and the raw `_meta`. That one belongs to the protocol: it carries
/// progress tokens and traces, differs from call to call, and does not bind.
fn read_params(params: &str) -> Result<(Object, Option<Box<RawValue>>), String> {
    let mut members =
        envelope::params_members(params).map_err(|_| "the params are not an object".to_owned())?;
    if let Some(name) = members.keys().find(|name| imitates(name, &KNOWN_PARAMS)) {
        return Err(format!("the parameter {name:?} differs from a known one by case only"));
    }
    let meta = members.remove("_meta");
    let read = |(name, raw): (String, Box<RawValue>)| match strict_json::parse(raw.get().as_bytes()) {
        Ok(value) => Ok((name, value)),
        Err(error) => Err(format!("the parameter {name:?} is {error}")),
    };
    Ok((members.into_iter().map(read).collect::<Result<Object, String>>()?, meta))
}

fn call(server: &str, mut params: Object) -> Result<Act, String> {
    let Some(Value::String(tool)) = params.remove("name") else {
        return Err("a tool call needs the name of a tool".to_owned());
    };
    let arguments = match params.remove("arguments") {
        None => Object::new(),
        Some(Value::Object(arguments)) => arguments,
        Some(_) => return Err("the arguments of a tool call are an object".to_owned()),
    };
    let mut facts = Object::new();
    if !params.is_empty() {
        // Whatever else the server is given binds, too.
        facts.insert(PARAMS.to_owned(), Value::Object(params));
    }
    Ok(Act::Tool { server: server.to_owned(), tool, arguments, declared: None, facts })
}

/// Any other request, to be mapped by the default mappings of COAZ-MCP.
fn request(server: &str, direction: Direction, method: &str, params: Object) -> Act {
    let mut facts = Object::new();
    if direction == Direction::ToClient {
        facts.insert(DIRECTION.to_owned(), Value::from("to_client"));
        if let Some(url) = params.get("url").and_then(Value::as_str) {
            facts.insert(URL.to_owned(), place(url));
        }
    }
    Act::Method { server: server.to_owned(), method: method.to_owned(), params, facts }
}

/// Where a URL that a person is to open leads: policies must not have to take texts apart. One that is not
/// absolute leads nowhere.
fn place(url: &str) -> Value {
    let uri: Option<http::Uri> = url.parse().ok();
    let part = |part: Option<&str>| part.unwrap_or_default().to_ascii_lowercase();
    let (scheme, host) = uri.as_ref().map_or((None, None), |uri| (uri.scheme_str(), uri.host()));
    serde_json::json!({"scheme": part(scheme), "host": part(host)})
}

fn traceparent(meta: &RawValue) -> Option<String> {
    let meta: Value = serde_json::from_str(meta.get()).ok()?;
    meta.get("traceparent").and_then(Value::as_str).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    type Read = Result<(Act, Option<String>), Unreadable>;

    fn read(message: &str) -> Read {
        read_as(Direction::ToServer, message)
    }

    fn read_as(direction: Direction, message: &str) -> Read {
        let Call { method, params, .. } = call_in("files", message)?;
        act(&Seen { server: "files", direction, method: &method, params: params.as_deref() })
    }

    #[test]
    fn a_tool_call_binds_all_that_the_server_is_given_but_its_meta() {
        let (act, trace) = read(
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"write","arguments":{"path":"a"},
               "task":{"ttl":1},"vendor":true,"_meta":{"progressToken":1152921504606846977,"traceparent":"00-meta"}}}"#,
        )
        .unwrap();
        assert_eq!(trace.as_deref(), Some("00-meta"));
        let facts = json!({"params": {"task": {"ttl": 1}, "vendor": true}});
        assert_eq!(
            act,
            Act::Tool {
                server: "files".to_owned(),
                tool: "write".to_owned(),
                arguments: json!({"path": "a"}).as_object().unwrap().clone(),
                declared: None,
                facts: facts.as_object().unwrap().clone(),
            }
        );
    }

    #[test]
    fn other_requests_keep_their_method_and_parameters() {
        for (method, params) in [
            ("resources/read", json!({"uri": "file:///a"})),
            ("initialize", json!({"protocolVersion": "x"})),
            ("vendor/do", json!({"a": 1})),
        ] {
            let message = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
            let expected = Act::Method {
                server: "files".to_owned(),
                method: method.to_owned(),
                params: params.as_object().unwrap().clone(),
                facts: Object::new(),
            };
            assert_eq!(read(&message).unwrap().0, expected);
        }
    }

    #[test]
    fn a_request_to_the_client_is_not_the_same_as_one_to_the_server() {
        let message =
            r#"{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{"messages":[]}}"#;
        assert_ne!(read_as(Direction::ToClient, message).unwrap().0, read(message).unwrap().0);
    }

    #[test]
    fn a_url_to_be_opened_is_known_by_where_it_leads() {
        for (url, scheme, host) in [
            ("https://Accounts.example.com/login?x=1", "https", "accounts.example.com"),
            ("https://accounts.example.com@evil.example/", "https", "evil.example"),
            ("/relative", "", ""),
            ("https://exa mple", "", ""),
        ] {
            let message = json!({"jsonrpc": "2.0", "id": 1, "method": "elicitation/create", "params": {"mode": "url", "url": url}});
            let Act::Method { facts, .. } = read_as(Direction::ToClient, &message.to_string()).unwrap().0
            else {
                panic!("not a method");
            };
            assert_eq!(facts["url"], json!({"scheme": scheme, "host": host}), "{url}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_no_operation() {
        for params in [
            r#"{"name":"read","Name":"delete","arguments":{}}"#,
            r#"{"name":"read","arguments":{},"ARGUMENTS":{"path":"b"}}"#,
            r#"{"name":"read","arguments":{"path":"a","path":"b"}}"#,
            r#"{"name":"read","arguments":["a"]}"#,
            r#"{"name":"read","arguments":{"size":9007199254740993}}"#,
            r#"{"name":["read"],"arguments":{}}"#,
            r#"{"arguments":{}}"#,
            r#"["read"]"#,
        ] {
            let message = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
            assert!(read(&message).is_err(), "{params}");
        }
        for message in [
            r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"read"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"a","URI":"b"}}"#,
            "[]",
        ] {
            assert!(read(message).is_err(), "{message}");
        }
    }
}
