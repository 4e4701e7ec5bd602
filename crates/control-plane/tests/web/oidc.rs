//! Signing in by an identity provider, and everything that is tried instead.

use axum::body::Body;
use countersign_control_plane::{
    config::Config,
    identity::{AccountKind, ActorKind, Credential, ExternalAccount, NewToken, ProviderConfig},
};
use countersign_model::Seconds;
use http::{Method, Request, header};
use serde_json::{Value, json};

use crate::{
    provider::Idp,
    stage::{Answer, OWNER, Stage, deploy},
};

const THREE: &str = "reviewer-three@example.com";

/// A browser that signs in at identity providers.
struct Browser<'a> {
    stage: &'a Stage,
    flow: String,
    session: String,
}

impl<'a> Browser<'a> {
    fn new(stage: &'a Stage) -> Self {
        Self { stage, flow: String::new(), session: String::new() }
    }

    async fn get(&self, path: &str) -> Answer {
        self.get_with(path, "same-origin").await
    }

    async fn get_with(&self, path: &str, site: &str) -> Answer {
        let cookies = format!("{}; {}", self.flow, self.session);
        let request =
            Request::builder().uri(path).header(header::COOKIE, cookies).header("sec-fetch-site", site);
        self.stage.send(request.body(Body::empty()).unwrap()).await
    }

    /// Goes to the provider. Returns where it was sent.
    async fn depart(&mut self, provider: &str) -> String {
        let answer = self.get(&format!("/sign-in/oidc/{provider}?next=/approvals/x")).await.is(303);
        let cookie = answer.header("set-cookie");
        assert!(
            cookie.contains("; HttpOnly; SameSite=Strict") && cookie.contains("; Max-Age=600"),
            "{cookie}"
        );
        self.flow = answer.cookie();
        answer.header("location").to_owned()
    }

    /// Comes back from it.
    async fn arrive(&mut self, path: &str) -> Answer {
        let answer = self.get(path).await;
        if answer.status == 303 {
            self.session = answer.cookie();
        }
        answer
    }

    /// The whole way.
    async fn sign_in(&mut self, provider: &str, idp: &Idp) -> Answer {
        let departure = self.depart(provider).await;
        self.arrive(&idp.sign_in(&departure)).await
    }

    async fn whoami(&self) -> Answer {
        self.get("/api/v1/whoami").await
    }
}

async fn stage(providers: Vec<ProviderConfig>) -> Stage {
    Stage::with(|config: &mut Config| config.identity.providers = providers).await
}

/// A stage with one provider.
async fn one() -> (Stage, Idp) {
    let idp = Idp::start().await;
    (stage(vec![idp.config("one")]).await, idp)
}

#[tokio::test]
async fn somebody_signs_in_with_the_roles_of_their_groups_and_goes_on_where_they_wanted() {
    let (stage, idp) = one().await;
    assert!(stage.get("/sign-in", "").await.text.contains("Sign in with Provider one"));
    let mut browser = Browser::new(&stage);
    let answer = browser.sign_in("one", &idp).await.is(303);
    assert_eq!(answer.header("location"), "/approvals/x");
    let who = browser.whoami().await.is(200).json();
    assert_eq!((who["person"].as_str(), who["method"].as_str()), (Some(THREE), Some("oidc:one")));
    assert_eq!((&who["roles"], &who["groups"]), (&json!(["reviewer"]), &json!(["sre"])));
    let approval = stage.submit(deploy("payments"), "one").await;
    let page = browser.get(&format!("/approvals/{approval}")).await.is(200);
    assert!(page.text.contains("Approve"), "{}", page.text);
}

/// A provider sends the browser back from elsewhere, where a strict cookie stays at home at first.
#[tokio::test]
async fn coming_back_from_elsewhere_steps_inside_first() {
    let (stage, idp) = one().await;
    let mut browser = Browser::new(&stage);
    let path = idp.sign_in(&browser.depart("one").await);
    let without = Browser::new(&stage).get_with(&path, "cross-site").await.is(200);
    assert!(without.text.contains(&format!("0; url={}", path.replace('&', "&amp;"))), "{}", without.text);
    browser.arrive(&path).await.is(303);
}

