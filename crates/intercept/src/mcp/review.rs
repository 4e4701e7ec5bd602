//! An answer of the server's, before the client sees it: the questions in it are decided about, tasks that it
//! begins are remembered, lists are shortened to what could be let through, instructions that nobody has
//! accepted are left out, and output rules apply.

use std::time::Duration;

use countersign_policy::outputs::Ruled;

use super::{
    known::{Known, Origin},
    lists, outputs, questions,
    ruling::{Asked, connects},
    substitute,
};

/// What becomes of a message of the server's.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It passes as it is.
    Pass,
    /// This goes in its place.
    Instead(String),
    /// It does not pass.
    Drop,
}

/// Where an answer comes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context<'a> {
    /// Whether the revision has requests that stand for themselves.
    pub(crate) is_stateless: bool,
    /// How often the server had said that its tools have changed when it was asked.
    pub(crate) changes: u64,
    /// Why and where.
    pub(crate) origin: &'a Origin,
    /// How long the client waits for a question in the answer.
    pub(crate) patience: Duration,
}

impl Known {
    /// Looks at an answer. Returns what output rules did to it, too.
    pub(crate) async fn review(
        &self,
        asked: &Asked,
        context: &Context<'_>,
        answer: &str,
    ) -> (Verdict, Option<Ruled>) {
        let call = &asked.call;
        let verdict = match questions::decided(self, call, context, answer).await {
            Verdict::Pass if connects(&call.method) => lists::connected(self, asked, context, answer),
            Verdict::Pass => lists::filtered(self, call, context, answer),
            refused => refused,
        };
        let (verdict, ruled) = match verdict {
            Verdict::Pass => outputs::apply(asked, answer),
            other => (other, None),
        };
        let told = match &verdict {
            Verdict::Pass => substitute::tell(asked, answer),
            Verdict::Instead(instead) => substitute::tell(asked, instead),
            Verdict::Drop => None,
        };
        (told.map_or(verdict, Verdict::Instead), ruled)
    }
}
