//! A control plane whose reviewers are told in Slack and in Microsoft Teams, and people who click there.

use std::time::{SystemTime, UNIX_EPOCH};

use countersign_testkit::chats::{
    FakeSlack, FakeTeams, Signer,
    slack::{self, TEAM, button, form, signature},
    teams::{self, APP, CLIENT_SECRET, TENANT},
};
use countersign_tests::{Console, Site, eventually, secret_file};
use reqwest::{Client, StatusCode};
use serde_json::Value;

const SLACK_ROOM: &str = "C0REVIEWS";
const TEAMS_ROOM: &str = "19:reviews@thread.tacv2";
const SIGNING_SECRET: &str = "test-signing-secret";
pub(crate) const APPROVE: &str = "countersign.approve";
pub(crate) const DENY: &str = "countersign.deny";

/// Everything together. Reviewer one is U1 in Slack and o-1 in Teams; reviewer two U2 and o-2.
pub(crate) struct Office {
    pub(crate) site: Site,
    pub(crate) slack: FakeSlack,
    pub(crate) teams: FakeTeams,
    signer: Signer,
    http: Client,
    _folder: tempfile::TempDir,
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    since.as_secs().try_into().expect("a clock that fits")
}

impl Office {
    /// Opens it: nobody's account is linked yet.
    pub(crate) async fn open() -> Self {
        let (slack, teams) = (FakeSlack::start().await, FakeTeams::start().await);
        let (signer, folder) = (Signer::new("key-1"), tempfile::tempdir().unwrap());
        teams.keys(vec![signer.jwk(&["msteams"])]);
        let of_slack = |name: &str, value: &str| format!("channels.slack.0.{name}={value}");
        let of_teams = |name: &str, value: &str| format!("channels.teams_bot.0.{name}={value}");
        let route = |number: u32, channel: &str, room: &str| {
            let of = |name: &str, value: &str| format!("routes.{number}.{name}={value}");
            [of("requirement", "*"), of("channel", channel), of("room", room)]
        };
        let mut settings = vec![
            of_slack("name", "slack"),
            of_slack("bot_token_file", &secret_file(folder.path(), "bot", "xoxb-test")),
            of_slack("signing_secret_file", &secret_file(folder.path(), "signing", SIGNING_SECRET)),
            of_slack("api", &slack.url),
            of_teams("name", "bot"),
            of_teams("app_id", APP),
            of_teams("tenant", TENANT),
            of_teams("client_secret_file", &secret_file(folder.path(), "secret", CLIENT_SECRET)),
            of_teams("service", &format!("{}/teams/", teams.url)),
            of_teams("metadata", &format!("{}/metadata", teams.url)),
            of_teams("authority", &format!("{}/entra", teams.url)),
        ];
        settings.extend(route(0, "slack", SLACK_ROOM).into_iter().chain(route(1, "bot", TEAMS_ROOM)));
        let site = Site::with_channels(settings).await;
        Self { site, slack, teams, signer, http: Client::new(), _folder: folder }
    }

    /// Opens it, and has both reviewers link their accounts.
    pub(crate) async fn linked() -> Self {
        let office = Self::open().await;
        let id = office.site.request("rotate").await;
        for (reviewer, user, oid) in [(0, "U1", "o-1"), (1, "U2", "o-2")] {
            let console = office.console(reviewer).await;
            let told = office.told_in_slack(user, APPROVE, &id).await;
            let url = told["blocks"][1]["elements"][0]["url"].as_str().unwrap();
            assert_eq!(console.link_account(url).await, StatusCode::OK);
            let card = office.click_in_teams(oid, APPROVE, &id).await;
            assert_eq!(console.link_account(&link_on(&card).unwrap()).await, StatusCode::OK);
        }
        let view = office.view(&id).await;
        assert!(view["votes"].as_array().unwrap().is_empty(), "an unlinked click is no vote: {view}");
        office
    }

    /// A reviewer at the console.
    pub(crate) async fn console(&self, reviewer: usize) -> Console {
        Console::sign_in(&self.site.api, &self.site.reviewers[reviewer].1).await
    }

    /// The approval as the API shows it.
    pub(crate) async fn view(&self, id: &str) -> Value {
        self.site.admin().get(&format!("/api/v1/approvals/{id}")).await.ok()
    }