/// Login CSRF: an answer that was meant for another browser signs nobody in, also not as the attacker.
#[tokio::test]
async fn an_answer_is_good_in_the_browser_that_asked_and_nowhere_else() {
    let (stage, idp) = one().await;
    let (mut attacker, mut victim) = (Browser::new(&stage), Browser::new(&stage));
    let path = idp.sign_in(&attacker.depart("one").await);
    assert!(victim.arrive(&path).await.is(401).text.contains("not started in this browser"));
    victim.depart("one").await;
    victim.arrive(&path).await.is(401);
    // With the state exchanged for the victim's own, the code is still the attacker's (PKCE).
    let own = idp.sign_in(&victim.depart("one").await);
    let (_, state) = own.split_once("&state=").unwrap();
    let mixed = format!("{}&state={state}", path.split_once("&state=").unwrap().0);
    victim.arrive(&mixed).await.is(401);
    attacker.arrive(&path).await.is(401);
}

#[tokio::test]
async fn a_code_is_not_good_twice_and_an_old_answer_not_at_all() {
    let (stage, idp) = one().await;
    let mut browser = Browser::new(&stage);
    let path = idp.sign_in(&browser.depart("one").await);
    browser.arrive(&path).await.is(303);
    browser.arrive(&path).await.is(401);
    let late = idp.sign_in(&browser.depart("one").await);
    stage.pass(Seconds::new(600));
    browser.arrive(&late).await.is(401);
    browser
        .arrive("/sign-in/oidc/one/callback?error=access_denied&error_description=%3Cscript%3E")
        .await
        .is(401);
    browser.get("/sign-in/oidc/nobody").await.is(404);
}

/// Whatever is wrong with a token, nobody is signed in, and the page does not say what it was.
#[tokio::test]
async fn a_token_that_does_not_hold_signs_nobody_in() {
    let (stage, idp) = one().await;
    for (algorithm, key, claims) in [
        ("EdDSA", 1, json!({"nonce": "another"})),
        ("EdDSA", 1, json!({"nonce": null})),
        ("EdDSA", 1, json!({"aud": "somebody-else"})),
        ("EdDSA", 1, json!({"aud": ["countersign", "somebody-else"]})),
        ("EdDSA", 1, json!({"iss": "https://evil.example"})),
        ("EdDSA", 1, json!({"exp": 1})),
        ("EdDSA", 1, json!({"at_hash": "AAAA"})),
        ("none", 1, json!({})),
        ("HS256", 1, json!({})),
        ("ES256", 1, json!({})),
        ("EdDSA", 9, json!({})),
    ] {
        let mut browser = Browser::new(&stage);
        {
            let mut idp = idp.now();
            (idp.algorithm, idp.key, idp.claims) = (algorithm, key, claims.clone());
        }
        let answer = browser.sign_in("one", &idp).await.is(401);
        assert!(answer.text.contains("could not be verified"), "{algorithm} {claims}: {}", answer.text);
        browser.whoami().await.is(401);
        stage.pass(Seconds::new(61));
        idp.now().ahead += 61;
    }
}

#[tokio::test]
async fn keys_change_hands_without_anybody_noticing_and_made_up_ones_are_not_asked_about_each_time() {
    let (stage, idp) = one().await;
    Browser::new(&stage).sign_in("one", &idp).await.is(303);
    (idp.now().published, idp.now().key) = (vec![1, 2], 2);
    stage.pass(Seconds::new(20));
    Browser::new(&stage).sign_in("one", &idp).await.is(303);
    assert_eq!(idp.now().asked_for_keys, 2);
    idp.now().key = 3;
    for _ in 0..5 {
        Browser::new(&stage).sign_in("one", &idp).await.is(401);
    }
    assert_eq!(idp.now().asked_for_keys, 2);
    // A key that was withdrawn is gone within the hour.
    (idp.now().published, idp.now().key) = (vec![2], 1);
    stage.pass(Seconds::new(3_600));
    idp.now().ahead += 3_620;
    Browser::new(&stage).sign_in("one", &idp).await.is(401);
}

