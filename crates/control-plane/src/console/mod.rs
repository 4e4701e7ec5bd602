//! The console: server-rendered pages to decide with. They work without script and without a mouse.
//!
//! What a page shows of an operation is derived from the canonical form that its digest binds (I12),
//! and everything that an agent may have written is shown as exactly its characters (`text`).

mod accounts;
mod agents;
mod approval;
mod assets;
mod attention;
mod batch;
mod card;
mod channels;
mod comments;
mod delegations;
mod edit;
mod error;
mod forms;
mod glass;
mod history;
mod inbox;
mod layout;
mod oidc;
mod operation;
mod passkeys;
mod policies;
mod revoke;
mod settings;
mod sign_in;
mod text;
mod vote;
mod you;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    routing::{get, post},
};

pub(crate) use error::PageError;

use crate::{identity::Identity, services::Services};

/// The largest form that is taken.
const MAX_FORM: usize = 32 * 1024;

/// What the pages work with.
#[derive(Debug, Clone)]
pub(crate) struct ConsoleState {
    services: Services,
    identity: Identity,
}

/// The console's routes, ready to be merged.
pub(crate) fn router(services: Services, identity: Identity) -> Router {
    Router::new()
        .route("/", get(inbox::show))
        .route("/approvals/{id}", get(approval::show))
        .route("/approvals/{id}/votes", post(vote::cast))
        .route("/approvals/{id}/comments", post(comments::add))
        .route(
            "/approvals/{id}/edit",
            get(edit::ask).post(edit::send).layer(DefaultBodyLimit::max(edit::MAX_EDIT)),
        )
        .route("/approvals/{id}/break-glass", get(glass::ask).post(glass::send))
        .route("/approvals/{id}/glass-review", post(glass::review))
        .route("/approvals/{id}/revoke", get(revoke::ask).post(revoke::revoke))
        .route("/approvals/{id}/challenge", post(passkeys::challenge_to_decide))
        .route("/passkeys", get(passkeys::show).post(passkeys::add_one))
        .route("/passkeys/challenge", post(passkeys::challenge_to_add))
        .route("/passkeys/{id}/challenge", post(passkeys::challenge_to_remove))
        .route("/passkeys/{id}/remove", post(passkeys::remove))
        .route("/sign-in", get(sign_in::page).post(sign_in::with_token))
        .route("/sign-in/link", get(sign_in::link_page).post(sign_in::with_link))
        .route("/sign-in/oidc/{provider}", get(oidc::depart))
        .route("/sign-in/oidc/{provider}/callback", get(oidc::arrive))
        .route("/sign-in/oidc/{provider}/logout", post(oidc::logout))
        .route("/sign-out", post(sign_in::out))
        .route("/accounts/link", get(accounts::link_page).post(accounts::link))
        .route("/assets/{name}", get(assets::serve))
        .merge(pages())
        .layer(DefaultBodyLimit::max(MAX_FORM))
        .with_state(ConsoleState { services, identity })
}

/// What there is to look at, and to look after, besides requests.
fn pages() -> Router<ConsoleState> {
    Router::new()
        .route("/batch", get(batch::ask).post(batch::cast))
        .route("/history", get(history::show))
        .route("/agents", get(agents::list).post(agents::add))
        .route("/agents/{name}", get(agents::show))
        .route("/agents/{name}/join-tokens", post(agents::new_join_token))
        .route("/agents/{name}/revoke", get(agents::ask_to_revoke).post(agents::revoke))
        .route("/channels", get(channels::show))
        .route("/channels/{name}/test", post(channels::test))
        .route("/policies", get(policies::list))
        .route("/policies/attention", get(attention::show))
        .route("/policies/{revision}", get(policies::show))
        .route("/policies/{revision}/rollback", get(policies::ask_to_roll_back).post(policies::roll_back))
        .route("/settings", get(settings::show))
        .route("/you", get(you::show))
        .route("/you/sessions/{id}/end", post(you::end_session))
        .route("/you/join/{provider}", post(oidc::join))
        .route("/you/accounts/{id}/unlink", post(you::unlink))
        .route("/you/delegations", post(delegations::create))
        .route("/you/delegations/{id}/revoke", post(delegations::revoke))
        .route("/you/tokens", post(you::create_token))
        .route("/you/tokens/{id}/revoke", post(you::revoke_token))
}
