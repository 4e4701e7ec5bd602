//! `/agents`: who may ask, who answers for them, and what their sidecars enforce. Admins add, enrol anew and
//! revoke; each service checks that again.

use axum::{
    extract::{Path, State},
    response::{IntoResponse, Redirect, Response},
};
use countersign_model::{AgentName, Timestamp};
use http::StatusCode;
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    ConsoleState, PageError,
    forms::{Params, SignedForm, SignedIn},
    layout::{Frame, Place, csrf, moment, more, nothing},
    sign_in::Empty,
    text::exact,
};
use crate::{
    identity::{Right, Session},
    services::{AddAgent, AddedAgent, AgentError, AgentState, AgentView, Page, PageRequest},
};

/// How many agents are on a page.
const ON_A_PAGE: usize = 100;

/// Which page of the list.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct AgentsQuery {
    cursor: Option<String>,
}

/// The list.
pub(crate) async fn list(
    State(state): State<ConsoleState>,
    SignedIn(session): SignedIn,
    Params(query): Params<AgentsQuery>,
) -> Result<Markup, PageError> {
    list_page(&state, &session, query.cursor, None).await
}

async fn list_page(
    state: &ConsoleState,
    session: &Session,
    cursor: Option<String>,
    problem: Option<&str>,
) -> Result<Markup, PageError> {
    let page = PageRequest { limit: Some(ON_A_PAGE), cursor };
    let page = state.services.agents.list(&session.actor, &page).await?;
    Ok(framed(
        state,
        session,
        "Agents",
        &html! {
            div.head { h1 { "Agents" } span.count { (connected(&page)) } }
            @if let Some(problem) = problem { div.flash.bad role="alert" { p { (problem) } } }
            @if page.items.is_empty() {
                (nothing("No agents yet", "Add one, and start its sidecar with the join token that you get."))
            } @else {
                (table(&page.items, state.identity.now()))
            }
            (more("/agents", &[], page.next.as_deref()))
            @if session.actor.may(Right::Admin) { (add_form(session)) }
        },
    ))
}

fn connected(page: &Page<AgentView>) -> String {
    let connected = page.items.iter().filter(|agent| agent.connected).count();
    format!("{connected} of {}{} connected", page.items.len(), if page.next.is_some() { "+" } else { "" })
}

fn table(agents: &[AgentView], now: Timestamp) -> Markup {
    html! {
        div.panel.scroll tabindex="0" role="group" aria-label="Agents" {
            table {
                thead {
                    tr {
                        th scope="col" { "Agent" }
                        th scope="col" { "Owner" }
                        th scope="col" { "Sidecar" }
                        th scope="col" { "Policy" }
                        th scope="col" { "Lease ends" }
                        th scope="col" { "Last seen" }
                    }
                }
                tbody { @for agent in agents { (table_row(agent, now)) } }
            }
        }
    }
}

fn table_row(agent: &AgentView, now: Timestamp) -> Markup {
    html! {
        tr {
            th scope="row" { a href={ "/agents/" (agent.name) } { (agent.name) } }
            td { (exact(agent.owner.as_str())) }
            td { (state_tag(agent)) }
            td { @match agent.revision { Some(revision) => { "revision " (revision) }, None => span.quiet { "none" } } }
            td { (lease(agent, now)) }
            td { @match agent.last_seen { Some(at) => (moment(at)), None => span.quiet { "never" } } }
        }
    }
}

fn state_tag(agent: &AgentView) -> Markup {
    let (class, words) = match (agent.state, agent.connected) {
        (AgentState::Revoked, _) => ("tag bad", "revoked"),
        (AgentState::Added, _) => ("tag open", "not enrolled yet"),
        (AgentState::Enrolled, true) => ("tag good", "connected"),
        (AgentState::Enrolled, false) => ("tag", "away"),
    };
    html! { span class=(class) { (words) } }
}

/// Until when it may enforce its policy without hearing from the control plane.
fn lease(agent: &AgentView, now: Timestamp) -> Markup {
    html! {
        @match agent.lease_ends {
            Some(ends) if ends < now => { span.tag.bad { "over" } " " (moment(ends)) },
            Some(ends) => (moment(ends)),
            None => span.quiet { "none" },
        }
    }
}

