//! Changes to an operation's arguments that a reviewer proposes instead of a vote.
//!
//! An edit approves nothing. It closes the request: the sidecar applies the changes to what it really has,
//! evaluates policy again, and what policy then holds is a new request, on which no earlier vote counts.
//! Whoever changed it has written part of it, and so has no vote on that one (I3).

use countersign_model::{Object, PersonId, RequirementKind, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    clocks::over,
    request::{MAX_SHORT_TEXT, Request},
    state::{Approval, CancelReason, State},
    transition::{Effect, Occurrence, Refusal},
    vote::{MAX_REASON, VoteDecision, Voter},
    voting::eligible,
};

/// Where the arguments are in an operation.
pub const ARGUMENTS: &str = "/action/properties";
/// Where they are in what a coding agent's hook has seen.
pub const HOOK: &str = "/context/hook";
/// What of that can be changed: the shell line, and the rest of the tool's input.
pub const HOOK_ARGUMENTS: [&str; 2] = ["/context/hook/line", "/context/hook/input"];
/// The most changes at a time.
pub const MAX_CHANGES: usize = 64;
/// The longest new value, in bytes of JSON.
pub const MAX_VALUE: usize = 8 * 1024;

/// One argument's new value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArgumentChange {
    /// Which argument: a JSON Pointer (RFC 6901) below [`arguments_at`].
    pub pointer: String,
    /// Its new value.
    pub value: Value,
}

impl Eq for ArgumentChange {}

/// What a reviewer made of the arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    /// Who.
    pub by: PersonId,
    /// What they changed.
    pub changes: Vec<ArgumentChange>,
    /// Why.
    pub reason: Option<String>,
    /// When.
    pub at: Timestamp,
    /// Where.
    pub channel: String,
    /// How they had signed in.
    pub method: String,
}

/// Why changes cannot be made. Each text is for the person who wants them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// None, or too many.
    #[error("change from 1 to {MAX_CHANGES} arguments at a time")]
    Count,
    /// Not an argument, or none that there is.
    #[error(
        "{0:?} is no argument of this operation; arguments are JSON Pointers below {ARGUMENTS}, and of what a hook has \
         seen {line} and those below {input}",
        line = HOOK_ARGUMENTS[0],
        input = HOOK_ARGUMENTS[1]
    )]
    NoArgument(String),
    /// What nobody can see, nobody can replace.
    #[error("{0:?} is redacted, so it cannot be changed")]
    Redacted(String),
    /// Two changes of one place.
    #[error("{0:?} is changed more than once")]
    Twice(String),
    /// The same value as before.
    #[error("{0:?} would stay as it is")]
    Unchanged(String),
    /// A value that is too long.
    #[error("the new value of {0:?} is longer than {MAX_VALUE} bytes")]
    TooLong(String),
    /// An argument that is not there any more.
    #[error("{0:?} is missing; arguments can be changed, and not left out")]
    LeftOut(String),
}

/// Where the arguments of an operation are that can be changed.
#[must_use]
pub fn arguments_at(operation: &Value) -> &'static str {
    if operation.pointer(HOOK).is_some_and(Value::is_object) { HOOK } else { ARGUMENTS }
}

fn is_argument(place: &str, pointer: &str) -> bool {
    if place == HOOK {
        HOOK_ARGUMENTS.iter().any(|argument| is_within(pointer, argument))
    } else {
        is_within(pointer, place) && pointer.len() > place.len()
    }
}

/// Applies changes to an operation's form, whole or not at all. `redacted` are the pointers of what its
/// reader cannot see.
///
/// # Errors
/// When one of them cannot be made.
pub fn apply(operation: &Value, changes: &[ArgumentChange], redacted: &[String]) -> Result<Value, EditError> {
    if !(1..=MAX_CHANGES).contains(&changes.len()) {
        return Err(EditError::Count);
    }
    let mut edited = operation.clone();
    let arguments = arguments_at(operation);
    let mut places: Vec<&str> = Vec::new();
    for ArgumentChange { pointer, value } in changes {
        let shown: String = pointer.chars().take(200).collect();
        if !is_argument(arguments, pointer) {
            return Err(EditError::NoArgument(shown));
        }
        if value.to_string().len() > MAX_VALUE || pointer.len() > MAX_SHORT_TEXT {
            return Err(EditError::TooLong(shown));
        }
        let overlaps = |other: &str| is_within(other, pointer) || is_within(pointer, other);
        if redacted.iter().any(|secret| overlaps(secret)) {
            return Err(EditError::Redacted(shown));
        }
        if places.iter().any(|place| overlaps(place)) {
            return Err(EditError::Twice(shown));
        }
        let Some(place) = edited.pointer_mut(pointer) else { return Err(EditError::NoArgument(shown)) };
        if place == value {
            return Err(EditError::Unchanged(shown));
        }
        place.clone_from(value);
        places.push(pointer);
    }
    Ok(edited)
}

