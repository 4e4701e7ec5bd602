//! Accounts, links for them, and what is known of people.

use async_trait::async_trait;
use countersign_audit::kind;
use countersign_model::{Digest, PersonId, Timestamp};
use serde_json::json;

use super::{
    EmbeddedStore,
    codec::{self, Record},
    layout::{ACCOUNT_LINKS, ACCOUNTS, Bytes, PROFILES},
    lookup::Lookup,
    names, vouching,
    work::Work,
};
use crate::{
    AccountKind, AccountLink, AccountRefusal, AccountStore, By, CommandError, ExternalAccount, LinkedAccount,
    LocalPerson, NameRefusal, Page, PageError, PageRequest, Profile, Replayed, Session, SignIn, SignInEnd,
    StoreError, VouchRefusal, Vouching,
};

type Refused<T> = Result<T, CommandError<AccountRefusal>>;

impl Record for LinkedAccount {
    const TABLE: Bytes = ACCOUNTS;
}

impl Record for AccountLink {
    const TABLE: Bytes = ACCOUNT_LINKS;
}

impl Record for Profile {
    const TABLE: Bytes = PROFILES;
}

fn refuse<T>(refusal: AccountRefusal) -> Refused<T> {
    Err(CommandError::Refused(refusal))
}

fn create_link(work: &mut Work<'_>, link: &AccountLink, by: &By) -> Refused<()> {
    let linked: Option<LinkedAccount> = work.get(link.account.id().as_bytes())?;
    if linked.is_some() {
        return refuse(AccountRefusal::Linked);
    }
    work.remove_where(|other: &AccountLink| other.account == link.account)?;
    work.put(link.hash.as_bytes(), link)?;
    let mut event = account_event(&link.account, &link.label, kind::ACCOUNT_LINK_CREATED, by);
    event.body.insert("expires_at".into(), json!(link.expires_at));
    Ok(work.record(event)?)
}

/// Single use holds because this runs in the writer: of two who race, one finds the link gone.
fn redeem_link(work: &mut Work<'_>, hash: &Digest, person: PersonId, by: &By) -> Refused<LinkedAccount> {
    let link: Option<AccountLink> = work.get(hash.as_bytes())?;
    let Some(link) = link.filter(|link| by.at < link.expires_at) else {
        return refuse(AccountRefusal::Unknown);
    };
    if let Some(only) = &link.only_for
        && names::known_as(work, only)? != person
    {
        return refuse(AccountRefusal::OtherPerson);
    }
    let linked =
        LinkedAccount { account: link.account, person, label: link.label, email: None, linked_at: by.at };
    check_free(work, &linked)?;
    work.remove(ACCOUNT_LINKS, hash.as_bytes())?;
    put_account(work, &linked, by)?;
    Ok(linked)
}

/// Refuses an account that is somebody's, and a second one of the same place for one person.
fn check_free(work: &Work<'_>, wanted: &LinkedAccount) -> Refused<()> {
    for (_, value) in work.prefixed(ACCOUNTS, &[], usize::MAX)? {
        let other: LinkedAccount = codec::decode(&value)?;
        if other.account == wanted.account {
            return refuse(AccountRefusal::Linked);
        }
        if other.person == wanted.person && other.account.is_beside(&wanted.account) {
            return refuse(AccountRefusal::Another);
        }
    }
    Ok(())
}

pub(super) fn put_account(work: &mut Work<'_>, linked: &LinkedAccount, by: &By) -> Result<(), StoreError> {
    work.put(linked.account.id().as_bytes(), linked)?;
    let mut event = account_event(&linked.account, &linked.label, kind::ACCOUNT_LINKED, by);
    event.body.insert("person".into(), json!(linked.person));
    work.record(event)
}

fn unlink(work: &mut Work<'_>, id: &Digest, by: &By) -> Refused<LinkedAccount> {
    let linked: Option<LinkedAccount> = work.get(id.as_bytes())?;
    let Some(linked) = linked else { return refuse(AccountRefusal::Unknown) };
    work.remove(ACCOUNTS, id.as_bytes())?;
    work.remove_where(|session: &Session| session.account.as_ref() == Some(&linked.account))?;
    let person = names::known_as(work, &linked.person)?;
    if linked.account.kind == AccountKind::Oidc {
        vouching::revoke_tokens_of(work, &person, by)?;
    }
    let mut profile = profile_of(work, &person)?;
    if profile.sign_in.as_ref().is_some_and(|last| last.account.as_ref() == Some(&linked.account)) {
        profile.sign_in = None;
        put_profile(work, &profile)?;
    }
    let mut event = account_event(&linked.account, &linked.label, kind::ACCOUNT_UNLINKED, by);
    event.body.insert("person".into(), json!(linked.person));
    work.record(event)?;
    Ok(linked)
}

fn account_event(
    account: &ExternalAccount,
    label: &str,
    kind: &'static str,
    by: &By,
) -> countersign_audit::EventDraft {
    let mut event = Work::draft(by, kind);
    event.body.insert("account".into(), json!(account));
    event.body.insert("label".into(), json!(label));
    event
}

