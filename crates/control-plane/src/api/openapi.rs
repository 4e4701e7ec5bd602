//! The OpenAPI document, made from the handlers themselves.

use axum::Json;
use utoipa::{
    Modify, OpenApi,
    openapi::{
        self, ObjectBuilder, Type,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use super::{
    agents, approval_words, approvals, audit, channels, delegations, events, health, outlines, passkeys,
    people, policies, reports, tokens,
};

/// The document.
#[derive(OpenApi)]
#[openapi(
    info(title = "Countersign", description = "Action-level approvals for AI agents. Errors are RFC 9457 problem \
        details; lists are pages with a cursor; a POST with an `Idempotency-Key` can be repeated safely."),
    paths(
        health::healthz, health::readyz, serve,
        tokens::whoami, events::events,
        approvals::list, approvals::show, approvals::review, approvals::wait, outlines::outline, approvals::vote, approvals::edit, approvals::cancel, approvals::revoke,
        approval_words::vote_on_several, approval_words::break_glass, approval_words::review_glass,
        approval_words::comment, approval_words::comments,
        delegations::list, delegations::create, delegations::revoke,
        agents::list, agents::add, agents::show, agents::revoke, agents::new_join_token, agents::join_tokens,
        agents::revoke_join_token,
        policies::validate, policies::push, policies::history, policies::show, policies::rollback,
        reports::attention,
        audit::events, audit::checkpoint, audit::inclusion, audit::consistency, audit::export,
        channels::list, channels::test,
        tokens::list, tokens::create, tokens::revoke, tokens::sign_in_link,
        passkeys::list, passkeys::remove,
        people::list, people::disable, people::enable, people::join, people::part, people::accounts,
        people::unlink, people::sessions, people::end_session,
    ),
    components(schemas(audit::Order)),
    security(("bearer" = [])),
    modifiers(&Bearer, &Headers),
)]
pub(crate) struct Document;

/// Says how requests prove themselves.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("cs_<id>_<secret>")
            .description(Some(
                "An API token. Requests that only read also take the console's session cookie.",
            ))
            .build();
        let components = document.components.get_or_insert_with(Default::default);
        components.add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

/// Says what the headers of requests look like.
struct Headers;

impl Modify for Headers {
    fn modify(&self, document: &mut openapi::OpenApi) {
        let items = document.paths.paths.values_mut();
        let operations = items.flat_map(|item| item.get.iter_mut().chain(item.post.iter_mut()));
        for parameter in operations.flat_map(|operation| operation.parameters.iter_mut().flatten()) {
            let pattern = match parameter.name.as_str() {
                "Idempotency-Key" => "^[!-~]{1,255}$",
                "If-Match" | "If-None-Match" => "^(W/)?\"[0-9]{1,18}\"$",
                "Last-Event-ID" => "^[0-9]{1,18}$",
                _ => continue,
            };
            let text = ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern));
            parameter.schema = Some(text.build().into());
        }
    }
}

/// This document.
#[utoipa::path(get, operation_id = "openapi", path = "/openapi.json", tag = "health", security(()),
    responses((status = 200, description = "An OpenAPI 3.1 document", body = serde_json::Value)))]
pub(crate) async fn serve() -> Json<openapi::OpenApi> {
    Json(Document::openapi())
}