    /// What Slack says of a click on an approval's card.
    pub(crate) async fn slack_click(&self, user: &str, action: &str, id: &str) -> Value {
        let has_button = |card: &Value| button(card, action).is_some();
        let card = self.slack.until_cards(id, has_button).await.remove(0);
        let ticket = button(&card, action).unwrap()["value"].as_str().unwrap().to_owned();
        slack::click((SLACK_ROOM, card["ts"].as_str().unwrap()), user, TEAM, action, &ticket)
    }

    /// Sends a payload as Slack does: signed, now.
    pub(crate) async fn deliver(&self, payload: &Value) {
        let (body, at) = (form(payload), now());
        let request = self
            .http
            .post(format!("{}/channels/slack/slack/interactions", self.site.api))
            .header("content-type", "application/x-www-form-urlencoded")
            .header("x-slack-request-timestamp", at)
            .header("x-slack-signature", signature(SIGNING_SECRET, at, &body))
            .body(body);
        assert_eq!(request.send().await.unwrap().status(), StatusCode::OK);
    }

    /// Clicks in Slack, and waits for what whoever clicked is told.
    pub(crate) async fn told_in_slack(&self, user: &str, action: &str, id: &str) -> Value {
        let before = self.slack.whispers(user).len();
        self.deliver(&self.slack_click(user, action, id).await).await;
        self.slack.until_next_whisper(user, before).await
    }

    /// The activity of a click on an approval's card in Teams.
    pub(crate) async fn teams_click(&self, oid: &str, verb: &str, id: &str) -> Value {
        let cards = || self.teams.cards(id).iter().find_map(ticket_on);
        self.teams.until(|_| cards().is_some()).await;
        teams::click(TEAMS_ROOM, oid, verb, &cards().unwrap())
    }

    /// Sends an activity as the Bot Framework does: with proof. Answers the card.
    pub(crate) async fn call(&self, activity: &Value) -> Value {
        let url = format!("{}/channels/teams/bot/messages", self.site.api);
        let token = self.signer.sign(&teams::claims(teams::SERVICE, now()));
        let answer = self.http.post(url).json(activity).bearer_auth(token).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        answer.json::<Value>().await.unwrap()["value"].clone()
    }

    /// Clicks in Teams. Answers the card.
    pub(crate) async fn click_in_teams(&self, oid: &str, verb: &str, id: &str) -> Value {
        self.call(&self.teams_click(oid, verb, id).await).await
    }

    /// Waits until both cards, the console, the API and the record say the same of an approval, and nothing else.
    pub(crate) async fn agree_on(&self, id: &str, state: &str) {
        let approval = self.site.until(id, state).await;
        let is_over = |card: &Value| says(card, &format!("site-agent: {state}")) && !says(card, APPROVE);
        let slack = self.slack.until_cards(id, is_over).await;
        let teams = self.teams.until_cards(id, is_over).await;
        let page = self.console(1).await.page(&format!("/approvals/{id}")).await;
        assert!(page.contains(&format!("\">{state}</span>")), "{page}");
        let votes = approval["votes"].as_array().unwrap();
        for vote in votes {
            let person = vote["person"].as_str().unwrap();
            assert!(page.contains(person), "{person} is not on the page");
            assert!(
                slack.iter().chain(&teams).all(|card| says(card, person)),
                "{person} is not on the cards"
            );
        }
        // The record is indexed behind what happens.
        let (ended, other) = if state == "denied" { ("denied", "approved") } else { ("approved", "denied") };
        eventually("the record tells of the end", || async {
            (self.recorded(&format!("approval.{ended}"), id).await == 1).then_some(())
        })
        .await;
        assert_eq!(self.recorded(&format!("approval.{other}"), id).await, 0);
        assert_eq!(self.recorded("approval.voted", id).await, votes.len());
    }

    /// How often that happened to an approval.
    async fn recorded(&self, kind: &str, id: &str) -> usize {
        self.site.events(kind).await.iter().filter(|event| says(event, id)).count()
    }
}

/// Whether something says this anywhere.
pub(crate) fn says(value: &Value, words: &str) -> bool {
    value.to_string().contains(words)
}

/// What the buttons on a card in Teams carry.
fn ticket_on(card: &Value) -> Option<String> {
    let mut actions = card["actions"].as_array()?.iter();
    actions.find_map(|action| action["data"]["ticket"].as_str()).map(ToOwned::to_owned)
}

/// Where a card in Teams has whoever clicked link their account.
fn link_on(card: &Value) -> Option<String> {
    let mut actions = card["actions"].as_array()?.iter();
    let link = actions.find(|action| action["title"] == "Link this account")?;
    link["url"].as_str().map(ToOwned::to_owned)
}
