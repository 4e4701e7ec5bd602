//! Passkeys: what they confirm, and every way to make one confirm something else.

use countersign_control_plane::identity::Right;
use countersign_model::Seconds;
use http::{Method, Request};
use serde_json::{Value, json};

use crate::{
    authenticator::Authenticator,
    console::Browser,
    stage::{ONE, OWNER, Stage, TWO, deploy},
};

fn authenticator(stage: &Stage) -> Authenticator {
    Authenticator::new(&format!("http://localhost:{}", stage.running.api_addr().port()))
}

/// What the page's script is told to ask the browser for.
async fn challenge(browser: &Browser<'_>, path: &str, fields: &[(&str, &str)]) -> Value {
    let csrf = browser.csrf().await;
    let fields = [&[("csrf", csrf.as_str())], fields].concat();
    browser.post(path, &fields).await.is(200).json()
}

async fn add(browser: &Browser<'_>, authenticator: &Authenticator) {
    let asked = challenge(browser, "/passkeys/challenge", &[("name", "laptop")]).await;
    let registration = authenticator.create(&asked["create"]);
    let csrf = browser.csrf().await;
    let fields = [("csrf", csrf.as_str()), ("name", "laptop"), ("registration", &registration)];
    browser.post("/passkeys", &fields).await.is(303);
}

/// Asks for the challenge of one answer and sends another, or the same, with what the authenticator made of it.
async fn vote(
    browser: &Browser<'_>,
    authenticator: &mut Authenticator,
    (asked_id, asked): (&str, &[(&str, &str)]),
    (sent_id, sent): (&str, &[(&str, &str)]),
) -> crate::stage::Answer {
    let asked = challenge(browser, &format!("/approvals/{asked_id}/challenge"), asked).await;
    let assertion = authenticator.get(&asked["get"]);
    let csrf = browser.csrf().await;
    let fields = [&[("csrf", csrf.as_str()), ("assertion", &assertion)], sent].concat();
    browser.post(&format!("/approvals/{sent_id}/votes"), &fields).await
}

const YES: &[(&str, &str)] = &[("decision", "approve"), ("reason", "")];

async fn state_of(stage: &Stage, id: &str) -> String {
    let token = stage.token(ONE).await;
    let view = stage.get(&format!("/api/v1/approvals/{id}"), &token).await.is(200).json();
    view["state"].as_str().unwrap().to_owned()
}

