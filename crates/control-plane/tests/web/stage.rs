//! A control plane with people and a connected sidecar, and a way to ask it things.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
};
use countersign_approval::Submission;
use countersign_control_plane::{
    App, Running,
    clock::Clock,
    config::Config,
    identity::{Actor, ActorKind, Credential, LocalPerson, NewToken, Right, Role},
    web,
};
use countersign_model::{
    DecidingPolicy, Digest, EvaluationId, Operation, PersonId, PolicyEffect, Projection, Provenance,
    Revision, Seconds, Timestamp,
};
use countersign_pki::JoinToken;
use countersign_protocol::{Hello, PROTOCOL_VERSION, Substitutable};
use countersign_transport::{Backoff, Limits, Link, LinkConfig, enrol};
use http::{HeaderMap, Method, Request, StatusCode, header};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

const DAY: Seconds = Seconds::new(24 * 60 * 60);

/// Who is on stage. Each has one role; the owner is an admin, too.
pub(crate) const OWNER: &str = "owner@example.com";
pub(crate) const ONE: &str = "reviewer-one@example.com";
pub(crate) const TWO: &str = "reviewer-two@example.com";
pub(crate) const VIEWER: &str = "viewer@example.com";
pub(crate) const AUTHOR: &str = "author@example.com";

