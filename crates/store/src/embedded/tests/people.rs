//! People, tokens, sessions, sign-in links and the keys of writes.

use countersign_audit::kind;
use countersign_model::{PersonId, TokenId};

use super::*;
use crate::{
    AccountStore, ApiToken, CommandError, CredentialKind, LocalPerson, NameRefusal, NotThere, PageRequest,
    PeopleStore, Reservation, Session, SignInLink, SignInRefusal, StoredResponse, TokenRefusal, WriteKey,
};

fn token(n: u8) -> ApiToken {
    ApiToken {
        id: TokenId::from_bytes([n; 16]),
        hash: Digest::of(&[n]),
        name: "laptop".into(),
        owner: "owner@example.com".parse().unwrap(),
        kind: CredentialKind::Human,
        scopes: Some(vec!["read".into()]),
        created_at: NOW,
        expires_at: Some(later(60)),
        last_used_at: None,
        revoked_at: None,
    }
}

fn session(n: u8) -> Session {
    Session {
        hash: Digest::of(&[b's', n]),
        person: "reviewer-1@example.com".parse().unwrap(),
        method: "token".into(),
        groups: Vec::new(),
        account: None,
        sid: None,
        id_token: None,
        token: Some(token(n).id),
        created_at: NOW,
        expires_at: later(60),
    }
}

fn link(n: u8) -> SignInLink {
    SignInLink { hash: Digest::of(&[b'l', n]), person: session(n).person, expires_at: later(60) }
}

#[tokio::test]
async fn revoking_a_token_ends_what_was_opened_with_it_and_nothing_else() {
    let store = new_store();
    for n in [1, 2] {
        store.create_token(token(n), by("owner@example.com")).await.unwrap();
        store.open_session(session(n), by("reviewer-1@example.com")).await.unwrap();
    }
    let exists = store.create_token(token(1), by("owner@example.com")).await;
    assert_eq!(exists, Err(CommandError::Refused(TokenRefusal::Exists)));
    let revoked = store.revoke_token(token(1).id, by("owner@example.com")).await.unwrap();
    assert_eq!(revoked.revoked_at, Some(NOW));
    assert_eq!(store.revoke_token(token(1).id, by("owner@example.com")).await.unwrap(), revoked);
    let unknown = store.revoke_token(token(3).id, by("owner@example.com")).await;
    assert_eq!(unknown, Err(CommandError::Refused(TokenRefusal::Unknown)));
    assert_eq!(store.session(session(1).hash).await.unwrap(), None);
    assert_eq!(store.session(session(2).hash).await.unwrap(), Some(session(2)));
    let found = store.token_by_hash(token(1).hash).await.unwrap();
    assert_eq!(found, Some(revoked), "whoever presents it can be told why it does not work");
    let used = vec![(token(2).id, later(5)), (token(2).id, NOW), (token(9).id, NOW)];
    store.note_tokens_used(used).await.unwrap();
    assert_eq!(store.token(token(2).id).await.unwrap().unwrap().last_used_at, Some(later(5)));
    assert_eq!(store.tokens(PageRequest::first(9)).await.unwrap().items.len(), 2);
    let events = whole_ledger(&store, None).await;
    assert_eq!(kinds(&events).last(), Some(&kind::TOKEN_REVOKED));
    let text: String =
        events.iter().map(|event| String::from_utf8_lossy(event.bytes()).into_owned()).collect();
    assert!(!text.contains(&token(1).hash.to_string()), "hashes of secrets are in no event");
}

#[tokio::test]
async fn sessions_end_by_sign_out_and_by_time() {
    let store = new_store();
    store.open_session(session(1), by("reviewer-1@example.com")).await.unwrap();
    store.close_session(session(1).hash, by("reviewer-1@example.com")).await.unwrap();
    let again = store.close_session(session(1).hash, by("reviewer-1@example.com")).await;
    assert_eq!(again, Err(CommandError::Refused(NotThere)));
    store.open_session(session(2), by("reviewer-1@example.com")).await.unwrap();
    store.create_sign_in_link(link(1), by("admin@example.com")).await.unwrap();
    assert_eq!(store.sweep_expired(NOW).await, Ok(0));
    assert_eq!(store.sweep_expired(later(60)).await, Ok(2));
    assert_eq!(store.session(session(2).hash).await.unwrap(), None);
    assert_eq!(store.sign_in_link(link(1).hash).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_link_signs_one_person_in_once() {
    let store = new_store();
    store.create_sign_in_link(link(1), by("admin@example.com")).await.unwrap();
    let expired = By::new("reviewer-1@example.com", later(60));
    let late = store.redeem_sign_in_link(link(1).hash, session(1), expired).await;
    assert_eq!(late, Err(CommandError::Refused(SignInRefusal::Expired)));
    let other = Session { person: "owner@example.com".parse().unwrap(), ..session(1) };
    let other = store.redeem_sign_in_link(link(1).hash, other, by("owner@example.com")).await;
    assert_eq!(other, Err(CommandError::Refused(SignInRefusal::OtherPerson)));
    let racers: Vec<_> = (0..20)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move { store.redeem_sign_in_link(link(1).hash, session(n), by("a")).await })
        })
        .collect();
    let mut signed_in = 0;
    for racer in racers {
        match racer.await.unwrap() {
            Ok(_) => signed_in += 1,
            Err(error) => assert_eq!(error, CommandError::Refused(SignInRefusal::Unknown)),
        }
    }
    assert_eq!(signed_in, 1);
}

