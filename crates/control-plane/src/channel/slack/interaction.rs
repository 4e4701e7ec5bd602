//! What Slack tells of clicks and filled-in forms: `block_actions` and `view_submission` payloads.
//!
//! Who clicked is what Slack says, never what a button or a form carries. What those carry says only
//! which approval was meant, and as what it was shown.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::api::Place;
use crate::{channel::ticket::Ticket, services::VoteDecision};

/// A button's name: approve at once.
pub(super) const APPROVE: &str = "countersign.approve";
/// A button's name: approve, with a reason.
pub(super) const APPROVE_WHY: &str = "countersign.approve-why";
/// A button's name: deny, with a reason if there is one.
pub(super) const DENY: &str = "countersign.deny";
/// A button's name: show everything.
pub(super) const DETAILS: &str = "countersign.details";
/// The name of the form that asks for a reason.
pub(super) const REASON_FORM: &str = "countersign.reason";
/// The name of its one field.
pub(super) const REASON: &str = "reason";

/// Somebody did something with a card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interaction {
    /// The workspace of who did it.
    pub(super) team: String,
    /// Who did it, within that workspace.
    pub(super) user: String,
    /// What lets a modal be opened for them, for three seconds.
    pub(super) trigger: Option<String>,
    /// The card.
    pub(super) place: Place,
    /// What they saw.
    pub(super) ticket: Ticket,
    /// What they want.
    pub(super) wish: Wish,
}

/// What somebody wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wish {
    /// To see everything.
    Details,
    /// To be asked for a reason first.
    Explain(VoteDecision),
    /// To vote.
    Vote(VoteDecision, Option<String>),
}

/// Why a payload is passed over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum InteractionError {
    /// Of another kind, or of another app's making.
    #[error("it is not about a card of this control plane")]
    NotOurs,
    /// Not what Slack documents.
    #[error("it cannot be read: {0}")]
    Malformed(String),
}

/// What travels through the form that asks for a reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Asked {
    pub(super) ticket: String,
    pub(super) decision: VoteDecision,
    pub(super) place: Place,
}

#[derive(Deserialize)]
struct Id {
    id: String,
}

#[derive(Deserialize)]
struct User {
    id: String,
    team_id: Option<String>,
}

#[derive(Deserialize)]
struct Payload {
    #[serde(rename = "type")]
    kind: String,
    user: User,
    team: Option<Id>,
    trigger_id: Option<String>,
    #[serde(default)]
    actions: Vec<Action>,
    container: Option<Container>,
    view: Option<View>,
}

#[derive(Deserialize)]
struct Action {
    action_id: String,
    value: Option<String>,
}

#[derive(Deserialize)]
struct Container {
    channel_id: Option<String>,
    message_ts: Option<String>,
}

#[derive(Deserialize)]
struct View {
    callback_id: String,
    private_metadata: String,
    state: State,
}

#[derive(Deserialize)]
struct State {
    values: HashMap<String, HashMap<String, Field>>,
}

#[derive(Deserialize)]
struct Field {
    value: Option<String>,
}

impl Interaction {
    /// Reads a payload that is known to come from Slack.
    pub(super) fn parse(payload: &str) -> Result<Self, InteractionError> {
        let payload: Payload =
            serde_json::from_str(payload).map_err(|error| InteractionError::Malformed(error.to_string()))?;
        let team = payload.user.team_id.clone().or_else(|| Some(payload.team.as_ref()?.id.clone()));
        let team = team.ok_or_else(|| InteractionError::Malformed("it names no workspace".to_owned()))?;
        let (place, ticket, wish) = match payload.kind.as_str() {
            "block_actions" => clicked(&payload)?,
            "view_submission" => filled_in(&payload)?,
            _ => return Err(InteractionError::NotOurs),
        };
        let ticket = ticket.parse().map_err(|_| InteractionError::NotOurs)?;
        Ok(Self { team, user: payload.user.id, trigger: payload.trigger_id, place, ticket, wish })
    }
}

/// A button of a card. Others', and those that only open a page, are none of our business.
fn clicked(payload: &Payload) -> Result<(Place, String, Wish), InteractionError> {
    let action = payload.actions.first().ok_or(InteractionError::NotOurs)?;
    let wish = match action.action_id.as_str() {
        APPROVE => Wish::Vote(VoteDecision::Approve, None),
        APPROVE_WHY => Wish::Explain(VoteDecision::Approve),
        DENY => Wish::Explain(VoteDecision::Deny),
        DETAILS => Wish::Details,
        _ => return Err(InteractionError::NotOurs),
    };
    let container = payload.container.as_ref();
    let place = container.and_then(|at| Some((at.channel_id.clone()?, at.message_ts.clone()?)));
    let (channel, ts) = place.ok_or(InteractionError::NotOurs)?;
    let ticket = action.value.clone().ok_or(InteractionError::NotOurs)?;
    Ok((Place { channel, ts }, ticket, wish))
}