#[tokio::test]
async fn an_answer_of_one_provider_is_none_of_another() {
    let (honest, evil) = (Idp::start().await, Idp::start().await);
    honest.now().metadata = json!({"authorization_response_iss_parameter_supported": true});
    let stage = stage(vec![honest.config("honest"), evil.config("evil")]).await;
    let mut browser = Browser::new(&stage);
    let path = honest.sign_in(&browser.depart("honest").await);
    browser.arrive(&path.replace("/honest/", "/evil/")).await.is(401);
    browser.arrive(&path).await.is(401); // It says that it names itself, and does not.
    let path = honest.sign_in(&browser.depart("honest").await);
    let with = |issuer: &str| format!("{path}&iss={issuer}");
    assert!(browser.arrive(&with(&evil.issuer)).await.is(401).text.contains("another identity provider"));
    browser.arrive(&with(&honest.issuer)).await.is(303);
}

#[tokio::test]
async fn a_provider_that_is_not_who_it_should_be_or_is_down_leaves_the_others_working() {
    let (lying, down, good) = (Idp::start().await, Idp::start().await, Idp::start().await);
    lying.now().metadata = json!({"issuer": good.issuer});
    down.now().down = true;
    let stage = stage(vec![lying.config("lying"), down.config("down"), good.config("good")]).await;
    for provider in ["lying", "down"] {
        let answer = stage.get(&format!("/sign-in/oidc/{provider}"), "").await.is(503);
        assert!(
            answer.text.contains(&format!("Provider {provider} cannot be reached now")),
            "{}",
            answer.text
        );
        assert!(answer.text.contains("Sign in with Provider good"));
    }
    Browser::new(&stage).sign_in("good", &good).await.is(303);
    down.now().down = false;
    stage.pass(Seconds::new(15));
    down.now().ahead = 15;
    Browser::new(&stage).sign_in("down", &down).await.is(303);
}

#[tokio::test]
async fn without_a_role_an_organisation_or_a_verified_address_there_is_no_entry() {
    let idp = Idp::start().await;
    let mut config = idp.config("one");
    config.hosted_domain = Some("example.com".to_owned());
    let stage = stage(vec![config]).await;
    let hd = json!({"hd": "example.com"});
    for (changes, words) in [
        (json!({"hd": "evil.example"}), "not one of this organisation"),
        (json!({}), "not one of this organisation"),
        (json!({"hd": "example.com", "groups": ["dev"]}), "neither you nor a group of yours has a role here"),
        (json!({"hd": "example.com", "groups": ["*"]}), "neither you nor a group of yours has a role here"),
        (json!({"hd": "example.com", "email_verified": false}), "has not verified your e-mail address"),
        (
            json!({"hd": "example.com", "email": "a@evil.example"}),
            "may not vouch for e-mail addresses of your domain",
        ),
        (json!({"hd": "example.com", "email": null}), "does not tell an e-mail address"),
    ] {
        idp.now().claims = changes.clone();
        idp.now().user_info = json!({"sub": "s3"});
        let mut browser = Browser::new(&stage);
        let answer = browser.sign_in("one", &idp).await.is(403);
        assert!(answer.text.contains(words), "{changes}: {}", answer.text);
        browser.whoami().await.is(401);
    }
    idp.now().claims = hd;
    Browser::new(&stage).sign_in("one", &idp).await.is(303);
}

