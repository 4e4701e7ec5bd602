//! Linked accounts: whose they are, how long they are good for, and who tries to take them over.

use super::*;

fn slack(subject: &str) -> ExternalAccount {
    ExternalAccount { kind: AccountKind::Slack, realm: "T1".to_owned(), subject: subject.to_owned() }
}

impl House {
    /// Somebody who signs in at the console with a token of theirs.
    async fn at_the_console(&self, person: PersonId) -> Session {
        let secret = self.identity.sign_in_with_token(&self.token(person).await, None).await.unwrap();
        self.identity.session(&secret).await.unwrap()
    }

    async fn link_of(&self, account: ExternalAccount) -> String {
        let path = self.identity.begin_link(account, "One", None).await.unwrap();
        path.strip_prefix("/accounts/link?secret=").unwrap().to_owned()
    }

    /// The reviewer's account `U1`, linked at the console.
    async fn linked(&self) -> Session {
        let session = self.at_the_console(reviewer()).await;
        self.identity.complete_link(&session, &self.link_of(slack("U1")).await).await.unwrap();
        session
    }
}

#[tokio::test]
async fn an_account_is_nobodys_until_its_person_links_it_and_looks_and_votes_only() {
    let house = House::new().await;
    assert!(matches!(house.identity.account_actor(&slack("U1")).await, Err(AuthError::Unlinked)));
    house.linked().await;
    let actor = house.identity.account_actor(&slack("U1")).await.unwrap();
    assert_eq!((actor.person.clone(), actor.method.as_str()), (reviewer(), "slack"));
    assert_eq!(actor.groups, ["sre"]);
    assert_eq!(actor.rights().iter().copied().collect::<Vec<_>>(), [Right::Read, Right::Vote]);
    for other in [
        slack("U2"),
        ExternalAccount { realm: "T2".to_owned(), ..slack("U1") },
        ExternalAccount { kind: AccountKind::Teams, ..slack("U1") },
        ExternalAccount { realm: "T".to_owned(), ..slack("1U1") },
    ] {
        assert!(matches!(house.identity.account_actor(&other).await, Err(AuthError::Unlinked)), "{other:?}");
    }
}

/// An identity provider's account is never enough by its name: it proves itself by signing in.
#[tokio::test]
async fn an_account_of_an_identity_provider_votes_nowhere_by_its_name() {
    let house = House::new().await;
    let account = ExternalAccount { kind: AccountKind::Oidc, ..slack("U1") };
    let session = house.at_the_console(reviewer()).await;
    house.identity.complete_link(&session, &house.link_of(account.clone()).await).await.unwrap();
    assert!(refused(&house.identity.account_actor(&account).await));
}

#[tokio::test]
async fn a_link_works_once_within_ten_minutes_and_only_the_newest() {
    let house = House::new().await;
    let session = house.at_the_console(reviewer()).await;
    let (older, link) = (house.link_of(slack("U1")).await, house.link_of(slack("U1")).await);
    let complete = |text: String| {
        let session = session.clone();
        let identity = house.identity.clone();
        async move { identity.complete_link(&session, &text).await }
    };
    assert!(matches!(complete(older).await, Err(AccountError::Spent)));
    assert_eq!(house.identity.look_at_account_link(&session, &link).await.unwrap().account, slack("U1"));
    let (first, second) = tokio::join!(complete(link.clone()), complete(link.clone()));
    assert_eq!([first.is_ok(), second.is_ok()].iter().filter(|ok| **ok).count(), 1);
    assert!(matches!(complete(link).await, Err(AccountError::Spent)));

    let late = house.link_of(slack("U2")).await;
    house.pass(ACCOUNT_LINK_LIFETIME);
    assert!(matches!(complete(late).await, Err(AccountError::Spent)));
}

