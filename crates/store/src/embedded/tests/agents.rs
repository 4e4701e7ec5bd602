//! Agents and join tokens.

use countersign_audit::kind;

use super::*;
use crate::{
    AddAgentRefusal, AgentRefusal, AgentState, CommandError, JoinTokenRefusal, JoinTokenState, Liveness,
    PageRequest, RedeemRefusal,
};

#[tokio::test(flavor = "multi_thread")]
async fn of_all_who_race_for_a_join_token_one_enrols() {
    let store = new_store();
    store.add_agent(new_agent(1), join_token(1), by("admin@example.com")).await.unwrap();
    let racers: Vec<_> = (0..30)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.redeem_join_token(redemption(1)).await })
        })
        .collect();
    let mut enrolled = 0;
    for racer in racers {
        match racer.await.unwrap() {
            Ok(agent) => {
                assert_eq!(agent.state, AgentState::Enrolled);
                enrolled += 1;
            }
            Err(error) => {
                assert_eq!(error, CommandError::Refused(RedeemRefusal::Redeemed(join_token(1).id)));
            }
        }
    }
    assert_eq!(enrolled, 1);
    assert_eq!(kinds(&whole_ledger(&store, None).await), [kind::AGENT_ADDED, kind::AGENT_ENROLLED]);
}

#[tokio::test]
async fn a_join_token_that_is_unknown_expired_or_withdrawn_enrols_nobody() {
    let store = new_store();
    let unknown = store.redeem_join_token(redemption(1)).await;
    assert_eq!(unknown, Err(CommandError::Refused(RedeemRefusal::Unknown)));
    let (_, token) = store.add_agent(new_agent(1), join_token(1), by("admin@example.com")).await.unwrap();
    let late = Redemption { at: token.expires_at, ..redemption(1) };
    assert_eq!(token.state(late.at), JoinTokenState::Expired);
    let expired = store.redeem_join_token(late).await;
    assert_eq!(expired, Err(CommandError::Refused(RedeemRefusal::Expired(token.id))));
    store.withdraw_join_token(token.id, by("admin@example.com")).await.unwrap();
    store.withdraw_join_token(token.id, by("admin@example.com")).await.unwrap();
    let withdrawn = store.redeem_join_token(redemption(1)).await;
    assert_eq!(withdrawn, Err(CommandError::Refused(RedeemRefusal::Withdrawn(token.id))));
    assert_eq!(store.agent(agent_id(1)).await.unwrap().unwrap().state, AgentState::Added);
    assert_eq!(kinds(&whole_ledger(&store, None).await), [kind::AGENT_ADDED, kind::TOKEN_REVOKED]);
}

#[tokio::test]
async fn a_revoked_agent_stays_revoked_and_none_of_its_tokens_brings_it_back() {
    let store = new_store();
    let agent = enrolled(&store, 1).await;
    store.add_join_token(agent.id, join_token(2), by("admin@example.com")).await.unwrap();
    let revoked = store.revoke_agent(agent.id, Some("stolen".into()), by("admin@example.com")).await.unwrap();
    assert_eq!(revoked.state, AgentState::Revoked);
    let again = store.revoke_agent(agent.id, None, by("admin@example.com")).await.unwrap();
    assert_eq!(again, revoked, "twice is no error and no news");
    let redeemed = store.redeem_join_token(redemption(2)).await;
    assert_eq!(redeemed, Err(CommandError::Refused(RedeemRefusal::AgentRevoked(agent.name.clone()))));
    let renewed = store.renew_svid(agent.id, svid(), by("a")).await;
    assert_eq!(renewed, Err(CommandError::Refused(AgentRefusal::Revoked(agent.name.clone()))));
    let token = store.add_join_token(agent.id, join_token(3), by("a")).await;
    assert_eq!(token, Err(CommandError::Refused(AgentRefusal::Revoked(agent.name.clone()))));
    let taken = NewAgent { id: agent_id(9), ..new_agent(1) };
    let taken = store.add_agent(taken, join_token(9), by("a")).await.unwrap_err();
    assert_eq!(taken, CommandError::Refused(AddAgentRefusal::NameTaken(agent.name)));
    let events = whole_ledger(&store, None).await;
    let expected = [kind::AGENT_ADDED, kind::AGENT_ENROLLED, kind::AGENT_ADDED, kind::AGENT_REVOKED];
    assert_eq!(kinds(&events), expected);
    assert_eq!(events[3].event().body["reason"], "stolen");
}

#[tokio::test]
async fn agents_are_found_by_name_and_by_token_and_listed_in_pages() {
    let store = new_store();
    for n in 1..=5 {
        enrolled(&store, n).await;
    }
    let found = store.agent_by_name(&agent_name(3)).await.unwrap().unwrap();
    assert_eq!(found.id, agent_id(3));
    assert_eq!(store.agent_by_name(&agent_name(9)).await.unwrap(), None);
    let token = store.join_token_by_hash(Digest::of(&[3])).await.unwrap().unwrap();
    assert_eq!((token.agent, token.state(NOW)), (agent_id(3), JoinTokenState::Redeemed));
    let withdrawn = store.withdraw_join_token(token.id, by("a")).await;
    assert_eq!(withdrawn, Err(CommandError::Refused(JoinTokenRefusal::Redeemed(NOW))));
    let first = store.agents(PageRequest::first(2)).await.unwrap();
    assert_eq!(first.items.iter().map(|agent| agent.id).collect::<Vec<_>>(), [agent_id(5), agent_id(4)]);
    let rest = store.agents(PageRequest { limit: 9, after: first.next }).await.unwrap();
    assert_eq!((rest.items.len(), rest.next), (3, None));
    assert_eq!(store.join_tokens(PageRequest::first(9)).await.unwrap().items.len(), 5);
}

#[tokio::test]
async fn liveness_is_noted_without_an_event() {
    let store = new_store();
    enrolled(&store, 1).await;
    let liveness = Liveness { seen_at: NOW, revision: Some(Revision(3)), spool_depth: 7, pending: 1 };
    let heard = vec![(agent_id(1), liveness.clone()), (agent_id(9), liveness.clone())];
    store.note_liveness(heard).await.unwrap();
    assert_eq!(store.agent(agent_id(1)).await.unwrap().unwrap().liveness, Some(liveness));
    assert_eq!(store.agent(agent_id(9)).await.unwrap(), None);
    assert_eq!(store.head().await.unwrap().size, 2);
}
