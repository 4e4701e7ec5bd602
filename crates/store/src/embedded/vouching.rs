//! What follows from an identity provider's word: whose an account is, sessions, and their end.

use countersign_audit::kind;
use countersign_model::{Digest, PersonId, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    accounts::{profile_of, put_account, put_profile},
    codec::{self, Record},
    layout::{ACCOUNTS, Bytes, PROFILES, SESSIONS, TOKENS},
    lookup::Lookup,
    names, people,
    work::Work,
};
use crate::{
    AccountKind, ApiToken, By, CommandError, ExternalAccount, LinkedAccount, LocalPerson, Profile, Replayed,
    Session, SignInEnd, StoreError, VouchRefusal, Vouching,
};

/// A message about the end of sign-ins that was heard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Heard {
    /// Until when it is remembered.
    pub(super) until: Timestamp,
}

impl Record for Heard {
    const TABLE: Bytes = super::layout::SIGN_IN_ENDS;
}

fn refuse<T>(refusal: VouchRefusal) -> Result<T, CommandError<VouchRefusal>> {
    Err(CommandError::Refused(refusal))
}

/// Opens a session by a provider's word. What it was decided on is looked at again here, where nothing
/// else can change it.
pub(super) fn open_session(
    work: &mut Work<'_>,
    vouching: &Vouching,
    by: &By,
) -> Result<(), CommandError<VouchRefusal>> {
    let Some(account) = &vouching.session.account else { return refuse(VouchRefusal::OtherAccount) };
    if profile_of(work, &vouching.session.person)?.disabled_at.is_some() {
        return refuse(VouchRefusal::Disabled);
    }
    let known: Option<LinkedAccount> = work.get(account.id().as_bytes())?;
    match known {
        Some(known) if known.email.as_ref() != Some(&vouching.email) => refuse(VouchRefusal::OtherAddress),
        Some(known) if names::known_as(work, &known.person)? != vouching.session.person => {
            refuse(VouchRefusal::OtherAccount)
        }
        Some(_) => Ok(people::open_session(work, &vouching.session, by)?),
        None => {
            check_address(work, vouching, account)?;
            let linked = LinkedAccount {
                account: account.clone(),
                person: vouching.email.clone(),
                label: vouching.email.to_string(),
                email: Some(vouching.email.clone()),
                linked_at: by.at,
            };
            put_account(work, &linked, by)?;
            Ok(people::open_session(work, &vouching.session, by)?)
        }
    }
}

/// Whether a new account may become that of the address's person: nobody else vouches for the address, or
/// everybody who does is trusted with its domain.
fn check_address(
    work: &Work<'_>,
    vouching: &Vouching,
    account: &ExternalAccount,
) -> Result<(), CommandError<VouchRefusal>> {
    if vouching.session.person != names::known_as(work, &vouching.email)? {
        return refuse(VouchRefusal::OtherAccount);
    }
    let trusted = |issuer: &String| vouching.authorities.contains(issuer);
    let local: Option<LocalPerson> = work.get(vouching.email.as_str().as_bytes())?;
    if local.is_some_and(|local| local.enabled) && !trusted(&account.realm) {
        return refuse(VouchRefusal::OtherAuthority);
    }
    for (_, value) in work.prefixed(ACCOUNTS, &[], usize::MAX)? {
        let other: LinkedAccount = codec::decode(&value)?;
        if other.person != vouching.email || other.account.kind != AccountKind::Oidc {
            continue;
        }
        if other.account.realm == account.realm {
            return refuse(VouchRefusal::OtherAccount);
        }
        if !trusted(&account.realm) || !trusted(&other.account.realm) {
            return refuse(VouchRefusal::OtherAuthority);
        }
    }
    Ok(())
}

/// Ends what a provider says is over. A message counts once, so that nobody ends later sessions with it.
pub(super) fn end_sign_ins(
    work: &mut Work<'_>,
    end: &SignInEnd,
    by: &By,
) -> Result<usize, CommandError<Replayed>> {
    let length = (end.issuer.len() as u64).to_be_bytes();
    let key = Digest::of_parts(&[&length, end.issuer.as_bytes(), end.jti.as_bytes()]);
    if work.get::<Heard>(key.as_bytes())?.is_some() {
        return Err(CommandError::Refused(Replayed));
    }
    work.put(key.as_bytes(), &Heard { until: end.until })?;
    let mut ended = 0;
    for (key, value) in work.prefixed(SESSIONS, &[], usize::MAX)? {
        let session: Session = codec::decode(&value)?;
        if session.account.as_ref().is_some_and(|account| end.means(account, session.sid.as_deref())) {
            work.remove(SESSIONS, &key)?;
            work.record(people::session_event(&session, kind::SESSION_ENDED, by))?;
            ended += 1;
        }
    }
    take_back(work, end, by.at)?;
    Ok(ended)
}

/// Takes back the sign-ins that chat accounts and tokens go by.
fn take_back(work: &mut Work<'_>, end: &SignInEnd, at: Timestamp) -> Result<(), StoreError> {
    for (_, value) in work.prefixed(PROFILES, &[], usize::MAX)? {
        let mut profile: Profile = codec::decode(&value)?;
        let Some(last) = &mut profile.sign_in else { continue };
        let meant = last.account.as_ref().is_some_and(|account| end.means(account, last.sid.as_deref()));
        if meant && last.ended_at.is_none() {
            last.ended_at = Some(at);
            put_profile(work, &profile)?;
        }
    }
    Ok(())
}

/// Revokes the tokens of a person: whoever had the account may have made them.
pub(super) fn revoke_tokens_of(work: &mut Work<'_>, person: &PersonId, by: &By) -> Result<(), StoreError> {
    for (key, value) in work.prefixed(TOKENS, &[], usize::MAX)? {
        let mut token: ApiToken = codec::decode(&value)?;
        if token.owner != *person || token.revoked_at.is_some() {
            continue;
        }
        token.revoked_at = Some(by.at);
        work.put(&key, &token)?;
        work.record(people::token_event(&token, kind::TOKEN_REVOKED, by))?;
    }
    work.remove_where(|session: &Session| session.person == *person && session.account.is_none())?;
    Ok(())
}

pub(super) fn sweep(work: &mut Work<'_>, now: Timestamp) -> Result<usize, StoreError> {
    work.remove_where(|heard: &Heard| heard.until <= now)
}
