//! The check API: AuthZEN Authorization API 1.0, and its Access Request and Approval Profile (ARAP).
//!
//! A policy enforcement point on the same machine asks here whether it may do something. The caller
//! enforces the answer; this module never runs anything. A `true` answer consumes its permit, and so
//! the use of a grant, before it leaves.
//!
//! | request | what it does |
//! |---|---|
//! | `POST /access/v1/evaluation`, `/access/v1/evaluations` | AuthZEN decisions ([`evaluation`]) |
//! | `POST /access/v1/requests` | ask people about a requestable denial ([`submission`]) |
//! | `GET /access/v1/requests/{id}` | the task, with `Prefer: wait=N` ([`task`]) |
//! | `POST /access/v1/requests/{id}/cancel` | take it back |
//! | `GET /.well-known/authzen-configuration`, `/access/v1/jwks` | metadata ([`metadata`]) |
//! | `GET /healthz`, `/readyz` | health ([`health`]) |
//!
//! **Who the principal is.** The verified agent, `Agent::"name"`: it is known from the sidecar's own
//! certificate. The subject that a caller asserts is shown to policy as unverified `context.subject`, and
//! binds. With `trust_subject`, for callers that are trusted enforcement points themselves, the asserted
//! subject is the principal. Either way an asserted user counts as the initiating human, who may not
//! approve (I3). A token of that person ([`crate::initiator`]) makes them the verified one.
//!
//! **What differs from the standards.** They want `https`; this server listens on loopback and on a unix
//! socket only, and speaks `http`. Bundled access requests (`items`), callbacks and forms are not offered.
//! Which denials can still be requested is kept in memory: after a restart a caller evaluates again.

mod answer;
mod body;
mod evaluation;
mod guard;
mod health;
mod listen;
mod memory;
mod metadata;
mod normalise;
mod problem;
mod submission;
mod task;

use std::sync::Arc;

use axum::{
    Router, middleware,
    routing::{get, post},
};
use countersign_gate::Gate;
use countersign_model::Seconds;

pub use guard::Token;
pub(crate) use guard::{is_local, unauthorized};
pub use listen::{Peers, serve_tcp, serve_unix};

use crate::initiator::Initiators;
use memory::{Denials, Keys};

/// How the check API behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Whether callers are trusted enforcement points, so that the subject they assert is the principal.
    pub trust_subject: bool,
    /// For how long people can be asked about a denial.
    pub requestable_for: Seconds,
    /// How many such denials are remembered.
    pub max_requestable: usize,
    /// Who vouches for the initiating human.
    pub initiators: Initiators,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            trust_subject: false,
            requestable_for: Seconds::new(10 * 60),
            max_requestable: 4_096,
            initiators: Initiators::default(),
        }
    }
}

/// What the requests of all listeners share.
#[derive(Debug)]
pub(crate) struct Desk {
    gate: Gate,
    settings: Settings,
    denials: Denials,
    keys: Keys,
}

/// The check API over one gate. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Check {
    desk: Arc<Desk>,
    base: Arc<str>,
}

impl Check {
    /// The check API over a gate. `base` is the URL that callers reach it at, without a final slash.
    #[must_use]
    pub fn new(gate: Gate, settings: Settings, base: &str) -> Self {
        let denials = Denials::new(settings.max_requestable, settings.requestable_for);
        let desk = Desk { gate, settings, denials, keys: Keys::default() };
        Self { desk: Arc::new(desk), base: base.into() }
    }

    /// The same API, reached at another URL.
    #[must_use]
    pub fn at(&self, base: &str) -> Self {
        Self { desk: Arc::clone(&self.desk), base: base.into() }
    }

    /// The routes for a listener that knows its callers, as a unix socket does.
    pub fn routes(&self) -> Router {
        self.protected().merge(self.open()).layer(middleware::from_fn(guard::echo_request_id))
    }

    /// The routes for a listener that everybody on the machine reaches: callers must present the token,
    /// and must mean this server (against DNS rebinding).
    pub fn routes_with_token(&self, token: Token) -> Router {
        let guarded =
            self.protected().route_layer(middleware::from_fn_with_state(token, guard::demand_token));
        guarded
            .merge(self.open())
            .layer(middleware::from_fn(guard::demand_local_host))
            .layer(middleware::from_fn(guard::echo_request_id))
    }

    fn protected(&self) -> Router {
        Router::new()
            .route("/access/v1/evaluation", post(evaluation::one))
            .route("/access/v1/evaluations", post(evaluation::many))
            .route("/access/v1/requests", post(submission::submit))
            .route("/access/v1/requests/{id}", get(task::status))
            .route("/access/v1/requests/{id}/cancel", post(task::cancel).delete(task::cancel))
            .with_state(self.clone())
    }

    fn open(&self) -> Router {
        Router::new()
            .route("/.well-known/authzen-configuration", get(metadata::configuration))
            .route("/access/v1/jwks", get(metadata::jwks))
            .route("/healthz", get(health::alive))
            .route("/readyz", get(health::ready))
            .with_state(self.clone())
    }
}
