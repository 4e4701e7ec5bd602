//! The REST API under `/api/v1`, its OpenAPI document, and the probes.
//!
//! Handlers only translate: they read a request strictly, call a service, and write its answer. Who
//! may use a route stands in one table (`routes`); what may be done to which approval is for the
//! services and the approval's own rules.

mod agents;
mod approval_words;
mod approvals;
mod audit;
mod channels;
mod delegations;
mod etag;
mod events;
mod extract;
mod guard;
mod health;
mod idempotency;
mod openapi;
mod outlines;
mod page;
mod passkeys;
mod people;
mod policies;
mod problem;
mod reports;
mod routes;
mod tokens;
mod waiters;

use axum::Router;
use tokio_util::sync::CancellationToken;

pub(crate) use self::approvals::{MAX_REASON, MAX_SEARCH};
pub use self::{
    guard::Access,
    page::PageOf,
    problem::{Problem, ProblemDetails},
    routes::Route,
    tokens::{SignInLinkView, WhoAmI},
};
use self::{routes::Routes, waiters::Waiters};
use crate::{identity::Identity, services::Services};

/// What the handlers work with.
#[derive(Debug, Clone)]
pub(crate) struct ApiState {
    pub(crate) services: Services,
    pub(crate) identity: Identity,
    pub(crate) waiters: Waiters,
    /// Ends requests that wait.
    pub(crate) stop: CancellationToken,
}

impl ApiState {
    fn new(services: Services, identity: Identity, stop: CancellationToken) -> Self {
        Self { services, identity, waiters: Waiters::default(), stop }
    }
}

/// The API's routes, ready to be merged.
pub(crate) fn router(services: Services, identity: Identity, stop: CancellationToken) -> Router {
    let state = ApiState::new(services, identity, stop);
    Routes::new(state.clone()).router.with_state(state)
}

/// Every route of the API, and who may use it.
#[must_use]
pub fn routes(services: Services, identity: Identity) -> Vec<Route> {
    Routes::new(ApiState::new(services, identity, CancellationToken::new())).table
}