/// A control plane, a connected sidecar `deploy-bot` of the owner, and everybody's tokens.
pub(crate) struct Stage {
    pub(crate) running: Running,
    router: Router,
    pub(crate) stop: CancellationToken,
    ahead: Arc<AtomicI64>,
    link: Link,
    revision: Revision,
    keys: AtomicU64,
    _stop_link: oneshot::Sender<()>,
    _folder: TempDir,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {:?}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Checks that this is a problem detail of that kind.
    #[track_caller]
    pub(crate) fn is_problem(&self, status: u16, code: &str) {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status);
        assert_eq!(problem["type"], format!("urn:countersign:problem:{code}"));
        assert!(problem["title"].is_string());
    }

    /// The session cookie that this answer set, as a browser sends it back.
    pub(crate) fn cookie(&self) -> String {
        self.header("set-cookie").split(';').next().unwrap_or_default().to_owned()
    }
}

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// A stage whose control plane is configured otherwise.
    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = TempDir::new().unwrap();
        let mut config = Config::new(folder.path().join("data"), "example.org".parse().unwrap());
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        (config.api.listen, config.link.listen) = (any, any);
        change(&mut config);
        let ahead = Arc::new(AtomicI64::new(0));
        let offset = Arc::clone(&ahead);
        let machine = Clock::system();
        let clock = Clock::new(move || {
            Timestamp::from_millis(machine.now().as_millis() + offset.load(Ordering::SeqCst))
        });
        let running = App::start_at(config, clock).await.unwrap();
        people(&running).await;
        let stop = CancellationToken::new();
        let router = web::router(running.services().clone(), running.identity().clone(), stop.clone());
        let (link, stop_link) = sidecar(&running, &router).await;
        let stage = Self {
            router,
            stop,
            ahead,
            link,
            revision: Revision(1),
            keys: AtomicU64::new(1),
            _stop_link: stop_link,
            _folder: folder,
            running,
        };
        let token = stage.token(AUTHOR).await;
        stage.post("/api/v1/policy/revisions", &token, bundle()).await.is(201);
        stage
    }

    /// Lets time pass for sessions, tokens and approvals.
    pub(crate) fn pass(&self, span: Seconds) {
        self.ahead.fetch_add(span.as_millis(), Ordering::SeqCst);
    }

    /// A personal token with everything that the person may do.
    pub(crate) async fn token(&self, person: &str) -> String {
        let person = person.parse().unwrap();
        self.running.identity().bootstrap_token(person, "test", DAY, "test").await.unwrap().token
    }

    pub(crate) async fn actor(&self, token: &str) -> Actor {
        let credential = Credential::Token(token.parse().unwrap());
        self.running.identity().authenticate(&credential).await.unwrap()
    }

    /// A token of that person, for a program or for less than the person may do.
    pub(crate) async fn narrow_token(&self, person: &str, kind: ActorKind, scopes: &[Right]) -> String {
        let actor = self.actor(&self.token(person).await).await;
        let scopes = Some(scopes.iter().copied().collect());
        let wish = NewToken { name: "narrow".to_owned(), kind, scopes, lifetime: None };
        self.running.identity().create_token(&actor, wish).await.unwrap().token
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, 64 * 1024 * 1024).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Answer { status: parts.status, headers: parts.headers, text }
    }

    /// The answer's head, with the body still open.
    pub(crate) async fn open(&self, request: Request<Body>) -> http::Response<Body> {
        self.router.clone().oneshot(request).await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Answer {
        self.send(request(Method::GET, path, token).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, token: &str, body: Value) -> Answer {
        self.send(json_request(path, token).body(Body::from(body.to_string())).unwrap()).await
    }

    pub(crate) async fn vote(&self, id: &str, token: &str, decision: &str) -> Answer {
        let body = json!({"decision": decision, "reason": "because"});
        self.post(&format!("/api/v1/approvals/{id}/votes"), token, body).await
    }

    /// Submits an operation as the sidecar does. Returns the approval's id.
    pub(crate) async fn submit(&self, operation: Value, requirement: &str) -> String {
        self.submit_as(operation, requirement, Provenance::default()).await
    }

    pub(crate) async fn submit_as(
        &self,
        operation: Value,
        requirement: &str,
        provenance: Provenance,
    ) -> String {
        let submission = self.submission(operation, requirement, provenance);
        self.link.request(submission).await.unwrap().id.to_string()
    }

    /// Submits what can run with other arguments, some of which nobody gets to see; maybe what became of another
    /// request.
    pub(crate) async fn submit_editable(
        &self,
        operation: Value,
        redacted: &[&str],
        follows: Option<&str>,
    ) -> String {
        let submission = self.submission(operation, "two", Provenance::default());
        let redacted = redacted.iter().map(|&pointer| pointer.to_owned()).collect();
        let follows = follows.map(|id| id.parse().unwrap());
        let submission = Submission { substitutable: true, redacted, follows, ..submission };
        self.link.request(Substitutable(submission)).await.unwrap().id.to_string()
    }

    fn submission(&self, operation: Value, requirement: &str, provenance: Provenance) -> Submission {
        let operation: Operation = serde_json::from_value(operation).unwrap();
        let bound = operation.bind(&Projection::default()).unwrap();
        let number = self.keys.fetch_add(1, Ordering::SeqCst);
        Submission {
            key: format!("key-{number}"),
            evaluation: EvaluationId::new(Timestamp::from_millis(1), [1; 10]),
            digest: Digest::of(bound.text().as_bytes()),
            operation: bound.text().to_owned(),
            redacted: Vec::new(),
            provenance,
            interceptor: "check".to_owned(),
            policies: vec![DecidingPolicy {
                id: "deploys".to_owned(),
                effect: PolicyEffect::Forbid,
                reason: Some("Deploys need a reviewer".to_owned()),
                approval: Some(requirement.parse().unwrap()),
            }],
            requirements: vec![requirement.parse().unwrap()],
            revision: self.revision,
            tool_pin: None,
            trace: None,
            substitutable: false,
            follows: None,
        }
    }
}

impl Answer {
    /// Checks the status and gives the answer on.
    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self
    }
}

/// An operation of the agent.
pub(crate) fn deploy(service: &str) -> Value {
    json!({
        "subject": {"type": "Agent", "id": "deploy-bot"},
        "action": {"name": "deploy", "properties": {"version": "1.4.2"}},
        "resource": {"type": "Service", "id": service}
    })
}

pub(crate) fn request(method: Method, path: &str, token: &str) -> http::request::Builder {
    let builder = Request::builder().method(method).uri(path);
    if token.is_empty() { builder } else { builder.header(header::AUTHORIZATION, format!("Bearer {token}")) }
}

pub(crate) fn json_request(path: &str, token: &str) -> http::request::Builder {
    request(Method::POST, path, token).header(header::CONTENT_TYPE, "application/json")
}

