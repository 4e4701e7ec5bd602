//! Passkeys.

use async_trait::async_trait;
use countersign_audit::{EventDraft, kind};
use countersign_model::{Digest, PersonId};
use serde_json::json;

use super::{
    EmbeddedStore,
    codec::{self, Record},
    layout::{Bytes, PASSKEYS, join},
    lookup::Lookup,
    work::Work,
};
use crate::{By, CommandError, MOST_PASSKEYS, Passkey, PasskeyRefusal, PasskeyStore, PasskeyUse, StoreError};

impl Record for Passkey {
    const TABLE: Bytes = PASSKEYS;
}

type Outcome = Result<Passkey, CommandError<PasskeyRefusal>>;

/// A person's passkeys lie together.
fn prefix(person: &PersonId) -> [u8; 32] {
    *Digest::of(person.as_str().as_bytes()).as_bytes()
}

fn key(person: &PersonId, id: &Digest) -> Vec<u8> {
    join(&prefix(person), id.as_bytes())
}

fn of(lookup: &impl Lookup, person: &PersonId) -> Result<Vec<Passkey>, StoreError> {
    let found = lookup.prefixed(PASSKEYS, &prefix(person), MOST_PASSKEYS)?;
    found.iter().map(|(_, value)| codec::decode(value)).collect()
}

fn find(work: &Work<'_>, person: &PersonId, id: &Digest) -> Outcome {
    work.get(&key(person, id))?.ok_or(CommandError::Refused(PasskeyRefusal::Unknown))
}

fn add(work: &mut Work<'_>, passkey: &Passkey, by: &By) -> Result<(), CommandError<PasskeyRefusal>> {
    let known = of(work, &passkey.person)?;
    if known.iter().any(|one| one.id == passkey.id) {
        return Err(CommandError::Refused(PasskeyRefusal::Exists));
    }
    if known.len() >= MOST_PASSKEYS {
        return Err(CommandError::Refused(PasskeyRefusal::TooMany));
    }
    work.put(&key(&passkey.person, &passkey.id), passkey)?;
    let mut event = event(passkey, kind::PASSKEY_ADDED, by);
    event.body.insert("algorithm".into(), json!(passkey.algorithm));
    event.body.insert("public_key".into(), json!(passkey.public_key));
    Ok(work.record(event)?)
}

/// The counter is compared here, in the writer, so that two uses that race cannot both have grown it.
fn note_use(work: &mut Work<'_>, used: PasskeyUse, by: &By) -> Outcome {
    let mut passkey = find(work, &used.person, &used.id)?;
    let counts = used.counter != 0 || passkey.counter != 0;
    if counts && used.counter <= passkey.counter {
        return Err(CommandError::Refused(PasskeyRefusal::WentBack));
    }
    passkey.counter = used.counter;
    passkey.last_used_at = Some(by.at);
    work.put(&key(&passkey.person, &passkey.id), &passkey)?;
    let mut event = event(&passkey, kind::PASSKEY_USED, by);
    event.body.insert("evidence".into(), used.evidence);
    work.record(event)?;
    Ok(passkey)
}

fn remove(work: &mut Work<'_>, person: &PersonId, id: &Digest, by: &By) -> Outcome {
    let passkey = find(work, person, id)?;
    work.remove(PASSKEYS, &key(person, id))?;
    work.record(event(&passkey, kind::PASSKEY_REMOVED, by))?;
    Ok(passkey)
}

fn event(passkey: &Passkey, kind: &'static str, by: &By) -> EventDraft {
    let mut event = Work::draft(by, kind);
    event.body.insert("passkey".into(), json!(passkey.id));
    event.body.insert("person".into(), json!(passkey.person));
    event.body.insert("name".into(), json!(passkey.name));
    event.body.insert("counter".into(), json!(passkey.counter));
    event
}

#[async_trait]
impl PasskeyStore for EmbeddedStore {
    async fn add_passkey(&self, passkey: Passkey, by: By) -> Result<(), CommandError<PasskeyRefusal>> {
        self.writer.run(move |work| add(work, &passkey, &by)).await
    }

    async fn passkeys_of(&self, person: &PersonId) -> Result<Vec<Passkey>, StoreError> {
        let person = person.clone();
        self.read(move |view| of(view, &person)).await
    }

    async fn use_passkey(&self, used: PasskeyUse, by: By) -> Outcome {
        self.writer.run(move |work| note_use(work, used, &by)).await
    }

    async fn remove_passkey(&self, person: &PersonId, id: Digest, by: By) -> Outcome {
        let person = person.clone();
        self.writer.run(move |work| remove(work, &person, &id, &by)).await
    }
}
