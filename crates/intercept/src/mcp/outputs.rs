//! What an agent may not see of an answer, by the output rules of the bundle that permitted the request.

use countersign_policy::outputs::{Output, Ruled};

use super::{
    edit::Members,
    refusal,
    review::Verdict,
    ruling::{self, Asked},
};
use crate::local::wire::DeniedEvent;

/// The members of a message that carry what the server says.
const SAID: [&str; 2] = ["result", "error"];

/// Applies the rules to an answer. The request has run by now, and its sender is told so.
pub(super) fn apply(asked: &Asked, text: &str) -> (Verdict, Option<Ruled>) {
    if asked.rules.is_empty() {
        return (Verdict::Pass, None);
    }
    let Ok(mut message) = Members::parse(text) else {
        return of(asked, asked.rules.refuse("it has a member twice"));
    };
    let Some((member, said)) = SAID.iter().find_map(|member| Some((*member, message.raw(member)?))) else {
        return (Verdict::Pass, None);
    };
    match asked.rules.apply(said) {
        Output::Redacted(redacted, ruled) => {
            message.set(member, redacted);
            (Verdict::Instead(message.to_string()), Some(ruled))
        }
        other => of(asked, other),
    }
}

fn of(asked: &Asked, output: Output) -> (Verdict, Option<Ruled>) {
    match output {
        Output::Refused(why, ruled) => {
            (Verdict::Instead(ruling::refused(&asked.call, &withheld(&why))), Some(ruled))
        }
        Output::Pass | Output::Redacted(..) => (Verdict::Pass, None),
    }
}

fn withheld(why: &str) -> DeniedEvent {
    DeniedEvent {
        evaluation: None,
        approval: None,
        code: refusal::WITHHELD.to_owned(),
        retry: false,
        message: format!(
            "Countersign withholds the result: {why}. What was asked for has been done; do not ask for it again"
        ),
        policies: Vec::new(),
    }
}
