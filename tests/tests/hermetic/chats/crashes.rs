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