/// The changes that make some arguments, which are at `place`, into others. What gains or loses members is replaced
/// whole.
///
/// # Errors
/// When an argument would come or go: only what is there can be changed.
pub fn changes_between(place: &str, old: &Object, new: &Object) -> Result<Vec<ArgumentChange>, EditError> {
    if let Some(name) = new.keys().find(|name| !old.contains_key(*name)) {
        return Err(EditError::NoArgument(below(place, name)));
    }
    let mut changes = Vec::new();
    for (name, old) in old {
        let pointer = below(place, name);
        match new.get(name) {
            Some(new) => collect_changes(pointer, old, new, &mut changes),
            None => return Err(EditError::LeftOut(pointer)),
        }
    }
    Ok(changes)
}

fn collect_changes(pointer: String, old: &Value, new: &Value, changes: &mut Vec<ArgumentChange>) {
    match (old, new) {
        (Value::Object(old), Value::Object(new))
            if old.len() == new.len() && old.keys().all(|name| new.contains_key(name)) =>
        {
            for (name, value) in new {
                let before = old.get(name).unwrap_or(&Value::Null);
                collect_changes(below(&pointer, name), before, value, changes);
            }
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (index, (old, new)) in old.iter().zip(new).enumerate() {
                collect_changes(format!("{pointer}/{index}"), old, new, changes);
            }
        }
        _ if old == new => {}
        _ => changes.push(ArgumentChange { pointer, value: new.clone() }),
    }
}

