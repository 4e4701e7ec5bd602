//! What a server asks of the client inside an answer: sampling, elicitation, roots, and whatever else.
//! Every question is decided about, as if it had come as a request.

use countersign_gate::Answer;
use tokio::sync::oneshot;
use tracing::warn;

use super::{
    edit::Members,
    envelope::{MEMBERS, imitates},
    known::Known,
    patience::Waited,
    review::{Context, Verdict},
    ruling::{self, Call},
};
use crate::local::wire::{DeniedEvent, Direction};

/// The member of a result that holds questions to the client.
const QUESTIONS: &str = "inputRequests";
/// The members of a result that say what kind of result it is.
const KNOWN: [&str; 3] = [QUESTIONS, "resultType", "requestState"];
/// The members of a result that say that it begins a task.
const TASKS: [&str; 2] = ["task", "taskId"];

/// Whether something in an answer has to be decided about or remembered, or readers could differ on whether
/// it has.
pub(super) fn concern(answer: &str) -> bool {
    let Ok(message) = Members::parse(answer) else { return true };
    if message.names().any(|name| imitates(name, &MEMBERS)) {
        return true;
    }
    let Some(result) = message.get("result").filter(|result| result.starts_with('{')) else { return false };
    let Ok(members) = Members::parse(result) else { return true };
    let concerns = |name: &str| name == QUESTIONS || TASKS.contains(&name) || imitates(name, &KNOWN);
    members.names().any(concerns)
}

/// Decides about the questions inside an answer. One that is refused takes the whole answer with it: what
/// is left would ask for less than the server needs.
pub(super) async fn decided(known: &Known, call: &Call, context: &Context<'_>, answer: &str) -> Verdict {
    let Ok(message) = Members::parse(answer) else { return refuse_answer(call, "it has a member twice") };
    if message.names().any(|name| imitates(name, &MEMBERS)) {
        return refuse_answer(call, "it has a member that differs from a known one by case only");
    }
    let Some(result) = message.get("result").filter(|result| result.starts_with('{')) else {
        return Verdict::Pass;
    };
    let Ok(members) = Members::parse(result) else { return refuse_answer(call, "it has a member twice") };
    if members.names().any(|name| imitates(name, &KNOWN)) {
        return refuse_answer(call, "it has a member that differs from a known one by case only");
    }
    if let Some(tool) = call.tool() {
        known.tasks.note(&tool, &members);
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
        if let Some(denied) = question_denied(known, context, &method, question.get("params")).await {
            return Verdict::Instead(ruling::refused(call, &denied));
        }
    }
    Verdict::Pass
}

/// Why a question may not be asked; `None` when it may.
async fn question_denied(
    known: &Known,
    context: &Context<'_>,
    method: &str,
    params: Option<&str>,
) -> Option<DeniedEvent> {
    let permit = match known.decide(Direction::ToClient, method, params, context.origin).await {
        Answer::Permitted(permit) => permit,
        Answer::Denied(denial) => return Some(ruling::denied(&denial)),
        Answer::Held(held) => {
            let (_kept, withdrawn) = oneshot::channel();
            let until = tokio::time::sleep(context.patience);
            match known.wait(held, withdrawn, until, |_| {}).await {
                Waited::Permitted(permit) => *permit,
                other => return other.denied(),
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
    Verdict::Instead(ruling::not_let_through(&call.id, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_concerns_when_it_asks_or_begins_something_or_could_seem_to() {
        let answer = |rest: &str| format!(r#"{{"jsonrpc":"2.0","id":1,{rest}}}"#);
        for rest in [
            r#""result":{"content":[{"inputRequests":1}],"isError":true}"#,
            r#""result":{"resultType":"complete","structuredContent":{"task":1}}"#,
            r#""result":null"#,
            r#""error":{"code":1,"message":"taskId"}"#,
        ] {
            assert!(!concern(&answer(rest)), "{rest}");
        }
        for rest in [
            r#""result":{"inputRequests":{}}"#,
            r#""result":{"InputRequests":{}}"#,
            r#""result":{"\u0069nputRequests":{}}"#,
            r#""result":{"resulttype":"x"}"#,
            r#""result":{"taskId":"a"}"#,
            r#""result":{"task":{"taskId":"a"}}"#,
            r#""result":{"a":1,"a":2}"#,
            r#""result":{},"result":{}"#,
            r#""result":{},"Result":{"inputRequests":{}}"#,
        ] {
            assert!(concern(&answer(rest)), "{rest}");
        }
    }
}
