//! The people whom this installation has met, for admins: who they are, and whether they may do anything here.

use countersign_model::{PersonId, Timestamp};
use countersign_store::{By, CommandError, NameRefusal, PageError, PageRequest, Profile, StoreError};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Actor, Identity, Right};

/// A person whom this installation has met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct PersonView {
    /// Who.
    #[schema(value_type = String)]
    pub person: PersonId,
    /// When they last signed in at the console.
    #[schema(value_type = Option<String>)]
    pub signed_in_at: Option<Timestamp>,
    /// Since when they are disabled.
    #[schema(value_type = Option<String>)]
    pub disabled_at: Option<Timestamp>,
    /// Whose other name this is.
    #[schema(value_type = Option<String>)]
    pub same_as: Option<PersonId>,
    /// The other names of the same human.
    #[schema(value_type = Vec<String>)]
    pub names: Vec<PersonId>,
}

impl From<Profile> for PersonView {
    fn from(profile: Profile) -> Self {
        let signed_in_at = profile.sign_in.map(|sign_in| sign_in.at);
        Self {
            person: profile.person,
            signed_in_at,
            disabled_at: profile.disabled_at,
            same_as: profile.same_as,
            names: profile.names.into_iter().collect(),
        }
    }
}

/// Why nothing was said or done about people.
#[derive(Debug, thiserror::Error)]
pub enum PeopleRefusal {
    /// Only admins may.
    #[error("it takes the right to admin")]
    NotAdmin,
    /// Nobody locks themselves out.
    #[error("you cannot do this to yourself; ask another admin")]
    Yourself,
    /// The names were not joined, or not parted.
    #[error(transparent)]
    Names(NameRefusal),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<CommandError<NameRefusal>> for PeopleRefusal {
    fn from(error: CommandError<NameRefusal>) -> Self {
        match error {
            CommandError::Refused(refusal) => Self::Names(refusal),
            CommandError::Store(error) => Self::Store(error),
        }
    }
}

impl From<PageError> for PeopleRefusal {
    fn from(error: PageError) -> Self {
        match error {
            PageError::Store(error) => Self::Store(error),
            PageError::Cursor(error) => Self::Store(StoreError::Damaged(error.to_string())),
        }
    }
}

impl Identity {
    /// Everybody whom this installation has met, by name. For admins.
    ///
    /// # Errors
    /// When the actor is no admin, or the store does not answer.
    pub async fn people_known(&self, actor: &Actor) -> Result<Vec<PersonView>, PeopleRefusal> {
        admin(actor)?;
        let mut people = Vec::new();
        let mut page = PageRequest::first(PageRequest::MAX);
        loop {
            let found = self.0.people.profiles(page).await?;
            people.extend(found.items.into_iter().map(PersonView::from));
            let Some(next) = found.next else { return Ok(people) };
            page = PageRequest { limit: PageRequest::MAX, after: Some(next) };
        }
    }

    /// Disables a person, whoever vouches for them, and ends their sessions; or enables them again.
    ///
    /// # Errors
    /// When the actor is no admin, or means themselves.
    pub async fn set_disabled(
        &self,
        actor: &Actor,
        person: PersonId,
        disabled: bool,
    ) -> Result<PersonView, PeopleRefusal> {
        admin(actor)?;
        if disabled && person == actor.person {
            return Err(PeopleRefusal::Yourself);
        }
        let by = By::new(actor, self.now());
        Ok(self.0.people.set_disabled(person, disabled, by).await?.into())
    }

    /// Says that a name is another one of somebody's: from now on they are one human, who signs in as that
    /// person whichever account they use, and has one vote (I3, I4).
    ///
    /// # Errors
    /// When the actor is no admin or one of the two, or one of the names is joined to another already.
    pub async fn join_names(
        &self,
        actor: &Actor,
        name: PersonId,
        person: PersonId,
    ) -> Result<PersonView, PeopleRefusal> {
        admin(actor)?;
        // What policy asks of somebody by name would be the admin's to give. One's own name takes a sign-in.
        if actor.is(&name) || actor.is(&person) {
            return Err(PeopleRefusal::Yourself);
        }
        let by = By::new(actor, self.now());
        Ok(self.0.people.join_names(name, person, by).await?.into())
    }

    /// Says that a name is not the same human's after all.
    ///
    /// # Errors
    /// When the actor is no admin or one of those whom it would make two people, or the name is nobody's other one.
    pub async fn part_names(&self, actor: &Actor, name: PersonId) -> Result<PersonView, PeopleRefusal> {
        admin(actor)?;
        // Whoever could make two people of themselves could vote twice.
        if actor.is(&name) {
            return Err(PeopleRefusal::Yourself);
        }
        let by = By::new(actor, self.now());
        Ok(self.0.people.part_names(name, by).await?.into())
    }

    /// Whom a name stands for: itself, or whose other name it is.
    pub(super) async fn known_as(&self, name: PersonId) -> Result<PersonId, StoreError> {
        let profile = self.0.people.profile(&name).await?;
        Ok(profile.and_then(|profile| profile.same_as).unwrap_or(name))
    }
}

fn admin(actor: &Actor) -> Result<(), PeopleRefusal> {
    if actor.may(Right::Admin) { Ok(()) } else { Err(PeopleRefusal::NotAdmin) }
}
