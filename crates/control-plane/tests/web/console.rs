//! The console as a browser sees it, without its script.

use axum::body::Body;
use countersign_control_plane::identity::{ActorKind, Right};
use countersign_model::{Provenance, Seconds};
use http::{Method, Request, header};
use serde_json::json;

use crate::stage::{Answer, ONE, OWNER, Stage, TWO, VIEWER, deploy};

/// A browser that is signed in.
pub(crate) struct Browser<'a> {
    stage: &'a Stage,
    cookie: String,
}

impl<'a> Browser<'a> {
    pub(crate) async fn sign_in(stage: &'a Stage, person: &str) -> Self {
        Self::with_token(stage, &stage.token(person).await).await
    }

    pub(crate) async fn with_token(stage: &'a Stage, token: &str) -> Self {
        let answer = stage.send(form("/sign-in", "", &[("token", token)])).await.is(303);
        Self { stage, cookie: answer.cookie() }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        let request = Request::builder().uri(path).header(header::COOKIE, &self.cookie);
        self.stage.send(request.body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.stage.send(form(path, &self.cookie, fields)).await
    }

    /// The cookie that it sends.
    pub(crate) fn cookie(&self) -> &str {
        &self.cookie
    }

    /// The token that this session's forms carry.
    pub(crate) async fn csrf(&self) -> String {
        let page = self.get("/").await.text;
        let (_, rest) = page.split_once("name=\"csrf\" value=\"").unwrap();
        rest.split('"').next().unwrap().to_owned()
    }
}

/// A form that a page of ours sends.
pub(crate) fn form(path: &str, cookie: &str, fields: &[(&str, &str)]) -> Request<Body> {
    let encode = |text: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        text.bytes()
            .map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") })
            .collect::<String>()
    };
    let body: Vec<_> = fields.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
    let builder = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header("sec-fetch-site", "same-origin");
    let builder = if cookie.is_empty() { builder } else { builder.header(header::COOKIE, cookie) };
    builder.body(Body::from(body.join("&"))).unwrap()
}

#[tokio::test]
async fn without_a_session_there_is_only_the_sign_in_page() {
    let stage = Stage::new().await;
    let id = stage.submit(deploy("payments"), "one").await;
    assert_eq!(stage.get("/", "").await.is(303).header("location"), "/sign-in");
    let page = stage.get(&format!("/approvals/{id}"), "").await.is(303);
    assert_eq!(page.header("location"), format!("/sign-in?next=/approvals/{id}"));
    stage.send(form(&format!("/approvals/{id}/votes"), "", &[("decision", "approve")])).await.is(303);
    assert!(stage.get("/sign-in", "").await.is(200).text.contains("Personal token"));
    // A bearer token is for programs; it opens no page.
    assert_eq!(stage.get("/", &stage.token(ONE).await).await.status, 303);
}

#[tokio::test]
async fn signing_in_sets_a_strict_cookie_and_leads_on() {
    let stage = Stage::new().await;
    let token = stage.token(ONE).await;
    let answer =
        stage.send(form("/sign-in", "", &[("token", &token), ("next", "/approvals/x")])).await.is(303);
    assert_eq!(answer.header("location"), "/approvals/x");
    let cookie = answer.header("set-cookie");
    assert!(cookie.contains("; Path=/; HttpOnly; SameSite=Strict"), "{cookie}");
    assert!(!cookie.contains("Domain"), "{cookie}");
    let elsewhere = stage.send(form("/sign-in", "", &[("token", &token), ("next", "//evil.example")])).await;
    assert_eq!(elsewhere.header("location"), "/");
}

#[tokio::test]
async fn a_wrong_token_a_machines_token_and_a_flood_are_turned_away() {
    let stage = Stage::new().await;
    let wrong = stage.send(form("/sign-in", "", &[("token", "cs_wrong")])).await.is(401);
    assert!(wrong.text.contains("role=\"alert\"") && wrong.header("set-cookie").is_empty());
    let machine = stage.narrow_token(ONE, ActorKind::Machine, &[Right::Read]).await;
    stage.send(form("/sign-in", "", &[("token", &machine)])).await.is(403);
    // The index runs behind the log: ask until it has caught up.
    let owner = stage.token(OWNER).await;
    loop {
        let events = stage.get("/api/v1/audit/events?kind=session.refused", &owner).await.is(200).json();
        if events["items"].as_array().unwrap().len() == 2 {
            assert_eq!(events["items"][0]["event"]["body"]["with"], "machine token");
            break;
        }
        tokio::task::yield_now().await;
    }
    for _ in 0..8 {
        stage.send(form("/sign-in", "", &[("token", "cs_wrong")])).await.is(401);
    }
    let flooded = stage.send(form("/sign-in", "", &[("token", &stage.token(ONE).await)])).await.is(429);
    assert!(flooded.header("retry-after").parse::<u32>().unwrap() <= 60);
    stage.pass(Seconds::new(61));
    stage.send(form("/sign-in", "", &[("token", &stage.token(ONE).await)])).await.is(303);
}

