//! Microsoft Teams: a bot whose cards take votes, and every way that we could think of to get one in from elsewhere.

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_control_plane::{
    config::{Config, TeamsBotConfig, TeamsWorkflowConfig},
    identity::{AccountKind, ExternalAccount},
};
use countersign_model::{Provenance, Seconds};
use countersign_testkit::chats::{
    FakeTeams, Signer,
    teams::{self, APP, CLIENT_SECRET, TENANT},
};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::office::{route, secret_file};
use crate::{
    console::Browser,
    stage::{AUTHOR, ONE, OWNER, Stage, TWO, VIEWER, deploy},
};

const ROOM: &str = "19:reviews@thread.tacv2";
const APPROVE: &str = "countersign.approve";
const DENY: &str = "countersign.deny";

/// A control plane whose reviewers are told in Teams, and people who click there.
struct Office {
    stage: Stage,
    teams: FakeTeams,
    signer: Signer,
    http: reqwest::Client,
    _folder: TempDir,
}

impl Office {
    async fn new() -> Self {
        let (folder, teams, signer) =
            (TempDir::new().unwrap(), FakeTeams::start().await, Signer::new("key-1"));
        teams.keys(vec![signer.jwk(&["msteams"])]);
        let at = |path: &str| format!("{}{path}", teams.url).parse().unwrap();
        let stage = Stage::with(|config: &mut Config| {
            config.channels.teams_bots.push(TeamsBotConfig {
                name: "bot".to_owned(),
                app_id: APP.to_owned(),
                tenant: TENANT.to_owned(),
                client_secret_file: secret_file(folder.path(), "secret", CLIENT_SECRET),
                same_email: true,
                service: at("/teams/"),
                metadata: at("/metadata"),
                authority: at("/entra"),
            });
            config.channels.teams.push(TeamsWorkflowConfig {
                name: "workflow".to_owned(),
                webhook_file: secret_file(
                    folder.path(),
                    "webhook",
                    &format!("{}/workflow?sig=secret", teams.url),
                ),
            });
            config.channels.routes.push(route("bot", ROOM));
            config.channels.routes.push(route("workflow", ""));
        })
        .await;
        let office = Self { stage, teams, signer, http: reqwest::Client::new(), _folder: folder };
        office.link("o-1", ONE).await;
        office.link("o-2", TWO).await;
        office
    }

    async fn link(&self, oid: &str, person: &str) {
        let (realm, subject) = (TENANT.to_owned(), oid.to_owned());
        let account = ExternalAccount { kind: AccountKind::Teams, realm, subject };
        let path = self.stage.running.identity().begin_link(account, oid, None).await.unwrap();
        self.open_link(&path, person).await;
    }

    async fn open_link(&self, path: &str, person: &str) {
        let browser = Browser::sign_in(&self.stage, person).await;
        let (_, secret) = path.split_once("secret=").unwrap();
        let csrf = browser.csrf().await;
        browser.post("/accounts/link", &[("csrf", &csrf), ("secret", secret)]).await.is(200);
    }

    fn now(&self) -> i64 {
        self.stage.running.identity().now().as_seconds()
    }

    /// What the Bot Framework claims.
    fn claims(&self) -> Value {
        teams::claims(teams::SERVICE, self.now())
    }

    /// Calls the bot.
    async fn call(&self, activity: &Value, token: Option<&str>) -> (StatusCode, Value) {
        let url = format!("http://{}/channels/teams/bot/messages", self.stage.running.api_addr());
        let mut request = self.http.post(url).json(activity);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.unwrap();
        (answer.status(), answer.json().await.unwrap_or_default())
    }

    /// Clicks, as the Bot Framework tells of it. Answers the card.
    async fn click(&self, oid: &str, verb: &str, ticket: &str) -> Value {
        let token = self.signer.sign(&self.claims());
        let (status, answer) = self.call(&click(oid, verb, ticket), Some(&token)).await;
        assert_eq!((status, &answer["statusCode"]), (StatusCode::OK, &json!(200)), "{answer}");
        answer["value"].clone()
    }