fn add_form(session: &Session) -> Markup {
    html! {
        section.panel.pad.narrow.below {
            h2 { "Add an agent" }
            form.form method="post" action="/agents" {
                (csrf(session))
                div {
                    label for="name" { "Name" }
                    input type="text" id="name" name="name" required maxlength="63" autocomplete="off"
                        spellcheck="false" aria-describedby="name-help";
                    p.help id="name-help" { "Lower-case letters, digits and hyphens." }
                }
                div {
                    label for="owner" { "Owner" }
                    input type="text" id="owner" name="owner" required maxlength="254" autocomplete="off"
                        spellcheck="false" aria-describedby="owner-help";
                    p.help id="owner-help" { "Who answers for it. They never approve what it asks." }
                }
                button.primary type="submit" { "Add and get a join token" }
            }
        }
    }
}

/// A new agent, as the form sends it.
#[derive(Deserialize)]
pub(crate) struct AddForm {
    name: String,
    owner: String,
}

/// Adds an agent. The answer is the only page that ever shows its join token.
pub(crate) async fn add(
    State(state): State<ConsoleState>,
    SignedForm { session, form }: SignedForm<AddForm>,
) -> Result<Response, PageError> {
    let wish = match (form.name.trim().parse(), form.owner.parse()) {
        (Ok(name), Ok(owner)) => AddAgent { name, owner },
        (Err(error), _) | (_, Err(error)) => {
            return refused(&state, &session, StatusCode::BAD_REQUEST, &error.to_string()).await;
        }
    };
    match state.services.agents.add(&session.actor, wish).await {
        Ok(added) => Ok(token_page(&state, &session, &added).into_response()),
        Err(error @ AgentError::Exists(_)) => {
            refused(&state, &session, StatusCode::CONFLICT, &error.to_string()).await
        }
        Err(error) => Err(error.into()),
    }
}

async fn refused(
    state: &ConsoleState,
    session: &Session,
    status: StatusCode,
    why: &str,
) -> Result<Response, PageError> {
    Ok((status, list_page(state, session, None, Some(why)).await?).into_response())
}

/// Another join token, for a sidecar that is to be enrolled anew.
pub(crate) async fn new_join_token(
    State(state): State<ConsoleState>,
    Path(name): Path<String>,
    SignedForm { session, .. }: SignedForm<Empty>,
) -> Result<Markup, PageError> {
    let added = state.services.agents.new_join_token(&session.actor, &named(&name)?).await?;
    Ok(token_page(&state, &session, &added))
}

fn token_page(state: &ConsoleState, session: &Session, added: &AddedAgent) -> Markup {
    framed(
        state,
        session,
        "Join token",
        &html! {
            p.crumb { a href={ "/agents/" (added.agent.name) } { "← " (added.agent.name) } }
            section.panel.pad {
                h1 { "Join token for " (added.agent.name) }
                p.gap {
                    "It enrols one sidecar, until " (moment(added.join_token.expires_at))
                    ". This is the only time that it is shown."
                }
                div.command tabindex="0" role="group" aria-label="Join token" { code { (added.token) } }
                p.quiet.small.gap {
                    "Put it into a file that only the sidecar can read, and start the sidecar once with "
                    code { "--join-token-file FILE" } "."
                }
            }
        },
    )
}

/// One agent.
pub(crate) async fn show(
    State(state): State<ConsoleState>,
    SignedIn(session): SignedIn,
    Path(name): Path<String>,
) -> Result<Markup, PageError> {
    let agent = state.services.agents.show(&session.actor, &named(&name)?).await?;
    let title = agent.name.to_string();
    Ok(framed(
        &state,
        &session,
        &title,
        &html! {
            p.crumb { a href="/agents" { "← Agents" } }
            div.head { h1 { (agent.name) } (state_tag(&agent)) }
            section.panel { dl.facts.inset { (facts(&agent, state.identity.now())) } }
            p.below { a href={ "/history?agent=" (agent.name) } { "What it asked before" } }
            @if session.actor.may(Right::Admin) && agent.state != AgentState::Revoked { (actions(&agent, &session)) }
        },
    ))
}