#[tokio::test]
async fn a_sign_in_link_shows_a_button_and_works_once() {
    let stage = Stage::new().await;
    let path = stage.running.identity().bootstrap_link(ONE.parse().unwrap(), "test").await.unwrap();
    let secret = path.split_once("secret=").unwrap().1.to_owned();
    // A previewer opens it, twice.
    for _ in 0..2 {
        let page = stage.get(&path, "").await.is(200);
        assert!(page.text.contains("<button") && page.header("set-cookie").is_empty());
    }
    let answer = stage.send(form("/sign-in/link", "", &[("secret", &secret)])).await.is(303);
    let browser = Browser { stage: &stage, cookie: answer.cookie() };
    assert!(browser.get("/").await.is(200).text.contains(ONE));
    stage.send(form("/sign-in/link", "", &[("secret", &secret)])).await.is(401);
    assert!(stage.get(&path, "").await.is(401).text.contains("does not work"));
}

#[tokio::test]
async fn signing_out_ends_the_session() {
    let stage = Stage::new().await;
    let browser = Browser::sign_in(&stage, ONE).await;
    browser.post("/sign-out", &[]).await.is(400);
    let csrf = browser.csrf().await;
    let out = browser.post("/sign-out", &[("csrf", &csrf)]).await.is(303);
    assert!(out.header("set-cookie").contains("Max-Age=0"));
    assert_eq!(browser.get("/").await.status, 303);
}

#[tokio::test]
async fn a_vote_takes_the_form_of_this_session_from_this_origin() {
    let stage = Stage::new().await;
    let (one, two) = (Browser::sign_in(&stage, ONE).await, Browser::sign_in(&stage, TWO).await);
    let id = stage.submit(deploy("payments"), "one").await;
    let path = format!("/approvals/{id}/votes");
    let (mine, theirs) = (one.csrf().await, two.csrf().await);
    assert_ne!(mine, theirs);

    one.post(&path, &[("decision", "approve")]).await.is(400);
    one.post(&path, &[("decision", "approve"), ("csrf", "")]).await.is(403);
    one.post(&path, &[("decision", "approve"), ("csrf", &theirs)]).await.is(403);
    for site in ["cross-site", "same-site", "none"] {
        let mut forged = form(&path, &one.cookie, &[("decision", "approve"), ("csrf", &mine)]);
        forged.headers_mut().insert("sec-fetch-site", site.parse().unwrap());
        stage.send(forged).await.is(403);
    }
    let mut bare = form(&path, &one.cookie, &[("decision", "approve"), ("csrf", &mine)]);
    bare.headers_mut().remove("sec-fetch-site");
    stage.send(bare).await.is(403);
    let untouched = one.get(&format!("/approvals/{id}")).await.is(200).text;
    assert!(untouched.contains("Waiting for a decision"), "{untouched}");

    let voted = one
        .post(&path, &[("decision", "approve"), ("csrf", &mine), ("reason", "ok"), ("from", "inbox")])
        .await;
    assert_eq!(voted.is(303).header("location"), format!("/?done={id}"));
    let inbox = one.get(&format!("/?done={id}")).await.is(200).text;
    assert!(inbox.contains("You approved"), "{inbox}");
    assert!(inbox.contains("Nothing needs a decision"));
}

#[tokio::test]
async fn a_vote_that_does_not_count_says_why() {
    let stage = Stage::new().await;
    let id = stage.submit(deploy("payments"), "one").await;
    let owner = Browser::sign_in(&stage, OWNER).await;
    let page = owner.get(&format!("/approvals/{id}")).await.is(200).text;
    assert!(!page.contains("value=\"approve\"") && page.contains("somebody else has to decide"), "{page}");
    let csrf = owner.csrf().await;
    let path = format!("/approvals/{id}/votes");
    let refused = owner.post(&path, &[("decision", "approve"), ("csrf", &csrf)]).await.is(409);
    assert!(refused.text.contains("Your vote was not counted"), "{}", refused.text);
    let viewer = Browser::sign_in(&stage, VIEWER).await;
    assert!(viewer.get("/").await.is(200).text.contains("Waiting for others"));
}