    /// The ticket on the card of a request, once it is posted.
    async fn ticket(&self, approval: &str) -> String {
        let posted = self.teams.until(|sent| sent.path.contains("/v3/") && says(&sent.body, approval)).await;
        let actions = &posted.body["attachments"][0]["content"]["actions"];
        actions[0]["data"]["ticket"].as_str().unwrap().to_owned()
    }

    async fn view(&self, approval: &str) -> Value {
        let token = self.stage.token(ONE).await;
        self.stage.get(&format!("/api/v1/approvals/{approval}"), &token).await.is(200).json()
    }
}

fn says(body: &Value, words: &str) -> bool {
    body.to_string().contains(words)
}

fn click(oid: &str, verb: &str, ticket: &str) -> Value {
    teams::click(ROOM, oid, verb, ticket)
}

#[tokio::test]
async fn a_reviewer_decides_on_the_card_and_everybodys_card_changes() {
    let office = Office::new().await;
    let id = office.stage.submit(deploy("payments"), "one").await;
    let ticket = office.ticket(&id).await;
    let card = office.click("o-1", APPROVE, &ticket).await;
    assert!(says(&card, "Your vote is counted") && !says(&card, APPROVE), "{card}");
    let view = office.view(&id).await;
    assert_eq!((view["state"].as_str(), view["votes"][0]["person"].as_str()), (Some("approved"), Some(ONE)));
    assert_eq!(
        (&view["votes"][0]["channel"], &view["votes"][0]["reason"]),
        (&json!("teams"), &json!("looked at it"))
    );
    let updated = office.teams.until(|sent| sent.method == Method::PUT).await;
    assert!(
        updated.path.starts_with(&format!("/teams/v3/conversations/{ROOM}/activities/a-")),
        "{}",
        updated.path
    );
    assert!(says(&updated.body, ONE) && !says(&updated.body, APPROVE));
    // Who decided is told in the thread below it.
    let thread = format!("/teams/v3/conversations/{ROOM};messageid=a-");
    let below = office.teams.until(|sent| sent.path.starts_with(&thread)).await;
    assert!(says(&below.body, "Now: approved") && says(&below.body, ONE), "{:?}", below.body);
    // The webhook has no buttons, and another message at the end.
    let told = office.teams.until(|sent| sent.path == "/workflow" && says(&sent.body, ONE)).await;
    assert!(!says(&told.body, APPROVE) && says(&told.body, &format!("/approvals/{id}")));
    assert!(!office.teams.sent().iter().any(|sent| sent.path == "/workflow" && says(&sent.body, "ticket")));
}

