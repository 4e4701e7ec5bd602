//! Changing a request's arguments instead of voting on it: the arguments as JSON, what that would change, and then
//! the change.

use axum::{
    extract::{Path, State},
    response::{IntoResponse, Redirect, Response},
};
use countersign_approval::{ArgumentChange, edit};
use countersign_model::{Object, strict_json};
use http::StatusCode;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

use super::{
    ConsoleState, PageError,
    approval::{refused, request_id},
    card::byline,
    forms::{SignedForm, SignedIn},
    layout::{Frame, csrf},
    operation::{difference, headline, labels},
};
use crate::{
    api::MAX_REASON,
    identity::Session,
    review::{Difference, Review, visible_json},
    services::{ApprovalError, ApprovalView, Proposal},
};

/// The largest form that is taken: arguments, and what a form's encoding makes of them.
pub(crate) const MAX_EDIT: usize = 512 * 1024;
/// The longest arguments that are changed here, as JSON text.
const MAX_ARGUMENTS: usize = 128 * 1024;

/// A request whose arguments this person may change.
struct Editable {
    review: Review,
    /// The arguments as they are asked for, with secrets taken out.
    arguments: Object,
    redacted: Vec<String>,
    operation: Value,
}

impl Editable {
    async fn find(state: &ConsoleState, session: &Session, id: &str) -> Result<Self, PageError> {
        let id = request_id(id)?;
        let reviewed = state.services.approvals.review(&session.actor, id).await?;
        if !reviewed.may_vote.may_edit {
            let why = "Arguments are changed by those who could approve the request, while it waits, and only where \
                       what carries it out can take others. Nothing was done.";
            return Err(PageError::Forbidden(why.to_owned()));
        }
        let ApprovalView { operation, redacted, .. } =
            state.services.approvals.get(&session.actor, id).await?;
        let arguments = operation.pointer(edit::arguments_at(&operation)).and_then(Value::as_object);
        let arguments = arguments.cloned().unwrap_or_default();
        Ok(Self { review: reviewed.review, arguments, redacted, operation })
    }

    /// The changes that a text makes, or what is wrong with it in words for whoever wrote it.
    fn changes(&self, text: &str) -> Result<Vec<ArgumentChange>, String> {
        let value = strict_json::parse(text.as_bytes()).map_err(|error| format!("This is {error}."))?;
        let Value::Object(arguments) = value else {
            return Err("The arguments are a JSON object: they begin with { and end with }.".to_owned());
        };
        let place = edit::arguments_at(&self.operation);
        let changes =
            edit::changes_between(place, &self.arguments, &arguments).map_err(|error| sentence(&error))?;
        if changes.is_empty() {
            return Err("Nothing is changed yet.".to_owned());
        }
        edit::apply(&self.operation, &changes, &self.redacted).map_err(|error| sentence(&error))?;
        Ok(changes)
    }
}

fn sentence(error: &edit::EditError) -> String {
    format!("This cannot be done: {error}.")
}

/// Shows the arguments, to be changed.
pub(crate) async fn ask(
    State(state): State<ConsoleState>,
    SignedIn(session): SignedIn,
    Path(id): Path<String>,
) -> Result<Markup, PageError> {
    let editable = Editable::find(&state, &session, &id).await?;
    let text = visible_json(&Value::Object(editable.arguments.clone()));
    let draft = Draft { arguments: text, ..Draft::default() };
    Ok(framed(&state, &session, &editable.review, &fields(&editable, &session, &draft, None)))
}

/// What somebody wrote.
#[derive(Default, Deserialize)]
pub(crate) struct Draft {
    arguments: String,
    #[serde(default)]
    reason: String,
    /// `again` to go on writing, `done` to have the changes made; they are shown otherwise.
    #[serde(default)]
    step: String,
}

