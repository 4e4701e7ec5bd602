//! Headers: which of them travel on, and whether those that repeat the body say the same as it.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde_json::Value;

use super::revision::PROTOCOL_VERSION;
use crate::initiator;
use crate::mcp::{
    edit::Members,
    mirrored::{Mirrored, PARAM_PREFIX},
    revision::Revision,
};

const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");

/// Headers that end at the next hop (RFC 9110 §7.6.1), or that are between the client and the sidecar.
const OURS: [HeaderName; 18] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::HOST,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::AUTHORIZATION,
    header::COOKIE,
    header::ORIGIN,
    // What comes compressed cannot be looked into.
    header::ACCEPT_ENCODING,
    header::CONTENT_ENCODING,
    initiator::HEADER,
];

/// Headers of the server's answer that end here besides those.
const THEIRS: [HeaderName; 2] = [header::SET_COOKIE, header::WWW_AUTHENTICATE];

/// The headers of a request that the server gets. A revision that does not define the headers that repeat
/// the body does not get them either: nobody would have held them against it.
pub(super) fn to_server(headers: &HeaderMap, revision: Revision) -> HeaderMap {
    let mut kept = without(headers, &OURS);
    if !revision.is_stateless() {
        let repeating = |name: &HeaderName| *name == METHOD || *name == NAME || is_param(name);
        let names: Vec<HeaderName> = kept.keys().filter(|name| repeating(name)).cloned().collect();
        for name in names {
            kept.remove(name);
        }
    }
    kept
}

/// The headers of an answer that the client gets.
pub(super) fn to_client(headers: &HeaderMap) -> HeaderMap {
    let mut kept = without(headers, &OURS);
    for name in &THEIRS {
        kept.remove(name);
    }
    kept
}

fn without(headers: &HeaderMap, names: &[HeaderName]) -> HeaderMap {
    let named = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let named: Vec<&str> = named.flat_map(|names| names.split(',')).map(str::trim).collect();
    let is_kept = |name: &HeaderName| {
        !names.contains(name) && !named.iter().any(|hop| name.as_str().eq_ignore_ascii_case(hop))
    };
    let kept = headers.iter().filter(|(name, _)| is_kept(name));
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn is_param(name: &HeaderName) -> bool {
    name.as_str().starts_with(PARAM_PREFIX)
}

/// Holds the headers of a message from 2026-07-28 on against its body. Returns what differs.
pub(super) fn mismatch(
    headers: &HeaderMap,
    method: &str,
    is_request: bool,
    params: Option<&str>,
) -> Option<String> {
    let differs = |name: &HeaderName, body: &str, decode: bool| match single(headers, name) {
        Single::Missing => Some(format!("the header {name} is missing")),
        Single::Unclear => Some(format!("the header {name} is there more than once or is no text")),
        Single::One(text) => {
            let value = if decode { decoded(text) } else { Some(text.to_owned()) };
            (value.as_deref() != Some(body)).then(|| format!("the header {name} differs from the body"))
        }
    };
    if (is_request || headers.contains_key(METHOD))
        && let Some(problem) = differs(&METHOD, method, false)
    {
        return Some(problem);
    }
    let member = match method {
        "tools/call" | "prompts/get" => "name",
        "resources/read" => "uri",
        _ => return None,
    };
    // A message without the member is no operation; that is found where it is normalised.
    let named =
        params.and_then(|params| Members::parse(params).ok()).and_then(|params| params.string(member));
    named.and_then(|named| differs(&NAME, &named, true))
}

/// Holds the headers that repeat arguments against them. Returns what differs.
pub(super) fn argument_mismatch(
    headers: &HeaderMap,
    mirrored: &[Mirrored],
    params: Option<&str>,
) -> Option<String> {
    let params: Option<Value> = params.and_then(|params| serde_json::from_str(params).ok());
    mirrored.iter().find_map(|Mirrored { header, path }| {
        let arguments = params.as_ref().and_then(|params| params.get("arguments"));
        let value = path.iter().try_fold(arguments?, |value, name| value.get(name));
        let fits = match (value.filter(|value| !value.is_null()), single(headers, header)) {
            (None, Single::Missing) => true,
            (Some(value), Single::One(text)) => decoded(text).is_some_and(|text| says(&text, value)),
            (_, _) => false,
        };
        (!fits).then(|| format!("the header {header} differs from the body"))
    })
}

/// Has the headers that repeat arguments say what the changed ones are.
pub(super) fn repeat_arguments(headers: &mut HeaderMap, mirrored: &[Mirrored], params: Option<&str>) {
    let params: Option<Value> = params.and_then(|params| serde_json::from_str(params).ok());
    for Mirrored { header, path } in mirrored {
        let arguments = params.as_ref().and_then(|params| params.get("arguments"));
        let value =
            arguments.and_then(|arguments| path.iter().try_fold(arguments, |value, name| value.get(name)));
        let text = match value {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(encoded(text)),
            Some(other) => Some(encoded(&other.to_string())),
        };
        match text.and_then(|text| HeaderValue::from_str(&text).ok()) {
            Some(value) => drop(headers.insert(header.clone(), value)),
            None => drop(headers.remove(header)),
        }
    }
}

/// The reverse of [`decoded`]: what is no plain text, or would be taken for an encoded one, is encoded.
fn encoded(text: &str) -> String {
    let is_plain = text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) && text.trim() == text;
    if is_plain && !text.starts_with("=?base64?") {
        text.to_owned()
    } else {
        format!("=?base64?{}?=", BASE64_STANDARD.encode(text))
    }
}