#[tokio::test]
async fn what_the_token_leaves_open_the_user_info_tells_but_not_about_somebody_else() {
    let (stage, idp) = one().await;
    idp.now().claims = json!({"email": null, "email_verified": null, "groups": null});
    idp.now().user_info =
        json!({"sub": "somebody-else", "email": OWNER, "email_verified": true, "groups": ["platform"]});
    Browser::new(&stage).sign_in("one", &idp).await.is(401);
    idp.now().user_info["sub"] = json!("s3");
    idp.now().user_info["email"] = json!(THREE);
    let mut browser = Browser::new(&stage);
    browser.sign_in("one", &idp).await.is(303);
    assert_eq!(browser.whoami().await.json()["roles"], json!(["admin"]));
}

/// An account keeps its address, and an address its account: neither becomes another person quietly.
#[tokio::test]
async fn nobody_becomes_somebody_else_by_a_changed_or_reused_address() {
    let (stage, idp) = one().await;
    Browser::new(&stage).sign_in("one", &idp).await.is(303);
    idp.now().claims = json!({"email": "reviewer-four@example.com"});
    let answer = Browser::new(&stage).sign_in("one", &idp).await.is(403);
    assert!(answer.text.contains("another e-mail address than it had here before"), "{}", answer.text);
    idp.now().claims = json!({"sub": "s4"});
    let answer = Browser::new(&stage).sign_in("one", &idp).await.is(403);
    assert!(answer.text.contains("belonged to another account"), "{}", answer.text);

    let identity = stage.running.identity();
    let owner = stage.actor(&stage.token(OWNER).await).await;
    let account = identity.linked_accounts(&owner).await.unwrap().remove(0);
    assert_eq!((account.person.as_str(), account.subject.as_str()), (THREE, "s3"));
    identity.unlink_account(&owner, account.id).await.unwrap();
    Browser::new(&stage).sign_in("one", &idp).await.is(303);
}

/// Whose word counts for an address is the operator's to say, not that of whoever comes first.
#[tokio::test]
async fn two_providers_vouch_for_one_person_only_where_both_have_authority() {
    let (first, second, stranger) = (Idp::start().await, Idp::start().await, Idp::start().await);
    let mut without = stranger.config("stranger");
    without.allowed_domains.clear();
    let stage = stage(vec![first.config("first"), second.config("second"), without]).await;
    // The provider without authority does not get there first, either.
    let answer = Browser::new(&stage).sign_in("stranger", &stranger).await.is(403);
    assert!(answer.text.contains("vouched for by somebody else"), "{}", answer.text);
    let mut browsers = [Browser::new(&stage), Browser::new(&stage)];
    browsers[0].sign_in("first", &first).await.is(303);
    browsers[1].sign_in("second", &second).await.is(303);
    for browser in &browsers {
        assert_eq!(browser.whoami().await.json()["person"], THREE);
    }
    // Nobody has authority over this domain: the first who vouches is the only one.
    let other = json!({"email": "reviewer-five@elsewhere.example", "sub": "s5"});
    stranger.now().claims = other;
    Browser::new(&stage).sign_in("stranger", &stranger).await.is(303);
    // A person of this installation's own list is not taken over by a provider without authority.
    let local = "reviewer-six@elsewhere.example".parse().unwrap();
    let local =
        countersign_control_plane::identity::LocalPerson { person: local, groups: vec![], roles: [].into() };
    stage.running.identity().put_local_person(local, "test").await.unwrap();
    stranger.now().claims = json!({"email": "reviewer-six@elsewhere.example", "sub": "s6"});
    Browser::new(&stage).sign_in("stranger", &stranger).await.is(403);
}

