//! The names of one human: an address at each of several identity providers, or an older one.
//!
//! One of them is who they are here; the others only say what else is theirs.

use countersign_audit::kind;
use countersign_model::PersonId;
use serde_json::json;

use super::{
    accounts::{profile_of, put_profile},
    lookup::Lookup,
    work::Work,
};
use crate::{By, CommandError, NameRefusal, Profile, Session, StoreError};

type Refused<T> = Result<T, CommandError<NameRefusal>>;

fn refuse<T>(refusal: NameRefusal) -> Refused<T> {
    Err(CommandError::Refused(refusal))
}

/// Whom a name stands for.
pub(super) fn known_as(lookup: &impl Lookup, name: &PersonId) -> Result<PersonId, StoreError> {
    Ok(profile_of(lookup, name)?.same_as.unwrap_or_else(|| name.clone()))
}

pub(super) fn join(work: &mut Work<'_>, name: &PersonId, person: &PersonId, by: &By) -> Refused<Profile> {
    if name == person {
        return refuse(NameRefusal::Same);
    }
    let (mut other, mut main) = (profile_of(work, name)?, profile_of(work, person)?);
    if let Some(whose) = main.same_as {
        return refuse(NameRefusal::Joined(person.clone(), whose));
    }
    match &other.same_as {
        Some(whose) if whose == person => return Ok(main),
        Some(whose) => return refuse(NameRefusal::Joined(name.clone(), whose.clone())),
        None => {}
    }
    for inherited in std::mem::take(&mut other.names) {
        set_same_as(work, profile_of(work, &inherited)?, Some(person), by)?;
        main.names.insert(inherited);
    }
    set_same_as(work, other, Some(person), by)?;
    main.names.insert(name.clone());
    put_profile(work, &main)?;
    Ok(main)
}

pub(super) fn part(work: &mut Work<'_>, name: &PersonId, by: &By) -> Refused<Profile> {
    let other = profile_of(work, name)?;
    let Some(person) = other.same_as.clone() else {
        return refuse(NameRefusal::NotJoined(name.clone()));
    };
    set_same_as(work, other, None, by)?;
    let mut main = profile_of(work, &person)?;
    main.names.remove(name);
    put_profile(work, &main)?;
    // A session that was opened by the parted name's account is not theirs any more.
    work.remove_where(|session: &Session| session.person == person)?;
    Ok(main)
}

fn set_same_as(
    work: &mut Work<'_>,
    profile: Profile,
    person: Option<&PersonId>,
    by: &By,
) -> Result<(), StoreError> {
    let name = profile.person.clone();
    put_profile(work, &Profile { same_as: person.cloned(), ..profile })?;
    work.remove_where(|session: &Session| session.person == name)?;
    let mut event = Work::draft(by, kind::PERSON_CHANGED);
    event.body.insert("person".into(), json!({"person": name, "same_as": person}));
    work.record(event)
}
