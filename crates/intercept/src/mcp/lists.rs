//! Lists: a client is shown what policy could let through or hold, and what the server's tools are is
//! remembered.
//!
//! Policy is asked without arguments, which nobody knows yet. A list from which something was taken
//! says that no other client may be given it, and that it must not be kept.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json, value::RawValue};
use tracing::warn;

use super::{
    definitions::Page,
    edit::Members,
    envelope::imitates,
    known::Known,
    review::{Context, Verdict},
    ruling::{Asked, Call},
};

/// The most pages of a list that are asked for on our own account.
pub(super) const MAX_PAGES: usize = 64;
/// How long a page may take.
pub(super) const PAGE_WITHIN: Duration = Duration::from_secs(10);

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

/// Whether a request is one for a list.
pub(super) fn is_list(method: &str) -> bool {
    kind(method).is_some()
}

/// What becomes of an answer that is a list.
pub(super) fn filtered(known: &Known, call: &Call, context: &Context<'_>, text: &str) -> Verdict {
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
        let page = Page { is_first, is_last: result.string("nextCursor").is_none() };
        remember(known, &named, page, context.changes);
    }
    let is_shown =
        |name: &Option<String>| name.as_ref().is_some_and(|name| known.could(kind.request, kind.name, name));
    let shown: Vec<&str> = named.iter().filter(|(name, _)| is_shown(name)).map(|(_, item)| *item).collect();
    if shown.len() == named.len() {
        return Verdict::Pass;
    }
    let list = format!("[{}]", shown.join(","));
    result.set(kind.member, list);
    keep_from_others(&mut result, context.is_stateless);
    let result = result.to_string();
    message.set("result", result);
    Verdict::Instead(message.to_string())
}

/// What becomes of the answer to a request that connects: instructions that nobody has accepted, and that
/// policy did not know of, are taken out.
pub(super) fn connected(known: &Known, asked: &Asked, context: &Context<'_>, text: &str) -> Verdict {
    let Some((mut message, mut result)) = parts(text) else { return Verdict::Pass };
    if result.names().any(|name| imitates(name, &["instructions"])) {
        return Verdict::Drop;
    }
    if known.kept.accepted.instructed(result.get("instructions"), asked.instructions) {
        return Verdict::Pass;
    }
    warn!(server = known.name, "the server's instructions are not what they were; kept from the client");
    result.remove("instructions");
    keep_from_others(&mut result, context.is_stateless);
    let result = result.to_string();
    message.set("result", result);
    Verdict::Instead(message.to_string())
}

/// What a client is shown is for it alone, and may be something else the next time.
fn keep_from_others(result: &mut Members<'_>, is_stateless: bool) {
    if is_stateless || result.get("cacheScope").is_some() || result.get("ttlMs").is_some() {
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

fn remember(known: &Known, named: &[(Option<String>, &str)], page: Page, changes: u64) {
    // Two of one name are no tool that a person could know.
    let mut seen = BTreeSet::new();
    let twice: BTreeSet<&String> =
        named.iter().filter_map(|(name, _)| name.as_ref()).filter(|name| !seen.insert(*name)).collect();
    let tools = named.iter().filter_map(|(name, item)| {
        let name = name.as_ref().filter(|name| !twice.contains(name))?;
        Some((name.clone(), *item))
    });
    known.definitions.listed(tools, page, changes);
}

/// How a list goes on after a page.
pub(crate) enum Next {
    /// It was the last.
    End,
    /// There.
    Cursor(String),
}

/// Takes in a page of tools that was asked for on our own account, when the server had said that often that
/// they have changed.
pub(crate) fn take_page(known: &Known, text: &str, is_first: bool, changes: u64) -> Option<Next> {
    let (_, result) = parts(text)?;
    let kind = kind("tools/list")?;
    let items: Vec<&RawValue> = serde_json::from_str(result.get("tools")?).ok()?;
    let named: Vec<_> = items.iter().map(|item| (name_of(item.get(), &kind), item.get())).collect();
    let next = result.string("nextCursor");
    remember(known, &named, Page { is_first, is_last: next.is_none() }, changes);
    Some(next.map_or(Next::End, Next::Cursor))
}

/// Whether a message is an answer with a result.
pub(super) fn is_answer(text: &str) -> bool {
    parts(text).is_some()
}

/// A request of our own for a page of tools, on the occasion of a call.
pub(super) fn request(call: &Call, id: &str, cursor: Option<&str>) -> String {
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
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/list", "params": params}).to_string()
}