async fn people(running: &Running) {
    let reviewer: &[Role] = &[Role::Reviewer];
    for (person, roles) in [
        (OWNER, &[Role::Admin, Role::Reviewer][..]),
        (ONE, reviewer),
        (TWO, reviewer),
        (VIEWER, &[Role::Viewer]),
        (AUTHOR, &[Role::PolicyAuthor]),
    ] {
        let person: PersonId = person.parse().unwrap();
        let roles = roles.iter().copied().collect();
        let person = LocalPerson { person, groups: vec!["sre".to_owned()], roles };
        running.identity().put_local_person(person, "test").await.unwrap();
    }
}

/// Adds the agent through the API, enrols it, and keeps its link.
async fn sidecar(running: &Running, router: &Router) -> (Link, oneshot::Sender<()>) {
    let owner = OWNER.parse().unwrap();
    let token = running.identity().bootstrap_token(owner, "setup", DAY, "test").await.unwrap().token;
    let body = json!({"name": "deploy-bot", "owner": OWNER}).to_string();
    let add = json_request("/api/v1/agents", &token).body(Body::from(body)).unwrap();
    let response = router.clone().oneshot(add).await.unwrap();
    let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let added: Value = serde_json::from_slice(&bytes).unwrap();
    let join: JoinToken = added["token"].as_str().unwrap().parse().unwrap();
    let control = running.link_addr().to_string();
    let enrolment = enrol(&control, &join, None, "test".to_owned(), Limits::default()).await.unwrap();
    let config = LinkConfig {
        control,
        identity: enrolment.identity,
        trust: enrolment.trust,
        limits: Limits::default(),
        backoff: Backoff { first: Duration::from_millis(20), most: Duration::from_millis(100) },
        hello: Box::new(hello),
        entropy: Box::new(|| 0),
    };
    let (link, mut pushes, driver) = Link::new(config).unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(driver.run(async move {
        stopped.await.ok();
    }));
    // Bundles are not looked at here; taking them keeps the control plane from waiting.
    tokio::spawn(async move { while pushes.next().await.is_some() {} });
    let mut state = link.state();
    state.wait_for(countersign_transport::LinkState::is_up).await.unwrap();
    (link, stop)
}

fn hello() -> Hello {
    Hello {
        protocol: PROTOCOL_VERSION,
        software: "test".to_owned(),
        revision: None,
        bundle: None,
        last_seq: 0,
        spool_depth: 0,
        pending: Vec::new(),
    }
}

/// A bundle that holds deploys.
pub(crate) fn bundle() -> Value {
    json!({"note": "first", "files": {
        "bundle.toml": "name = \"test\"\nlease = \"1h\"\n",
        "entities.json": "[{\"uid\": {\"type\": \"Service\", \"id\": \"vault\"}, \"attrs\": {\"team\": \"billing\"}, \
            \"parents\": [{\"type\": \"Environment\", \"id\": \"production\"}]}]",
        "approvals.toml": "[requirements.one]\nreviewers = [\"*\"]\nquorum = 1\n\n\
            [requirements.two]\nreviewers = [\"group:sre\"]\nquorum = 2\n\n\
            [requirements.at-console]\nreviewers = [\"*\"]\nassurance = \"console\"\n\n\
            [requirements.with-passkey]\nreviewers = [\"*\"]\nassurance = \"passkey\"\n\n\
            [requirements.passkeys]\nreviewers = [\"*\"]\nquorum = 2\nassurance = \"passkey\"\n\n\
            [requirements.board]\nreviewers = [\"group:board\"]\nquorum = 1\n\n\
            [requirements.emergency]\nreviewers = [\"user:reviewer-two@example.com\"]\n\
            break_glass = [\"group:sre\"]\n\n\
            [requirements.watched]\nreviewers = [\"group:sre\"]\nquorum = 2\nbreak_glass = [\"group:on-call\"]\n\n\
            [requirements.own-word]\nkind = \"confirmation\"\n",
        "policies/deploys.cedar": "@id(\"work\")\npermit (principal, action, resource);\n\n\
            @id(\"deploys\")\n@approval(\"one\")\n@reason(\"Deploys need a reviewer\")\n\
            forbid (principal, action == Action::\"deploy\", resource)\n\
            unless { context.approvals.contains(\"one\") };\n\n\
            @id(\"pays\")\n@approval(\"two\")\nforbid (principal, action == Action::\"pay\", resource)\n\
            unless { context.approvals.contains(\"two\") };\n",
    }})
}
