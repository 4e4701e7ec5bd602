//! Lists that the sidecar asks a server for on its own account.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use http_body_util::{BodyExt as _, Limited};
use tracing::warn;

use super::{
    Server,
    sse::{self, Events},
};
use crate::{
    local::wire::MAX_ANSWER,
    mcp::{
        lists::{self, MAX_PAGES, Next, PAGE_WITHIN},
        revision::Revision,
        ruling::Call,
    },
};

/// Lists the server's tools, when it is not known what they are: a client may call what it has listed
/// before the sidecar was started, or what has changed since.
pub(super) async fn bring_up_to_date(
    server: &Arc<Server>,
    call: &Call,
    revision: Revision,
    headers: &HeaderMap,
) {
    let definitions = &server.known.definitions;
    if call.method != "tools/call" || !definitions.are_wanted() {
        return;
    }
    // One at a time: whoever waits finds it done.
    let _listing = server.listing.lock().await;
    if !definitions.are_wanted() {
        return;
    }
    let (mut next, changes) = (None, definitions.changes());
    for page in 0..MAX_PAGES {
        let asked = lists::request(call, &format!("countersign-list-{page}"), next.as_deref());
        let answer = tokio::time::timeout(PAGE_WITHIN, ask(server, revision, headers, asked)).await;
        let take = |text: String| lists::take_page(&server.known, &text, page == 0, changes);
        let taken = answer.ok().flatten().and_then(take);
        match taken {
            Some(Next::End) => return,
            Some(Next::Cursor(cursor)) => next = Some(cursor),
            None => break,
        }
    }
    definitions.refused();
    warn!(server = server.known.name, "the server's tools could not be listed; they count as not listed");
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
    let mut body = Limited::new(response.into_body(), MAX_ANSWER);
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
            if lists::is_answer(&data) {
                return Some(data);
            }
        }
    }
    String::from_utf8(whole).ok().filter(|text| lists::is_answer(text))
}
