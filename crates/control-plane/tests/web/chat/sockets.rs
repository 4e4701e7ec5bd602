//! Slack over sockets that the control plane opens: nothing of it has to be reachable.

use countersign_testkit::chats::{FakeSlack, Sockets};

use super::office::{Office, Way, click};
use crate::stage::{ONE, TWO, deploy};

const APPROVE: &str = "countersign.approve";

#[tokio::test]
async fn a_click_over_a_socket_is_a_vote_and_the_same_over_the_other_one_is_none() {
    let (slack, sockets) = (FakeSlack::start().await, Sockets::start().await);
    slack.sockets_are_at(&sockets.url());
    let office = Office::with(slack, Way::Sockets).await;
    let (mut first, mut second) = (sockets.next().await, sockets.next().await);
    office.link("U1", ONE).await;
    office.link("U2", TWO).await;
    let id = office.stage.submit(deploy("payments"), "two").await;
    let ticket = office.card(&id).await.ticket(APPROVE);
    let one = click("U1", "T1", APPROVE, &ticket);
    first.deliver("e-1", &one).await;
    office.slack.until_whispered("U1", "approval is counted").await;
    // Slack sends what it believes was lost again, over whichever socket there is.
    second.deliver("e-1", &one).await;
    second.deliver("e-2", &click("U2", "T1", APPROVE, &ticket)).await;
    office.slack.until_whispered("U2", "approval is counted").await;
    assert_eq!(office.view(&id).await["state"], "approved");
    assert_eq!(office.slack.count("chat.postEphemeral"), 2);
    // Without the signing secret there is no way in by HTTP.
    assert_eq!(office.deliver(&one).await.as_u16(), 404);
}
