//! Slack's Socket Mode with the real control plane: sockets are lost, replaced, and opened again after a crash.

use countersign_testkit::chats::{
    FakeSlack, Socket, Sockets,
    slack::{TEAM, button, click},
};
use countersign_tests::{Console, Site, secret_file};
use reqwest::StatusCode;
use serde_json::{Value, json};

const ROOM: &str = "C0REVIEWS";
const APPROVE: &str = "countersign.approve";

struct Office {
    site: Site,
    slack: FakeSlack,
    sockets: Sockets,
    _folder: tempfile::TempDir,
}

impl Office {
    async fn open() -> Self {
        let (slack, sockets) = (FakeSlack::start().await, Sockets::start().await);
        slack.sockets_are_at(&sockets.url());
        let folder = tempfile::tempdir().unwrap();
        let of = |name: &str, value: &str| format!("channels.slack.0.{name}={value}");
        let settings = vec![
            of("name", "slack"),
            of("bot_token_file", &secret_file(folder.path(), "bot", "xoxb-test")),
            of("app_token_file", &secret_file(folder.path(), "app", "xapp-test")),
            of("api", &slack.url),
            "routes.0.requirement=*".to_owned(),
            "routes.0.channel=slack".to_owned(),
            format!("routes.0.room={ROOM}"),
        ];
        let site = Site::with_channels(settings).await;
        Self { site, slack, sockets, _folder: folder }
    }

    async fn click(&self, user: &str, id: &str) -> Value {
        let card = self.slack.until_cards(id, |card| button(card, APPROVE).is_some()).await.remove(0);
        let ticket = button(&card, APPROVE).unwrap()["value"].as_str().unwrap().to_owned();
        click((ROOM, card["ts"].as_str().unwrap()), user, TEAM, APPROVE, &ticket)
    }

    async fn link(&self, socket: &mut Socket, reviewer: usize, user: &str, id: &str) {
        socket.deliver(&format!("link-{user}"), &self.click(user, id).await).await;
        let told = self.slack.until_whispered(user, "not linked").await;
        let console = Console::sign_in(&self.site.api, &self.site.reviewers[reviewer].1).await;
        let url = told["blocks"][1]["elements"][0]["url"].as_str().unwrap();
        assert_eq!(console.link_account(url).await, StatusCode::OK);
    }

    async fn votes(&self, id: &str) -> usize {
        let view = self.site.admin().get(&format!("/api/v1/approvals/{id}")).await.ok();
        view["votes"].as_array().unwrap().len()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_are_lost_and_replaced_and_a_click_counts_once() {
    let mut office = Office::open().await;
    let (mut one, mut other) = (office.sockets.next().await, office.sockets.next().await);
    let id = office.site.request("pay").await;
    office.link(&mut one, 0, "U1", &id).await;
    office.link(&mut other, 1, "U2", &id).await;

    let first = office.click("U1", &id).await;
    one.deliver("e-1", &first).await;
    office.slack.until_whispered("U1", "approval is counted").await;
    // One is lost without a word; Slack sends what it believes was lost over the other, and over the new one.
    drop(one);
    other.deliver("e-1", &first).await;
    let mut one = office.sockets.next().await;
    one.deliver("e-1", &first).await;
    // The other is replaced by Slack's own wish, and read to its end.
    other.say(&json!({"type": "disconnect", "reason": "refresh_requested"})).await;
    let mut next = office.sockets.next().await;
    other.deliver("e-1", &first).await;
    assert_eq!(office.votes(&id).await, 1);

    // After a crash nobody remembers which envelopes were taken; the vote is known all the same.
    office.site.kill_control();
    office.site.start_control();
    drop((one, other));
    next = {
        drop(next);
        office.sockets.next().await
    };
    next.deliver("e-1", &first).await;
    next.deliver("e-2", &office.click("U2", &id).await).await;
    let approved = office.site.until(&id, "approved").await;
    assert_eq!(approved["votes"].as_array().unwrap().len(), 2, "{approved}");
    let is_over =
        |card: &Value| card.to_string().contains("site-agent: approved") && button(card, APPROVE).is_none();
    office.slack.until_cards(&id, is_over).await;
}
