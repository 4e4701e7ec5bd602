//! Linking a chat account at the console, and that nobody votes for themselves through one (I3).

use countersign_control_plane::{
    identity::{AccountKind, ExternalAccount},
    services::{ApprovalError, Ballot, VoteDecision},
};

use serde_json::json;

use crate::{
    console::{Browser, form},
    stage::{ONE, OWNER, Stage, TWO, VIEWER, deploy},
};

fn slack(subject: &str) -> ExternalAccount {
    ExternalAccount { kind: AccountKind::Slack, realm: "T1".to_owned(), subject: subject.to_owned() }
}

/// Links the account to whoever is signed in in that browser.
async fn link(stage: &Stage, browser: &Browser<'_>, account: ExternalAccount) {
    let path = stage.running.identity().begin_link(account, "Sam", None).await.unwrap();
    let page = browser.get(&path).await.is(200);
    assert!(page.text.contains("Is this your account?") && page.text.contains("Sam"), "{}", page.text);
    let (_, secret) = path.split_once('=').unwrap();
    let csrf = browser.csrf().await;
    let done = browser.post("/accounts/link", &[("csrf", &csrf), ("secret", secret)]).await.is(200);
    assert!(done.text.contains("now votes as"), "{}", done.text);
}

async fn vote_from_chat(
    stage: &Stage,
    approval: &str,
    account: &ExternalAccount,
) -> Result<(), ApprovalError> {
    let actor = stage.running.identity().account_actor(account).await.unwrap();
    let ballot = Ballot {
        decision: VoteDecision::Approve,
        reason: None,
        channel: "slack".to_owned(),
        expected_version: None,
    };
    stage.running.services().approvals.vote(&actor, approval.parse().unwrap(), ballot).await.map(drop)
}

#[tokio::test]
async fn a_link_leads_through_the_sign_in_and_cannot_be_forged_from_elsewhere() {
    let stage = Stage::new().await;
    let path = stage.running.identity().begin_link(slack("U1"), "Sam", None).await.unwrap();
    let anonymous = stage.get(&path, "").await.is(303);
    assert!(anonymous.header("location").starts_with("/sign-in?next=/accounts/link%3Fsecret%3D"));
    let browser = Browser::sign_in(&stage, ONE).await;
    let (_, secret) = path.split_once('=').unwrap();
    browser.post("/accounts/link", &[("csrf", "guess"), ("secret", secret)]).await.is(403);
    stage.send(form("/accounts/link", "", &[("csrf", "guess"), ("secret", secret)])).await.is(303);
    let csrf = browser.csrf().await;
    browser.post("/accounts/link", &[("csrf", &csrf), ("secret", "guess")]).await.is(409);
    browser.post("/accounts/link", &[("csrf", &csrf), ("secret", secret)]).await.is(200);
    browser.post("/accounts/link", &[("csrf", &csrf), ("secret", secret)]).await.is(409);
}

/// The attack: a link for one's own account, passed on. Where the chat tells an address, it is that human's only.
#[tokio::test]
async fn a_link_for_an_address_is_that_humans_by_each_of_their_names() {
    let stage = Stage::new().await;
    let owner = stage.token(OWNER).await;
    let there = "reviewer-one@example.org";
    stage.post(&format!("/api/v1/people/{ONE}/join"), &owner, json!({"name": there})).await.is(200);
    let only_for = Some(there.parse().unwrap());
    let path = stage.running.identity().begin_link(slack("U1"), "Sam", only_for).await.unwrap();
    let (_, secret) = path.split_once('=').unwrap();
    let (one, two) = (Browser::sign_in(&stage, ONE).await, Browser::sign_in(&stage, TWO).await);
    for (browser, status) in [(&two, 409), (&one, 200)] {
        let csrf = browser.csrf().await;
        browser.post("/accounts/link", &[("csrf", &csrf), ("secret", secret)]).await.is(status);
    }
}

/// What the settings pages and the command line do, over the API.
#[tokio::test]
async fn accounts_sessions_and_people_are_seen_and_ended_over_the_api() {
    let stage = Stage::new().await;
    let (owner, one) = (stage.token(OWNER).await, stage.token(ONE).await);
    let browser = Browser::sign_in(&stage, ONE).await;
    link(&stage, &browser, slack("U2")).await;
    let account = stage.get("/api/v1/accounts", &one).await.is(200).json()["items"][0].clone();
    assert_eq!((&account["kind"], &account["label"]), (&json!("slack"), &json!("Sam")));
    let unlink = format!("/api/v1/accounts/{}/unlink", account["id"].as_str().unwrap());
    stage.post(&unlink, &stage.token(TWO).await, json!({})).await.is_problem(404, "not_found");
    stage.post(&unlink, &one, json!({})).await.is(200);
    let session = stage.get("/api/v1/sessions", &one).await.is(200).json()["items"][0].clone();
    let end = format!("/api/v1/sessions/{}/end", session["id"].as_str().unwrap());
    stage.post(&end, &one, json!({})).await.is(200);
    assert_eq!(browser.get("/").await.status, 303);
    stage.get("/api/v1/people", &one).await.is_problem(403, "forbidden");
    let people = stage.get("/api/v1/people", &owner).await.is(200).json();
    assert_eq!(people["items"][0]["person"], ONE);
    stage
        .post(&format!("/api/v1/people/{OWNER}/disable"), &owner, json!({}))
        .await
        .is_problem(409, "yourself");
    stage.post(&format!("/api/v1/people/{ONE}/disable"), &owner, json!({})).await.is(200);
    stage.get("/api/v1/whoami", &one).await.is_problem(401, "unauthenticated");
    stage.post(&format!("/api/v1/people/{ONE}/enable"), &owner, json!({})).await.is(200);
    stage.get("/api/v1/whoami", &one).await.is(200);
}

