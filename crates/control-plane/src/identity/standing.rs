//! What somebody may do now, by whoever vouches for them.

use std::collections::BTreeSet;

use countersign_model::PersonId;
use countersign_store::{Profile, SignIn};

use super::{AuthError, Identity, Role};

/// What somebody may do now.
pub(super) struct Standing {
    /// Their roles.
    pub(super) roles: BTreeSet<Role>,
    /// Their groups.
    pub(super) groups: Vec<String>,
}

impl Identity {
    /// What a person may do now.
    pub(super) async fn standing(&self, person: &PersonId) -> Result<Standing, AuthError> {
        self.profile(person).await?;
        let known = self.0.people.local_person(person).await?;
        let known = known.filter(|person| person.enabled).ok_or(AuthError::Refused)?;
        // A role that this release does not know gives nothing.
        let roles = known.roles.iter().filter_map(|role| role.parse().ok()).collect();
        Ok(Standing { roles, groups: known.groups })
    }

    /// What a person may do now who proves themselves by an account in a chat: nothing, unless they
    /// signed in at the console lately.
    pub(super) async fn standing_from_afar(&self, person: &PersonId) -> Result<Standing, AuthError> {
        self.recent(&self.profile(person).await?)?;
        self.standing(person).await
    }

    /// What is known of a person who is not disabled.
    async fn profile(&self, person: &PersonId) -> Result<Profile, AuthError> {
        let known = self.0.people.profile(person).await?;
        let profile = known.unwrap_or_else(|| Profile::new(person.clone()));
        if profile.disabled_at.is_some() { Err(AuthError::Refused) } else { Ok(profile) }
    }

    /// The person's latest sign-in, if it can still be gone by.
    fn recent<'a>(&self, profile: &'a Profile) -> Result<&'a SignIn, AuthError> {
        let trusted_for = self.0.config.sign_in_max_age;
        let sign_in = profile
            .sign_in
            .as_ref()
            .filter(|sign_in| sign_in.ended_at.is_none() && self.now() < sign_in.at.plus(trusted_for));
        sign_in.ok_or(AuthError::SignInAgain)
    }
}
