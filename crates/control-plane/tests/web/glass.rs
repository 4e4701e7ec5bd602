//! What is seldom done to a request, in the console: breaking the glass, changing the arguments, taking back,
//! commenting; and the attacks on that.

use countersign_control_plane::identity::{ActorKind, Right};
use serde_json::{Value, json};

use crate::{
    console::Browser,
    stage::{AUTHOR, ONE, OWNER, Stage, TWO, VIEWER, deploy},
};

const REASON: &str = "the site is down";
/// What the sidecar took out of a payment.
const SECRET: [&str; 1] = ["/action/properties/to/iban"];

/// An approval, as the API has it.
async fn view(stage: &Stage, id: &str) -> Value {
    stage.get(&format!("/api/v1/approvals/{id}"), &stage.token(VIEWER).await).await.is(200).json()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_glass_is_broken_after_two_questions_and_reviewed_by_somebody_else() {
    let stage = Stage::new().await;
    let (one, two) = (Browser::sign_in(&stage, ONE).await, Browser::sign_in(&stage, TWO).await);
    let (mine, theirs) = (one.csrf().await, two.csrf().await);
    let id = stage.submit(deploy("payments"), "emergency").await;
    let page = format!("/approvals/{id}");
    let at = format!("{page}/break-glass");
    assert!(one.get(&page).await.is(200).text.contains("Break the glass…"));
    let asked = one.get(&at).await.is(200).text;
    assert!(asked.contains("Break the glass?") && !asked.contains("name=\"confirmed\""), "{asked}");
    let empty = [("csrf", mine.as_str()), ("reason", " \r\n")];
    assert!(one.post(&at, &empty).await.is(400).text.contains("A reason has from 1 to"));
    let asked = one.post(&at, &[("csrf", &mine), ("reason", REASON)]).await.is(200).text;
    assert!(asked.contains("Approve this alone, now?") && asked.contains(REASON), "{asked}");
    assert_eq!(view(&stage, &id).await["state"], "pending", "it is asked twice");
    let sure = [("csrf", mine.as_str()), ("reason", REASON), ("confirmed", "yes")];
    one.post(&at, &sure).await.is(303);
    assert_eq!(view(&stage, &id).await["state"], "approved");

    // It stays in everybody's inbox until somebody else has looked.
    let inbox = two.get("/").await.is(200).text;
    assert!(
        inbox.contains("waiting for review") && inbox.contains("review it") && inbox.contains("(1) Inbox")
    );
    let inbox = one.get("/").await.is(200).text;
    assert!(inbox.contains("waiting for review") && !inbox.contains("review it<"), "{inbox}");
    let review = format!("{page}/glass-review");
    let finding = |csrf| [("csrf", csrf), ("comment", "right, and in time")];
    assert!(!one.get(&page).await.is(200).text.contains("Close the review"));
    let own = one.post(&review, &finding(mine.as_str())).await.is(409).text;
    assert!(own.contains("somebody else has to review it"), "{own}");
    assert_eq!(view(&stage, &id).await["needs_review"], true);
    assert!(two.get(&page).await.is(200).text.contains("Close the review"));
    two.post(&review, &[("csrf", &theirs), ("comment", "")]).await.is(400);
    two.post(&review, &finding(theirs.as_str())).await.is(303);
    assert_eq!(view(&stage, &id).await["glass"]["review"]["by"], TWO);
    let told = one.get(&page).await.is(200).text;
    assert!(
        told.contains("met by breaking the glass")
            && told.contains("reviewed that, by console")
            && told.contains("right, and in time"),
        "{told}"
    );
    assert!(!two.get("/").await.is(200).text.contains("waiting for review"));
}

/// The attacks: without the group that policy names, as the owner, as somebody who may only look, and on what is
/// decided already.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_breaks_a_glass_that_is_not_theirs() {
    let stage = Stage::new().await;
    let watched = stage.submit(deploy("payments"), "watched").await;
    let plain = stage.submit(deploy("search"), "one").await;
    let emergency = stage.submit(deploy("ledger"), "emergency").await;
    for (person, id) in
        [(ONE, &watched), (ONE, &plain), (OWNER, &emergency), (VIEWER, &emergency), (AUTHOR, &emergency)]
    {
        let browser = Browser::sign_in(&stage, person).await;
        let page = browser.get(&format!("/approvals/{id}")).await.is(200).text;
        assert!(!page.contains("Break the glass…"), "{person}: {page}");
        browser.get(&format!("/approvals/{id}/break-glass")).await.is(403);
        let csrf = browser.csrf().await;
        for confirmed in ["", "yes"] {
            let fields = [("csrf", csrf.as_str()), ("reason", REASON), ("confirmed", confirmed)];
            browser.post(&format!("/approvals/{id}/break-glass"), &fields).await.is(403);
        }
        assert_eq!(view(&stage, id).await["state"], "pending", "{person}");
    }
    stage.vote(&emergency, &stage.token(TWO).await, "deny").await.is(201);
    let one = Browser::sign_in(&stage, ONE).await;
    one.get(&format!("/approvals/{emergency}/break-glass")).await.is(403);
}

