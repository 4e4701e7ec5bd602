//! Every form of the console, as its router has it: taken from a page of the same session, and from nowhere else.

use http::StatusCode;

use crate::{
    console::{Browser, form},
    stage::{ONE, OWNER, Stage, deploy},
};

/// The console's routes, as they are written.
const ROUTER: &str = include_str!("../../src/console/mod.rs");
/// What nobody needs to be signed in for.
const BEFORE_SIGNING_IN: [&str; 2] = ["/sign-in", "/sign-in/link"];
/// What an identity provider's server calls, which proves itself by a signed token.
const BY_SERVERS: [&str; 1] = ["/sign-in/oidc/{provider}/logout"];
/// What an error page says of a form that is not ours.
const REFUSED: &str = "This form has run out";

/// The paths that take a form.
fn paths() -> Vec<&'static str> {
    let routes = ROUTER.split(".route(").skip(1);
    let taking = routes.filter(|route| route.contains("post("));
    let paths: Vec<_> = taking.filter_map(|route| route.split('"').nth(1)).collect();
    assert!(paths.len() > 25 && paths.contains(&"/approvals/{id}/votes"), "{paths:?}");
    paths
}

/// A path with something plausible in the place of its parameters.
fn filled(path: &str, approval: &str) -> String {
    let id = match path {
        path if path.starts_with("/approvals/") => approval,
        path if path.contains("/tokens/") || path.contains("/delegations/") => {
            "01990000-0000-7000-8000-000000000000"
        }
        _ => "sha256:0000000000000000000000000000000000000000000000000000000000000000",
    };
    path.replace("{id}", id).replace("{name}", "deploy-bot").replace("{revision}", "1")
}

/// A field for every form.
fn fields<'a>(csrf: Option<&'a str>, approval: &'a str) -> Vec<(&'static str, &'a str)> {
    let mut fields = vec![
        ("decision", "approve"),
        ("reason", "because"),
        ("ids", approval),
        ("text", "words"),
        ("comment", "words"),
        ("arguments", "{}"),
        ("name", "third-bot"),
        ("owner", OWNER),
        ("kind", "machine"),
        ("days", "1"),
        ("token", "cs_none"),
        ("secret", "none"),
        ("ticket", "none"),
        ("stand_in", ONE),
        ("from", ""),
        ("until", "2099-01-01"),
    ];
    fields.extend(csrf.map(|csrf| ("csrf", csrf)));
    fields
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_is_taken_from_a_page_of_its_own_session_only() {
    let stage = Stage::new().await;
    let id = stage.submit(deploy("payments"), "emergency").await;
    let (mine, other) = (Browser::sign_in(&stage, OWNER).await, Browser::sign_in(&stage, ONE).await);
    let (own, theirs) = (mine.csrf().await, other.csrf().await);
    let signed = || paths().into_iter().filter(|path| !BY_SERVERS.contains(path));
    for path in signed() {
        let at = filled(path, &id);
        for site in ["cross-site", "same-site", "none"] {
            let mut forged = form(&at, mine.cookie(), &fields(Some(&own), &id));
            forged.headers_mut().insert("sec-fetch-site", site.parse().unwrap());
            let answer = stage.send(forged).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path} from {site}: {}", answer.text);
            assert!(answer.text.contains(REFUSED), "{path} from {site}: {}", answer.text);
        }
        if BEFORE_SIGNING_IN.contains(&path) {
            continue;
        }
        for (whose, csrf) in [("another session's", theirs.as_str()), ("none", "")] {
            let answer = mine.post(&at, &fields(Some(csrf), &id)).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path} with {whose}: {}", answer.text);
            assert!(answer.text.contains(REFUSED), "{path} with {whose}: {}", answer.text);
        }
        mine.post(&at, &fields(None, &id)).await.is(400);
        let stranger = stage.send(form(&at, "", &fields(Some(&own), &id))).await.is(303);
        assert!(stranger.header("location").starts_with("/sign-in"), "{path}");
    }
    let view = stage.get(&format!("/api/v1/approvals/{id}"), &stage.token(ONE).await).await.is(200).json();
    assert_eq!((&view["state"], &view["version"]), (&"pending".into(), &1.into()), "nothing came of any");

    // From a page of its own session each gets further. The last one ends the session.
    let (leave, stay): (Vec<_>, Vec<_>) = signed().partition(|path| *path == "/sign-out");
    for path in stay.into_iter().chain(leave) {
        let answer = mine.post(&filled(path, &id), &fields(Some(&own), &id)).await;
        assert!(!answer.text.contains(REFUSED), "{path}: {} {}", answer.status, answer.text);
        assert!(!answer.text.contains("missing field"), "{path}: {}", answer.text);
        assert!(answer.status.as_u16() < 500, "{path}: {} {}", answer.status, answer.text);
    }
    assert_eq!(mine.get("/").await.status, StatusCode::SEE_OTHER);
}