fn says(text: &str, value: &Value) -> bool {
    match value {
        Value::String(value) => text == value,
        Value::Bool(value) => text == value.to_string(),
        // 42 and 42.0 are one number.
        Value::Number(value) => text.parse().is_ok_and(|number: f64| value.as_f64() == Some(number)),
        _ => false,
    }
}

/// What the headers of a message that several elements share cannot say.
pub(super) fn repeats_the_body(headers: &HeaderMap) -> bool {
    headers.contains_key(METHOD) || headers.contains_key(NAME)
}

enum Single<'a> {
    Missing,
    One(&'a str),
    Unclear,
}

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Single<'a> {
    let mut given = headers.get_all(name).iter();
    match (given.next(), given.next()) {
        (None, _) => Single::Missing,
        (Some(value), None) => value.to_str().map_or(Single::Unclear, Single::One),
        (Some(_), Some(_)) => Single::Unclear,
    }
}

/// The value that a header stands for (2026-07-28, streamable HTTP, value encoding).
fn decoded(text: &str) -> Option<String> {
    match text.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) {
        Some(encoded) => String::from_utf8(BASE64_STANDARD.decode(encoded).ok()?).ok(),
        None => Some(text.to_owned()),
    }
}

/// The headers under which the sidecar itself tells the server something in a session.
pub(super) fn own(of_request: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for name in [PROTOCOL_VERSION, super::session::SESSION_ID] {
        if let Some(value) = of_request.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    headers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::mirrored::mirrored;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        let mut headers = HeaderMap::new();
        for (name, value) in pairs.iter().map(pair) {
            headers.append(name, value);
        }
        headers
    }

    fn call(pairs: &[(&'static str, &'static str)], name: &str) -> Option<String> {
        mismatch(&headers(pairs), "tools/call", true, Some(&serde_json::json!({"name": name}).to_string()))
    }

    #[test]
    fn headers_say_what_the_body_says_or_the_message_is_refused() {
        assert_eq!(call(&[("mcp-method", "tools/call"), ("mcp-name", "read")], "read"), None);
        let encoded = [("mcp-method", "tools/call"), ("mcp-name", "=?base64?SGVsbG8sIOS4lueVjA==?=")];
        assert_eq!(call(&encoded, "Hello, 世界"), None);
        for wrong in [
            &[("mcp-name", "read")][..],
            &[("mcp-method", "tools/call")],
            &[("mcp-method", "tools/call"), ("mcp-name", "write")],
            &[("mcp-method", "tools/list"), ("mcp-name", "read")],
            &[("mcp-method", "tools/call"), ("mcp-method", "tools/list"), ("mcp-name", "read")],
            &[("mcp-method", "tools/call"), ("mcp-name", "read"), ("mcp-name", "read")],
            &[("mcp-method", "tools/call"), ("mcp-name", "=?base64?cmVhZA?=")],
            &[("mcp-method", "TOOLS/CALL"), ("mcp-name", "read")],
        ] {
            assert!(call(wrong, "read").is_some(), "{wrong:?}");
        }
    }

    #[test]
    fn arguments_are_repeated_as_the_tool_wants_it() {
        let definition = serde_json::json!({"inputSchema": {"properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "query": {"type": "string"},
            "limits": {"properties": {"rows": {"type": "integer", "x-mcp-header": "Rows"}}},
        }}});
        let mirrored = mirrored(&definition);
        assert_eq!(mirrored.len(), 2);
        let params = r#"{"arguments":{"region":"west","limits":{"rows":42}}}"#;
        let mismatch = |pairs: &[_], params| argument_mismatch(&headers(pairs), &mirrored, Some(params));
        let both = [("mcp-param-region", "west"), ("mcp-param-rows", "42.0")];
        assert_eq!(mismatch(&both, params), None);
        assert_eq!(mismatch(&[("mcp-param-other", "x")], r#"{"arguments":{"limits":{"rows":null}}}"#), None);
        for wrong in [
            &both[..1],
            &[("mcp-param-region", "east"), ("mcp-param-rows", "42")],
            &[("mcp-param-region", "west"), ("mcp-param-region", "east"), ("mcp-param-rows", "42")],
        ] {
            assert!(mismatch(wrong, params).is_some(), "{wrong:?}");
        }
        assert!(
            mismatch(&both, r#"{"arguments":{}}"#).is_some(),
            "a header for an argument that is not there"
        );
    }

    #[test]
    fn what_is_between_two_hops_stays_there() {
        let given = headers(&[
            ("connection", "close, x-private"),
            ("x-private", "1"),
            ("authorization", "Bearer agent"),
            ("cookie", "a=b"),
            ("host", "localhost"),
            ("origin", "http://localhost"),
            ("accept-encoding", "gzip"),
            ("countersign-initiator-token", "a.b.c"),
            ("x-vendor", "1"),
            ("mcp-name", "read"),
            ("mcp-param-region", "west"),
            ("mcp-session-id", "s"),
        ]);
        let names = |headers: &HeaderMap| {
            let mut names: Vec<String> = headers.keys().map(ToString::to_string).collect();
            names.sort();
            names
        };
        assert_eq!(names(&to_server(&given, Revision::November2025)), ["mcp-session-id", "x-vendor"]);
        let modern = names(&to_server(&given, Revision::July2026));
        assert_eq!(modern, ["mcp-name", "mcp-param-region", "mcp-session-id", "x-vendor"]);
    }
}
