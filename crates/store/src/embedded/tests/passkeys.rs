//! Passkeys: whose they are, and that a counter only grows.

use countersign_audit::kind;
use serde_json::json;

use super::*;
use crate::{CommandError, MOST_PASSKEYS, Passkey, PasskeyRefusal, PasskeyStore, PasskeyUse};

fn passkey(n: u8) -> Passkey {
    Passkey {
        id: Digest::of(&[n]),
        person: "reviewer-1@example.com".parse().unwrap(),
        name: "laptop".into(),
        credential: "AQ".into(),
        algorithm: -7,
        public_key: "MFkw".into(),
        counter: 0,
        created_at: NOW,
        last_used_at: None,
    }
}

fn used(n: u8, counter: u32) -> PasskeyUse {
    PasskeyUse { person: passkey(n).person, id: passkey(n).id, counter, evidence: json!({"for": "a test"}) }
}

#[tokio::test]
async fn a_passkey_is_added_used_and_removed_and_the_ledger_tells() {
    let store = new_store();
    let person = passkey(1).person;
    store.add_passkey(passkey(1), by(person.as_str())).await.unwrap();
    let again = store.add_passkey(passkey(1), by(person.as_str())).await;
    assert_eq!(again, Err(CommandError::Refused(PasskeyRefusal::Exists)));
    let after = store.use_passkey(used(1, 7), by(person.as_str())).await.unwrap();
    assert_eq!((after.counter, after.last_used_at), (7, Some(NOW)));
    assert_eq!(store.passkeys_of(&person).await.unwrap(), [after]);
    let stranger = "reviewer-2@example.com".parse().unwrap();
    assert_eq!(store.passkeys_of(&stranger).await.unwrap(), []);
    let other = PasskeyUse { person: stranger.clone(), ..used(1, 8) };
    let unknown = Err(CommandError::Refused(PasskeyRefusal::Unknown));
    assert_eq!(store.use_passkey(other, by("reviewer-2@example.com")).await, unknown);
    assert_eq!(store.remove_passkey(&stranger, passkey(1).id, by("admin@example.com")).await, unknown);
    store.remove_passkey(&person, passkey(1).id, by("admin@example.com")).await.unwrap();
    assert_eq!(store.passkeys_of(&person).await.unwrap(), []);
    assert_eq!(store.use_passkey(used(1, 9), by(person.as_str())).await, unknown);
    let events = whole_ledger(&store, None).await;
    assert_eq!(kinds(&events), [kind::PASSKEY_ADDED, kind::PASSKEY_USED, kind::PASSKEY_REMOVED]);
    assert_eq!(events[1].event().body["evidence"], json!({"for": "a test"}));
}

/// WebAuthn §6.1.1: a counter that does not grow tells that there are two of what should be one.
#[tokio::test]
async fn a_counter_only_grows_unless_there_is_none() {
    let store = new_store();
    for n in [1, 2] {
        store.add_passkey(passkey(n), by("reviewer-1@example.com")).await.unwrap();
    }
    let try_with =
        async |n, counter| store.use_passkey(used(n, counter), by("reviewer-1@example.com")).await.is_ok();
    // Many passkeys never count.
    assert!(try_with(1, 0).await && try_with(1, 0).await);
    assert!(try_with(2, 5).await && try_with(2, 6).await);
    for backwards in [6, 5, 0] {
        assert!(!try_with(2, backwards).await, "{backwards}");
    }
    assert!(try_with(2, 7).await);
}

#[tokio::test]
async fn a_person_has_a_bounded_number_of_passkeys() {
    let store = new_store();
    for n in 0..u8::try_from(MOST_PASSKEYS).unwrap() {
        store.add_passkey(passkey(n), by("reviewer-1@example.com")).await.unwrap();
    }
    let more = store.add_passkey(passkey(200), by("reviewer-1@example.com")).await;
    assert_eq!(more, Err(CommandError::Refused(PasskeyRefusal::TooMany)));
}
