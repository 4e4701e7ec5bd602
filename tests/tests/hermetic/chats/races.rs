//! People who decide in two places at the same instant (I3, I4).

use serde_json::json;

use super::office::{APPROVE, DENY, Office, says};

/// Two are needed. They come from two places at once, in every pairing of places.
#[tokio::test(flavor = "multi_thread")]
async fn two_people_from_two_channels_at_once_are_two() {
    let office = Office::linked().await;
    let site = &office.site;
    for round in 0..4 {
        let id = site.request("pay").await;
        let (first, second) = (
            office.slack_click(["U1", "U2"][round % 2], APPROVE, &id).await,
            office.teams_click(["o-2", "o-1"][round % 2], APPROVE, &id).await,
        );
        let by_api = site.reviewer(1);
        match round {
            0 | 1 => drop(tokio::join!(office.deliver(&first), office.call(&second))),
            2 => drop(tokio::join!(office.deliver(&first), site.vote(&by_api, &id, "approve"))),
            _ => drop(tokio::join!(office.call(&second), site.vote(&by_api, &id, "approve"))),
        }
        let task = site.until_task(&id, "approved").await;
        office.agree_on(&id, "approved").await;
        let view = office.view(&id).await;
        let mut people: Vec<_> =
            view["votes"].as_array().unwrap().iter().map(|vote| &vote["person"]).collect();
        people.sort_by_key(ToString::to_string);
        assert_eq!(people, [&json!(site.reviewer_name(0)), &json!(site.reviewer_name(1))]);
        // One grant came of it, for one use.
        assert_eq!(site.redeem("pay", &task).await["decision"], true);
        assert_eq!(site.redeem("pay", &task).await["decision"], false);
    }
}

/// One person has one vote, however many places they try at the same instant.
#[tokio::test(flavor = "multi_thread")]
async fn one_person_in_three_places_at_once_is_one() {
    let office = Office::linked().await;
    let site = &office.site;
    for _ in 0..4 {
        let id = site.request("pay").await;
        let activity = office.teams_click("o-1", APPROVE, &id).await;
        let by_api = site.reviewer(0);
        let (told, card, _) = tokio::join!(
            office.told_in_slack("U1", APPROVE, &id),
            office.call(&activity),
            site.vote(&by_api, &id, "approve"),
        );
        let view = office.view(&id).await;
        assert_eq!((view["state"].as_str(), view["votes"].as_array().unwrap().len()), (Some("pending"), 1));
        assert!(says(&told, "ounted") && says(&card, "ounted"), "each is told: {told} {card}");
        assert_eq!(site.task(&id).await["task"]["status"], "pending");
        // The other person's vote is the second one, and not a third.
        office.click_in_teams("o-2", APPROVE, &id).await;
        let task = site.until_task(&id, "approved").await;
        office.agree_on(&id, "approved").await;
        assert_eq!(site.redeem("pay", &task).await["decision"], true);
    }
}

/// Whichever comes first decides, and everybody is shown the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_denial_and_an_approval_at_once_have_one_outcome() {
    let office = Office::linked().await;
    let site = &office.site;
    for round in 0..6 {
        // Each for somebody else: what was refused once stays refused for a while.
        let initiator = json!({ "initiator": format!("owner-{round}@example.com") });
        let id = site.request_for("deploy", initiator["initiator"].as_str().unwrap()).await;
        let approval = office.slack_click("U1", APPROVE, &id).await;
        let denial = office.teams_click("o-2", DENY, &id).await;
        if round % 2 == 0 {
            tokio::join!(office.deliver(&approval), office.call(&denial));
        } else {
            tokio::join!(office.call(&denial), office.deliver(&approval));
        }
        let state = office.view(&id).await["state"].as_str().unwrap().to_owned();
        assert!(["approved", "denied"].contains(&state.as_str()), "{state}");
        office.agree_on(&id, &state).await;
        let task = site.until_task(&id, &state).await;
        let context = json!({ "provenance": initiator, "approval": task["result"]["approval"] });
        assert_eq!(site.evaluate("deploy", &context).await["decision"], state == "approved");
    }
}

/// I3: who set the operation going, and who owns the agent, have no vote in any place.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_set_it_going_has_no_vote_in_any_place() {
    let office = Office::linked().await;
    let site = &office.site;
    let id = site.request_for("deploy", &site.reviewer_name(0)).await;
    for action in [APPROVE, DENY] {
        let card = office.click_in_teams("o-1", action, &id).await;
        assert!(says(&card, "Not counted"), "{card}");
    }
    let told = office.told_in_slack("U1", APPROVE, &id).await;
    assert!(says(&told, "Not counted"), "{told}");
    assert_eq!(office.view(&id).await["votes"], json!([]));
    office.told_in_slack("U2", APPROVE, &id).await;
    office.agree_on(&id, "approved").await;
}