/// Each of these differs in one thing from a call that is taken.
#[tokio::test]
async fn what_the_bot_framework_did_not_sign_for_this_bot_is_refused() {
    let office = Office::new().await;
    let id = office.stage.submit(deploy("payments"), "one").await;
    let activity = click("o-1", APPROVE, &office.ticket(&id).await);
    let with = |name: &str, value: Value| {
        let mut claims = office.claims();
        claims[name] = value;
        office.signer.sign(&claims)
    };
    let without = |name: &str| {
        let mut claims = office.claims();
        claims.as_object_mut().unwrap().remove(name);
        office.signer.sign(&claims)
    };
    let stranger = Signer::new("key-1");
    let (claims, now) = (office.claims(), office.now());
    let none = office.signer.sign_as(&json!({"alg": "none", "kid": "key-1"}), &claims);
    let confused = {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&json!({"alg": "HS256", "kid": "key-1"})), part(&claims));
        let key = hmac::Key::new(hmac::HMAC_SHA256, &office.signer.public_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes()).as_ref()))
    };
    for (what, token) in [
        ("another's key under the same name", stranger.sign(&claims)),
        (
            "another issuer",
            with("iss", json!("https://sts.windows.net/22222222-2222-2222-2222-222222222222/")),
        ),
        ("no issuer", without("iss")),
        ("another bot", with("aud", json!("33333333-3333-3333-3333-333333333333"))),
        ("no bot", without("aud")),
        ("run out", with("exp", json!(now - 301))),
        ("no end", without("exp")),
        ("not valid yet", with("nbf", json!(now + 400))),
        ("another service", with("serviceurl", json!("https://evil.example/"))),
        ("no service", without("serviceurl")),
        ("a key that is not known", office.signer.sign_as(&json!({"alg": "RS256", "kid": "key-9"}), &claims)),
        ("no key", office.signer.sign_as(&json!({"alg": "RS256"}), &claims)),
        ("no algorithm", none),
        ("the public key as a shared secret", confused),
        ("nonsense", "a.b.c".to_owned()),
    ] {
        let (status, _) = office.call(&activity, Some(&token)).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{what}");
    }
    assert_eq!(office.call(&activity, None).await.0, StatusCode::UNAUTHORIZED);
    let mut elsewhere = activity.clone();
    elsewhere["channelId"] = json!("directline");
    let good = office.signer.sign(&claims);
    assert_eq!(office.call(&elsewhere, Some(&good)).await.0, StatusCode::FORBIDDEN);
    assert_eq!(office.view(&id).await["votes"], json!([]));
    // Within five minutes clocks may differ.
    let late = with("exp", json!(now - 200));
    assert_eq!(office.call(&activity, Some(&late)).await.0, StatusCode::OK);
    assert_eq!(office.view(&id).await["state"], "approved");
}

#[tokio::test]
async fn keys_change_and_speak_only_for_what_they_are_endorsed_for() {
    let office = Office::new().await;
    let id = office.stage.submit(deploy("payments"), "one").await;
    let activity = click("o-1", APPROVE, &office.ticket(&id).await);
    let (next, other) = (Signer::new("key-2"), Signer::new("key-3"));
    let old = office.signer.sign(&office.claims());
    assert_eq!(office.call(&click("o-9", "x", "y"), Some(&old)).await.0, StatusCode::OK);
    office.teams.keys(vec![next.jwk(&["msteams"]), other.jwk(&["webchat"])]);
    // Not as often as somebody asks for a key that there is not.
    assert_eq!(office.call(&activity, Some(&next.sign(&office.claims()))).await.0, StatusCode::FORBIDDEN);
    office.stage.pass(Seconds::new(61));
    assert_eq!(office.call(&activity, Some(&other.sign(&office.claims()))).await.0, StatusCode::FORBIDDEN);
    assert_eq!(office.call(&activity, Some(&next.sign(&office.claims()))).await.0, StatusCode::OK);
    assert_eq!(office.view(&id).await["state"], "approved");
}

#[tokio::test]
async fn people_of_other_tenants_the_unlinked_and_the_initiator_have_no_vote() {
    let office = Office::new().await;
    office.link("o-3", OWNER).await;
    let by_one: Provenance = serde_json::from_value(json!({"initiator": {"person": ONE}})).unwrap();
    let id = office.stage.submit_as(deploy("payments"), "one", by_one).await;
    let ticket = office.ticket(&id).await;
    for oid in ["o-1", "o-3"] {
        let card = office.click(oid, APPROVE, &ticket).await;
        assert!(says(&card, "Not counted"), "{card}");
    }
    let token = office.signer.sign(&office.claims());
    let mut foreign = click("o-2", APPROVE, &ticket);
    foreign["channelData"]["tenant"]["id"] = json!("44444444-4444-4444-4444-444444444444");
    let mut nowhere = click("o-2", APPROVE, &ticket);
    (nowhere["channelData"], nowhere["conversation"]["tenantId"]) = (json!({}), Value::Null);
    let mut nobody = click("o-2", APPROVE, &ticket);
    nobody["from"] = json!({"id": "29:x", "name": "Somebody"});
    for activity in [foreign, nowhere, nobody] {
        let (_, answer) = office.call(&activity, Some(&token)).await;
        assert!(says(&answer, "members of the tenant") && !says(&answer, "AdaptiveCard"), "{answer}");
    }
    assert_eq!(office.view(&id).await["votes"], json!([]));

    let card = office.click("o-4", APPROVE, &ticket).await;
    let actions = card["actions"].as_array().unwrap();
    let link = actions.iter().find(|action| action["title"] == "Link this account").unwrap();
    let url = link["url"].as_str().unwrap().to_owned();
    assert_eq!(office.view(&id).await["votes"], json!([]));
    office.stage.pass(Seconds::new(601));
    let browser = Browser::sign_in(&office.stage, TWO).await;
    let (_, secret) = url.split_once("secret=").unwrap();
    let csrf = browser.csrf().await;
    browser.post("/accounts/link", &[("csrf", &csrf), ("secret", secret)]).await.is(409);
}