/// I3 and I4 on the human: two providers, a chat account, a token and a session are one person.
#[tokio::test]
async fn one_person_is_one_through_two_providers_a_chat_account_and_a_token() {
    let (first, second) = (Idp::start().await, Idp::start().await);
    let stage = stage(vec![first.config("first"), second.config("second")]).await;
    let identity = stage.running.identity();
    let owner = json!({"email": OWNER, "sub": "owner"});
    (first.now().claims, second.now().claims) = (owner.clone(), owner);
    let approval = stage.submit(deploy("payments"), "one").await;
    let path = format!("/api/v1/approvals/{approval}");
    for (provider, idp) in [("first", &first), ("second", &second)] {
        let mut browser = Browser::new(&stage);
        browser.sign_in(provider, idp).await.is(303);
        let view = browser.get(&path).await.is(200).json();
        assert_eq!(view["may_vote"]["allowed"], json!(false), "{provider}: {view}");
        let session = browser.session.split_once('=').unwrap().1.parse().unwrap();
        let actor = identity.session(&session).await.unwrap().actor;
        let wish = NewToken { name: "x".to_owned(), kind: ActorKind::Human, scopes: None, lifetime: None };
        let token = identity.create_token(&actor, wish).await.unwrap().token;
        stage.vote(&approval, &token, "approve").await.is_problem(403, "self_approval");
    }
    assert_eq!(stage.get(&path, &stage.token(OWNER).await).await.json()["state"], "pending");
}

/// Somebody's address at a second provider is them: they sign in as who they are, until it is taken from them.
#[tokio::test]
async fn an_account_with_another_address_signs_in_whom_it_was_joined_to() {
    let (first, second) = (Idp::start().await, Idp::start().await);
    let stage = stage(vec![first.config("first"), second.config("second")]).await;
    let admin = stage.token(OWNER).await;
    let other = "reviewer-three@example.com";
    second.now().claims = json!({"email": "three@example.com", "sub": "s9"});
    let path = "/api/v1/people/reviewer-three@example.com/join";
    stage.post(path, &admin, json!({"name": "three@example.com"})).await.is(200);
    let (mut there, mut here) = (Browser::new(&stage), Browser::new(&stage));
    there.sign_in("second", &second).await.is(303);
    here.sign_in("first", &first).await.is(303);
    assert_eq!(there.whoami().await.json()["person"], other);
    assert_eq!(here.whoami().await.json()["person"], other);
    stage.post("/api/v1/people/three@example.com/part", &admin, json!({})).await.is(200);
    there.whoami().await.is(401);
    here.whoami().await.is(401);
    there.sign_in("second", &second).await.is(303);
    assert_eq!(there.whoami().await.json()["person"], "three@example.com");
}

impl Browser<'_> {
    /// Says on the own page that an account at a provider is theirs, too, and goes there.
    async fn join(&mut self, provider: &str) -> String {
        let page = self.get("/you").await.is(200).text;
        let csrf = page.split_once("name=\"csrf\" value=\"").unwrap().1.split_once('"').unwrap().0;
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("/you/join/{provider}"))
            .header(header::COOKIE, &self.session)
            .header("sec-fetch-site", "same-origin")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let request = request.body(Body::from(format!("csrf={csrf}"))).unwrap();
        let answer = self.stage.send(request).await.is(200);
        self.flow = answer.cookie();
        let departure = answer.text.split_once("0; url=").unwrap().1.split_once('"').unwrap().0;
        departure.replace("&amp;", "&")
    }
}

/// The attack: a second address of one's own, for a second vote; and somebody else's account, taken along.
#[tokio::test]
async fn somebody_shows_that_an_account_is_theirs_too_in_the_session_that_asked() {
    let (first, second) = (Idp::start().await, Idp::start().await);
    let stage = stage(vec![first.config("first"), second.config("second")]).await;
    second.now().claims = json!({"email": "three@example.com", "sub": "s9"});
    let (mut mine, mut other) = (Browser::new(&stage), Browser::new(&stage));
    mine.sign_in("first", &first).await.is(303);
    first.now().claims = json!({"email": "reviewer-one@example.com", "sub": "s1"});
    other.sign_in("first", &first).await.is(303);
    // In another's session, and in none, the answer says nothing.
    for session in [other.session.clone(), String::new()] {
        let answer = second.sign_in(&mine.join("second").await);
        let kept = std::mem::replace(&mut mine.session, session);
        mine.get(&answer).await.is(401);
        mine.session = kept;
    }
    let answer = second.sign_in(&mine.join("second").await);
    let arrived = mine.get(&answer).await.is(303);
    assert_eq!(arrived.header("location"), "/you");
    let page = mine.get("/you").await.is(200).text;
    assert!(page.contains("Also known as") && page.contains("three@example.com"), "{page}");
    let mut there = Browser::new(&stage);
    there.sign_in("second", &second).await.is(303);
    assert_eq!(there.whoami().await.json()["person"], THREE);
    // What is theirs is nobody else's.
    let answer = second.sign_in(&other.join("second").await);
    let refused = other.get(&answer).await.is(403);
    assert!(refused.text.contains("part them first"), "{}", refused.text);
}

