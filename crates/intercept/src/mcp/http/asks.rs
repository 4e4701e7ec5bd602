//! What the server asks of the client in requests of its own: sampling, elicitation, roots, and whatever
//! else. Each is decided about. (Questions inside an answer: `mcp::questions`.)

use std::sync::Arc;

use countersign_gate::Answer;
use tracing::warn;

use super::{channel::Sender, exchange::Exchange, sse};
use crate::{
    local::wire::{DeniedEvent, Direction},
    mcp::{
        envelope::{Envelope, Id, read},
        patience::Waited,
        refusal,
        review::Verdict,
        ruling,
    },
};

/// Decides about a request of the server's.
pub(super) async fn request(
    exchange: &Arc<Exchange>,
    id: Id,
    method: &str,
    text: &[u8],
    out: Option<&Sender>,
) -> Verdict {
    if exchange.revision.is_stateless() {
        warn!(method, "the server made a request, which this revision does not have; not forwarded");
        return Verdict::Drop;
    }
    let asks = &exchange.session.asks;
    let Ok(withdrawn) = asks.open(&id) else {
        warn!(method, "the server makes too many requests, or two of one id; not forwarded");
        return Verdict::Drop;
    };
    if method == "ping" {
        // Nobody has to be told how it ended.
        drop(asks.forward(&id, || ()));
        return Verdict::Pass;
    }
    let params = match read(text) {
        Ok(Envelope::Request { params, .. }) => params,
        _ => None,
    };
    let (known, params) = (&exchange.server.known, params.as_deref());
    match known.decide(Direction::ToClient, method, params, &exchange.origin).await {
        Answer::Permitted(permit) => match asks.forward(&id, || ()) {
            Some(outcome) => {
                ruling::start(permit, outcome);
                Verdict::Pass
            }
            None => Verdict::Drop,
        },
        Answer::Denied(denial) => {
            asks.close(&id);
            refuse(exchange, &id, &ruling::denied(&denial));
            Verdict::Drop
        }
        Answer::Held(held) => {
            let Some(out) = out.cloned() else {
                asks.close(&id);
                refuse(exchange, &id, &ruling::unsettled(&held));
                return Verdict::Drop;
            };
            let (exchange, text) = (Arc::clone(exchange), text.to_vec());
            // The stream goes on meanwhile: what else it says does not depend on this question.
            tokio::spawn(async move {
                let until = tokio::time::sleep(exchange.server.clients.patience(None));
                let waited = exchange.server.known.wait(held, withdrawn, until, |_| {}).await;
                after_wait(&exchange, &id, &text, waited, &out).await;
            });
            Verdict::Drop
        }
    }
}

async fn after_wait(exchange: &Arc<Exchange>, id: &Id, text: &[u8], waited: Waited, out: &Sender) {
    let asks = &exchange.session.asks;
    if let Waited::Permitted(permit) = waited {
        let Ok(place) = out.reserve().await else { return asks.close(id) };
        if let Some(outcome) = asks.forward(id, || place.send(Ok(sse::event(&String::from_utf8_lossy(text)))))
        {
            ruling::start(*permit, outcome);
        }
        return;
    }
    asks.close(id);
    if let Some(denied) = waited.denied() {
        refuse(exchange, id, &denied);
    }
}

/// Tells the server that its question was refused.
fn refuse(exchange: &Arc<Exchange>, id: &Id, denied: &DeniedEvent) {
    let error = refusal::error(id.raw(), denied);
    let exchange = Arc::clone(exchange);
    tokio::spawn(async move {
        let headers = exchange.own_headers.clone();
        let told = exchange.server.upstream.send(http::Method::POST, headers, error.into()).await;
        if let Err(error) = told {
            warn!(%error, "the server could not be told that its request was refused");
        }
    });
}