/// A call names the tenant of the conversation; guests and people of other tenants can be in it, too.
#[tokio::test]
async fn guests_and_people_of_other_tenants_have_no_vote() {
    let office = Office::new().await;
    let id = office.stage.submit(deploy("payments"), "one").await;
    let ticket = office.ticket(&id).await;
    let token = office.signer.sign(&office.claims());
    for (otherwise, words) in [
        (json!({"userRole": "guest"}), "guests"),
        (json!({"userPrincipalName": "one_elsewhere.example#EXT#@here.example"}), "guests"),
        (json!({"tenantId": "44444444-4444-4444-4444-444444444444"}), "members of the tenant"),
        (json!({"aadObjectId": "o-2"}), "does not say"),
    ] {
        // What Teams said a minute ago does not hold any more.
        office.stage.pass(Seconds::new(61));
        office.teams.member("o-1", otherwise);
        for verb in [APPROVE, DENY] {
            let (_, answer) = office.call(&click("o-1", verb, &ticket), Some(&token)).await;
            assert!(says(&answer, words) && !says(&answer, "AdaptiveCard"), "{answer}");
        }
    }
    assert_eq!(office.view(&id).await["votes"], json!([]));
    office.stage.pass(Seconds::new(61));
    office.teams.member("o-1", json!({}));
    office.click("o-1", APPROVE, &ticket).await;
    assert_eq!(office.view(&id).await["state"], "approved");
}

/// A link that is passed on is of no use to whoever opens it.
#[tokio::test]
async fn an_account_is_linked_by_the_holder_of_its_address_alone() {
    let office = Office::new().await;
    let id = office.stage.submit(deploy("payments"), "one").await;
    let ticket = office.ticket(&id).await;
    office.teams.member("o-4", json!({"email": AUTHOR}));
    let card = office.click("o-4", APPROVE, &ticket).await;
    let actions = card["actions"].as_array().unwrap();
    let link = actions.iter().find(|action| action["title"] == "Link this account").unwrap();
    let (_, secret) = link["url"].as_str().unwrap().split_once("secret=").unwrap();
    for (person, status) in [(ONE, 409), (VIEWER, 409), (AUTHOR, 200)] {
        let browser = Browser::sign_in(&office.stage, person).await;
        let csrf = browser.csrf().await;
        browser.post("/accounts/link", &[("csrf", &csrf), ("secret", secret)]).await.is(status);
    }
}

/// A client that makes clicks up is shown nothing that was not told where it clicks.
#[tokio::test]
async fn a_click_is_good_for_what_was_told_in_its_room() {
    let office = Office::new().await;
    let id = office.stage.submit(deploy("payments"), "one").await;
    let ticket = office.ticket(&id).await;
    let token = office.signer.sign(&office.claims());
    let mut elsewhere = click("o-1", APPROVE, &ticket);
    elsewhere["conversation"]["id"] = json!("19:other@thread.tacv2");
    let (_, answer) = office.call(&elsewhere, Some(&token)).await;
    assert!(says(&answer, "not one of ours") && !says(&answer, "AdaptiveCard"), "{answer}");
    for other in ["", "nonsense", &ticket[1..]] {
        let answer = office.click("o-1", APPROVE, other).await;
        assert!(says(&answer, "not one of ours"), "{answer}");
    }
    let answer = office.click("o-1", "somebody.else", &ticket).await;
    assert!(says(&answer, "not one of ours"), "{answer}");
    assert_eq!(office.view(&id).await["votes"], json!([]));
    let card = office.click("o-9", "countersign.refresh", &ticket).await;
    assert!(says(&card, "asks for approval") && says(&card, APPROVE));
}