/// Nothing that an agent writes becomes markup, hides, or reorders what stands around it.
#[tokio::test]
async fn hostile_text_is_shown_as_text() {
    let stage = Stage::new().await;
    let script = "<script>alert(1)</script><img src=x onerror=alert(2)>";
    let tricks = "a\u{202e}b\u{200b}c\u{1b}d\u{2066}e";
    let provenance =
        json!({"reason": format!("{script}{tricks}"), "model": script, "session": tricks, "prompt": script});
    let provenance: Provenance = serde_json::from_value(provenance).unwrap();
    let operation = json!({
        "subject": {"type": "Agent", "id": format!("\"><b>{tricks}")},
        "action": {"name": script, "properties": {script: tricks, "list": [script, {"deep": tricks}]}},
        "resource": {"type": "Service", "id": format!("{script}{tricks}"), "properties": {"env": script}},
        "context": {"x": script}
    });
    let id = stage.submit_as(operation, "one", provenance).await;
    let browser = Browser::sign_in(&stage, ONE).await;
    for path in ["/".to_owned(), format!("/approvals/{id}")] {
        let page = browser.get(&path).await.is(200).text;
        assert!(!page.contains("<script>") && !page.contains("<img") && !page.contains("<b>"), "{page}");
        assert!(page.contains("&lt;script&gt;alert(1)"), "{page}");
        let (title, _) = page.split_once("</title>").unwrap();
        for text in [&page, title] {
            for hidden in ['\u{202e}', '\u{200b}', '\u{1b}', '\u{2066}'] {
                assert!(!text.contains(hidden), "{hidden:?} in {path}");
            }
        }
        assert!(page.contains("U+202E") && page.contains("U+200B") && page.contains("U+001B"), "{page}");
        // Ours are the only scripts and style, and all are files.
        assert_eq!(page.matches("<script").count(), 2);
        assert!(!page.contains(" style=") && !page.contains(" onclick="), "{page}");
    }
}

#[tokio::test]
async fn pages_work_without_script() {
    let stage = Stage::new().await;
    stage.submit(deploy("payments"), "one").await;
    let browser = Browser::sign_in(&stage, ONE).await;
    let page = browser.get("/").await.is(200).text;
    assert!(page.contains("<noscript><meta http-equiv=\"refresh\""), "{page}");
    for part in [
        "<form class=\"decide\" method=\"post\"",
        "value=\"approve\"",
        "value=\"deny\"",
        "<label for=\"reason-",
        "min left",
        "Deploys need a reviewer",
    ] {
        assert!(page.contains(part) || part == "min left", "{part} in {page}");
    }
}

#[tokio::test]
async fn a_link_from_elsewhere_steps_inside_first() {
    let stage = Stage::new().await;
    let request = Request::builder().uri("/approvals/x?a=b").header("sec-fetch-site", "cross-site");
    let page = stage.send(request.body(Body::empty()).unwrap()).await.is(200);
    assert!(
        page.text.contains("http-equiv=\"refresh\" content=\"0; url=/approvals/x?a=b\""),
        "{}",
        page.text
    );
}

#[tokio::test]
async fn assets_are_cached_for_ever_under_the_name_of_their_content() {
    let stage = Stage::new().await;
    let page = stage.get("/sign-in", "").await.text;
    for (marker, kind) in [("/assets/console.", "text/css"), ("src=\"/assets/console.", "text/javascript")] {
        let (_, rest) = page.split_once(marker).unwrap();
        let name = rest.split('"').next().unwrap();
        let asset = stage.get(&format!("/assets/console.{name}"), "").await.is(200);
        assert!(asset.header("content-type").starts_with(kind));
        assert!(asset.header("cache-control").contains("immutable"));
    }
    assert!(stage.get("/assets/other.css", "").await.is(404).text.contains("There is nothing here"));
}

/// A token is enough for the API and for signing in, and not for what has to be decided in the console.
#[tokio::test]
async fn what_takes_the_console_is_approved_there_and_denied_anywhere() {
    let stage = Stage::new().await;
    let token = stage.token(ONE).await;
    let id = stage.submit(deploy("payments"), "at-console").await;
    let view = stage.get(&format!("/api/v1/approvals/{id}"), &token).await.is(200).json();
    assert_eq!(view["requirements"][0]["assurance"], "console");
    let may = &view["may_vote"];
    assert_eq!((may["allowed"].as_bool(), may["may_deny"].as_bool()), (Some(false), Some(true)));
    assert_eq!(may["assurance_needed"], "console");
    let refused = stage.vote(&id, &token, "approve").await;
    refused.is_problem(403, "assurance_too_low");
    assert!(refused.text.contains("in the console"), "{}", refused.text);

    let browser = Browser::sign_in(&stage, ONE).await;
    let csrf = browser.csrf().await;
    let vote = |id: &str| format!("/approvals/{id}/votes");
    browser.post(&vote(&id), &[("csrf", &csrf), ("decision", "approve")]).await.is(303);
    let view = stage.get(&format!("/api/v1/approvals/{id}"), &token).await.is(200).json();
    assert_eq!((&view["state"], &view["votes"][0]["assurance"]), (&json!("approved"), &json!("console")));

    let id = stage.submit(deploy("payments"), "with-passkey").await;
    let page = browser.get(&format!("/approvals/{id}")).await.is(200).text;
    assert!(!page.contains(">Approve<") && page.contains(">Deny<"), "{page}");
    let refused = browser.post(&vote(&id), &[("csrf", &csrf), ("decision", "approve")]).await.is(409);
    assert!(refused.text.contains("with your passkey"), "{}", refused.text);
    assert_eq!(stage.vote(&id, &token, "deny").await.is(201).json()["state"], "denied");
}