/// I3 is judged on the human: the owner's chat account is the owner.
#[tokio::test]
async fn the_agents_owner_does_not_approve_through_a_linked_account() {
    let stage = Stage::new().await;
    let (owner, one) = (Browser::sign_in(&stage, OWNER).await, Browser::sign_in(&stage, ONE).await);
    link(&stage, &owner, slack("U1")).await;
    link(&stage, &one, slack("U2")).await;
    let approval = stage.submit(deploy("payments"), "one").await;
    let refused = vote_from_chat(&stage, &approval, &slack("U1")).await;
    assert!(matches!(refused, Err(ApprovalError::Refused { .. })), "{refused:?}");
    vote_from_chat(&stage, &approval, &slack("U2")).await.unwrap();
}

/// I3 and I4 on the human, where they are known by two addresses: what is owned or said by either is theirs.
#[tokio::test]
async fn one_human_by_two_addresses_has_one_vote_and_none_about_their_own_agent() {
    let stage = Stage::new().await;
    let [owner, one, two] = [stage.token(OWNER).await, stage.token(ONE).await, stage.token(TWO).await];
    let (asked, mine) =
        (stage.submit(deploy("payments"), "two").await, stage.submit(deploy("ledger"), "one").await);
    let join = |name: &str, person: &str| (format!("/api/v1/people/{person}/join"), json!({"name": name}));
    let (path, body) = join(ONE, TWO);
    stage.post(&path, &one, body.clone()).await.is_problem(403, "forbidden");
    stage.vote(&asked, &one, "approve").await.is(201);
    let session = Browser::sign_in(&stage, ONE).await;
    assert_eq!(stage.post(&path, &owner, body).await.is(200).json()["names"], json!([ONE]));
    // The other name is good for nothing any more, and the human has voted by it.
    stage.get("/api/v1/whoami", &one).await.is_problem(401, "unauthenticated");
    assert_eq!(session.get("/").await.status, 303);
    stage.vote(&asked, &two, "approve").await.is_problem(409, "already_voted");
    // Names are joined to whom they stand for, and to one human only.
    for (name, person) in [(ONE, VIEWER), (VIEWER, ONE), (VIEWER, VIEWER)] {
        let (path, body) = join(name, person);
        stage.post(&path, &owner, body).await.is_problem(409, "names");
    }
    // The attack: an admin who makes what somebody else is asked for their own to give.
    for (name, person) in [(VIEWER, OWNER), (OWNER, VIEWER), ("owner@example.org", OWNER)] {
        let (path, body) = join(name, person);
        stage.post(&path, &owner, body).await.is_problem(409, "yourself");
    }
    let identity = stage.running.identity();
    let mut admin = stage.actor(&owner).await;
    admin.person = "admin@example.com".parse().unwrap();
    // Somebody else's agent, until it turns out that the owner is the same human.
    identity.join_names(&admin, OWNER.parse().unwrap(), TWO.parse().unwrap()).await.unwrap();
    stage.vote(&mine, &two, "approve").await.is_problem(403, "self_approval");
    admin.also = vec![ONE.parse().unwrap()];
    assert!(
        identity.part_names(&admin, ONE.parse().unwrap()).await.is_err(),
        "nobody makes two of themselves"
    );
}

/// I4: a vote from a chat and one from the console are one person's.
#[tokio::test]
async fn one_person_counts_once_through_every_account_and_token() {
    let stage = Stage::new().await;
    let one = Browser::sign_in(&stage, ONE).await;
    link(&stage, &one, slack("U2")).await;
    let approval = stage.submit(deploy("payments"), "two").await;
    vote_from_chat(&stage, &approval, &slack("U2")).await.unwrap();
    stage.vote(&approval, &stage.token(ONE).await, "approve").await;
    let view = stage.get(&format!("/api/v1/approvals/{approval}"), &stage.token(ONE).await).await.json();
    assert_eq!(
        (view["state"].as_str(), view["requirements"][0]["approved"].as_u64()),
        (Some("pending"), Some(1))
    );
}