/// Shows what would change, and then changes it.
pub(crate) async fn send(
    State(state): State<ConsoleState>,
    Path(id): Path<String>,
    SignedForm { session, form: draft }: SignedForm<Draft>,
) -> Result<Response, PageError> {
    let editable = Editable::find(&state, &session, &id).await?;
    let write = |problem: Option<&str>| {
        framed(&state, &session, &editable.review, &fields(&editable, &session, &draft, problem))
    };
    if draft.step == "again" {
        return Ok(write(None).into_response());
    }
    if draft.reason.chars().count() > MAX_REASON {
        return Err(PageError::TooLarge);
    }
    let changes = match editable.changes(&draft.arguments) {
        Ok(changes) => changes,
        Err(problem) => return Ok((StatusCode::BAD_REQUEST, write(Some(&problem))).into_response()),
    };
    if draft.step != "done" {
        let page = preview(&editable, &session, &draft, &changes);
        return Ok(framed(&state, &session, &editable.review, &page).into_response());
    }
    let reason = Some(draft.reason.trim().replace("\r\n", "\n")).filter(|reason| !reason.is_empty());
    let proposal = Proposal { changes, reason, channel: "console".to_owned(), expected_version: None };
    match state.services.approvals.edit(&session.actor, editable.review.id, proposal).await {
        Ok(view) => Ok(Redirect::to(&format!("/approvals/{}", view.id)).into_response()),
        Err(ApprovalError::Refused { reason, .. }) => {
            refused(&state, &session, editable.review.id, &format!("Nothing was done: {reason}")).await
        }
        Err(error) => Err(error.into()),
    }
}

fn consequences() -> Markup {
    html! {
        ul.points {
            li { "This approves nothing. The request ends here, and earlier votes on it are void." }
            li { "Policy decides anew about what you make of it. If it has to be approved, others are asked." }
            li { "You have no vote on the result, because you have written part of it." }
        }
    }
}

fn fields(editable: &Editable, session: &Session, draft: &Draft, problem: Option<&str>) -> Markup {
    let review = &editable.review;
    let is_too_long = draft.arguments.len() > MAX_ARGUMENTS;
    html! {
        h1 { "Change the arguments" }
        (consequences())
        @if let Some(problem) = problem {
            div.flash.bad role="alert" id="problem" { p { (problem) } }
        }
        @if is_too_long {
            p.gap { "These arguments are too long to be changed here. The command line can: "
                code { "countersign approvals edit" } "." }
        } @else {
            form.form method="post" action={ "/approvals/" (review.id) "/edit" } {
                (csrf(session))
                div {
                    label for="arguments" { "Arguments, as JSON" }
                    textarea.code id="arguments" name="arguments" rows=(rows(&draft.arguments)) required spellcheck="false"
                        autocapitalize="off" aria-describedby="arguments-help"
                        aria-invalid=[problem.map(|_| "true")] { "\n" (draft.arguments) }
                    p.help id="arguments-help" {
                        "Change values; arguments are neither added nor left out."
                        @if !editable.redacted.is_empty() {
                            " Secrets were taken out by the sidecar: what stands in their place has to stay."
                        }
                    }
                }
                div {
                    label for="reason" { "Reason " span.quiet { "(optional; the agent is told)" } }
                    textarea id="reason" name="reason" rows="1" maxlength=(MAX_REASON) { (draft.reason) }
                }
                div.actions {
                    button.primary type="submit" name="step" value="look" { "Look over the changes" }
                    a.button href={ "/approvals/" (review.id) } { "Leave them as they are" }
                }
            }
        }
    }
}

/// As high as its text, within bounds.
fn rows(text: &str) -> usize {
    (text.lines().count() + 1).clamp(4, 24)
}

fn preview(editable: &Editable, session: &Session, draft: &Draft, changes: &[ArgumentChange]) -> Markup {
    let differences = Difference::of_changes(&editable.operation, changes);
    html! {
        h1 { "Change the arguments like this?" }
        div.gap.stack { @for one in &differences { (difference(one)) } }
        (consequences())
        form.form method="post" action={ "/approvals/" (editable.review.id) "/edit" } {
            (csrf(session))
            input type="hidden" name="arguments" value=(draft.arguments);
            input type="hidden" name="reason" value=(draft.reason);
            div.actions {
                button.primary type="submit" name="step" value="done" { "Change them" }
                button type="submit" name="step" value="again" { "Go on writing" }
                a.button href={ "/approvals/" (editable.review.id) } { "Leave them as they are" }
            }
        }
    }
}

fn framed(state: &ConsoleState, session: &Session, review: &Review, content: &Markup) -> Markup {
    let now = state.identity.now();
    let frame = Frame { title: "Change the arguments", session: Some(session), now, live: false };
    frame.page(&html! {
        p.crumb { a href={ "/approvals/" (review.id) } { "← The request" } }
        div.panel.card {
            header {
                (byline(review, Some(now)))
                p.what { (headline(review)) }
                (labels(&review.target))
            }
            section { (content) }
        }
    })
}