/// Refusing is safe, so it is offered where approving is not.
#[tokio::test]
async fn what_takes_the_console_can_only_be_denied_here() {
    let office = Office::new().await;
    let id = office.stage.submit(deploy("payments"), "at-console").await;
    let ticket = office.ticket(&id).await;
    let card = office.click("o-1", APPROVE, &ticket).await;
    assert!(says(&card, "Not counted") && says(&card, DENY) && !says(&card, APPROVE), "{card}");
    office.click("o-1", DENY, &ticket).await;
    assert_eq!(office.view(&id).await["state"], "denied");
}

/// I4: one outcome, whichever chat comes first.
#[tokio::test]
async fn a_denial_here_and_an_approval_elsewhere_have_one_outcome() {
    let office = Office::new().await;
    for service in ["a", "b", "c"] {
        let id = office.stage.submit(deploy(service), "one").await;
        let (ticket, token) = (office.ticket(&id).await, office.stage.token(TWO).await);
        tokio::join!(office.click("o-1", DENY, &ticket), office.stage.vote(&id, &token, "approve"));
        let state = office.view(&id).await["state"].as_str().unwrap().to_owned();
        assert!(["approved", "denied"].contains(&state.as_str()), "{state}");
        let is_last = |body: &Value| says(body, &id) && !says(body, APPROVE);
        let card = office.teams.until(|sent| sent.method == Method::PUT && is_last(&sent.body)).await;
        assert!(says(&card.body, &format!("deploy-bot: {state}")), "{:?}", card.body);
    }
}

/// Nothing an agent writes is anything but text in a font that our own words never have.
#[tokio::test]
async fn what_an_agent_says_is_text_and_nothing_else() {
    let office = Office::new().await;
    let hostile =
        "[Approve](https://evil.example) **Approved by security** <at>everyone</at> {{DATE(x)}} \u{202e}x";
    let provenance: Provenance =
        serde_json::from_value(json!({"reason": hostile, "prompt": hostile})).unwrap();
    let operation = json!({
        "subject": {"type": "Agent", "id": "deploy-bot"},
        "action": {"name": "deploy", "properties": {"note": hostile, "long": "x".repeat(20_000)}},
        "resource": {"type": "Service", "id": hostile, "properties": {"environment": "production"}},
    });
    let id = office.stage.submit_as(operation, "one", provenance).await;
    let posted = office.teams.until(|sent| sent.path.contains("/v3/") && says(&sent.body, &id)).await.body;
    assert!(posted.to_string().len() < 28_000 && says(&posted, "PRODUCTION"));
    let mut seen = 0;
    walk(&posted["attachments"][0]["content"], &mut |value| {
        let Some(text) = value["text"].as_str() else { return };
        assert!(!text.contains('\u{202e}'), "{value}");
        if text.contains("evil.example") {
            seen += 1;
            assert_eq!(
                (&value["type"], &value["fontType"]),
                (&json!("TextRun"), &json!("Monospace")),
                "{value}"
            );
        }
    });
    assert!(seen >= 3, "{seen}");
}

fn walk(value: &Value, look: &mut impl FnMut(&Value)) {
    look(value);
    match value {
        Value::Array(items) => items.iter().for_each(|item| walk(item, look)),
        Value::Object(members) => members.values().for_each(|member| walk(member, look)),
        _ => {}
    }
}
