//! How people and machines prove who they are, with the real store.

mod accounts;

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use countersign_model::{PersonId, Seconds, SpiffeId, Timestamp};
use countersign_store::{EmbeddedStore, Settings};
use tempfile::TempDir;

use super::*;

const START: i64 = 1_800_000_000_000;
const DAY: Seconds = Seconds::new(24 * 60 * 60);

/// An installation with an owner who is an admin, and a reviewer.
struct House {
    identity: Identity,
    time: Arc<AtomicI64>,
    _folder: TempDir,
}

fn owner() -> PersonId {
    "owner@example.com".parse().unwrap()
}

fn reviewer() -> PersonId {
    "reviewer-one@example.com".parse().unwrap()
}

impl House {
    async fn new() -> Self {
        Self::with(IdentityConfig::default()).await
    }

    async fn with(config: IdentityConfig) -> Self {
        let folder = TempDir::new().unwrap();
        let source = SpiffeId::control_plane("example.org".parse().unwrap());
        let mut count = 0_u8;
        let entropy = Box::new(move || {
            count = count.wrapping_add(1);
            [count; 10]
        });
        let store = EmbeddedStore::open(folder.path(), &source, Settings::default(), entropy).unwrap();
        let time = Arc::new(AtomicI64::new(START));
        let clock = Arc::clone(&time);
        let clock = Clock::new(move || Timestamp::from_millis(clock.load(Ordering::SeqCst)));
        let identity = Identity::new(Arc::new(store), clock, config, Providers::default(), false);
        let house = Self { identity, time, _folder: folder };
        house.set_roles(owner(), &[Role::Admin]).await;
        house.set_roles(reviewer(), &[Role::Reviewer]).await;
        house
    }

    async fn set_roles(&self, person: PersonId, roles: &[Role]) {
        let person =
            LocalPerson { person, groups: vec!["sre".to_owned()], roles: roles.iter().copied().collect() };
        self.identity.put_local_person(person, "test").await.unwrap();
    }

    fn pass(&self, span: Seconds) {
        self.time.fetch_add(span.as_millis(), Ordering::SeqCst);
    }

    async fn token(&self, person: PersonId) -> String {
        self.identity.bootstrap_token(person, "first", DAY, "test").await.unwrap().token
    }

    async fn actor(&self, token: &str) -> Result<Actor, AuthError> {
        self.identity.authenticate(&Credential::Token(token.parse().unwrap())).await
    }

    async fn make(
        &self,
        actor: &Actor,
        kind: ActorKind,
        scopes: Option<&[Right]>,
    ) -> Result<CreatedToken, TokenError> {
        let scopes = scopes.map(|scopes| scopes.iter().copied().collect());
        let wish = NewToken { name: "made".to_owned(), kind, scopes, lifetime: Some(DAY) };
        self.identity.create_token(actor, wish).await
    }
}

fn refused<T>(result: &Result<T, AuthError>) -> bool {
    matches!(result, Err(AuthError::Refused))
}

#[tokio::test]
async fn a_token_works_until_it_is_revoked_or_runs_out() {
    let house = House::new().await;
    let token = house.token(reviewer()).await;
    let actor = house.actor(&token).await.unwrap();
    assert_eq!(
        (actor.person.clone(), actor.kind, actor.method.as_str()),
        (reviewer(), ActorKind::Human, "token")
    );

    let second = house.make(&actor, ActorKind::Human, None).await.unwrap();
    house.identity.revoke_token(&actor, second.view.id).await.unwrap();
    assert!(refused(&house.actor(&second.token).await));

    house.pass(DAY);
    assert!(refused(&house.actor(&token).await));
}

#[tokio::test]
async fn a_wrong_secret_is_nobodys() {
    let house = House::new().await;
    let (mine, other) = (house.token(reviewer()).await, house.token(owner()).await);
    let mixed = format!("{}_{}", &mine[..39], &other[40..]);
    assert!(refused(&house.actor(&mixed).await));
}

#[tokio::test]
async fn what_somebody_may_do_is_looked_up_at_each_request() {
    let house = House::new().await;
    let token = house.token(reviewer()).await;
    let secret = house.identity.sign_in_with_token(&token, None).await.unwrap();
    assert!(house.identity.session(&secret).await.unwrap().actor.may(Right::Vote));
    house.set_roles(reviewer(), &[]).await;
    assert!(refused(&house.actor(&token).await));
    assert!(refused(&house.identity.session(&secret).await));
}

