//! Lists: a client is shown what policy could let through or hold, and what the server's tools are is
//! remembered.
//!
//! Policy is asked without arguments, which nobody knows yet. A list from which something was taken
//! says that no other client may be given it, and that it must not be kept.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use http_body_util::{BodyExt as _, Limited};
use serde_json::{Value, json, value::RawValue};
use tracing::warn;

use super::{
    Server,
    edit::Members,
    exchange::{Exchange, Verdict},
    revision::Revision,
    ruling::{Asked, Call},
    sse::{self, Events},
};
use crate::mcp::envelope::imitates;

/// The most pages of a list that the sidecar itself asks for.
const MAX_PAGES: usize = 64;
/// The most bytes of one page.
const MAX_PAGE: usize = 16 * 1024 * 1024;
/// How long a page may take.
const PAGE_WITHIN: Duration = Duration::from_secs(10);
/// The notification after which tools have to be listed again.
const TOOLS_CHANGED: &[u8] = b"notifications/tools/list_changed";

/// A kind of list: its member, the request that its items are for, and what names an item.
struct Kind {
    member: &'static str,
    request: &'static str,
    name: &'static str,
}

fn kind(method: &str) -> Option<Kind> {
    let kind = |member, request, name| Some(Kind { member, request, name });
    match method {
        "tools/list" => kind("tools", "tools/call", "name"),
        "resources/list" => kind("resources", "resources/read", "uri"),
        "prompts/list" => kind("prompts", "prompts/get", "name"),
        _ => None,
    }
}

/// An item of a list that every reader reads alike.
fn name_of(item: &str, kind: &Kind) -> Option<String> {
    let members = Members::parse(item).ok()?;
    if members.names().any(|name| imitates(name, &[kind.name])) {
        return None;
    }
    members.string(kind.name)
}

/// What becomes of an answer that is a list.
pub(super) fn filtered(exchange: &Exchange, call: &Call, text: &str) -> Verdict {
    let Some(kind) = kind(&call.method) else { return Verdict::Pass };
    let Some((mut message, mut result)) = parts(text) else { return Verdict::Pass };
    if result.names().any(|name| imitates(name, &[kind.member, "nextCursor"])) {
        return Verdict::Drop;
    }
    let Some(items) =
        result.get(kind.member).and_then(|items| serde_json::from_str::<Vec<&RawValue>>(items).ok())
    else {
        return Verdict::Pass;
    };
    let named: Vec<(Option<String>, &str)> =
        items.iter().map(|item| (name_of(item.get(), &kind), item.get())).collect();
    if kind.member == "tools" {
        let is_first = call.params.as_deref().is_none_or(|params| cursor(params).is_none());
        remember(&exchange.server, &named, is_first, result.get("nextCursor").is_none());
    }
    let is_shown = |name: &Option<String>| {
        name.as_ref().is_some_and(|name| exchange.server.could(kind.request, kind.name, name))
    };
    let shown: Vec<&str> = named.iter().filter(|(name, _)| is_shown(name)).map(|(_, item)| *item).collect();
    if shown.len() == named.len() {
        return Verdict::Pass;
    }
    let list = format!("[{}]", shown.join(","));
    result.set(kind.member, list);
    keep_from_others(&mut result, exchange.revision);
    let result = result.to_string();
    message.set("result", result);
    Verdict::Instead(message.to_string())
}

/// What becomes of the answer to a request that connects: instructions that nobody has accepted, and that
/// policy did not know of, are taken out.
pub(super) fn connected(exchange: &Exchange, asked: &Asked, text: &str) -> Verdict {
    let Some((mut message, mut result)) = parts(text) else { return Verdict::Pass };
    if result.names().any(|name| imitates(name, &["instructions"])) {
        return Verdict::Drop;
    }
    let server = &exchange.server;
    if server.definitions.instructed(result.get("instructions"), asked.instructions) {
        return Verdict::Pass;
    }
    warn!(server = server.name, "the server's instructions are not what they were; kept from the client");
    result.remove("instructions");
    keep_from_others(&mut result, exchange.revision);
    let result = result.to_string();
    message.set("result", result);
    Verdict::Instead(message.to_string())
}

/// What a client is shown is for it alone, and may be something else the next time.
fn keep_from_others(result: &mut Members<'_>, revision: Revision) {
    if revision.is_stateless() || result.get("cacheScope").is_some() || result.get("ttlMs").is_some() {
        result.set("ttlMs", "0".to_owned());
        result.set("cacheScope", "\"private\"".to_owned());
    }
}

fn cursor(params: &str) -> Option<String> {
    Members::parse(params).ok()?.string("cursor")
}