/// A session of a provider's person, their token and their chat account, before and after it ends there.
struct Signed<'a> {
    browser: Browser<'a>,
    token: String,
    machine: String,
}

impl<'a> Signed<'a> {
    async fn new(stage: &'a Stage, idp: &Idp) -> Self {
        let mut browser = Browser::new(stage);
        browser.sign_in("one", idp).await.is(303);
        let identity = stage.running.identity();
        let session = browser.session.split_once('=').unwrap().1.parse().unwrap();
        let session = identity.session(&session).await.unwrap();
        let token = async |kind| {
            let wish = NewToken { name: "x".to_owned(), kind, scopes: None, lifetime: None };
            identity.create_token(&session.actor, wish).await.unwrap().token
        };
        let (token, machine) = (token(ActorKind::Human).await, token(ActorKind::Machine).await);
        if let Ok(path) = identity.begin_link(chat(), "Three", None).await {
            identity.complete_link(&session, path.split_once('=').unwrap().1).await.unwrap();
        }
        Self { browser, token, machine }
    }

    /// Whether the session, the token, the program's token and the chat account work.
    async fn works(&self) -> [bool; 4] {
        let identity = self.browser.stage.running.identity();
        let token =
            async |text: &str| identity.authenticate(&Credential::Token(text.parse().unwrap())).await.is_ok();
        [
            self.browser.whoami().await.status == 200,
            token(&self.token).await,
            token(&self.machine).await,
            identity.account_actor(&chat()).await.is_ok(),
        ]
    }
}

fn chat() -> ExternalAccount {
    ExternalAccount { kind: AccountKind::Slack, realm: "T1".to_owned(), subject: "U3".to_owned() }
}

#[tokio::test]
async fn tokens_and_chat_accounts_are_as_good_as_the_latest_sign_in() {
    let (stage, idp) = one().await;
    let signed = Signed::new(&stage, &idp).await;
    assert_eq!(signed.works().await, [true; 4]);
    stage.pass(Seconds::new(7 * 86_400));
    assert_eq!(signed.works().await, [false, false, true, false]);
    let answer = stage.get("/api/v1/whoami", &signed.token).await.is(401);
    assert!(answer.text.contains("sign in at the console again"), "{}", answer.text);
    idp.now().ahead = 7 * 86_400;
    idp.now().claims = json!({"groups": ["platform"]});
    Browser::new(&stage).sign_in("one", &idp).await.is(303);
    assert_eq!(signed.works().await, [false, true, true, true]);
    let identity = stage.running.identity();
    let actor = identity.account_actor(&chat()).await.unwrap();
    assert_eq!(actor.groups, ["platform"], "as of the latest sign-in");
}

/// Somebody who lost a group at the provider loses it in the sessions that are open, too, once they sign in.
#[tokio::test]
async fn an_older_session_keeps_no_group_that_the_provider_has_taken_back() {
    let (stage, idp) = one().await;
    let (mut older, mut newer) = (Browser::new(&stage), Browser::new(&stage));
    idp.now().claims = json!({"groups": ["sre", "platform"]});
    older.sign_in("one", &idp).await.is(303);
    assert_eq!(older.whoami().await.json()["roles"], json!(["reviewer", "admin"]));
    idp.now().claims = json!({});
    newer.sign_in("one", &idp).await.is(303);
    assert_eq!(older.whoami().await.json()["roles"], json!(["reviewer"]));
}