#[tokio::test]
async fn a_machine_never_votes_signs_in_or_makes_tokens() {
    let house = House::new().await;
    let admin = house.actor(&house.token(owner()).await).await.unwrap();
    assert!(matches!(
        house.make(&admin, ActorKind::Machine, Some(&[Right::Vote])).await,
        Err(TokenError::Scopes(_))
    ));
    let machine = house.make(&admin, ActorKind::Machine, None).await.unwrap();
    let actor = house.actor(&machine.token).await.unwrap();
    assert!(!actor.may(Right::Vote) && actor.may(Right::Admin));
    assert!(matches!(house.make(&actor, ActorKind::Human, None).await, Err(TokenError::Machine)));
    assert!(matches!(house.identity.sign_in_link(&actor).await, Err(SignInError::Machine)));
    let signed_in = house.identity.sign_in_with_token(&machine.token, None).await;
    assert!(matches!(signed_in, Err(SignInError::Machine)));
}

#[tokio::test]
async fn a_token_gives_no_more_than_what_made_it_and_does_not_outlive_it() {
    let house = House::new().await;
    let admin = house.actor(&house.token(owner()).await).await.unwrap();
    let narrow = house.make(&admin, ActorKind::Human, Some(&[Right::Read])).await.unwrap();
    let reader = house.actor(&narrow.token).await.unwrap();
    assert!(matches!(
        house.make(&reader, ActorKind::Human, Some(&[Right::Admin])).await,
        Err(TokenError::Scopes(_))
    ));
    house.pass(Seconds::new(60));
    let child = house.make(&reader, ActorKind::Human, None).await.unwrap();
    assert_eq!(child.view.expires_at, narrow.view.expires_at);
    assert_eq!(child.view.scopes, [Right::Read].into());
}

#[tokio::test]
async fn a_session_or_link_made_with_a_narrow_token_stays_narrow_and_ends_with_it() {
    let house = House::new().await;
    let admin = house.actor(&house.token(owner()).await).await.unwrap();
    let narrow = house.make(&admin, ActorKind::Human, Some(&[Right::Read])).await.unwrap();
    let reader = house.actor(&narrow.token).await.unwrap();

    let by_token = house.identity.sign_in_with_token(&narrow.token, None).await.unwrap();
    let link = house.identity.sign_in_link(&reader).await.unwrap();
    let by_link = house.identity.sign_in_with_link(secret_of(&link), None).await.unwrap();
    for secret in [&by_token, &by_link] {
        let session = house.identity.session(secret).await.unwrap();
        assert_eq!(session.actor.rights().iter().copied().collect::<Vec<_>>(), [Right::Read]);
    }
    house.identity.revoke_token(&admin, narrow.view.id).await.unwrap();
    for secret in [&by_token, &by_link] {
        assert!(refused(&house.identity.session(secret).await));
    }
}

fn secret_of(path: &str) -> &str {
    path.strip_prefix("/sign-in/link?secret=").unwrap()
}

#[tokio::test]
async fn a_sign_in_link_works_once_within_ten_minutes_and_looking_at_it_uses_nothing_up() {
    let house = House::new().await;
    let identity = &house.identity;
    let link = identity.bootstrap_link(reviewer(), "test").await.unwrap();
    for _ in 0..3 {
        assert_eq!(identity.look_at_link(secret_of(&link), None).await.unwrap(), reviewer());
    }
    let (first, second) = tokio::join!(
        identity.sign_in_with_link(secret_of(&link), None),
        identity.sign_in_with_link(secret_of(&link), None)
    );
    assert_eq!([first.is_ok(), second.is_ok()].iter().filter(|ok| **ok).count(), 1);
    assert!(identity.look_at_link(secret_of(&link), None).await.is_err());

    let late = identity.bootstrap_link(reviewer(), "test").await.unwrap();
    house.pass(LINK_LIFETIME);
    assert!(identity.sign_in_with_link(secret_of(&late), None).await.is_err());
}

#[tokio::test]
async fn a_session_ends_when_idle_when_old_and_at_sign_out() {
    let house = House::new().await;
    let identity = &house.identity;
    let token = identity
        .bootstrap_token(reviewer(), "long", Seconds::new(7 * DAY.get()), "test")
        .await
        .unwrap()
        .token;

    let idle = identity.sign_in_with_token(&token, None).await.unwrap();
    identity.session(&idle).await.unwrap();
    house.pass(IdentityConfig::default().session_idle);
    assert!(refused(&identity.session(&idle).await));
    assert!(refused(&identity.session(&idle).await));

    let old = identity.sign_in_with_token(&token, None).await.unwrap();
    let mut lived = 0;
    while lived + 3600 < IdentityConfig::default().session_lifetime.get() {
        identity.session(&old).await.unwrap();
        house.pass(Seconds::new(3600));
        identity.keep_house().await.unwrap();
        lived += 3600;
    }
    house.pass(Seconds::new(3600));
    assert!(refused(&identity.session(&old).await));

    let left = identity.sign_in_with_token(&token, None).await.unwrap();
    let actor = identity.session(&left).await.unwrap().actor;
    identity.sign_out(&actor, &left).await.unwrap();
    assert!(refused(&identity.session(&left).await));
    identity.sign_out(&actor, &left).await.unwrap();
}

