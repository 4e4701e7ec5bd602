//! Who stands in for somebody while they are away, on their own page: named for some days, and taken back.

use axum::{
    extract::{Path, State},
    response::{IntoResponse, Redirect, Response},
};
use countersign_model::{PersonId, Seconds, Timestamp};
use http::{HeaderMap, StatusCode};
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    ConsoleState, PageError,
    forms::{SignedForm, day},
    layout::{csrf, moment},
    sign_in::Empty,
    text::{exact, prose},
    you::{button, page},
};
use crate::identity::{DelegationError, DelegationView, NewDelegation, Right, Session};

const DAY: Seconds = Seconds::new(24 * 60 * 60);

/// What the person has given and was given, as far as it is not over.
pub(crate) async fn own(state: &ConsoleState, session: &Session) -> Result<Vec<DelegationView>, PageError> {
    let (now, person) = (state.identity.now(), &session.actor.person);
    let mut found = state.identity.delegations(&session.actor).await?;
    // An admin's list has everybody's; this is about one's own.
    found.retain(|one| {
        [&one.delegator, &one.stand_in].contains(&person) && one.revoked_at.is_none() && one.until > now
    });
    Ok(found)
}

/// The panel on the person's own page.
pub(crate) fn panel(delegations: &[DelegationView], session: &Session, now: Timestamp) -> Markup {
    html! {
        section.panel {
            h2 { "Stand-ins" }
            @if delegations.is_empty() {
                p.quiet { "None. Somebody whom you name may decide what you could, as themselves, while you are away." }
            }
            ul.rows { @for one in delegations { li { (row(one, session, now)) } } }
            @if session.actor.may(Right::Vote) { (form(session)) }
        }
    }
}

fn row(one: &DelegationView, session: &Session, now: Timestamp) -> Markup {
    let is_theirs = one.delegator == session.actor.person;
    let path = format!("/you/delegations/{}/revoke", one.id);
    html! {
        div.first {
            span {
                @if is_theirs { (exact(one.stand_in.as_str())) " stands in for you" }
                @else { "You stand in for " (exact(one.delegator.as_str())) }
                " "
                @if one.holds { span.tag.good { "now" } } @else if one.from > now { span.tag { "later" } }
            }
            @if is_theirs { (button(session, &path, "Take back", "Take back this stand-in")) }
            @else { (button(session, &path, "Step down", "Step down as a stand-in")) }
        }
        div.second.quiet.small { span { (moment(one.from)) " to " (moment(one.until)) } span { (prose(&one.reason)) } }
    }
}

fn form(session: &Session) -> Markup {
    html! {
        form.form.inset method="post" action="/you/delegations" {
            (csrf(session))
            div {
                label for="stand-in" { "Name a stand-in" }
                input type="text" id="stand-in" name="stand_in" required inputmode="email" autocomplete="off"
                    placeholder="their e-mail address";
            }
            div.pair {
                div {
                    label for="delegated-from" { "From " span.quiet { "(or now)" } }
                    input type="date" id="delegated-from" name="from";
                }
                div {
                    label for="delegated-until" { "Through" }
                    input type="date" id="delegated-until" name="until" required;
                }
            }
            div {
                label for="why" { "Why" }
                input type="text" id="why" name="reason" required maxlength="500" autocomplete="off" placeholder="on holiday";
            }
            p.help { "Whole days in UTC, 30 at most. They vote as themselves, and the two of you count once." }
            button type="submit" { "Name them" }
        }
    }
}

/// A new stand-in, as the form sends it.
#[derive(Deserialize)]
pub(crate) struct DelegationForm {
    stand_in: String,
    #[serde(default)]
    from: String,
    until: String,
    #[serde(default)]
    reason: String,
}

impl DelegationForm {
    fn wish(self) -> Result<NewDelegation, String> {
        let stand_in: Result<PersonId, _> = self.stand_in.trim().parse();
        Ok(NewDelegation {
            stand_in: stand_in.map_err(|error| error.to_string())?,
            from: day(&self.from)?,
            // The last day counts as a whole.
            until: day(&self.until)?.ok_or("Say until when.")?.plus(DAY),
            reason: self.reason,
        })
    }
}

/// Names a stand-in.
pub(crate) async fn create(
    State(state): State<ConsoleState>,
    headers: HeaderMap,
    SignedForm { session, form }: SignedForm<DelegationForm>,
) -> Result<Response, PageError> {
    let made = match form.wish() {
        Ok(wish) => state.identity.create_delegation(&session.actor, wish).await.map(drop),
        Err(problem) => return again(&state, &headers, &session, &problem).await,
    };
    match made {
        Ok(()) => Ok(Redirect::to("/you").into_response()),
        Err(
            error @ (DelegationError::Invalid(_)
            | DelegationError::UnknownStandIn(_)
            | DelegationError::TooMany(_)),
        ) => again(&state, &headers, &session, &error.to_string()).await,
        Err(error) => Err(error.into()),
    }
}

async fn again(
    state: &ConsoleState,
    headers: &HeaderMap,
    session: &Session,
    problem: &str,
) -> Result<Response, PageError> {
    let problem = format!("Nobody was named: {problem}");
    let page = page(state, headers, session, Some(&problem)).await?;
    Ok((StatusCode::BAD_REQUEST, page).into_response())
}

/// Takes a stand-in back, or steps down as one.
pub(crate) async fn revoke(
    State(state): State<ConsoleState>,
    Path(id): Path<String>,
    SignedForm { session, .. }: SignedForm<Empty>,
) -> Result<Redirect, PageError> {
    let id = id.parse().map_err(|_| PageError::NotFound)?;
    state.identity.revoke_delegation(&session.actor, id).await?;
    Ok(Redirect::to("/you"))
}

impl From<DelegationError> for PageError {
    fn from(error: DelegationError) -> Self {
        match error {
            DelegationError::NotFound(_) => Self::NotFound,
            DelegationError::NotAVoter => Self::Forbidden(error.to_string()),
            DelegationError::Store(_) | DelegationError::Entropy(_) => Self::Unavailable(error.to_string()),
            other => Self::BadForm(other.to_string()),
        }
    }
}
