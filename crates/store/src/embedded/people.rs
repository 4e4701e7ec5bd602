//! Local people, tokens, sessions and sign-in links.

use async_trait::async_trait;
use countersign_audit::kind;
use countersign_model::{Digest, PersonId, Timestamp, TokenId};
use serde_json::json;

use super::{
    EmbeddedStore, accounts,
    codec::Record,
    layout::{Bytes, PEOPLE, SESSIONS, SIGN_IN_LINKS, TOKEN_HASHES, TOKENS},
    lookup::Lookup,
    work::Work,
    writes,
};
use crate::{
    ApiToken, By, CommandError, LocalPerson, NotThere, Page, PageError, PageRequest, PeopleStore,
    Reservation, Session, SignInLink, SignInRefusal, StoreError, StoredResponse, TokenRefusal, WriteKey,
};

impl Record for LocalPerson {
    const TABLE: Bytes = PEOPLE;
}

impl Record for ApiToken {
    const TABLE: Bytes = TOKENS;
}

impl Record for Session {
    const TABLE: Bytes = SESSIONS;
}

impl Record for SignInLink {
    const TABLE: Bytes = SIGN_IN_LINKS;
}

fn put_person(work: &mut Work<'_>, person: &LocalPerson, by: &By) -> Result<(), StoreError> {
    work.put(person.person.as_str().as_bytes(), person)?;
    let mut event = Work::draft(by, kind::PERSON_CHANGED);
    event.body.insert("person".into(), json!(person));
    work.record(event)
}

fn create_token(work: &mut Work<'_>, token: &ApiToken, by: &By) -> Result<(), CommandError<TokenRefusal>> {
    let known: Option<ApiToken> = work.get(&token.id.to_bytes())?;
    if known.is_some() || work.bytes(TOKEN_HASHES, token.hash.as_bytes())?.is_some() {
        return Err(CommandError::Refused(TokenRefusal::Exists));
    }
    work.put(&token.id.to_bytes(), token)?;
    work.insert(TOKEN_HASHES, token.hash.as_bytes(), &token.id.to_bytes())?;
    Ok(work.record(token_event(token, kind::TOKEN_CREATED, by))?)
}

fn revoke_token(work: &mut Work<'_>, id: TokenId, by: &By) -> Result<ApiToken, CommandError<TokenRefusal>> {
    let token: Option<ApiToken> = work.get(&id.to_bytes())?;
    let mut token = token.ok_or(CommandError::Refused(TokenRefusal::Unknown))?;
    if token.revoked_at.is_some() {
        return Ok(token);
    }
    token.revoked_at = Some(by.at);
    work.put(&id.to_bytes(), &token)?;
    work.remove_where(|session: &Session| session.token == Some(id))?;
    work.record(token_event(&token, kind::TOKEN_REVOKED, by))?;
    Ok(token)
}

pub(super) fn token_event(token: &ApiToken, kind: &'static str, by: &By) -> countersign_audit::EventDraft {
    let mut event = Work::draft(by, kind);
    event.body.insert("token".into(), json!(token.id));
    event.body.insert("name".into(), json!(token.name));
    event.body.insert("owner".into(), json!(token.owner));
    event.body.insert("kind".into(), json!(token.kind));
    event.body.insert("scopes".into(), json!(token.scopes));
    event.body.insert("expires_at".into(), json!(token.expires_at));
    event
}

fn note_tokens_used(work: &mut Work<'_>, used: &[(TokenId, Timestamp)]) -> Result<(), StoreError> {
    for (id, at) in used {
        if let Some(mut token) = work.get::<ApiToken>(&id.to_bytes())? {
            token.last_used_at = token.last_used_at.max(Some(*at));
            work.put(&id.to_bytes(), &token)?;
        }
    }
    Ok(())
}

pub(super) fn open_session(work: &mut Work<'_>, session: &Session, by: &By) -> Result<(), StoreError> {
    work.put(session.hash.as_bytes(), session)?;
    accounts::note_sign_in(work, session)?;
    work.record(session_event(session, kind::SESSION_SIGNED_IN, by))
}

pub(super) fn session_event(session: &Session, kind: &'static str, by: &By) -> countersign_audit::EventDraft {
    let mut event = Work::draft(by, kind);
    event.body.insert("person".into(), json!(session.person));
    // Beside how the one who ends another's session has proved who they are.
    let name = if by.method.is_some() { "session_method" } else { "method" };
    event.body.insert(name.into(), json!(session.method));
    event.body.insert("token".into(), json!(session.token));
    if let Some(account) = &session.account {
        event.body.insert("account".into(), json!(account));
        event.body.insert("groups".into(), json!(session.groups));
    }
    event.body.insert("expires_at".into(), json!(session.expires_at));
    event
}

fn close_session(
    work: &mut Work<'_>,
    hash: &Digest,
    kind: &'static str,
    by: &By,
) -> Result<(), CommandError<NotThere>> {
    let session: Option<Session> = work.get(hash.as_bytes())?;
    let session = session.ok_or(CommandError::Refused(NotThere))?;
    work.remove(SESSIONS, hash.as_bytes())?;
    Ok(work.record(session_event(&session, kind, by))?)
}

fn create_link(work: &mut Work<'_>, link: &SignInLink, by: &By) -> Result<(), StoreError> {
    work.put(link.hash.as_bytes(), link)?;
    let mut event = Work::draft(by, kind::TOKEN_CREATED);
    event.body.insert("sign_in_link_for".into(), json!(link.person));
    event.body.insert("expires_at".into(), json!(link.expires_at));
    work.record(event)
}

