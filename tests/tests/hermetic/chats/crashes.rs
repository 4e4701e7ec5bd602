//! SIGKILL for the control plane while chats are told.

use reqwest::Method;
use serde_json::Value;

use super::office::{APPROVE, Office, says};

/// The vote is durable, no card was changed, nobody was told: the control plane ends there.
#[tokio::test(flavor = "multi_thread")]
async fn killed_between_a_vote_and_the_cards_it_changes_them_when_it_is_back() {
    let mut office = Office::linked().await;
    let id = office.site.request("deploy").await;
    let click = office.slack_click("U1", APPROVE, &id).await;
    office.teams_click("o-1", APPROVE, &id).await;
    office.slack.hold("chat.update");
    office.teams.hold(&Method::PUT);
    office.deliver(&click).await;
    office.slack.until(|call| call.method == "chat.update" && says(&call.body, &id)).await;
    office.teams.until(|sent| sent.method == Method::PUT && says(&sent.body, &id)).await;
    office.site.kill_control();
    office.slack.release();
    office.teams.release();
    let still_asks = |cards: &[Value]| cards.len() == 1 && cards.iter().all(|card| says(card, APPROVE));
    assert!(still_asks(&office.slack.cards(&id)) && still_asks(&office.teams.cards(&id)));

    office.site.start_control();
    office.site.until_connected().await;
    office.agree_on(&id, "approved").await;
    // Slack sends a click again when it believes that it was lost.
    office.deliver(&click).await;
    let task = office.site.until_task(&id, "approved").await;
    assert_eq!(office.site.redeem("deploy", &task).await["decision"], true);
    let executed = office.site.until(&id, "executed").await;
    assert_eq!(executed["votes"].as_array().unwrap().len(), 1, "{executed}");
    let is_told = |card: &Value| says(card, "site-agent: approved and executed");
    office.slack.until_cards(&id, is_told).await;
    office.teams.until_cards(&id, is_told).await;
}

/// The cards are posted, and nobody remembers it: the control plane ends there. Slack knows a message again by the
/// name that we gave it. Teams does not, so there are two, and either takes a vote and shows what became of it.
#[tokio::test(flavor = "multi_thread")]
async fn killed_between_a_card_and_its_record_it_leaves_no_card_that_lies() {
    let mut office = Office::linked().await;
    office.slack.hold("chat.postMessage");
    office.teams.hold(&Method::POST);
    let id = office.site.request("deploy").await;
    office.slack.until_cards(&id, |_| true).await;
    office.teams.until_cards(&id, |_| true).await;
    office.site.kill_control();
    office.slack.release();
    office.teams.release();
    office.site.start_control();
    office.site.until_connected().await;
    office.teams.until(|_| office.teams.cards(&id).len() == 2).await;
    office.click_in_teams("o-1", APPROVE, &id).await;
    office.site.until(&id, "approved").await;
    let is_over = |card: &Value| says(card, "site-agent: approved") && !says(card, APPROVE);
    assert_eq!(office.slack.until_cards(&id, is_over).await.len(), 1);
    // A click on the one that nobody keeps is answered with what became of it.
    let stray = office.teams.cards(&id).remove(0);
    assert!(says(&stray, APPROVE), "{stray}");
    let shown = office.click_in_teams("o-2", APPROVE, &id).await;
    assert!(says(&shown, "already approved") && is_over(&shown), "{shown}");
}