/// Whoever can make somebody open a link must not get that somebody's vote, where the chat knows better.
#[tokio::test]
async fn a_link_for_somebody_else_is_refused() {
    let house = House::new().await;
    let session = house.at_the_console(reviewer()).await;
    let path = house.identity.begin_link(slack("U9"), "Nine", Some(owner())).await.unwrap();
    let secret = path.split_once('=').unwrap().1;
    let looked = house.identity.look_at_account_link(&session, secret).await;
    assert!(matches!(looked, Err(AccountError::OtherPerson)));
    let linked = house.identity.complete_link(&session, secret).await;
    assert!(matches!(linked, Err(AccountError::OtherPerson)));
    let session = house.at_the_console(owner()).await;
    house.identity.complete_link(&session, secret).await.unwrap();
}

#[tokio::test]
async fn a_linked_account_is_not_linked_again_and_nobody_has_two_in_one_place() {
    let house = House::new().await;
    house.linked().await;
    let again = house.identity.begin_link(slack("U1"), "One", None).await;
    assert!(matches!(again, Err(AccountError::Linked)));
    let session = house.at_the_console(reviewer()).await;
    let second = house.identity.complete_link(&session, &house.link_of(slack("U2")).await).await;
    assert!(matches!(second, Err(AccountError::Another)));
    let elsewhere = ExternalAccount { realm: "T2".to_owned(), ..slack("U1") };
    house.identity.complete_link(&session, &house.link_of(elsewhere).await).await.unwrap();
}

#[tokio::test]
async fn an_account_is_good_for_as_long_as_the_sign_in_is() {
    let house = House::new().await;
    house.linked().await;
    let trusted_for = IdentityConfig::default().sign_in_max_age;
    house.pass(Seconds::new(trusted_for.get() - 1));
    house.identity.account_actor(&slack("U1")).await.unwrap();
    house.pass(Seconds::new(1));
    assert!(matches!(house.identity.account_actor(&slack("U1")).await, Err(AuthError::SignInAgain)));
    house.at_the_console(reviewer()).await;
    house.identity.account_actor(&slack("U1")).await.unwrap();
}

#[tokio::test]
async fn an_account_has_the_roles_of_now_and_a_disabled_person_none() {
    let house = House::new().await;
    let session = house.linked().await;
    house.set_roles(reviewer(), &[]).await;
    assert!(refused(&house.identity.account_actor(&slack("U1")).await));
    house.set_roles(reviewer(), &[Role::Reviewer]).await;
    let admin = house.actor(&house.token(owner()).await).await.unwrap();
    assert!(matches!(
        house.identity.set_disabled(&session.actor, reviewer(), true).await,
        Err(PeopleRefusal::NotAdmin)
    ));
    house.identity.set_disabled(&admin, reviewer(), true).await.unwrap();
    assert!(refused(&house.identity.account_actor(&slack("U1")).await));
    let token = house.token(reviewer()).await;
    assert!(refused(&house.actor(&token).await));
    house.identity.set_disabled(&admin, reviewer(), false).await.unwrap();
    house.actor(&token).await.unwrap();
    house.identity.account_actor(&slack("U1")).await.unwrap();
}

#[tokio::test]
async fn people_unlink_their_own_accounts_and_admins_everybodys() {
    let house = House::new().await;
    let session = house.linked().await;
    let (admin, id) = (house.actor(&house.token(owner()).await).await.unwrap(), slack("U1").id());
    assert_eq!(house.identity.linked_accounts(&admin).await.unwrap().len(), 1);
    house.set_roles("other@example.com".parse().unwrap(), &[Role::Reviewer]).await;
    let other = house.actor(&house.token("other@example.com".parse().unwrap()).await).await.unwrap();
    assert!(house.identity.linked_accounts(&other).await.unwrap().is_empty());
    assert!(matches!(house.identity.unlink_account(&other, id).await, Err(AccountError::NotFound)));
    house.identity.unlink_account(&session.actor, id).await.unwrap();
    assert!(matches!(house.identity.account_actor(&slack("U1")).await, Err(AuthError::Unlinked)));
    assert!(matches!(house.identity.unlink_account(&admin, id).await, Err(AccountError::NotFound)));
    house.linked().await;
    house.identity.unlink_account(&admin, id).await.unwrap();
}
