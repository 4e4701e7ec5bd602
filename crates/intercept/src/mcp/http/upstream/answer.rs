//! What a process says, as a server over HTTP would answer: one message at once where that is all, else a
//! stream of events that begins before it is known what it will say.

use std::time::Duration;

use axum::{
    body::Body,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures::stream;
use http::{StatusCode, header};
use tokio::time::timeout;

use super::{
    super::{channel, sse},
    UpstreamError,
    process::{Caller, Said},
    table::Callers,
};
use crate::mcp::edit::Members;

/// How long a process may take for its first word before the stream begins without it. Some clients wait no
/// longer for the head of an answer than for all of it.
const FIRST_WORD: Duration = Duration::from_secs(10);
/// How often a stream on which nothing is said shows that it is there.
const COMMENT_EVERY: Duration = Duration::from_secs(15);
/// The longest message that is one body. A longer one is passed on in pieces more easily as an event.
const MAX_WHOLE: usize = 1024 * 1024;

/// The answer to requests. `is_batch` says that there may be several.
pub(super) async fn answer(mut caller: Caller, is_batch: bool) -> Result<Response, UpstreamError> {
    let first = match timeout(FIRST_WORD, caller.next()).await {
        Ok(Some(said)) if said.is_last && !is_batch && said.text.len() <= MAX_WHOLE => {
            return Ok(whole(said.text, caller.callers()));
        }
        Ok(Some(said)) => Some(said),
        Ok(None) => return Err(ended()),
        Err(_elapsed) => None,
    };
    Ok(events(caller, first, true))
}

/// A stream of what a process says by itself. It may end at any time.
pub(super) fn listening(caller: Caller) -> Response {
    events(caller, None, false)
}

/// One message.
pub(super) fn whole(text: String, callers: Callers) -> Response {
    let status = match callers {
        Callers::One => StatusCode::OK,
        Callers::Many => status(&text),
    };
    (status, [(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// The status that says the same as an error does (2026-07-28, streamable HTTP).
fn status(text: &str) -> StatusCode {
    let message = Members::parse(text).ok();
    let code = message.and_then(|message| Members::parse(message.raw("error")?).ok()?.raw("code"));
    match code {
        Some("-32601") => StatusCode::NOT_FOUND,
        Some("-32020" | "-32021" | "-32022") => StatusCode::BAD_REQUEST,
        _ => StatusCode::OK,
    }
}

fn ended() -> UpstreamError {
    UpstreamError::Broken("its process ended before it answered".to_owned())
}

/// Everything that a caller hears. `has_answer` says whether it may only end with an answer.
fn events(caller: Caller, first: Option<Said>, has_answer: bool) -> Response {
    let pieces = stream::unfold(Some((caller, first)), move |state| async move {
        let (mut caller, first) = state?;
        let next = match first {
            Some(said) => Ok(Some(said)),
            None => timeout(COMMENT_EVERY, caller.next()).await,
        };
        match next {
            Ok(Some(said)) => Some((Ok(sse::event(&said.text)), (!said.is_last).then_some((caller, None)))),
            Ok(None) => has_answer.then(|| (Err(ended()), None)),
            Err(_elapsed) => Some((Ok(Bytes::from_static(b": still there\n\n")), Some((caller, None)))),
        }
    });
    channel::event_stream(Body::from_stream(pieces))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_the_status_that_its_revision_gives_it() {
        let error =
            |code: i32| format!(r#"{{"jsonrpc":"2.0","id":1,"error":{{"code":{code},"message":"no"}}}}"#);
        let status = |callers, code| whole(error(code), callers).status().as_u16();
        assert_eq!([-32601, -32022, -32602].map(|code| status(Callers::Many, code)), [404, 400, 200]);
        assert_eq!(status(Callers::One, -32601), 200);
        assert_eq!(
            whole(r#"{"id":1,"result":{"error":{"code":-32601}}}"#.to_owned(), Callers::Many).status(),
            200
        );
    }
}