pub(super) fn profile_of(lookup: &impl Lookup, person: &PersonId) -> Result<Profile, StoreError> {
    let known = lookup.get(person.as_str().as_bytes())?;
    Ok(known.unwrap_or_else(|| Profile::new(person.clone())))
}

pub(super) fn put_profile(work: &mut Work<'_>, profile: &Profile) -> Result<(), StoreError> {
    work.put(profile.person.as_str().as_bytes(), profile)
}

/// Notes a sign-in: by an identity provider's word, or a local person's own credential. A session that
/// somebody opens with what an earlier sign-in gave them is no new evidence of who they are.
pub(super) fn note_sign_in(work: &mut Work<'_>, session: &Session) -> Result<(), StoreError> {
    let local: Option<LocalPerson> = work.get(session.person.as_str().as_bytes())?;
    if session.account.is_none() && !local.is_some_and(|local| local.enabled) {
        return Ok(());
    }
    let mut profile = profile_of(work, &session.person)?;
    profile.sign_in = Some(SignIn {
        at: session.created_at,
        account: session.account.clone(),
        sid: session.sid.clone(),
        groups: session.groups.clone(),
        ended_at: None,
    });
    put_profile(work, &profile)
}

pub(super) fn sweep(work: &mut Work<'_>, now: Timestamp) -> Result<usize, StoreError> {
    let links = work.remove_where(|link: &AccountLink| link.expires_at <= now)?;
    Ok(links + vouching::sweep(work, now)?)
}

fn set_disabled(
    work: &mut Work<'_>,
    person: &PersonId,
    disabled: bool,
    by: &By,
) -> Result<Profile, StoreError> {
    let mut profile = profile_of(work, person)?;
    if profile.disabled_at.is_some() == disabled {
        return Ok(profile);
    }
    profile.disabled_at = disabled.then_some(by.at);
    put_profile(work, &profile)?;
    if disabled {
        work.remove_where(|session: &Session| session.person == *person)?;
    }
    let mut event = Work::draft(by, kind::PERSON_CHANGED);
    event.body.insert("person".into(), json!({"person": person, "disabled": disabled}));
    work.record(event)?;
    Ok(profile)
}

#[async_trait]
impl AccountStore for EmbeddedStore {
    async fn create_account_link(&self, link: AccountLink, by: By) -> Refused<()> {
        self.writer.run(move |work| create_link(work, &link, &by)).await
    }

    async fn account_link(&self, hash: Digest) -> Result<Option<AccountLink>, StoreError> {
        self.read(move |view| view.get(hash.as_bytes())).await
    }

    async fn redeem_account_link(&self, hash: Digest, person: PersonId, by: By) -> Refused<LinkedAccount> {
        self.writer.run(move |work| redeem_link(work, &hash, person, &by)).await
    }

    async fn unlink_account(&self, id: Digest, by: By) -> Refused<LinkedAccount> {
        self.writer.run(move |work| unlink(work, &id, &by)).await
    }

    async fn linked_account(&self, id: Digest) -> Result<Option<LinkedAccount>, StoreError> {
        self.read(move |view| view.get(id.as_bytes())).await
    }

    async fn linked_accounts(&self, page: PageRequest) -> Result<Page<LinkedAccount>, PageError> {
        self.read(move |view| view.page(&page, false, |_| true)).await
    }

    async fn open_vouched_session(
        &self,
        vouching: Vouching,
        by: By,
    ) -> Result<(), CommandError<VouchRefusal>> {
        self.writer.run(move |work| vouching::open_session(work, &vouching, &by)).await
    }

    async fn end_sign_ins(&self, end: SignInEnd, by: By) -> Result<usize, CommandError<Replayed>> {
        self.writer.run(move |work| vouching::end_sign_ins(work, &end, &by)).await
    }

    async fn profile(&self, person: &PersonId) -> Result<Option<Profile>, StoreError> {
        let person = person.clone();
        self.read(move |view| view.get(person.as_str().as_bytes())).await
    }

    async fn profiles(&self, page: PageRequest) -> Result<Page<Profile>, PageError> {
        self.read(move |view| view.page(&page, false, |_| true)).await
    }

    async fn join_names(
        &self,
        name: PersonId,
        person: PersonId,
        by: By,
    ) -> Result<Profile, CommandError<NameRefusal>> {
        self.writer.run(move |work| names::join(work, &name, &person, &by)).await
    }

    async fn part_names(&self, name: PersonId, by: By) -> Result<Profile, CommandError<NameRefusal>> {
        self.writer.run(move |work| names::part(work, &name, &by)).await
    }

    async fn set_disabled(&self, person: PersonId, disabled: bool, by: By) -> Result<Profile, StoreError> {
        self.writer.run(move |work| set_disabled(work, &person, disabled, &by)).await
    }
}
