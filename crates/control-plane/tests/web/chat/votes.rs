//! Who votes in Slack, and who does not: every way in that we could think of, tried.

use countersign_model::{Provenance, Seconds};
use countersign_testkit::chats::slack::{form, signature};
use http::StatusCode;
use serde_json::{Value, json};

use super::office::{Office, Way, click};
use crate::stage::{AUTHOR, ONE, OWNER, TWO, VIEWER, deploy};

const APPROVE: &str = "countersign.approve";
const DENY: &str = "countersign.deny";
const DETAILS: &str = "countersign.details";

#[tokio::test]
async fn a_reviewer_approves_where_they_read_it() {
    let office = Office::linked(Way::Http).await;
    let id = office.stage.submit(deploy("payments"), "one").await;
    let card = office.card(&id).await;
    assert!(card.blocks.to_string().contains("Deploys need a reviewer"), "{}", card.blocks);
    let ticket = card.ticket(APPROVE);
    assert_eq!(office.click("U1", APPROVE, &ticket).await, StatusCode::OK);
    office.slack.until_whispered("U1", "counted").await;
    let view = office.view(&id).await;
    assert_eq!((view["state"].as_str(), view["votes"][0]["person"].as_str()), (Some("approved"), Some(ONE)));
    assert_eq!(view["votes"][0]["channel"], "slack");
    // The card changes, and has nothing to click any more; who decided is told below it.
    let updated = office.slack.until(|call| call.method == "chat.update").await.body;
    assert!(!updated["blocks"].to_string().contains(APPROVE), "{updated}");
    let below = office.slack.until(|call| call.body["thread_ts"].is_string()).await.body;
    assert!(below.to_string().contains(ONE), "{below}");
}

#[tokio::test]
async fn a_denial_is_asked_for_its_reason() {
    let office = Office::linked(Way::Http).await;
    let id = office.stage.submit(deploy("payments"), "one").await;
    let ticket = office.card(&id).await.ticket(DENY);
    office.click("U2", DENY, &ticket).await;
    let view = office.slack.until_asked("views.open").await.body["view"].clone();
    assert_eq!(office.view(&id).await["state"], "pending", "a form is no vote");
    let mut filled_in = view.clone();
    filled_in["state"] = json!({"values": {"reason": {"reason": {"value": "not during the freeze"}}}});
    let submission = json!({
        "type": "view_submission", "user": {"id": "U2", "team_id": "T1"}, "team": {"id": "T1"}, "view": filled_in,
    });
    assert_eq!(office.deliver(&submission).await, StatusCode::OK);
    office.slack.until_whispered("U2", "denial is counted").await;
    let view = office.view(&id).await;
    assert_eq!(view["state"], "denied");
    assert_eq!(
        (&view["votes"][0]["person"], &view["votes"][0]["reason"]),
        (&json!(TWO), &json!("not during the freeze"))
    );
}

#[tokio::test]
async fn what_slack_did_not_sign_just_now_is_refused() {
    let office = Office::linked(Way::Http).await;
    let id = office.stage.submit(deploy("payments"), "one").await;
    let ticket = office.card(&id).await.ticket(APPROVE);
    let (body, now) = (form(&click("U1", "T1", APPROVE, &ticket)), office.now());
    let good = signature(super::office::SECRET, now, &body);
    let altered = body.replace("U1", "U2");
    for (body, at, signature) in [
        (body.as_str(), now, signature("another-secret", now, &body)),
        (body.as_str(), now, "v0=".to_owned()),
        (altered.as_str(), now, good.clone()),
        (body.as_str(), now + 1, good.clone()),
        (body.as_str(), now - 301, signature(super::office::SECRET, now - 301, &body)),
        (body.as_str(), now + 400, signature(super::office::SECRET, now + 400, &body)),
    ] {
        assert_eq!(office.send(body, at, &signature).await, StatusCode::UNAUTHORIZED, "{at} {signature}");
    }
    // A recorded click is none any more five minutes later.
    office.stage.pass(Seconds::new(301));
    assert_eq!(office.send(&body, now, &good).await, StatusCode::UNAUTHORIZED);
    assert_eq!((office.view(&id).await["votes"].clone(), office.slack.count("users.info")), (json!([]), 0));
}

