//! What the server asks of the client: sampling, elicitation, roots, and whatever else. Every question is
//! decided about, whether it comes as a request or inside an answer.

use std::sync::Arc;

use countersign_gate::Answer;
use serde_json::json;
use tokio::sync::oneshot;
use tracing::warn;

use super::{
    channel::Sender,
    edit::Members,
    exchange::{Exchange, Verdict},
    patience::Waited,
    ruling::{self, Call},
    sse,
};
use crate::{
    local::wire::{DeniedEvent, Direction},
    mcp::{
        envelope::{Envelope, Id, imitates, read},
        refusal,
    },
};

/// The member of a result that holds questions to the client.
const QUESTIONS: &str = "inputRequests";
/// The members of a result that say what kind of result it is.
const KNOWN: [&str; 3] = [QUESTIONS, "resultType", "requestState"];

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
    match exchange.server.decide(Direction::ToClient, method, params.as_deref()).await {
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
                let waited = exchange.server.wait(held, withdrawn, until, |_| {}).await;
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
    if let Some(denied) = denied(&waited) {
        refuse(exchange, id, &denied);
    }
}

fn denied(waited: &Waited) -> Option<DeniedEvent> {
    match waited {
        Waited::Denied(denial) => Some(ruling::denied(denial)),
        Waited::Unsettled(held) => Some(ruling::unsettled(held)),
        Waited::Stopping(evaluation) => Some(ruling::stopping(*evaluation)),
        Waited::Pending(status) => Some(DeniedEvent {
            evaluation: None,
            approval: Some(status.id),
            code: refusal::PENDING.to_owned(),
            retry: true,
            message: "people are still deciding about this question".to_owned(),
            policies: Vec::new(),
        }),
        Waited::Permitted(_) | Waited::Withdrawn => None,
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

/// Decides about the questions inside an answer. One that is refused takes the whole answer with it: what
/// is left would ask for less than the server needs.
pub(super) async fn in_answer(exchange: &Arc<Exchange>, call: &Call, text: &str) -> Verdict {
    let Ok(message) = Members::parse(text) else { return refuse_answer(call, "it has a member twice") };
    let Some(result) = message.get("result").filter(|result| result.starts_with('{')) else {
        return Verdict::Pass;
    };
    let Ok(members) = Members::parse(result) else { return refuse_answer(call, "it has a member twice") };
    if members.names().any(|name| imitates(name, &KNOWN)) {
        return refuse_answer(call, "it has a member that differs from a known one by case only");
    }
    if let Some(tool) = call.tool() {
        exchange.server.tasks.note(&tool, &members);
    }
    let Some(questions) = members.get(QUESTIONS) else { return Verdict::Pass };
    let Ok(questions) = Members::parse(questions) else {
        return refuse_answer(call, "its questions cannot be read");
    };
    for name in questions.names() {
        let question = questions.get(name).and_then(|question| Members::parse(question).ok());
        let Some((method, question)) =
            question.and_then(|question| Some((question.string("method")?, question)))
        else {
            return refuse_answer(call, "one of its questions cannot be read");
        };
        if let Some(denied) = question_denied(exchange, &method, question.get("params")).await {
            return Verdict::Instead(ruling::refused(call, &denied));
        }
    }
    Verdict::Pass
}

/// Why a question may not be asked; `None` when it may.
async fn question_denied(
    exchange: &Arc<Exchange>,
    method: &str,
    params: Option<&str>,
) -> Option<DeniedEvent> {
    let permit = match exchange.server.decide(Direction::ToClient, method, params).await {
        Answer::Permitted(permit) => permit,
        Answer::Denied(denial) => return Some(ruling::denied(&denial)),
        Answer::Held(held) => {
            let (_kept, withdrawn) = oneshot::channel();
            let until = tokio::time::sleep(exchange.server.clients.patience(None));
            match exchange.server.wait(held, withdrawn, until, |_| {}).await {
                Waited::Permitted(permit) => *permit,
                other => return denied(&other),
            }
        }
    };
    // How it ends is seen by the client alone.
    permit.hand_over().await;
    None
}

/// An answer that can be read in more than one way.
fn refuse_answer(call: &Call, why: &str) -> Verdict {
    warn!(method = call.method, why, "an answer of the server was not let through");
    let message = format!("refused by Countersign: the server's answer was not let through: {why}");
    Verdict::Instead(ruling::message(call.id.raw(), "error", &json!({"code": -32603, "message": message})))
}
