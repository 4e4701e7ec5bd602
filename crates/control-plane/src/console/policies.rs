//! `/policies`: the revisions, who pushed them and why, what differs between two, their own tests, and the way
//! back to an earlier one.

use std::collections::{BTreeMap, BTreeSet};

use axum::{
    extract::{Path, State},
    response::{IntoResponse, Redirect, Response},
};
use countersign_model::Revision;
use http::StatusCode;
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    ConsoleState, PageError,
    forms::{Params, SignedForm, SignedIn},
    layout::{Frame, Place, csrf, moment, more, nothing},
    operation::difference,
    text::{exact, prose},
};
use crate::{
    identity::{Right, Session},
    review::Difference,
    services::{PageRequest, PolicyError, PushPolicy, RevisionDetail, RevisionView, Validation},
};

/// How many revisions are on a page.
const ON_A_PAGE: usize = 40;
/// The longest note of a rollback, in characters.
const MAX_NOTE: usize = 500;

/// Which page of the list.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct PoliciesQuery {
    cursor: Option<String>,
}

/// The list.
pub(crate) async fn list(
    State(state): State<ConsoleState>,
    SignedIn(session): SignedIn,
    Params(query): Params<PoliciesQuery>,
) -> Result<Markup, PageError> {
    let page = PageRequest { limit: Some(ON_A_PAGE), cursor: query.cursor };
    let page = state.services.policies.history(&session.actor, &page).await?;
    Ok(framed(
        &state,
        &session,
        "Policies",
        &html! {
            div.head {
                h1 { "Policies" } span.count { "every revision, newest first" }
                @if session.actor.may(Right::Policy) {
                    a.button.small.push href="/policies/attention" { "Where attention goes" }
                }
            }
            @if page.items.is_empty() {
                (nothing("No policy yet", "Nothing runs without one. Push a bundle with “countersign policy push”."))
            } @else {
                ul.panel.rows { @for revision in &page.items { li { (row(revision)) } } }
            }
            (more("/policies", &[], page.next.as_deref()))
        },
    ))
}

fn row(revision: &RevisionView) -> Markup {
    html! {
        div.first {
            a.title href={ "/policies/" (revision.revision) } { "Revision " (revision.revision) }
            (tags(revision))
        }
        @if let Some(note) = &revision.note { div { (prose(note)) } }
        div.second.quiet.small { (byline(revision)) }
    }
}

fn tags(revision: &RevisionView) -> Markup {
    html! {
        @if revision.active { span.tag.good { "in force" } }
        @if let Some(of) = revision.rollback_of { span.tag { "brings back " (of) } }
    }
}

fn byline(revision: &RevisionView) -> Markup {
    let sidecars = if revision.enforced_by == 1 { "sidecar" } else { "sidecars" };
    html! {
        span { (exact(&revision.name)) }
        span { "by " (exact(&revision.by)) }
        span { (moment(revision.at)) }
        @if revision.enforced_by > 0 { span { "enforced by " (revision.enforced_by) " " (sidecars) } }
    }
}

/// What of a revision is shown.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct RevisionQuery {
    /// The revision that it is compared with.
    against: Option<u64>,
    /// Whether its tests are run.
    tests: Option<String>,
}