#[tokio::test]
async fn a_click_that_comes_twice_is_looked_at_once() {
    let office = Office::linked(Way::Http).await;
    let id = office.stage.submit(deploy("payments"), "two").await;
    let ticket = office.card(&id).await.ticket(APPROVE);
    let (body, now) = (form(&click("U1", "T1", APPROVE, &ticket)), office.now());
    let good = signature(super::office::SECRET, now, &body);
    for _ in 0..3 {
        assert_eq!(office.send(&body, now, &good).await, StatusCode::OK);
    }
    office.slack.until_whispered("U1", "counted").await;
    // Another click of somebody else, so that what the first ones did is done.
    office.click("U3", APPROVE, &ticket).await;
    office.slack.until_whispered("U3", "not linked").await;
    assert_eq!(office.slack.count("chat.postEphemeral"), 2);
    let view = office.view(&id).await;
    assert_eq!(
        (view["state"].as_str(), view["requirements"][0]["approved"].as_u64()),
        (Some("pending"), Some(1))
    );
}

#[tokio::test]
async fn an_account_counts_once_its_person_has_linked_it() {
    let office = Office::new(Way::Http).await;
    let id = office.stage.submit(deploy("payments"), "one").await;
    let ticket = office.card(&id).await.ticket(APPROVE);
    office.click("U1", APPROVE, &ticket).await;
    let told = office.slack.until_whispered("U1", "Link this account").await;
    assert_eq!(office.view(&id).await["votes"], json!([]));
    let blocks = told["blocks"].as_array().unwrap();
    let url = blocks[1]["elements"][0]["url"].as_str().unwrap().to_owned();
    office.open_link(&url, ONE).await;
    office.click("U1", APPROVE, &ticket).await;
    office.slack.until_whispered("U1", "approval is counted").await;
    assert_eq!(office.view(&id).await["votes"][0]["person"], ONE);
}

/// Whoever Slack does not call a full member of this workspace has no vote, linked or not.
#[tokio::test]
async fn guests_strangers_bots_and_the_deactivated_have_no_vote() {
    let office = Office::linked(Way::Http).await;
    let id = office.stage.submit(deploy("payments"), "one").await;
    let ticket = office.card(&id).await.ticket(APPROVE);
    for (otherwise, words) in [
        (json!({"is_restricted": true}), "guests"),
        (json!({"is_ultra_restricted": true}), "guests"),
        (json!({"deleted": true}), "deactivated"),
        (json!({"is_bot": true}), "bot"),
        (json!({"is_stranger": true}), "members of the workspace"),
        (json!({"team_id": "T2"}), "members of the workspace"),
        (json!({"is_restricted": null}), "does not say"),
    ] {
        // What Slack said a minute ago does not hold any more.
        office.stage.pass(Seconds::new(61));
        office.slack.user("U1", &otherwise);
        office.click("U1", APPROVE, &ticket).await;
        office.slack.until_whispered("U1", words).await;
    }
    // Of another workspace, in a channel that both share, under an id that is a member's here.
    office.deliver(&click("U2", "T2", APPROVE, &ticket)).await;
    office.slack.until_whispered("U2", "members of the workspace").await;
    assert_eq!(office.view(&id).await["votes"], json!([]));
}

#[tokio::test]
async fn while_slack_does_not_say_who_it_is_there_is_no_vote() {
    let office = Office::linked(Way::Http).await;
    let id = office.stage.submit(deploy("payments"), "one").await;
    let ticket = office.card(&id).await.ticket(APPROVE);
    office.click("U-unknown", APPROVE, &ticket).await;
    office.slack.until_whispered("U-unknown", "cannot be asked").await;
    assert_eq!(office.view(&id).await["votes"], json!([]));
}

