//! What somebody may do now, by whoever vouches for them.
//!
//! A local person is vouched for by this installation's own list, which is looked up each time; anybody
//! else by an identity provider's word at a sign-in, which is gone by for a while only. Roles follow from
//! the groups of that sign-in by the configuration of now. Where both vouch, both count.

use std::collections::BTreeSet;

use countersign_model::PersonId;
use countersign_store::{
    ApiToken, CredentialKind, ExternalAccount, Profile, Session as StoredSession, SignIn,
};

use super::{AuthError, Identity, Role};

/// How a session is called that was opened with a one-time link.
pub(super) const BY_LINK: &str = "session:link";

/// What a request comes with, as far as it matters for whose word counts.
#[derive(Clone, Copy)]
pub(super) enum Evidence<'a> {
    /// A token.
    Token(&'a ApiToken),
    /// A session.
    Session(&'a StoredSession),
    /// An account in a chat.
    Chat,
    /// Nothing: somebody else stands in for them.
    Absent,
}

/// What somebody may do now.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// Their roles.
    pub(super) roles: BTreeSet<Role>,
    /// Their groups.
    pub(super) groups: Vec<String>,
    /// Their other names.
    pub(super) also: Vec<PersonId>,
}

impl Standing {
    /// What another one vouches for counts, too.
    pub(super) fn add(&mut self, other: Self) {
        self.roles.extend(other.roles);
        let new = other.groups.into_iter().filter(|group| !self.groups.contains(group)).collect::<Vec<_>>();
        self.groups.extend(new);
    }
}

impl Identity {
    /// What a person may do now who proves themselves by that.
    pub(super) async fn standing(
        &self,
        person: &PersonId,
        evidence: Evidence<'_>,
    ) -> Result<Standing, AuthError> {
        let known = self.0.people.profile(person).await?;
        let profile = known.unwrap_or_else(|| Profile::new(person.clone()));
        // Another name of somebody is good for nothing: they go by the one that it was joined to.
        if profile.disabled_at.is_some() || profile.same_as.is_some() {
            return Err(AuthError::Refused);
        }
        let mut standing = self.local(person, evidence).await?;
        standing.also = profile.names.iter().cloned().collect();
        // A local person's vote from a chat asks for a sign-in lately, as anybody's does.
        let recent = self.recent(&profile, evidence);
        if matches!(evidence, Evidence::Chat) && recent.is_none() {
            return Err(AuthError::SignInAgain);
        }
        match self.word(&profile, recent, evidence) {
            Some((account, groups)) => standing.add(self.by_provider(person, account, groups)),
            None if standing.roles.is_empty() && vouched_before(&profile) => {
                return Err(AuthError::SignInAgain);
            }
            None => {}
        }
        Ok(standing)
    }

    /// What a local person may do. When local people are turned off, that takes a link that was made where
    /// the control plane was started.
    pub(super) async fn local(
        &self,
        person: &PersonId,
        evidence: Evidence<'_>,
    ) -> Result<Standing, AuthError> {
        let by_link = matches!(evidence, Evidence::Session(session) if session.method == BY_LINK);
        if !self.0.config.local && !by_link {
            return Ok(Standing::default());
        }
        let known = self.0.people.local_person(person).await?;
        let Some(known) = known.filter(|person| person.enabled) else { return Ok(Standing::default()) };
        // A role that this release does not know gives nothing.
        let roles = known.roles.iter().filter_map(|role| role.parse().ok()).collect();
        Ok(Standing { roles, groups: known.groups, also: Vec::new() })
    }

    /// The person's latest sign-in, if it can still be gone by. A program goes on when its owner signs out at
    /// the provider.
    fn recent<'a>(&self, profile: &'a Profile, evidence: Evidence<'_>) -> Option<&'a SignIn> {
        let machine = matches!(evidence, Evidence::Token(token) if token.kind == CredentialKind::Machine);
        let config = &self.0.config;
        let trusted_for = if machine { config.automation_max_age } else { config.sign_in_max_age };
        let sign_in = profile.sign_in.as_ref()?;
        let stands = machine || sign_in.ended_at.is_none();
        (stands && self.now() < sign_in.at.plus(trusted_for)).then_some(sign_in)
    }

    /// The word of an identity provider that counts: for a session the one that opened it, as it was renewed
    /// last; for everything else the latest.
    fn word<'a>(
        &self,
        profile: &'a Profile,
        recent: Option<&'a SignIn>,
        evidence: Evidence<'a>,
    ) -> Option<(&'a ExternalAccount, &'a [String])> {
        if let Evidence::Session(session) = evidence
            && let Some(account) = &session.account
        {
            let renewed = profile.sign_in.as_ref().filter(|last| last.account.as_ref() == Some(account));
            return Some((account, renewed.map_or(&session.groups, |last| &last.groups)));
        }
        let recent = recent?;
        Some((recent.account.as_ref()?, &recent.groups))
    }

    /// What a provider's word gives by the configuration of now; nothing when it is no longer a provider here.
    fn by_provider(&self, person: &PersonId, account: &ExternalAccount, groups: &[String]) -> Standing {
        let provider = self.0.providers.of_issuer(&account.realm);
        provider.map_or_else(Standing::default, |provider| provider.config.standing(person, groups))
    }
}

/// Whether an identity provider has ever vouched for them.
fn vouched_before(profile: &Profile) -> bool {
    profile.sign_in.as_ref().is_some_and(|sign_in| sign_in.account.is_some())
}