#[tokio::test]
async fn local_people_are_listed_by_name() {
    let store = new_store();
    for name in ["b@example.com", "a@example.com"] {
        let person = LocalPerson {
            person: name.parse().unwrap(),
            roles: vec!["reviewer".into()],
            groups: vec!["sre".into()],
            enabled: true,
        };
        store.put_local_person(person.clone(), by("admin@example.com")).await.unwrap();
        assert_eq!(store.local_person(&person.person).await.unwrap(), Some(person));
    }
    let people = store.local_people(PageRequest::first(9)).await.unwrap().items;
    let names: Vec<_> = people.iter().map(|person| person.person.as_str()).collect();
    assert_eq!(names, ["a@example.com", "b@example.com"]);
    assert_eq!(kinds(&whole_ledger(&store, None).await), [kind::PERSON_CHANGED; 2]);
}

#[tokio::test]
async fn a_write_is_done_once_for_each_key_and_its_response_given_again() {
    let store = new_store();
    let key = |actor: &str, key: &str, request: &str| WriteKey {
        actor: actor.into(),
        key: key.into(),
        request: Digest::of(request.as_bytes()),
    };
    let reserve = async |key: WriteKey, now| store.reserve_write(key, now, later(60)).await.unwrap();
    let first = key("a", "k", "request");
    assert_eq!(reserve(first.clone(), NOW).await, Reservation::New);
    assert_eq!(reserve(first.clone(), NOW).await, Reservation::InFlight);
    assert_eq!(reserve(key("a", "k", "another"), NOW).await, Reservation::OtherRequest);
    assert_eq!(reserve(key("b", "k", "another"), NOW).await, Reservation::New);
    assert_eq!(
        reserve(key("ak", "", "another"), NOW).await,
        Reservation::New,
        "keys of two actors never meet"
    );
    store.release_write(first.clone()).await.unwrap();
    assert_eq!(reserve(first.clone(), NOW).await, Reservation::New);
    let response =
        StoredResponse { status: 201, headers: vec![("etag".into(), "1".into())], body: "{}".into() };
    store.complete_write(first.clone(), response.clone(), later(60)).await.unwrap();
    store.release_write(first.clone()).await.unwrap();
    assert_eq!(reserve(first.clone(), NOW).await, Reservation::Done(response));
    assert_eq!(reserve(first, later(60)).await, Reservation::New, "a key is free again in the end");
}

#[tokio::test]
async fn names_stand_for_one_person_and_what_they_bring_along_comes_too() {
    let store = new_store();
    let by = || by("admin@example.com");
    let [one, two, three] =
        [1, 2, 3].map(|n| format!("reviewer-{n}@example.com").parse::<PersonId>().unwrap());
    let opened = |n: u8, person: &PersonId| Session { person: person.clone(), ..session(n) };
    store.open_session(opened(3, &three), by()).await.unwrap();
    store.join_names(three.clone(), two.clone(), by()).await.unwrap();
    assert_eq!(store.session(session(3).hash).await.unwrap(), None, "it ends with the name");
    let refused = |refusal| Err(CommandError::Refused(refusal));
    let joined = NameRefusal::Joined(three.clone(), two.clone());
    assert_eq!(store.join_names(three.clone(), one.clone(), by()).await, refused(joined.clone()));
    assert_eq!(store.join_names(one.clone(), three.clone(), by()).await, refused(joined));
    assert_eq!(store.join_names(one.clone(), one.clone(), by()).await, refused(NameRefusal::Same));
    // Again is no change, and no event.
    store.join_names(three.clone(), two.clone(), by()).await.unwrap();
    let main = store.join_names(two.clone(), one.clone(), by()).await.unwrap();
    assert_eq!(main.names, [two.clone(), three.clone()].into());
    let profile = store.profile(&three).await.unwrap().unwrap();
    assert_eq!(profile.same_as, Some(one.clone()));
    store.open_session(opened(1, &one), by()).await.unwrap();
    let main = store.part_names(three.clone(), by()).await.unwrap();
    assert_eq!(main.names, [two].into());
    assert_eq!(store.session(session(1).hash).await.unwrap(), None, "it may have been opened by that name");
    assert_eq!(store.part_names(one.clone(), by()).await, refused(NameRefusal::NotJoined(one)));
}