/// The JSON Pointer of a member.
fn below(pointer: &str, name: &str) -> String {
    format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// Whether a pointer leads to a place or into it.
fn is_within(pointer: &str, place: &str) -> bool {
    pointer.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl Edit {
    /// Whether a request is what this edit made of another one: it is by the same agent, and its arguments
    /// are those of the other with the changes made.
    #[must_use]
    pub fn led_to(&self, from: &Request, to: &Request) -> bool {
        let read = |request: &Request| serde_json::from_str::<Value>(&request.submission.operation).ok();
        let Some(edited) = read(from).and_then(|from| apply(&from, &self.changes, &[]).ok()) else {
            return false;
        };
        let Some(found) = read(to) else { return false };
        let places = if arguments_at(&edited) == HOOK { &HOOK_ARGUMENTS[..] } else { &[ARGUMENTS] };
        let same = |place: &&str| edited.pointer(place) == found.pointer(place);
        let is_there = places.iter().any(|place| found.pointer(place).is_some());
        from.agent == to.agent && is_there && places.iter().all(same)
    }
}

/// An edit that is about to be made.
pub(crate) struct Proposal<'a> {
    pub(crate) voter: &'a Voter,
    pub(crate) changes: &'a [ArgumentChange],
    pub(crate) reason: &'a Option<String>,
}

impl Approval {
    /// Closes a request in favour of the same with other arguments.
    pub(crate) fn edit(&mut self, proposal: &Proposal<'_>, now: Timestamp) -> Result<Vec<Effect>, Refusal> {
        let Proposal { voter, changes, reason } = *proposal;
        // As surely as an approval: an edit may lead to what policy permits by itself.
        let names = eligible(self, voter, VoteDecision::Approve)?;
        let approves = |requirement: &countersign_model::Requirement| {
            requirement.kind == RequirementKind::Approval && names.contains(&requirement.name)
        };
        if !self.request.requirements.iter().any(approves) {
            return Err(Refusal::EditsNotYours);
        }
        if self.state != State::Pending {
            return Err(self.too_late());
        }
        if !self.request.submission.substitutable {
            return Err(Refusal::NotEditable);
        }
        if reason.as_ref().is_some_and(|reason| reason.chars().count() > MAX_REASON) {
            return Err(Refusal::ReasonTooLong);
        }
        let submission = &self.request.submission;
        let operation: Value = serde_json::from_str(&submission.operation).unwrap_or_default();
        apply(&operation, changes, &submission.redacted)?;
        self.edited = Some(Edit {
            by: voter.person.clone(),
            changes: changes.to_vec(),
            reason: reason.clone(),
            at: now,
            channel: voter.channel.clone(),
            method: voter.method.clone(),
        });
        self.close(State::Cancelled { why: CancelReason::Superseded }, now);
        Ok(over(Occurrence::Edited))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn change(pointer: &str, value: Value) -> ArgumentChange {
        ArgumentChange { pointer: pointer.to_owned(), value }
    }

    fn operation() -> Value {
        json!({
            "action": {"name": "pay", "properties": {
                "amount": 500, "to": {"iban": "[redacted]", "name": "x"}, "tags": ["a", "b"]
            }},
            "resource": {"id": "r"},
        })
    }

    fn secret() -> Vec<String> {
        vec!["/action/properties/to/iban".to_owned()]
    }

    #[test]
    fn arguments_change_and_nothing_else_does() {
        let changes =
            [change("/action/properties/amount", json!(50)), change("/action/properties/tags/1", json!("c"))];
        let edited = apply(&operation(), &changes, &secret()).unwrap();
        let mut expected = operation();
        expected["action"]["properties"]["amount"] = json!(50);
        expected["action"]["properties"]["tags"][1] = json!("c");
        assert_eq!(edited, expected);
    }

    /// Of what a hook has seen, the line and the input are changed, and nothing that says where or by whom it runs.
    #[test]
    fn a_hooks_call_is_changed_where_its_host_can_be_told() {
        let call = json!({
            "action": {"name": "Exec::run", "properties": {"a": 1}},
            "context": {"hook": {"host": "claude-code", "tool": "Bash", "line": "rm a", "cwd": "/p", "input": {"b": 1}}},
        });
        let changes =
            [change("/context/hook/line", json!("rm b")), change("/context/hook/input/b", json!(2))];
        let edited = apply(&call, &changes, &[]).unwrap();
        assert_eq!(edited["context"]["hook"]["line"], "rm b");
        assert_eq!(edited["context"]["hook"]["input"], json!({"b": 2}));
        for pointer in [
            "/context/hook",
            "/context/hook/cwd",
            "/context/hook/tool",
            "/context/hook/host",
            "/context/hook/lineage",
            "/action/properties/a",
            "/context/hook/input/missing",
            "/action/name",
        ] {
            let refused = apply(&call, &[change(pointer, json!("x"))], &[]);
            assert!(matches!(refused, Err(EditError::NoArgument(_))), "{pointer}");
        }
        let secret = vec!["/context/hook/line".to_owned()];
        assert!(matches!(apply(&call, &changes, &secret), Err(EditError::Redacted(_))));
    }

    #[test]
    fn what_is_no_visible_argument_is_not_changed() {
        let refuse = |changes: &[ArgumentChange]| apply(&operation(), changes, &secret()).unwrap_err();
        for pointer in [
            "/action/name",
            "/resource/id",
            "",
            "/",
            "/action/properties",
            "/action/properties/",
            "/action/propertiesX",
            "action/properties/amount",
            "/action/properties/missing",
            "/action/properties/tags/2",
            "/action/properties/tags/-",
            "/action/properties/tags/01",
        ] {
            assert!(matches!(refuse(&[change(pointer, json!(1))]), EditError::NoArgument(_)), "{pointer}");
        }
        // Neither the secret itself, nor what it is part of, by which it would be replaced.
        for pointer in ["/action/properties/to/iban", "/action/properties/to"] {
            assert!(matches!(refuse(&[change(pointer, json!("x"))]), EditError::Redacted(_)), "{pointer}");
        }
        let amount = || change("/action/properties/amount", json!(1));
        assert!(matches!(refuse(&[amount(), amount()]), EditError::Twice(_)));
        assert!(matches!(
            refuse(&[change("/action/properties/amount", json!(500))]),
            EditError::Unchanged(_)
        ));
        assert_eq!(refuse(&[]), EditError::Count);
        let long = json!("x".repeat(MAX_VALUE));
        assert!(matches!(refuse(&[change("/action/properties/amount", long)]), EditError::TooLong(_)));
    }

    fn object(value: Value) -> Object {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_comes_or_goes_is_no_change_of_an_argument() {
        let old = object(json!({"a/b": 1, "deep": {"list": [1, 2], "x": "y"}}));
        let between = |new| changes_between(ARGUMENTS, &old, &object(new));
        assert_eq!(
            between(json!({"a/b": 1, "deep": {"list": [1, 3], "x": "z"}})).unwrap(),
            [
                change("/action/properties/deep/list/1", json!(3)),
                change("/action/properties/deep/x", json!("z"))
            ]
        );
        assert_eq!(
            between(json!({"a/b": 2, "deep": {"list": [1], "x": "y"}})).unwrap(),
            [change("/action/properties/a~1b", json!(2)), change("/action/properties/deep/list", json!([1]))]
        );
        assert!(
            matches!(between(json!({"a/b": 1})), Err(EditError::LeftOut(place)) if place.ends_with("/deep"))
        );
        assert!(matches!(between(json!({"a/b": 1, "deep": {}, "new": 1})), Err(EditError::NoArgument(_))));
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf =
            prop_oneof![Just(json!(null)), any::<bool>().prop_map(Value::from), (0..4).prop_map(Value::from)];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[a~/]", inner, 0..3)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// Whatever the arguments are made into is what the changes make of them.
        #[test]
        fn the_changes_lead_from_the_one_to_the_other(old in [value(), value()], new in [value(), value()]) {
            let of = |[a, b]: [Value; 2]| json!({"action": {"properties": {"a": a, "b/~": b}}});
            let (old, new) = (of(old), of(new));
            let arguments = |whole: &Value| object(whole.pointer(ARGUMENTS).unwrap().clone());
            let changes = changes_between(ARGUMENTS, &arguments(&old), &arguments(&new)).unwrap();
            if changes.is_empty() {
                prop_assert_eq!(old, new);
            } else {
                prop_assert_eq!(apply(&old, &changes, &[]).unwrap(), new);
            }
        }
    }
}