fn parts(text: &str) -> Option<(Members<'_>, Members<'_>)> {
    let message = Members::parse(text).ok()?;
    let at = message.raw("result")?;
    Some((message, Members::parse(at).ok()?))
}

fn remember(server: &Server, named: &[(Option<String>, &str)], is_first: bool, is_last: bool) {
    if is_first {
        server.definitions.outdated();
    }
    // Two of one name are no tool that a person could know.
    let mut seen = BTreeSet::new();
    let twice: BTreeSet<&String> =
        named.iter().filter_map(|(name, _)| name.as_ref()).filter(|name| !seen.insert(*name)).collect();
    let tools = named.iter().filter_map(|(name, item)| {
        let name = name.as_ref().filter(|name| !twice.contains(name))?;
        Some((name.clone(), *item))
    });
    server.definitions.listed(tools, is_last);
}

/// Looks whether a notification says that tools have changed.
pub(super) fn note(server: &Server, notification: &[u8]) {
    if notification.windows(TOOLS_CHANGED.len()).any(|window| window == TOOLS_CHANGED) {
        server.definitions.outdated();
    }
}

/// Lists the server's tools, when it is not known what they are: a client may call what it has listed
/// before the sidecar was started, or what has changed since.
pub(super) async fn bring_up_to_date(
    server: &Arc<Server>,
    call: &Call,
    revision: Revision,
    headers: &HeaderMap,
) {
    if call.method != "tools/call" || !server.definitions.are_wanted() {
        return;
    }
    // One at a time: whoever waits finds it done.
    let _listing = server.listing.lock().await;
    if !server.definitions.are_wanted() {
        return;
    }
    let mut next = None;
    for page in 0..MAX_PAGES {
        let asked = request(call, page, next.as_deref());
        let answer = tokio::time::timeout(PAGE_WITHIN, ask(server, revision, headers, asked)).await;
        let taken = answer.ok().flatten().and_then(|text| take_page(server, &text, page == 0));
        match taken {
            Some(Page::Last) => return,
            Some(Page::Next(cursor)) => next = Some(cursor),
            None => break,
        }
    }
    server.definitions.refused();
    warn!(server = server.name, "the server's tools could not be listed; they count as not listed");
}

/// A page of a list.
enum Page {
    Last,
    Next(String),
}

fn take_page(server: &Server, text: &str, is_first: bool) -> Option<Page> {
    let (_, result) = parts(text)?;
    let kind = kind("tools/list")?;
    let items: Vec<&RawValue> = serde_json::from_str(result.get("tools")?).ok()?;
    let named: Vec<_> = items.iter().map(|item| (name_of(item.get(), &kind), item.get())).collect();
    let next = result.string("nextCursor");
    remember(server, &named, is_first, next.is_none());
    Some(next.map_or(Page::Last, Page::Next))
}

fn request(call: &Call, page: usize, cursor: Option<&str>) -> String {
    let mut params = serde_json::Map::new();
    // Where each request stands for itself, the client's own words say which client it is.
    let meta = call.params.as_deref().and_then(|params| Members::parse(params).ok());
    let meta = meta.and_then(|params| serde_json::from_str::<Value>(params.get("_meta")?).ok());
    if let Some(Value::Object(mut meta)) = meta {
        meta.remove("progressToken");
        params.insert("_meta".to_owned(), Value::Object(meta));
    }
    if let Some(cursor) = cursor {
        params.insert("cursor".to_owned(), json!(cursor));
    }
    let id = format!("countersign-list-{page}");
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/list", "params": params}).to_string()
}

/// Asks the server something of our own. Returns the text of its answer.
async fn ask(server: &Server, revision: Revision, headers: &HeaderMap, message: String) -> Option<String> {
    let mut headers = headers.clone();
    if revision.is_stateless() {
        headers.insert("mcp-method", HeaderValue::from_static("tools/list"));
    }
    let response = server.upstream.send(Method::POST, headers, Bytes::from(message)).await.ok()?;
    let is_stream = response
        .headers()
        .get("content-type")
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    let mut body = Limited::new(response.into_body(), MAX_PAGE);
    let (mut whole, mut events) = (Vec::new(), Events::default());
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.ok()?.into_data() else { continue };
        if !is_stream {
            whole.extend_from_slice(&data);
            continue;
        }
        events.push(&data);
        while let Some(event) = events.next() {
            let data = sse::data(&event).and_then(|data| String::from_utf8(data).ok()).unwrap_or_default();
            if parts(&data).is_some() {
                return Some(data);
            }
        }
    }
    String::from_utf8(whole).ok().filter(|text| parts(text).is_some())
}