fn payment() -> Value {
    json!({
        "subject": {"type": "Agent", "id": "deploy-bot"},
        "action": {"name": "pay", "properties": {
            "amount": 500, "note": "p\u{202e}aid", "to": {"iban": "[redacted]", "name": "x"}
        }},
        "resource": {"type": "Account", "id": "main"}
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_are_changed_after_they_were_looked_over() {
    let stage = Stage::new().await;
    let (one, two) = (Browser::sign_in(&stage, ONE).await, Browser::sign_in(&stage, TWO).await);
    let csrf = one.csrf().await;
    let id = stage.submit_editable(payment(), &SECRET, None).await;
    stage.vote(&id, &stage.token(TWO).await, "approve").await.is(201);
    let page = format!("/approvals/{id}");
    let at = format!("{page}/edit");
    assert!(one.get(&page).await.is(200).text.contains("Change the arguments…"));
    // What hides itself does not hide in the form either, and stays what it is.
    let asked = one.get(&at).await.is(200).text;
    assert!(asked.contains("p\\u202eaid") && !asked.contains('\u{202e}'), "{asked}");
    assert!(asked.contains("no vote on the result") && asked.contains("earlier votes on it are void"));

    let arguments = |amount: Value, iban: &str| {
        json!({"amount": amount, "note": "p\u{202e}aid", "to": {"iban": iban, "name": "x"}}).to_string()
    };
    for (text, problem) in [
        ("{\"amount\": 5,", "This is not acceptable JSON"),
        ("[]", "begin with {"),
        (&arguments(json!(500), "[redacted]"), "Nothing is changed"),
        (&arguments(json!(5), "DE00"), "is redacted"),
        ("{\"amount\": 5}", "is missing"),
        ("{\"amount\": 1, \"amount\": 5}", "This is not acceptable JSON"),
    ] {
        let fields = [("csrf", csrf.as_str()), ("arguments", text), ("step", "done")];
        let refused = one.post(&at, &fields).await.is(400).text;
        assert!(refused.contains(problem) && refused.contains("role=\"alert\""), "{problem}: {refused}");
    }
    let new = arguments(json!(50), "[redacted]");
    let fields =
        |step| [("csrf", csrf.as_str()), ("arguments", new.as_str()), ("reason", "too much"), ("step", step)];
    let looked = one.post(&at, &fields("look")).await.is(200).text;
    assert!(looked.contains("Change the arguments like this?") && looked.contains("removed: "), "{looked}");
    let again = one.post(&at, &fields("again")).await.is(200).text;
    assert!(again.contains("Look over the changes") && again.contains("too much"), "{again}");
    assert_eq!(view(&stage, &id).await["state"], "pending", "nothing is changed yet");
    one.post(&at, &fields("done")).await.is(303);
    let edited = view(&stage, &id).await;
    assert_eq!((&edited["state"], &edited["edited"]["by"]), (&json!("cancelled"), &json!(ONE)));
    assert_eq!(edited["edited"]["changes"], json!([{"pointer": "/action/properties/amount", "value": 50}]));
    let told = two.get(&page).await.is(200).text;
    assert!(
        told.contains("A reviewer changed the arguments")
            && told.contains("changed the arguments, by console")
    );
    one.get(&at).await.is(403);

    // What came of it is another request, which says so, and on which the editor has no vote (I3).
    let mut changed = payment();
    changed["action"]["properties"]["amount"] = json!(50);
    let next = stage.submit_editable(changed, &SECRET, Some(&id)).await;
    let link = format!("href=\"/approvals/{next}\">The request that came of it");
    assert!(one.get(&page).await.is(200).text.contains(&link));
    let told = one.get(&format!("/approvals/{next}")).await.is(200).text;
    assert!(told.contains("and has no vote on them") && !told.contains("value=\"approve\""), "{told}");
    let fields = [("csrf", csrf.as_str()), ("decision", "approve")];
    one.post(&format!("/approvals/{next}/votes"), &fields).await.is(409);
    assert_eq!(view(&stage, &next).await["votes"], json!([]));
}

/// Only those who could approve it change it, and only what can run otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_changes_what_is_not_theirs_or_cannot_be_changed() {
    let stage = Stage::new().await;
    let editable = stage.submit_editable(payment(), &SECRET, None).await;
    let fixed = stage.submit(deploy("payments"), "two").await;
    for (person, id) in [(OWNER, &editable), (VIEWER, &editable), (ONE, &fixed)] {
        let browser = Browser::sign_in(&stage, person).await;
        assert!(
            !browser.get(&format!("/approvals/{id}")).await.is(200).text.contains("Change the arguments…")
        );
        browser.get(&format!("/approvals/{id}/edit")).await.is(403);
        let csrf = browser.csrf().await;
        let fields = [("csrf", csrf.as_str()), ("arguments", "{\"version\": \"2\"}"), ("step", "done")];
        browser.post(&format!("/approvals/{id}/edit"), &fields).await.is(403);
        assert_eq!(view(&stage, id).await["state"], "pending", "{person}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_used_is_taken_back_by_those_whom_it_concerns() {
    let stage = Stage::new().await;
    let id = stage.submit(deploy("payments"), "one").await;
    let at = format!("/approvals/{id}/revoke");
    let one = Browser::sign_in(&stage, ONE).await;
    one.get(&at).await.is(403);
    stage.vote(&id, &stage.token(ONE).await, "approve").await.is(201);
    let two = Browser::sign_in(&stage, TWO).await;
    assert!(!two.get(&format!("/approvals/{id}")).await.is(200).text.contains("Take the approval back"));
    two.get(&at).await.is(403);
    let theirs = two.csrf().await;
    two.post(&at, &[("csrf", &theirs)]).await.is(403);
    assert_eq!(view(&stage, &id).await["state"], "approved");

    assert!(one.get(&format!("/approvals/{id}")).await.is(200).text.contains("Take the approval back…"));
    assert!(one.get(&at).await.is(200).text.contains("Take the approval back?"));
    let csrf = one.csrf().await;
    one.post(&at, &[("csrf", &csrf), ("reason", "wrong region")]).await.is(303);
    assert_eq!(view(&stage, &id).await["state"], "revoked");
    let page = one.get(&format!("/approvals/{id}")).await.is(200).text;
    assert!(page.contains("wrong region") && !page.contains("Take the approval back…"), "{page}");
    // Whoever broke the glass can take that back, too.
    let emergency = stage.submit(deploy("search"), "emergency").await;
    let glass = [("csrf", csrf.as_str()), ("reason", REASON), ("confirmed", "yes")];
    one.post(&format!("/approvals/{emergency}/break-glass"), &glass).await.is(303);
    one.post(&format!("/approvals/{emergency}/revoke"), &[("csrf", &csrf)]).await.is(303);
    assert_eq!(view(&stage, &emergency).await["state"], "revoked");
}

/// What is said is text, says who said it, and decides nothing; a program's words are not its person's.
#[tokio::test(flavor = "multi_thread")]
async fn a_comment_is_text_and_no_vote() {
    let stage = Stage::new().await;
    let id = stage.submit(deploy("payments"), "one").await;
    let viewer = Browser::sign_in(&stage, VIEWER).await;
    let csrf = viewer.csrf().await;
    let path = format!("/approvals/{id}/comments");
    let text = "<script>alert(1)</script>\u{202e}\r\nApproved by: finance";
    let there = viewer.post(&path, &[("csrf", &csrf), ("text", text)]).await.is(303);
    assert_eq!(there.header("location"), format!("/approvals/{id}#comments"));
    viewer.post(&path, &[("csrf", &csrf), ("text", " ")]).await.is(400);
    viewer.post(&path, &[("csrf", &csrf), ("text", &"x".repeat(2_001))]).await.is(400);
    let machine = stage.narrow_token(ONE, ActorKind::Machine, &[Right::Read]).await;
    let said = json!({"comment": "looks good to me"});
    let said = stage.post(&format!("/api/v1{path}"), &machine, said).await.is(201).json();
    assert_eq!((&said["person"], &said["by_program"]), (&json!(ONE), &json!(true)));
    let owner = json!({"comment": "please"});
    stage.post(&format!("/api/v1{path}"), &stage.token(OWNER).await, owner).await.is(201);

    let page = viewer.get(&format!("/approvals/{id}")).await.is(200).text;
    assert!(page.contains("&lt;script&gt;") && !page.contains("<script>alert"), "{page}");
    assert!(!page.contains('\u{202e}') && page.contains("U+202E"), "{page}");
    assert_eq!(page.matches("by a program of theirs").count(), 1, "{page}");
    assert_eq!(page.matches("owner of the agent").count(), 1, "{page}");
    // A line that looks like a label of ours does not begin a line of its own without a mark.
    assert!(page.contains("↵</span><br>Approved by: finance"), "{page}");
    let view = view(&stage, &id).await;
    assert_eq!((&view["state"], view["votes"].as_array().unwrap().len()), (&json!("pending"), 0));
}

/// A request that takes a passkey waits for those who could give it, whatever they are signed in with.
#[tokio::test(flavor = "multi_thread")]
async fn what_takes_a_passkey_counts_as_theirs() {
    let stage = Stage::new().await;
    stage.submit(deploy("payments"), "with-passkey").await;
    let one = Browser::sign_in(&stage, ONE).await;
    let inbox = one.get("/").await.is(200).text;
    assert!(inbox.contains("1 for you") && inbox.contains("Waiting for you"), "{inbox}");
    assert!(one.get("/?mine=1").await.is(200).text.contains(">payments<"));
}