/// One revision: what differs from the one before, or from another.
pub(crate) async fn show(
    State(state): State<ConsoleState>,
    SignedIn(session): SignedIn,
    Path(number): Path<String>,
    Params(query): Params<RevisionQuery>,
) -> Result<Markup, PageError> {
    let detail = find(&state, &session, &number).await?;
    let view = &detail.revision;
    let against = query.against.unwrap_or(view.revision.saturating_sub(1));
    let other = match against {
        0 => None,
        other => state.services.policies.show(&session.actor, Some(Revision(other))).await.ok(),
    };
    let tests = match query.tests {
        Some(_) => Some(validate(&state, &session, &detail).await?),
        None => None,
    };
    let may_roll_back = session.actor.may(Right::Policy) && !view.active;
    let title = format!("Revision {}", view.revision);
    Ok(framed(
        &state,
        &session,
        &title,
        &html! {
            p.crumb { a href="/policies" { "← Policies" } }
            div.head { h1 { (title) } (tags(view)) }
            section.panel.pad {
                @if let Some(note) = &view.note { p { (prose(note)) } }
                p.second.quiet.small { (byline(view)) }
                p.quiet.small { "Digest " code { (view.digest) } }
                div.actions.gap {
                    @if tests.is_none() { a.button href={ "/policies/" (view.revision) "?tests=1" } { "Run its tests" } }
                    @if may_roll_back {
                        a.button href={ "/policies/" (view.revision) "/rollback" } { "Bring it back…" }
                    }
                }
                @if let Some(tests) = &tests { (outcome(tests)) }
            }
            (compared(&detail, against, other.as_ref()))
            (files(&detail.files))
        },
    ))
}

async fn find(state: &ConsoleState, session: &Session, number: &str) -> Result<RevisionDetail, PageError> {
    let number: u64 = number.parse().map_err(|_| PageError::NotFound)?;
    Ok(state.services.policies.show(&session.actor, Some(Revision(number))).await?)
}

async fn validate(
    state: &ConsoleState,
    session: &Session,
    detail: &RevisionDetail,
) -> Result<Validation, PageError> {
    let bytes = |(path, text): (&String, &String)| (path.clone(), text.clone().into_bytes());
    let push = PushPolicy { files: detail.files.iter().map(bytes).collect(), note: None };
    Ok(state.services.policies.validate(&session.actor, push).await?)
}

fn outcome(validation: &Validation) -> Markup {
    html! {
        div.gap role="status" {
            @for problem in &validation.problems {
                p { span.tag.bad { "problem" } " " code { (problem.file) } ": " (prose(&problem.message)) }
            }
            @if let Some(tests) = &validation.tests {
                @if tests.failures.is_empty() {
                    p { span.tag.good { "passed" } " " (tests.passed) " tests of its own" }
                } @else {
                    p { span.tag.bad { (tests.failures.len()) " failed" } " " (tests.passed) " passed" }
                    ul.items { @for failure in &tests.failures { li { (prose(failure)) } } }
                }
            }
        }
    }
}

fn compared(detail: &RevisionDetail, against: u64, other: Option<&RevisionDetail>) -> Markup {
    let nothing = BTreeMap::new();
    let differences = between(other.map_or(&nothing, |other| &other.files), &detail.files);
    html! {
        section.below {
            div.head {
                h2 {
                    @if other.is_some() { "What changed since revision " (against) } @else { "What is in it" }
                }
                (choose(detail.revision.revision, against))
            }
            @if differences.is_empty() { p.quiet { "Nothing differs." } }
            div.stack { @for one in &differences { (difference(one)) } }
        }
    }
}

/// A form to compare with another revision.
fn choose(revision: u64, against: u64) -> Markup {
    html! {
        form.inline method="get" action={ "/policies/" (revision) } {
            label for="against" { "Compare with" }
            input type="number" id="against" name="against" min="1" inputmode="numeric" value=(against.max(1));
            button.small type="submit" { "Compare" }
        }
    }
}

