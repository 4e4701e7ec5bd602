//! What becomes of an operation whose arguments a reviewer changed.
//!
//! The changes are made to what the sidecar really has, secrets included, and policy is asked about the
//! result as about any other operation: it may permit it, deny it, or hold it. What it holds is a new request,
//! for a new digest, on which no earlier vote counts (I2, I3).
//!
//! A client whose patience has ended comes back with the arguments that it knows. For a while, unless what was
//! made of them has run or is over, that means the changed ones.

use std::sync::Arc;

use countersign_approval::{Status, edit};
use countersign_model::{Object, Operation};
use serde_json::Value;

use super::{Held, HoldError, Next};
use crate::{
    Act, Answer, Cause, Intent,
    engine::Engine,
    intent::{Arguments, Edited, MadeEdit, Replaced},
};

impl Held {
    /// Whether its interceptor can carry it out with other arguments.
    pub(super) fn is_replaceable(&self) -> bool {
        self.intent.arguments != Arguments::AsGiven
    }
}

impl Engine {
    /// A request was closed in favour of another: by a reviewer's edit, or by this gate itself.
    pub(super) async fn superseded(self: &Arc<Self>, held: Held, status: &Status) -> Next {
        let edit = match self.ports.broker.edit(status.id).await {
            Ok(Some(edit)) => edit,
            Ok(None) => return self.ask_anew(held, status.id).await,
            Err(error) => {
                let cause = HoldError::from(error).into();
                return Next::Done(self.refuse_hold(&held, cause, Some(status.id)).await);
            }
        };
        if let Arguments::Resubmittable(before) = &held.intent.arguments {
            let cause = self.to_be_resubmitted(&held, before, edit);
            return Next::Done(self.refuse_hold(&held, cause, Some(status.id)).await);
        }
        let intent = match self.changed(&held, edit) {
            Ok(intent) => Arc::new(intent),
            Err(why) => {
                let cause = cannot_be_changed(&why);
                return Next::Done(self.refuse_hold(&held, cause, Some(status.id)).await);
            }
        };
        self.pending.remember_edit(held.question(), &intent, self.ports.clock.now());
        match self.reconsider(&held, &intent).await {
            Answer::Held(other) => Next::Ask(other),
            answer => Next::Done(answer),
        }
    }

    /// Asks policy about an operation with its changed arguments.
    pub(super) async fn reconsider(self: &Arc<Self>, held: &Held, intent: &Arc<Intent>) -> Answer {
        match self.open(intent, &held.case.matter.span).await {
            Ok(case) => self.evaluate_plainly(intent, case).await,
            Err(denial) => Answer::Denied(denial),
        }
    }

    /// What an operation has become whose interceptor reads it anew. What is not shown there is not touched.
    fn to_be_resubmitted(&self, held: &Held, before: &[MadeEdit], edit: MadeEdit) -> Cause {
        let matter = &held.case.matter;
        let (shown, redacted) = matter.redacted(held.case.snapshot.bundle.redaction());
        let whole: Value = serde_json::from_str(matter.text()).unwrap_or_default();
        let changed = edit::apply(&shown, &edit.changes, &redacted)
            .and_then(|_| edit::apply(&whole, &edit.changes, &[]));
        match changed {
            Ok(form) => {
                let edits = before.iter().cloned().chain([edit]).collect();
                Cause::Edited(Box::new(Edited { edits, form }))
            }
            Err(error) => cannot_be_changed(&error.to_string()),
        }
    }

    /// The intent with the changes made: where they show in the operation, and nowhere else.
    fn changed(&self, held: &Held, edit: MadeEdit) -> Result<Intent, String> {
        let bundle = &held.case.snapshot.bundle;
        let (shown, redacted) = held.case.matter.redacted(bundle.redaction());
        // What this machine keeps secret is for it to say, whatever the control plane makes of it (I10).
        edit::apply(&shown, &edit.changes, &redacted).map_err(|error| error.to_string())?;
        let mut intent = Intent::clone(&held.intent);
        let given = arguments(&mut intent.act).ok_or("this kind of operation takes no others")?;
        if *given != held.case.matter.operation.action.properties {
            return Err("its mapping shows other arguments than it takes".to_owned());
        }
        let whole = operation_of(given);
        let changed = edit::apply(&whole, &edit.changes, &[]).map_err(|error| error.to_string())?;
        let changed = changed.pointer(edit::ARGUMENTS).and_then(Value::as_object).cloned();
        let changed = changed.ok_or("they are no arguments any more")?;
        given.clone_from(&changed);
        let mut edits = intent.arguments.edits().to_vec();
        edits.push(edit);
        intent.arguments = Arguments::Replaced(Arc::new(Replaced { arguments: changed, edits }));
        Ok(intent)
    }
}

fn cannot_be_changed(why: &str) -> Cause {
    Cause::Cancelled(Some(format!("its arguments were changed, and {why}")))
}

/// The arguments of an act that has some which can be changed.
fn arguments(act: &mut Act) -> Option<&mut Object> {
    match act {
        Act::Tool { arguments, .. } => Some(arguments),
        Act::Operation { operation, .. } => {
            let Operation { action, .. } = operation.as_mut();
            Some(&mut action.properties)
        }
        Act::Command { .. } | Act::Method { .. } | Act::Several { .. } => None,
    }
}

/// As much of an operation as pointers to arguments lead through.
fn operation_of(arguments: &Object) -> Value {
    serde_json::json!({"action": {"properties": arguments}})
}
