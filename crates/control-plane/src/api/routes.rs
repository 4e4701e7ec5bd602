//! Every route of the API in one table: its method, its path, and who may use it.

use axum::{
    Router,
    extract::DefaultBodyLimit,
    handler::Handler,
    middleware::from_fn_with_state,
    routing::{MethodFilter, MethodRouter, on},
};
use http::Method;

use super::{
    ApiState, agents, approval_words, approvals, audit, channels, delegations, events,
    guard::{Access, Gate, guard},
    health,
    idempotency::Answers,
    openapi, outlines, passkeys, people, policies, reports, tokens,
};
use crate::identity::Right;

const READ: Access = Access::AnyOf(&[Right::Read]);
const VOTE: Access = Access::AnyOf(&[Right::Vote]);
/// Ending something takes no vote, but it takes more than looking.
const END: Access = Access::AnyOf(&[Right::Vote, Right::Admin]);
const POLICY: Access = Access::AnyOf(&[Right::Policy]);
const ADMIN: Access = Access::AnyOf(&[Right::Admin]);

/// The largest body that a route takes unless it says otherwise.
const SMALL: usize = 64 * 1024;

/// One route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Its method.
    pub method: Method,
    /// Its path, with its parameters in braces.
    pub path: &'static str,
    /// Who may use it.
    pub access: Access,
}

/// The router while it is put together, and the list of what is in it.
pub(super) struct Routes {
    state: ApiState,
    pub(super) router: Router<ApiState>,
    pub(super) table: Vec<Route>,
}

impl Routes {
    /// Every route of the API.
    pub(super) fn new(state: ApiState) -> Self {
        Self { state, router: Router::new(), table: Vec::new() }
            .get("/healthz", Access::Open, health::healthz)
            .get("/readyz", Access::Open, health::readyz)
            .get("/openapi.json", Access::Open, openapi::serve)
            .get("/api/v1/whoami", READ, tokens::whoami)
            .get("/api/v1/events", READ, events::events)
            .approvals()
            .agents()
            .policy()
            .audit()
            .get("/api/v1/reports/attention", READ, reports::attention)
            .channels()
            .tokens()
            .passkeys()
            .people()
            .delegations()
    }

    fn approvals(self) -> Self {
        self.get("/api/v1/approvals", READ, approvals::list)
            .get("/api/v1/approvals/{id}", READ, approvals::show)
            .get("/api/v1/approvals/{id}/review", READ, approvals::review)
            .get("/api/v1/approvals/{id}/outline", READ, outlines::outline)
            .get("/api/v1/approvals/{id}/wait", READ, approvals::wait)
            .post("/api/v1/approvals/{id}/votes", VOTE, approvals::vote)
            .post("/api/v1/approvals/{id}/edit", VOTE, approvals::edit)
            .post("/api/v1/approvals/votes", VOTE, approval_words::vote_on_several)
            .post("/api/v1/approvals/{id}/break-glass", VOTE, approval_words::break_glass)
            .post("/api/v1/approvals/{id}/glass-reviews", VOTE, approval_words::review_glass)
            .post("/api/v1/approvals/{id}/comments", READ, approval_words::comment)
            .get("/api/v1/approvals/{id}/comments", READ, approval_words::comments)
            .post("/api/v1/approvals/{id}/cancel", END, approvals::cancel)
            .post("/api/v1/approvals/{id}/revoke", END, approvals::revoke)
    }

    fn agents(self) -> Self {
        self.get("/api/v1/agents", READ, agents::list)
            .secret("/api/v1/agents", ADMIN, agents::add)
            .get("/api/v1/agents/{name}", READ, agents::show)
            .post("/api/v1/agents/{name}/revoke", ADMIN, agents::revoke)
            .secret("/api/v1/agents/{name}/join-tokens", ADMIN, agents::new_join_token)
            .get("/api/v1/join-tokens", ADMIN, agents::join_tokens)
            .post("/api/v1/join-tokens/{id}/revoke", ADMIN, agents::revoke_join_token)
    }