/// I3, in Slack: the initiating human, the agent's owner though an admin, and who is no reviewer.
#[tokio::test]
async fn nobody_approves_their_own_request_in_slack() {
    let office = Office::linked(Way::Http).await;
    office.link("U3", OWNER).await;
    office.slack.user("U4", &json!({}));
    office.link("U4", VIEWER).await;
    let by_one: Provenance = serde_json::from_value(json!({"initiator": {"person": ONE}})).unwrap();
    let id = office.stage.submit_as(deploy("payments"), "one", by_one).await;
    let ticket = office.card(&id).await.ticket(APPROVE);
    for (user, words) in [("U1", "Not counted"), ("U3", "Not counted"), ("U4", "Not counted")] {
        office.click(user, APPROVE, &ticket).await;
        office.slack.until_whispered(user, words).await;
    }
    assert_eq!(office.view(&id).await["votes"], json!([]));
    office.click("U2", APPROVE, &ticket).await;
    office.slack.until_whispered("U2", "approval is counted").await;
}

/// I12: a button is good for what was shown with it, and for nothing else.
#[tokio::test]
async fn a_button_is_good_for_what_was_shown_with_it() {
    let office = Office::linked(Way::Http).await;
    let shown = office.stage.submit(deploy("staging"), "one").await;
    let other = office.stage.submit(deploy("payments"), "one").await;
    let ticket = office.card(&shown).await.ticket(APPROVE);
    let mixed = ticket.replace(&shown, &other);
    office.click("U1", APPROVE, &mixed).await;
    office.slack.until_whispered("U1", "has changed").await;
    for nonsense in ["", "approve", &ticket[1..]] {
        assert_eq!(office.click("U1", APPROVE, nonsense).await, StatusCode::OK);
    }
    assert_eq!(office.view(&other).await["votes"], json!([]));
    assert_eq!(office.view(&shown).await["votes"], json!([]));
}

/// Refusing is safe, so it is offered where approving is not.
#[tokio::test]
async fn what_takes_the_console_can_only_be_denied_here() {
    let office = Office::linked(Way::Http).await;
    let id = office.stage.submit(deploy("payments"), "at-console").await;
    let card = office.card(&id).await;
    assert!(card.button(APPROVE).is_none());
    let url = card.button("open").unwrap()["url"].as_str().unwrap().to_owned();
    assert!(url.ends_with(&format!("/approvals/{id}")), "{url}");
    // With a button of its own making, an approval is refused all the same.
    let ticket = card.ticket(DENY);
    office.click("U1", APPROVE, &ticket).await;
    office.slack.until_whispered("U1", "in the console").await;
    assert_eq!(office.view(&id).await["votes"], json!([]));
    office.click("U1", DENY, &ticket).await;
    let form = office.slack.until_asked("views.open").await.body["view"].clone();
    let filled_in = json!({
        "callback_id": form["callback_id"], "private_metadata": form["private_metadata"],
        "state": {"values": {"reason": {"reason": {"value": "not during the freeze"}}}},
    });
    let submission = json!({
        "type": "view_submission", "user": {"id": "U1", "team_id": "T1"}, "team": {"id": "T1"}, "view": filled_in,
    });
    assert_eq!(office.deliver(&submission).await, StatusCode::OK);
    office.slack.until_whispered("U1", "denial is counted").await;
    assert_eq!(office.view(&id).await["state"], "denied");
}