/// What differs between the files of two revisions, file by file.
fn between(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Vec<Difference> {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let text = |files: &BTreeMap<String, String>, name| files.get(name).cloned().unwrap_or_default();
    let changed = names.into_iter().filter(|name| old.get(*name) != new.get(*name));
    changed.map(|name| Difference::between(name, &text(old, name), &text(new, name))).collect()
}

fn files(files: &BTreeMap<String, String>) -> Markup {
    html! {
        section.below {
            h2.title { "Files" }
            div.panel.rows {
                @for (path, text) in files {
                    details {
                        summary { code { (exact(path)) } }
                        div.command.exact-text tabindex="0" role="group" aria-label=(path) { code { (text) } }
                    }
                }
            }
        }
    }
}

/// Asks once more before an earlier revision is brought back, and shows what that would change.
pub(crate) async fn ask_to_roll_back(
    State(state): State<ConsoleState>,
    SignedIn(session): SignedIn,
    Path(number): Path<String>,
) -> Result<Markup, PageError> {
    if !session.actor.may(Right::Policy) {
        return Err(PageError::Forbidden("Only policy authors and admins change the policy.".to_owned()));
    }
    let detail = find(&state, &session, &number).await?;
    rollback_page(&state, &session, &detail, None).await
}

async fn rollback_page(
    state: &ConsoleState,
    session: &Session,
    detail: &RevisionDetail,
    problem: Option<&str>,
) -> Result<Markup, PageError> {
    let revision = detail.revision.revision;
    let active = state.services.policies.show(&session.actor, None).await?;
    let differences = between(&active.files, &detail.files);
    Ok(framed(
        state,
        session,
        "Bring back",
        &html! {
            p.crumb { a href={ "/policies/" (revision) } { "← Revision " (revision) } }
            h1 { "Bring back revision " (revision) "?" }
            @if let Some(problem) = problem { div.flash.bad role="alert" { p { (problem) } } }
            p.gap {
                "Its files become a new revision, which every connected sidecar enforces at once. What waits for a "
                "decision is evaluated again under it."
            }
            form.panel.pad.form.narrow method="post" action={ "/policies/" (revision) "/rollback" } {
                (csrf(session))
                div {
                    label for="note" { "Note " span.quiet { "(for the history)" } }
                    input type="text" id="note" name="note" maxlength=(MAX_NOTE) autocomplete="off";
                }
                div.actions {
                    button.primary type="submit" { "Bring it back" }
                    a.button href={ "/policies/" (revision) } { "Leave things as they are" }
                }
            }
            section.below {
                h2.title { "What would change" }
                @if differences.is_empty() { p.quiet { "Nothing: the files are those in force." } }
                div.stack { @for one in &differences { (difference(one)) } }
            }
        },
    ))
}

/// Why a revision is brought back.
#[derive(Deserialize)]
pub(crate) struct RollbackForm {
    #[serde(default)]
    note: String,
}

/// Brings an earlier revision back.
pub(crate) async fn roll_back(
    State(state): State<ConsoleState>,
    Path(number): Path<String>,
    SignedForm { session, form }: SignedForm<RollbackForm>,
) -> Result<Response, PageError> {
    let number: u64 = number.parse().map_err(|_| PageError::NotFound)?;
    let note = Some(form.note.trim().to_owned()).filter(|note| !note.is_empty());
    if note.as_ref().is_some_and(|note| note.chars().count() > MAX_NOTE) {
        return Err(PageError::TooLarge);
    }
    match state.services.policies.rollback(&session.actor, Revision(number), note).await {
        Ok(view) => Ok(Redirect::to(&format!("/policies/{}", view.revision)).into_response()),
        Err(error @ PolicyError::Invalid(_)) => {
            let detail = find(&state, &session, &number.to_string()).await?;
            let page = rollback_page(&state, &session, &detail, Some(&error.to_string())).await?;
            Ok((StatusCode::CONFLICT, page).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

pub(crate) fn framed(state: &ConsoleState, session: &Session, title: &str, content: &Markup) -> Markup {
    let frame = Frame { title, session: Some(session), now: state.identity.now(), live: false };
    frame.page_in(Place::Policies, content)
}

impl From<PolicyError> for PageError {
    fn from(error: PolicyError) -> Self {
        match error {
            PolicyError::Right(missing) => Self::Forbidden(missing.to_string()),
            PolicyError::NotFound(_) => Self::NotFound,
            PolicyError::Store(error) => Self::Unavailable(error),
            other @ (PolicyError::Invalid(_) | PolicyError::Cursor) => Self::BadForm(other.to_string()),
        }
    }
}