    fn policy(self) -> Self {
        self.post("/api/v1/policy/validate", READ, policies::validate)
            .post("/api/v1/policy/revisions", POLICY, policies::push)
            .get("/api/v1/policy/revisions", READ, policies::history)
            .get("/api/v1/policy/revisions/{revision}", READ, policies::show)
            .post("/api/v1/policy/revisions/{revision}/rollback", POLICY, policies::rollback)
    }

    fn audit(self) -> Self {
        self.get("/api/v1/audit/events", READ, audit::events)
            .get("/api/v1/audit/checkpoint", READ, audit::checkpoint)
            .get("/api/v1/audit/proofs/inclusion", READ, audit::inclusion)
            .get("/api/v1/audit/proofs/consistency", READ, audit::consistency)
            .get("/api/v1/audit/export", READ, audit::export)
    }

    fn channels(self) -> Self {
        self.get("/api/v1/channels", READ, channels::list).post(
            "/api/v1/channels/{name}/test",
            ADMIN,
            channels::test,
        )
    }

    fn tokens(self) -> Self {
        self.get("/api/v1/tokens", READ, tokens::list)
            .secret("/api/v1/tokens", READ, tokens::create)
            .post("/api/v1/tokens/{id}/revoke", READ, tokens::revoke)
            .secret("/api/v1/sign-in-links", READ, tokens::sign_in_link)
    }

    fn people(self) -> Self {
        self.get("/api/v1/people", ADMIN, people::list)
            .post("/api/v1/people/{id}/disable", ADMIN, people::disable)
            .post("/api/v1/people/{id}/enable", ADMIN, people::enable)
            .post("/api/v1/people/{id}/join", ADMIN, people::join)
            .post("/api/v1/people/{id}/part", ADMIN, people::part)
            .get("/api/v1/accounts", READ, people::accounts)
            .post("/api/v1/accounts/{id}/unlink", READ, people::unlink)
            .get("/api/v1/sessions", READ, people::sessions)
            .post("/api/v1/sessions/{id}/end", READ, people::end_session)
    }

    fn passkeys(self) -> Self {
        self.get("/api/v1/passkeys", READ, passkeys::list).post(
            "/api/v1/passkeys/{id}/remove",
            ADMIN,
            passkeys::remove,
        )
    }

    fn delegations(self) -> Self {
        self.get("/api/v1/delegations", READ, delegations::list)
            .post("/api/v1/delegations", VOTE, delegations::create)
            .post("/api/v1/delegations/{id}/revoke", READ, delegations::revoke)
    }

    fn get<H: Handler<T, ApiState>, T: 'static>(
        self,
        path: &'static str,
        access: Access,
        handler: H,
    ) -> Self {
        self.add(Method::GET, path, access, on(MethodFilter::GET, handler), Answers::Plain)
    }

    fn post<H: Handler<T, ApiState>, T: 'static>(
        self,
        path: &'static str,
        access: Access,
        handler: H,
    ) -> Self {
        self.add(Method::POST, path, access, on(MethodFilter::POST, handler), Answers::Plain)
    }

    /// A route whose answer shows a secret.
    fn secret<H: Handler<T, ApiState>, T: 'static>(
        self,
        path: &'static str,
        access: Access,
        handler: H,
    ) -> Self {
        self.add(Method::POST, path, access, on(MethodFilter::POST, handler), Answers::Secret)
    }

    fn add(
        mut self,
        method: Method,
        path: &'static str,
        access: Access,
        route: MethodRouter<ApiState>,
        answers: Answers,
    ) -> Self {
        let route = match access {
            Access::Open => route,
            Access::AnyOf(rights) => {
                let gate = Gate { state: self.state.clone(), rights, answers };
                route.route_layer(from_fn_with_state(gate, guard))
            }
        };
        // Outside the guard, which reads the body of a write that has a key.
        let route = route.route_layer(DefaultBodyLimit::max(body_limit(path)));
        self.router = self.router.route(path, route);
        self.table.push(Route { method, path, access });
        self
    }
}

fn body_limit(path: &str) -> usize {
    match path {
        "/api/v1/policy/validate" | "/api/v1/policy/revisions" => policies::MAX_BUNDLE_BODY,
        _ => SMALL,
    }
}