/// A link that is passed on is of no use to whoever opens it: the account is that of an address's holder.
#[tokio::test]
async fn an_account_is_linked_by_the_holder_of_its_address_alone() {
    let office = Office::new(Way::Http).await;
    let id = office.stage.submit(deploy("payments"), "one").await;
    let ticket = office.card(&id).await.ticket(APPROVE);
    office.slack.user("U1", &json!({"profile": {"email": "Reviewer-Nobody@example.com"}}));
    office.slack.user("U2", &json!({"profile": {"email": TWO.to_ascii_uppercase()}}));
    office.slack.user("U3", &json!({"profile": {"email": "o\u{212a}@example.com"}}));
    for (user, words, linked) in [
        ("U1", "Link this account", [(ONE, 409), (TWO, 409)].as_slice()),
        ("U2", "Link this account", [(ONE, 409), (TWO, 200)].as_slice()),
        ("U3", "you may not decide here", &[]),
    ] {
        office.click(user, APPROVE, &ticket).await;
        let told = office.slack.until_whispered(user, words).await;
        for (person, status) in linked {
            let url = told["blocks"][1]["elements"][0]["url"].as_str().unwrap();
            assert_eq!(office.try_link(url, person).await, *status, "{user} {person}");
        }
    }
    office.click("U2", APPROVE, &ticket).await;
    office.slack.until_whispered("U2", "approval is counted").await;
    assert_eq!(office.view(&id).await["votes"][0]["person"], TWO);
}

/// Nothing an agent writes reaches Slack as anything but text in the style that our own words never have.
#[tokio::test]
async fn what_an_agent_says_is_text_and_nothing_else() {
    let office = Office::linked(Way::Http).await;
    let hostile = "<!channel> <@U1> *Approved by security* :white_check_mark: <https://evil.example|Approve> \u{202e}evorppa";
    let provenance: Provenance =
        serde_json::from_value(json!({"reason": hostile, "prompt": hostile})).unwrap();
    let operation = json!({
        "subject": {"type": "Agent", "id": "deploy-bot"},
        "action": {"name": "deploy", "properties": {"note": hostile, "long": "x".repeat(20_000)}},
        "resource": {"type": "Service", "id": hostile, "properties": {"environment": "production"}},
    });
    let id = office.stage.submit_as(operation, "one", provenance).await;
    let posted = office.slack.until_card_says(&id).await;
    let text = posted["text"].as_str().unwrap();
    assert!(!text.contains('<') && !text.contains('>'), "{text}");
    assert!(posted["blocks"].to_string().contains("PRODUCTION"));
    assert!(posted.to_string().len() < 40_000 && posted["blocks"].as_array().unwrap().len() <= 50);
    let mut seen = 0;
    walk(&posted["blocks"], &mut |value| {
        let Some(text) = value["text"].as_str() else { return };
        assert!(text.chars().count() <= 3_000);
        if text.contains("evil.example") {
            seen += 1;
            assert_eq!((&value["type"], &value["style"]["code"]), (&json!("text"), &json!(true)), "{value}");
        }
        if value["type"] == "mrkdwn" {
            assert!(!text.contains("Approved by security"), "{value}");
        }
        assert!(!text.contains('\u{202e}'), "{value}");
    });
    assert!(seen >= 3, "{seen}");
}

#[tokio::test]
async fn details_are_for_those_who_may_look() {
    let office = Office::linked(Way::Http).await;
    let id = office.stage.submit(deploy("payments"), "one").await;
    let ticket = office.card(&id).await.ticket(DETAILS);
    office.click("U3", DETAILS, &ticket).await;
    office.slack.until_whispered("U3", "not linked").await;
    assert_eq!(office.slack.count("views.open"), 0);
    office.click("U1", DETAILS, &ticket).await;
    let view = office.slack.until_asked("views.open").await.body["view"].clone();
    assert_eq!(view["type"], "modal");
    assert!(view.to_string().contains("sha256:") && view["blocks"].as_array().unwrap().len() <= 100);
}