fn logout(idp: &Idp, changes: &Value) -> String {
    let mut claims = json!({"sub": "s3", "jti": "j1",
        "events": {"http://schemas.openid.net/event/backchannel-logout": {}}});
    claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    idp.sign("logout+jwt", &idp.claims(&claims))
}

async fn send_logout(stage: &Stage, token: &str) -> Answer {
    let request = Request::builder()
        .method(Method::POST)
        .uri("/sign-in/oidc/one/logout")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    stage.send(request.body(Body::from(format!("logout_token={token}"))).unwrap()).await
}

#[tokio::test]
async fn a_sign_out_at_the_provider_ends_everything_but_programs_at_once() {
    let (stage, idp) = one().await;
    let signed = Signed::new(&stage, &idp).await;
    let other = json!({"sid": "session-2"});
    send_logout(&stage, &logout(&idp, &other)).await.is(200);
    assert_eq!(signed.works().await, [true; 4], "another session of theirs");
    let token = logout(&idp, &json!({"sid": "session-1", "jti": "j2"}));
    send_logout(&stage, &token).await.is(200);
    assert_eq!(signed.works().await, [false, false, true, false]);
    // They sign in again; what was heard once ends nothing more.
    let again = Signed::new(&stage, &idp).await;
    send_logout(&stage, &token).await.is(400);
    assert_eq!(again.works().await, [true; 4]);
    send_logout(&stage, &logout(&idp, &json!({"sub": null, "sid": "session-1", "jti": "j3"}))).await.is(200);
    assert_eq!(again.works().await, [false, false, true, false]);
}

#[tokio::test]
async fn a_forged_sign_out_ends_nothing() {
    let (stage, idp) = one().await;
    let evil = Idp::start().await;
    let signed = Signed::new(&stage, &idp).await;
    evil.now().key = 7;
    let forged = evil.sign(
        "logout+jwt",
        &idp.claims(&json!({"sub": "s3", "jti": "j1",
        "events": {"http://schemas.openid.net/event/backchannel-logout": {}}})),
    );
    for token in [
        forged,
        logout(&idp, &json!({"nonce": "n"})),
        logout(&idp, &json!({"events": {}})),
        logout(&idp, &json!({"aud": "somebody-else"})),
        logout(&idp, &json!({"exp": 1})),
        logout(&idp, &json!({"sub": null})),
        "garbage".to_owned(),
    ] {
        send_logout(&stage, &token).await.is(400);
    }
    assert_eq!(signed.works().await, [true; 4]);
    stage
        .send(
            Request::builder()
                .method(Method::POST)
                .uri("/sign-in/oidc/one/logout")
                .body(Body::empty())
                .unwrap(),
        )
        .await
        .is(400);
}

#[tokio::test]
async fn signing_out_here_goes_on_to_the_provider() {
    let (stage, idp) = one().await;
    let mut browser = Browser::new(&stage);
    browser.sign_in("one", &idp).await.is(303);
    let page = browser.get("/").await.is(200).text;
    let csrf = page.split_once("name=\"csrf\" value=\"").unwrap().1.split('"').next().unwrap().to_owned();
    let request = crate::console::form("/sign-out", &browser.session, &[("csrf", &csrf)]);
    let answer = stage.send(request).await.is(200);
    assert!(answer.header("set-cookie").contains("Max-Age=0"));
    for part in [
        format!("0; url={}/logout?client_id=countersign", idp.issuer),
        "id_token_hint=ey".to_owned(),
        "post_logout_redirect_uri=http".to_owned(),
    ] {
        assert!(answer.text.contains(&part), "{part}: {}", answer.text);
    }
    browser.whoami().await.is(401);
}