/// The form that asks for a reason.
fn filled_in(payload: &Payload) -> Result<(Place, String, Wish), InteractionError> {
    let view = payload.view.as_ref().filter(|view| view.callback_id == REASON_FORM);
    let view = view.ok_or(InteractionError::NotOurs)?;
    let asked: Asked = serde_json::from_str(&view.private_metadata).map_err(|_| InteractionError::NotOurs)?;
    let field = view.state.values.get(REASON).and_then(|block| block.get(REASON));
    let reason = field.and_then(|field| field.value.as_deref()).map(str::trim);
    let reason = reason.filter(|reason| !reason.is_empty()).map(ToOwned::to_owned);
    Ok((asked.place, asked.ticket, Wish::Vote(asked.decision, reason)))
}

#[cfg(test)]
mod tests {
    use countersign_model::{ApprovalId, Digest, Timestamp};
    use serde_json::{Value, json};

    use super::*;

    fn ticket() -> Ticket {
        let approval = ApprovalId::new(Timestamp::from_millis(1), [7; 10]);
        Ticket { approval, version: 2, digest: Digest::of(b"operation") }
    }

    fn click(action: &str) -> Value {
        json!({
            "type": "block_actions",
            "user": {"id": "U1", "username": "reviewer-one", "team_id": "T1"},
            "team": {"id": "T9"},
            "trigger_id": "1.2.3",
            "container": {"type": "message", "channel_id": "C1", "message_ts": "1700000000.000100"},
            "actions": [{"action_id": action, "type": "button", "value": ticket().to_string()}],
        })
    }

    fn form(metadata: &Value, reason: &Value) -> Value {
        json!({
            "type": "view_submission",
            "user": {"id": "U1"},
            "team": {"id": "T1"},
            "view": {
                "callback_id": REASON_FORM,
                "private_metadata": metadata.to_string(),
                "state": {"values": {REASON: {REASON: {"type": "plain_text_input", "value": reason}}}},
            },
        })
    }

    fn parse(payload: &Value) -> Result<Interaction, InteractionError> {
        Interaction::parse(&payload.to_string())
    }

    #[test]
    fn a_click_is_that_of_whom_slack_names() {
        let read = parse(&click(APPROVE)).unwrap();
        assert_eq!((read.team.as_str(), read.user.as_str()), ("T1", "U1"));
        assert_eq!((read.ticket, read.wish), (ticket(), Wish::Vote(VoteDecision::Approve, None)));
        assert_eq!(read.place.channel, "C1");
        assert_eq!(parse(&click(DENY)).unwrap().wish, Wish::Explain(VoteDecision::Deny));
        assert_eq!(parse(&click(DETAILS)).unwrap().wish, Wish::Details);
    }

    #[test]
    fn a_form_carries_what_was_asked_and_what_was_answered() {
        let metadata = json!({
            "ticket": ticket().to_string(), "decision": "deny", "place": {"channel": "C1", "ts": "1.2"},
            "user": "U2", "team": "T2",
        });
        let read = parse(&form(&metadata, &json!("  not today "))).unwrap();
        assert_eq!((read.team.as_str(), read.user.as_str()), ("T1", "U1"));
        assert_eq!(read.wish, Wish::Vote(VoteDecision::Deny, Some("not today".to_owned())));
        let read = parse(&form(&metadata, &Value::Null)).unwrap();
        assert_eq!(read.wish, Wish::Vote(VoteDecision::Deny, None));
    }

    #[test]
    fn what_is_not_ours_is_passed_over() {
        let mut without_card = click(APPROVE);
        without_card["container"] = json!({"type": "view"});
        let mut other_value = click(APPROVE);
        other_value["actions"][0]["value"] = json!("approve everything");
        let mut other_form = form(&json!({}), &Value::Null);
        other_form["view"]["callback_id"] = json!("somebody-else");
        for other in [
            without_card,
            other_value,
            other_form,
            form(&json!({"ticket": "x"}), &Value::Null),
            click("somebody.elses"),
            json!({"type": "shortcut", "user": {"id": "U1", "team_id": "T1"}}),
        ] {
            assert_eq!(parse(&other), Err(InteractionError::NotOurs), "{other}");
        }
        for malformed in ["", "[]", "{}", r#"{"type":"block_actions","user":{"id":"U1"}}"#] {
            assert!(
                matches!(Interaction::parse(malformed), Err(InteractionError::Malformed(_))),
                "{malformed}"
            );
        }
    }
}