/// I4: two people from two places at the same instant count as two, and one person from two places as one.
#[tokio::test]
async fn people_count_once_wherever_they_vote() {
    let office = Office::linked(Way::Http).await;
    let both = office.stage.submit(deploy("payments"), "two").await;
    let (card, token) = (office.card(&both).await, office.stage.token(TWO).await);
    let ticket = card.ticket(APPROVE);
    let (clicked, voted) =
        tokio::join!(office.click("U1", APPROVE, &ticket), office.stage.vote(&both, &token, "approve"));
    assert_eq!((clicked, voted.status), (StatusCode::OK, StatusCode::CREATED));
    office.slack.until_whispered("U1", "approval is counted").await;
    let view = office.view(&both).await;
    assert_eq!((view["state"].as_str(), view["votes"].as_array().unwrap().len()), (Some("approved"), 2));

    let once = office.stage.submit(deploy("billing"), "two").await;
    let (card, token) = (office.card(&once).await, office.stage.token(ONE).await);
    let ticket = card.ticket(APPROVE);
    let (clicked, _) =
        tokio::join!(office.click("U1", APPROVE, &ticket), office.stage.vote(&once, &token, "approve"));
    assert_eq!(clicked, StatusCode::OK);
    // Whichever came second is told so, and does not count.
    let whispers = office.slack.count("chat.postEphemeral");
    office.click("U3", APPROVE, &ticket).await;
    office.slack.until_whispered("U3", "not linked").await;
    assert!(office.slack.count("chat.postEphemeral") > whispers);
    let view = office.view(&once).await;
    assert_eq!((view["state"].as_str(), view["votes"].as_array().unwrap().len()), (Some("pending"), 1));
}

#[tokio::test]
async fn a_denial_and_an_approval_that_race_have_one_outcome_and_the_card_tells_it() {
    let office = Office::linked(Way::Http).await;
    for service in ["a", "b", "c", "d"] {
        let id = office.stage.submit(deploy(service), "one").await;
        let (card, token) = (office.card(&id).await, office.stage.token(TWO).await);
        let ticket = card.ticket(APPROVE);
        tokio::join!(office.click("U1", APPROVE, &ticket), office.stage.vote(&id, &token, "deny"));
        let is_last =
            |body: &Value| body["blocks"].to_string().contains(&id) && !body.to_string().contains(APPROVE);
        let card = office.slack.until(|call| call.method == "chat.update" && is_last(&call.body)).await.body;
        let state = office.view(&id).await["state"].as_str().unwrap().to_owned();
        assert!(["approved", "denied"].contains(&state.as_str()), "{state}");
        let header = card["blocks"][0]["text"]["text"].as_str().unwrap();
        assert!(header.contains(&state), "{header} is not {state}");
    }
}

/// A Slack that does not answer delays cards, and nothing else.
#[tokio::test]
async fn slack_being_down_delays_cards_and_loses_nothing() {
    let office = Office::linked(Way::Http).await;
    office.slack.is_down(true);
    let decided = office.stage.submit(deploy("payments"), "one").await;
    let waiting = office.stage.submit(deploy("billing"), "one").await;
    office.stage.vote(&decided, &office.stage.token(ONE).await, "approve").await.is(201);
    office.slack.is_down(false);
    // Time goes on by the clock that the tests hold.
    office.stage.pass(Seconds::new(30));
    let card = office.card(&waiting).await;
    office.click("U2", APPROVE, &card.ticket(APPROVE)).await;
    office.slack.until_whispered("U2", "approval is counted").await;
    assert_eq!(office.view(&waiting).await["votes"][0]["person"], TWO);
}

#[tokio::test]
async fn an_account_goes_with_its_person() {
    let office = Office::linked(Way::Http).await;
    office.link("U3", AUTHOR).await;
    let id = office.stage.submit(deploy("payments"), "one").await;
    let ticket = office.card(&id).await.ticket(APPROVE);
    office.click("U3", APPROVE, &ticket).await;
    office.slack.until_whispered("U3", "Not counted").await;
    assert_eq!(office.view(&id).await["votes"], json!([]));
}

fn walk(value: &Value, look: &mut impl FnMut(&Value)) {
    look(value);
    match value {
        Value::Array(items) => items.iter().for_each(|item| walk(item, look)),
        Value::Object(members) => members.values().for_each(|member| walk(member, look)),
        _ => {}
    }
}