/// The events of a kind, once the index, which runs behind the log, has so many.
async fn events(stage: &Stage, kind: &str, count: usize) -> Vec<Value> {
    let token = stage.token(OWNER).await;
    loop {
        let found = stage.get(&format!("/api/v1/audit/events?kind={kind}"), &token).await.is(200).json();
        let found = found["items"].as_array().unwrap().clone();
        if found.len() >= count {
            return found;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_passkey_approves_what_takes_one() {
    let stage = Stage::new().await;
    let browser = Browser::sign_in(&stage, ONE).await;
    let mut laptop = authenticator(&stage);
    let id = stage.submit(deploy("payments"), "with-passkey").await;
    let page = browser.get(&format!("/approvals/{id}")).await.is(200).text;
    assert!(page.contains("Approve with passkey") && page.contains("href=\"/passkeys\""), "{page}");
    // Without one, it says how to come by one.
    let csrf = browser.csrf().await;
    let fields = [("csrf", csrf.as_str()), ("decision", "approve")];
    let none = browser.post(&format!("/approvals/{id}/challenge"), &fields).await.is(409);
    assert!(none.json()["problem"].as_str().unwrap().contains("add one under Passkeys"), "{}", none.text);

    add(&browser, &laptop).await;
    assert!(browser.get("/passkeys").await.is(200).text.contains("laptop"));
    // Browsers send a reason's line ends in one way with a script and in another without.
    let asked = [("decision", "approve"), ("reason", "it is\ntime")];
    let sent = [("decision", "approve"), ("reason", "it is\r\ntime"), ("from", "page")];
    vote(&browser, &mut laptop, (&id, &asked), (&id, &sent)).await.is(303);
    let token = stage.token(ONE).await;
    let view = stage.get(&format!("/api/v1/approvals/{id}"), &token).await.is(200).json();
    assert_eq!((&view["state"], &view["votes"][0]["assurance"]), (&json!("approved"), &json!("passkey")));
    assert_eq!(view["votes"][0]["reason"], "it is\ntime");

    assert_eq!(events(&stage, "passkey.added", 1).await[0]["event"]["body"]["person"], ONE);
    let used = events(&stage, "passkey.used", 1).await.remove(0);
    let evidence = &used["event"]["body"]["evidence"];
    assert_eq!(evidence["intent"]["approval"], id.as_str());
    assert_eq!(evidence["intent"]["digest"], view["digest"]);
    assert_eq!(evidence["intent"]["decision"], "approve");
    assert!(evidence["assertion"]["signature"].is_string() && evidence["intent"]["nonce"].is_string());
}

/// Whatever is changed between what was confirmed and what is sent: nothing is counted.
#[tokio::test]
async fn a_confirmation_is_for_one_answer_to_one_request() {
    let stage = Stage::new().await;
    let browser = Browser::sign_in(&stage, ONE).await;
    let mut laptop = authenticator(&stage);
    add(&browser, &laptop).await;
    let id = stage.submit(deploy("payments"), "with-passkey").await;
    let other = stage.submit(deploy("billing"), "with-passkey").await;
    let deny: &[_] = &[("decision", "deny"), ("reason", "")];
    let reasoned: &[_] = &[("decision", "approve"), ("reason", "the tests are green")];
    let altered: &[_] = &[("decision", "approve"), ("reason", "the tests are red")];
    for (asked, sent) in [
        ((&id, deny), (&id, YES)),
        ((&other, YES), (&id, YES)),
        ((&other, deny), (&id, YES)),
        ((&id, reasoned), (&id, altered)),
        ((&id, reasoned), (&id, YES)),
    ] {
        let answer = vote(&browser, &mut laptop, (asked.0, asked.1), (sent.0, sent.1)).await.is(409);
        assert!(answer.text.contains("what was confirmed is not what was sent"), "{}", answer.text);
    }
    assert_eq!(
        (state_of(&stage, &id).await.as_str(), state_of(&stage, &other).await.as_str()),
        ("pending", "pending")
    );
    vote(&browser, &mut laptop, (&id, reasoned), (&id, reasoned)).await.is(303);
    assert_eq!(state_of(&stage, &id).await, "approved");
}

#[tokio::test]
async fn a_confirmation_is_used_once_soon_and_in_its_session() {
    let stage = Stage::new().await;
    let browser = Browser::sign_in(&stage, ONE).await;
    let mut laptop = authenticator(&stage);
    add(&browser, &laptop).await;
    let id = stage.submit(deploy("payments"), "passkeys").await;
    let (ask, votes) = (format!("/approvals/{id}/challenge"), format!("/approvals/{id}/votes"));
    let csrf = browser.csrf().await;
    let send = |assertion: String| {
        let fields = [("csrf", csrf.clone()), ("decision", "approve".into()), ("assertion", assertion)];
        let (browser, votes) = (&browser, votes.clone());
        async move {
            let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
            browser.post(&votes, &fields).await
        }
    };
    // In another session of the same person.
    let elsewhere = Browser::sign_in(&stage, ONE).await;
    let theirs = challenge(&elsewhere, &ask, YES).await;
    assert!(send(laptop.get(&theirs["get"])).await.is(409).text.contains("too late, or was used before"));
    // Too late.
    let asked = challenge(&browser, &ask, YES).await;
    stage.pass(Seconds::new(121));
    assert!(send(laptop.get(&asked["get"])).await.is(409).text.contains("too late, or was used before"));
    // Twice: the second time is for nothing, though the vote itself could be repeated.
    let asked = challenge(&browser, &ask, YES).await;
    let assertion = laptop.get(&asked["get"]);
    send(assertion.clone()).await.is(303);
    assert!(send(assertion).await.is(409).text.contains("too late, or was used before"));
    // A challenge that nobody gave out.
    let made_up = json!({"challenge": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"});
    assert!(send(laptop.get(&made_up)).await.is(409).text.contains("too late, or was used before"));
}

type Misuse = fn(&mut Authenticator);

#[tokio::test]
async fn what_a_browser_or_authenticator_must_not_do_counts_for_nothing() {
    let stage = Stage::new().await;
    let browser = Browser::sign_in(&stage, ONE).await;
    let mut laptop = authenticator(&stage);
    add(&browser, &laptop).await;
    let id = stage.submit(deploy("payments"), "with-passkey").await;
    let own = laptop.origin.clone();
    let misuse: [(&str, Misuse); 6] = [
        ("another page", |it| it.origin = "https://evil.example".to_owned()),
        ("another page", |it| it.origin = it.origin.replace("http:", "https:")),
        ("another page", |it| it.cross_origin = true),
        ("belongs to another site", |it| it.rp_id = "evil.example".to_owned()),
        ("did not verify you", |it| it.flags = 0b001),
        ("cannot be read", |it| it.flags = 0b1_0101),
    ];
    for (words, change) in misuse {
        change(&mut laptop);
        let answer = vote(&browser, &mut laptop, (&id, YES), (&id, YES)).await.is(409);
        assert!(answer.text.contains(words), "{words}: {}", answer.text);
        (laptop.origin, laptop.cross_origin, laptop.rp_id, laptop.flags) =
            (own.clone(), false, "localhost".to_owned(), 0b101);
    }
    let csrf = browser.csrf().await;
    for garbage in ["{}", "[]", "x", "{\"id\":\"AA\",\"type\":\"public-key\",\"response\":{}}"] {
        let fields = [("csrf", csrf.as_str()), ("decision", "approve"), ("assertion", garbage)];
        browser.post(&format!("/approvals/{id}/votes"), &fields).await.is(409);
    }
    assert_eq!(state_of(&stage, &id).await, "pending");
}

#[tokio::test]
async fn a_passkey_is_one_persons() {
    let stage = Stage::new().await;
    let (one, two) = (Browser::sign_in(&stage, ONE).await, Browser::sign_in(&stage, TWO).await);
    let (mut hers, mut his) = (authenticator(&stage), authenticator(&stage));
    add(&one, &hers).await;
    add(&two, &his).await;
    let id = stage.submit(deploy("payments"), "with-passkey").await;
    // Her session, his key.
    let answer = vote(&one, &mut his, (&id, YES), (&id, YES)).await.is(409);
    assert!(answer.text.contains("not one of yours"), "{}", answer.text);
    // A key of the same id that is another key.
    let mut forged = authenticator(&stage);
    forged.pretend_to_be(&hers);
    let answer = vote(&one, &mut forged, (&id, YES), (&id, YES)).await.is(409);
    assert!(answer.text.contains("signature is not valid"), "{}", answer.text);
    // The owner's passkey does not make the owner a reviewer (I3).
    let owner = Browser::sign_in(&stage, OWNER).await;
    let mut theirs = authenticator(&stage);
    add(&owner, &theirs).await;
    let answer = vote(&owner, &mut theirs, (&id, YES), (&id, YES)).await.is(409);
    assert!(answer.text.contains("you own this agent"), "{}", answer.text);
    assert_eq!(state_of(&stage, &id).await, "pending");
    vote(&one, &mut hers, (&id, YES), (&id, YES)).await.is(303);
}

#[tokio::test]
async fn a_counter_that_goes_back_is_refused_and_recorded() {
    let stage = Stage::new().await;
    let browser = Browser::sign_in(&stage, ONE).await;
    let mut laptop = authenticator(&stage);
    laptop.counter = 41;
    add(&browser, &laptop).await;
    let id = stage.submit(deploy("payments"), "passkeys").await;
    laptop.counter = 40;
    let answer = vote(&browser, &mut laptop, (&id, YES), (&id, YES)).await.is(409);
    assert!(answer.text.contains("may have been copied"), "{}", answer.text);
    let refused = events(&stage, "passkey.refused", 1).await.remove(0);
    assert_eq!(refused["event"]["body"]["counter"], json!({"stored": 41, "given": 41}));
    vote(&browser, &mut laptop, (&id, YES), (&id, YES)).await.is(303);
}

/// Whoever comes by a token or a session can neither add a passkey beside the person's nor remove it.
#[tokio::test]
async fn a_passkey_vouches_for_the_next() {
    let stage = Stage::new().await;
    let browser = Browser::sign_in(&stage, ONE).await;
    let mut laptop = authenticator(&stage);
    add(&browser, &laptop).await;

    let thief = Browser::sign_in(&stage, ONE).await;
    let phone = authenticator(&stage);
    let mut stolen = authenticator(&stage);
    let asked = challenge(&thief, "/passkeys/challenge", &[("name", "phone")]).await;
    let csrf = thief.csrf().await;
    for assertion in [String::new(), stolen.get(&asked["get"])] {
        let asked = challenge(&thief, "/passkeys/challenge", &[("name", "phone")]).await;
        let registration = phone.create(&asked["create"]);
        let fields = [
            ("csrf", csrf.as_str()),
            ("name", "phone"),
            ("registration", &registration),
            ("assertion", &assertion),
        ];
        thief.post("/passkeys", &fields).await.is(409);
    }
    let page = thief.get("/passkeys").await.is(200).text;
    let path = page.split_once("action=\"/passkeys/sha256:").unwrap().1.split_once('/').unwrap().0;
    let path = format!("/passkeys/sha256:{path}");
    thief.post(&format!("{path}/remove"), &[("csrf", &csrf)]).await.is(409);
    let token = stage.token(ONE).await;
    let own = format!("/api/v1{path}/remove");
    stage.post(&own, &token, json!({"person": ONE})).await.is_problem(403, "forbidden");
    // Not by being an admin either.
    let owner = stage.token(OWNER).await;
    stage.post(&own, &owner, json!({"person": OWNER})).await.is_problem(403, "own_passkey");

    // The person can, with the passkey.
    let csrf = browser.csrf().await;
    let asked = challenge(&browser, "/passkeys/challenge", &[("name", "phone")]).await;
    let (registration, assertion) = (phone.create(&asked["create"]), laptop.get(&asked["get"]));
    let fields = [
        ("csrf", csrf.as_str()),
        ("name", "phone"),
        ("registration", &registration),
        ("assertion", &assertion),
    ];
    browser.post("/passkeys", &fields).await.is(303);
    let asked = challenge(&browser, &format!("{path}/challenge"), &[]).await;
    let assertion = laptop.get(&asked["get"]);
    browser.post(&format!("{path}/remove"), &[("csrf", &csrf), ("assertion", &assertion)]).await.is(303);
    assert_eq!(events(&stage, "passkey.removed", 1).await[0]["event"]["actor"], ONE);
}

#[tokio::test]
async fn adding_a_passkey_takes_a_recent_sign_in_by_somebody_who_may_vote() {
    let stage = Stage::new().await;
    let browser = Browser::sign_in(&stage, ONE).await;
    let laptop = authenticator(&stage);
    let asked = challenge(&browser, "/passkeys/challenge", &[("name", "laptop")]).await;
    stage.pass(Seconds::new(5 * 60));
    let csrf = browser.csrf().await;
    let registration = laptop.create(&asked["create"]);
    let fields = [("csrf", csrf.as_str()), ("name", "laptop"), ("registration", &registration)];
    assert!(browser.post("/passkeys", &fields).await.is(409).text.contains("sign in again"));
    let late = browser.post("/passkeys/challenge", &fields).await.is(409);
    assert!(late.json()["problem"].as_str().unwrap().contains("sign in again"));

    let reader =
        stage.narrow_token(TWO, countersign_control_plane::identity::ActorKind::Human, &[Right::Read]).await;
    let reader = Browser::with_token(&stage, &reader).await;
    let csrf = reader.csrf().await;
    reader.post("/passkeys/challenge", &[("csrf", &csrf), ("name", "laptop")]).await.is(409);
    // Not from a page elsewhere, and not without the session's own token.
    browser.post("/passkeys/challenge", &[("csrf", "x"), ("name", "laptop")]).await.is(403);
}

#[tokio::test]
async fn an_admin_sees_and_removes_what_others_have_lost() {
    let stage = Stage::new().await;
    let browser = Browser::sign_in(&stage, ONE).await;
    add(&browser, &authenticator(&stage)).await;
    let (owner, one, two) = (stage.token(OWNER).await, stage.token(ONE).await, stage.token(TWO).await);
    let own = stage.get("/api/v1/passkeys", &one).await.is(200).json();
    assert_eq!(own["items"][0]["name"], "laptop");
    let hers = format!("/api/v1/passkeys?person={ONE}");
    stage.get(&hers, &two).await.is_problem(403, "forbidden");
    let listed = stage.get(&hers, &owner).await.is(200).json();
    let id = listed["items"][0]["id"].as_str().unwrap();
    let remove = format!("/api/v1/passkeys/{id}/remove");
    stage.post(&remove, &two, json!({"person": ONE})).await.is_problem(403, "forbidden");
    stage.post(&remove, &owner, json!({"person": TWO})).await.is_problem(404, "not_found");
    stage.post(&remove, &owner, json!({"person": ONE})).await.is(200);
    assert_eq!(stage.get("/api/v1/passkeys", &one).await.is(200).json()["items"], json!([]));
    assert_eq!(events(&stage, "passkey.removed", 1).await[0]["event"]["actor"], OWNER);
}

/// The script is a file of our own: the policy for content lets nothing else run.
#[tokio::test]
async fn the_script_is_served_as_a_file() {
    let stage = Stage::new().await;
    let browser = Browser::sign_in(&stage, ONE).await;
    let page = browser.get("/passkeys").await.is(200).text;
    let path = page.split("src=\"").find(|part| part.starts_with("/assets/passkey.")).unwrap();
    let path = path.split('"').next().unwrap();
    let request = Request::builder().method(Method::GET).uri(path).body(axum::body::Body::empty()).unwrap();
    let script = stage.send(request).await.is(200);
    assert!(script.header("content-type").starts_with("text/javascript"));
    assert!(!page.contains("<script>") && !page.contains("onclick"), "{page}");
}