/// Single use holds because this runs in the writer: of two who race, one finds the link gone.
fn redeem_link(
    work: &mut Work<'_>,
    hash: &Digest,
    session: Session,
    by: &By,
) -> Result<Session, CommandError<SignInRefusal>> {
    let link: Option<SignInLink> = work.get(hash.as_bytes())?;
    let link = link.ok_or(CommandError::Refused(SignInRefusal::Unknown))?;
    if by.at >= link.expires_at {
        return Err(CommandError::Refused(SignInRefusal::Expired));
    }
    if session.person != link.person {
        return Err(CommandError::Refused(SignInRefusal::OtherPerson));
    }
    work.remove(SIGN_IN_LINKS, hash.as_bytes())?;
    open_session(work, &session, by)?;
    Ok(session)
}

fn sweep(work: &mut Work<'_>, now: Timestamp) -> Result<usize, StoreError> {
    let sessions = work.remove_where(|session: &Session| session.expires_at <= now)?;
    let links = work.remove_where(|link: &SignInLink| link.expires_at <= now)?;
    let account_links = accounts::sweep(work, now)?;
    Ok(sessions + links + account_links + writes::sweep(work, now)?)
}

fn token_by_hash(lookup: &impl Lookup, hash: &Digest) -> Result<Option<ApiToken>, StoreError> {
    let id = lookup.bytes(TOKEN_HASHES, hash.as_bytes())?;
    id.map_or(Ok(None), |id| lookup.get(&id))
}

#[async_trait]
impl PeopleStore for EmbeddedStore {
    async fn put_local_person(&self, person: LocalPerson, by: By) -> Result<(), StoreError> {
        self.writer.run(move |work| put_person(work, &person, &by)).await
    }

    async fn local_person(&self, person: &PersonId) -> Result<Option<LocalPerson>, StoreError> {
        let person = person.clone();
        self.read(move |view| view.get(person.as_str().as_bytes())).await
    }

    async fn local_people(&self, page: PageRequest) -> Result<Page<LocalPerson>, PageError> {
        self.read(move |view| view.page(&page, false, |_| true)).await
    }

    async fn create_token(&self, token: ApiToken, by: By) -> Result<(), CommandError<TokenRefusal>> {
        self.writer.run(move |work| create_token(work, &token, &by)).await
    }

    async fn revoke_token(&self, id: TokenId, by: By) -> Result<ApiToken, CommandError<TokenRefusal>> {
        self.writer.run(move |work| revoke_token(work, id, &by)).await
    }

    async fn note_tokens_used(&self, used: Vec<(TokenId, Timestamp)>) -> Result<(), StoreError> {
        self.writer.run(move |work| note_tokens_used(work, &used)).await
    }

    async fn token_by_hash(&self, hash: Digest) -> Result<Option<ApiToken>, StoreError> {
        self.read(move |view| token_by_hash(view, &hash)).await
    }

    async fn token(&self, id: TokenId) -> Result<Option<ApiToken>, StoreError> {
        self.read(move |view| view.get(&id.to_bytes())).await
    }

    async fn tokens(&self, page: PageRequest) -> Result<Page<ApiToken>, PageError> {
        self.read(move |view| view.page(&page, true, |_| true)).await
    }

    async fn open_session(&self, session: Session, by: By) -> Result<(), StoreError> {
        self.writer.run(move |work| open_session(work, &session, &by)).await
    }

    async fn close_session(&self, hash: Digest, by: By) -> Result<(), CommandError<NotThere>> {
        self.writer.run(move |work| close_session(work, &hash, kind::SESSION_SIGNED_OUT, &by)).await
    }

    async fn end_session(&self, hash: Digest, by: By) -> Result<(), CommandError<NotThere>> {
        self.writer.run(move |work| close_session(work, &hash, kind::SESSION_ENDED, &by)).await
    }

    async fn sessions(&self, page: PageRequest) -> Result<Page<Session>, PageError> {
        self.read(move |view| view.page(&page, true, |_| true)).await
    }

    async fn session(&self, hash: Digest) -> Result<Option<Session>, StoreError> {
        self.read(move |view| view.get(hash.as_bytes())).await
    }

    async fn create_sign_in_link(&self, link: SignInLink, by: By) -> Result<(), StoreError> {
        self.writer.run(move |work| create_link(work, &link, &by)).await
    }

    async fn redeem_sign_in_link(
        &self,
        hash: Digest,
        session: Session,
        by: By,
    ) -> Result<Session, CommandError<SignInRefusal>> {
        self.writer.run(move |work| redeem_link(work, &hash, session, &by)).await
    }

    async fn sign_in_link(&self, hash: Digest) -> Result<Option<SignInLink>, StoreError> {
        self.read(move |view| view.get(hash.as_bytes())).await
    }

    async fn reserve_write(
        &self,
        key: WriteKey,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Reservation, StoreError> {
        self.writer.run(move |work| writes::reserve(work, &key, now, until)).await
    }

    async fn complete_write(
        &self,
        key: WriteKey,
        response: StoredResponse,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        self.writer.run(move |work| writes::complete(work, &key, response, until)).await
    }

    async fn release_write(&self, key: WriteKey) -> Result<(), StoreError> {
        self.writer.run(move |work| writes::release(work, &key)).await
    }

    async fn sweep_expired(&self, now: Timestamp) -> Result<usize, StoreError> {
        self.writer.run(move |work| sweep(work, now)).await
    }
}
