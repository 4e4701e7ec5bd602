//! Tool calls of coding agents that a reviewer changed.
//!
//! Only the hook can read what a call has become: which files its words name, and which programs, depends on where
//! it runs. So it is told of the change, reads the changed call as if its host had made it, and submits that. It is
//! decided about like any other call. Here it is known as what a reviewer made, whatever the hook says of it, so that
//! whoever changed it has no vote on it (I3).
//!
//! A host comes back with the call that it knows. Until the changed one has run or is over, that means the changed one.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use countersign_gate::intent::{Edited, MadeEdit};
use countersign_model::{Digest, canonical::to_canonical_json};
use serde_json::{Value, json};

use super::wire::{EditedEvent, EditorEvent, HookCall};

/// How long a change counts that nobody comes back for.
const KEPT: Duration = Duration::from_secs(15 * 60);
/// The most changes that are remembered. Whoever comes back for any other is asked about anew.
const MOST: usize = 64;

/// What reviewers made of tool calls.
#[derive(Default)]
pub(super) struct Edits(Mutex<HashMap<Digest, Change>>);

/// What became of a call.
struct Change {
    told: EditedEvent,
    into: Digest,
    edits: Vec<MadeEdit>,
    until: Instant,
}

impl Edits {
    /// What a call has become.
    pub(super) fn made_of(&self, call: &HookCall) -> Option<EditedEvent> {
        Some(self.changes().get(&key(call)?)?.told.clone())
    }

    /// The edits that have led to a call.
    pub(super) fn that_led_to(&self, call: &HookCall) -> Vec<MadeEdit> {
        let key = key(call);
        let changes = self.changes();
        let change = changes.values().find(|change| Some(change.into) == key);
        change.map(|change| change.edits.clone()).unwrap_or_default()
    }

    /// Remembers what became of a call. `None` when it has become nothing that a hook can run.
    pub(super) fn keep(&self, call: &HookCall, edited: Edited) -> Option<EditedEvent> {
        let text = |pointer| edited.form.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let line = text("/context/hook/line");
        if line.is_some() != call.line.is_some() {
            return None;
        }
        let input = edited.form.pointer("/context/hook/input")?.as_object()?.clone();
        let changed = HookCall { line: line.clone(), input: input.clone(), ..call.clone() };
        let by = edited
            .edits
            .iter()
            .map(|edit| EditorEvent { person: edit.by.clone(), reason: edit.reason.clone() });
        let told = EditedEvent { line, input, by: by.collect() };
        let (from, into) = (key(call)?, key(&changed)?);
        let until = Instant::now() + KEPT;
        let mut changes = self.changes();
        if changes.len() >= MOST {
            changes.clear();
        }
        // What it has become may have become something else before; it is asked about again.
        changes.remove(&into);
        changes.insert(from, Change { told: told.clone(), into, edits: edited.edits, until });
        Some(told)
    }

    /// A call has run, or is over: whoever makes the one that it came from starts again.
    pub(super) fn forget(&self, call: &HookCall) {
        let mut changes = self.changes();
        let mut over = key(call);
        while let Some(key) = over {
            over = changes.iter().find(|(_, change)| change.into == key).map(|(from, _)| *from);
            over.inspect(|from| drop(changes.remove(from)));
        }
    }

    fn changes(&self) -> MutexGuard<'_, HashMap<Digest, Change>> {
        // Every change is complete when the lock is released, even by a panic.
        let mut changes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        changes.retain(|_, change| now < change.until);
        changes
    }
}

/// What makes two calls the same. What a hook makes of its words is left to the gate.
fn key(call: &HookCall) -> Option<Digest> {
    let HookCall { host, tool, line, cwd, input, parts: _ } = call;
    let all = json!({ "host": host, "tool": tool, "line": line, "cwd": cwd, "input": input });
    Some(Digest::of(to_canonical_json(&all).ok()?.as_bytes()))
}