#[tokio::test]
async fn without_local_people_a_link_from_the_machine_lets_in_and_tokens_do_not() {
    let house = House::with(IdentityConfig { local: false, ..IdentityConfig::default() }).await;
    let identity = &house.identity;
    let token = house.token(owner()).await;
    assert!(refused(&house.actor(&token).await));
    assert!(matches!(identity.sign_in_with_token(&token, None).await, Err(SignInError::NoTokens)));
    let link = identity.bootstrap_link(owner(), "test").await.unwrap();
    let secret = identity.sign_in_with_link(secret_of(&link), None).await.unwrap();
    let actor = identity.session(&secret).await.unwrap().actor;
    assert!(actor.may(Right::Admin));
    // What the link has opened leads to no lasting way in.
    let made = house.make(&actor, ActorKind::Human, None).await.unwrap();
    assert!(refused(&house.actor(&made.token).await));
}

#[tokio::test]
async fn people_see_and_end_their_own_sessions_and_admins_everybodys() {
    let house = House::new().await;
    let identity = &house.identity;
    let token = house.token(reviewer()).await;
    let here = identity.sign_in_with_token(&token, None).await.unwrap();
    house.pass(Seconds::new(1));
    let elsewhere = identity.sign_in_with_token(&token, None).await.unwrap();
    let actor = identity.session(&here).await.unwrap().actor;
    let open = identity.sessions(&actor, Some(&here)).await.unwrap();
    assert_eq!(open.iter().map(|session| session.current).collect::<Vec<_>>(), [false, true]);
    let admin = house.actor(&house.token(owner()).await).await.unwrap();
    assert!(identity.sessions(&admin, None).await.unwrap().is_empty());

    identity.end_session(&actor, open[0].id).await.unwrap();
    assert!(refused(&identity.session(&elsewhere).await));
    assert!(matches!(identity.end_session(&actor, open[0].id).await, Err(SessionError::NotFound)));
    let admins = identity.sign_in_with_token(&house.token(owner()).await, None).await.unwrap();
    let admins = identity.sessions(&admin, Some(&admins)).await.unwrap()[0].id;
    assert!(matches!(identity.end_session(&actor, admins).await, Err(SessionError::NotFound)));
    identity.end_session(&admin, open[1].id).await.unwrap();
    assert!(refused(&identity.session(&here).await));
}

#[tokio::test]
async fn guessing_is_slowed_down_and_a_valid_token_does_not_help_the_guesser() {
    let house = House::new().await;
    let token = house.token(reviewer()).await;
    let (here, there) = (Some([192, 0, 2, 1].into()), Some([192, 0, 2, 2].into()));
    for _ in 0..10 {
        assert!(matches!(
            house.identity.sign_in_with_token("cs_guess", here).await,
            Err(SignInError::Refused)
        ));
    }
    assert!(matches!(house.identity.sign_in_with_token(&token, here).await, Err(SignInError::TooMany(_))));
    assert!(matches!(house.identity.look_at_link("x", here).await, Err(SignInError::TooMany(_))));
    house.identity.sign_in_with_token(&token, there).await.unwrap();
    house.pass(Seconds::new(60));
    house.identity.sign_in_with_token(&token, here).await.unwrap();
}

#[tokio::test]
async fn people_see_and_revoke_their_own_tokens_and_admins_everybodys() {
    let house = House::new().await;
    let admin = house.actor(&house.token(owner()).await).await.unwrap();
    let person = house.actor(&house.token(reviewer()).await).await.unwrap();
    assert_eq!(house.identity.tokens(&person).await.unwrap().len(), 1);
    assert_eq!(house.identity.tokens(&admin).await.unwrap().len(), 2);
    let foreign = admin.token.unwrap();
    assert!(matches!(house.identity.revoke_token(&person, foreign).await, Err(TokenError::NotFound(_))));
    house.identity.revoke_token(&admin, person.token.unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_token_shows_when_it_was_last_used() {
    let house = House::new().await;
    let person = house.actor(&house.token(reviewer()).await).await.unwrap();
    assert_eq!(house.identity.tokens(&person).await.unwrap()[0].last_used_at, None);
    house.identity.keep_house().await.unwrap();
    assert_eq!(
        house.identity.tokens(&person).await.unwrap()[0].last_used_at,
        Some(Timestamp::from_millis(START))
    );
}