fn facts(agent: &AgentView, now: Timestamp) -> Markup {
    html! {
        dt { "Identity" } dd { code { (agent.spiffe_id) } }
        dt { "Owner" } dd { (exact(agent.owner.as_str())) }
        dt { "Policy" }
        dd {
            @match agent.revision {
                Some(revision) => a href={ "/policies/" (revision) } { "revision " (revision) },
                None => span.quiet { "none yet" },
            }
        }
        dt { "Lease ends" } dd { (lease(agent, now)) }
        dt { "Last seen" }
        dd { @match agent.last_seen { Some(at) => (moment(at)), None => span.quiet { "never" } } }
        @if let Some(at) = agent.svid_expires_at { dt { "Certificate ends" } dd { (moment(at)) } }
        @if let Some(depth) = agent.spool_depth { dt { "Events to ship" } dd { (depth) } }
        @if let Some(pending) = agent.pending { dt { "Operations that wait" } dd { (pending) } }
        dt { "Added" } dd { (moment(agent.added_at)) }
    }
}

fn actions(agent: &AgentView, session: &Session) -> Markup {
    html! {
        section.panel.pad.narrow.below {
            h2 { "Enrol anew" }
            form.form method="post" action={ "/agents/" (agent.name) "/join-tokens" } {
                (csrf(session))
                p.help { "For a sidecar that has lost its identity, or moves to another machine." }
                button type="submit" { "Make a join token" }
            }
        }
        section.panel.pad.narrow.below {
            h2 { "Revoke" }
            p.quiet.gap { "Closes its connection at once, and ends what it waits for. It is for good." }
            p.gap { a.button.deny href={ "/agents/" (agent.name) "/revoke" } { "Revoke…" } }
        }
    }
}

/// Asks once more before an agent is revoked.
pub(crate) async fn ask_to_revoke(
    State(state): State<ConsoleState>,
    SignedIn(session): SignedIn,
    Path(name): Path<String>,
) -> Result<Markup, PageError> {
    if !session.actor.may(Right::Admin) {
        return Err(PageError::Forbidden("Only admins revoke agents.".to_owned()));
    }
    let agent = state.services.agents.show(&session.actor, &named(&name)?).await?;
    Ok(framed(
        &state,
        &session,
        "Revoke",
        &html! {
            section.panel.pad.narrow {
                h1 { "Revoke " (agent.name) "?" }
                p.gap {
                    "Its sidecar is cut off at once, its pending requests end, and its name is spent. This cannot be "
                    "undone."
                }
                form.form method="post" action={ "/agents/" (agent.name) "/revoke" } {
                    (csrf(&session))
                    div {
                        label for="reason" { "Reason " span.quiet { "(for the log)" } }
                        input type="text" id="reason" name="reason" maxlength="500" autocomplete="off";
                    }
                    div.actions {
                        button.deny type="submit" { "Revoke it for good" }
                        a.button href={ "/agents/" (agent.name) } { "Keep it" }
                    }
                }
            }
        },
    ))
}

/// Why an agent is revoked.
#[derive(Deserialize)]
pub(crate) struct RevokeForm {
    #[serde(default)]
    reason: String,
}

/// Revokes an agent.
pub(crate) async fn revoke(
    State(state): State<ConsoleState>,
    Path(name): Path<String>,
    SignedForm { session, form }: SignedForm<RevokeForm>,
) -> Result<Redirect, PageError> {
    let reason = Some(form.reason.trim().to_owned()).filter(|reason| !reason.is_empty());
    if reason.as_ref().is_some_and(|reason| reason.chars().count() > 500) {
        return Err(PageError::TooLarge);
    }
    let agent = state.services.agents.revoke(&session.actor, &named(&name)?, reason).await?;
    Ok(Redirect::to(&format!("/agents/{}", agent.name)))
}

fn named(name: &str) -> Result<AgentName, PageError> {
    name.parse().map_err(|_| PageError::NotFound)
}

fn framed(state: &ConsoleState, session: &Session, title: &str, content: &Markup) -> Markup {
    let frame = Frame { title, session: Some(session), now: state.identity.now(), live: false };
    frame.page_in(Place::Agents, content)
}

impl From<AgentError> for PageError {
    fn from(error: AgentError) -> Self {
        match error {
            AgentError::Right(missing) => Self::Forbidden(missing.to_string()),
            AgentError::NotFound(_) | AgentError::NoSuchToken(_) => Self::NotFound,
            AgentError::Store(error) => Self::Unavailable(error),
            other @ (AgentError::Exists(_)
            | AgentError::Revoked(_)
            | AgentError::TokenUsed(_)
            | AgentError::Cursor) => Self::BadForm(other.to_string()),
        }
    }
}
