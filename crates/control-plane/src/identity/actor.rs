//! The authenticated party behind a request, and what it may do.
//!
//! Whatever a person signed in with ends here; nothing behind this type knows of tokens, cookies or
//! identity providers. Machines are actors too, but no machine ever holds [`Right::Vote`] (I3).

use std::{collections::BTreeSet, fmt, str::FromStr};

use countersign_approval::Delegator;
use countersign_model::{Assurance, PersonId, TokenId};
use countersign_store::Author;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Whether a person or a program is asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActorKind {
    /// A person, through a session or a personal token.
    Human,
    /// A program, through a machine token. It can never vote (I3).
    Machine,
}

/// What somebody is to this installation. Roles add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// May look.
    Viewer,
    /// May vote where a requirement names them.
    Reviewer,
    /// May push policy.
    PolicyAuthor,
    /// May enrol and revoke agents, and manage tokens. Confers no vote (I3).
    Admin,
}

/// What a request may do: what the actor's roles give, cut down to what its token was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Right {
    /// See approvals, agents, policy and the audit log.
    Read,
    /// Cast a vote. Whether it counts is for the approval's own rules to say.
    Vote,
    /// Push and roll back policy.
    Policy,
    /// Enrol and revoke agents; manage tokens.
    Admin,
}

/// A text that names no role or right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {what}")]
pub struct WordError {
    text: String,
    what: &'static str,
}

macro_rules! words {
    ($name:ident, $what:literal, $($variant:ident => $word:literal),+) => {
        impl $name {
            /// Every one of them.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word for it in configuration and in the API.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = WordError;

            fn from_str(text: &str) -> Result<Self, WordError> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(WordError { text: text.chars().take(32).collect(), what: $what }),
                }
            }
        }
    };
}

words!(ActorKind, "a kind: human or machine", Human => "human", Machine => "machine");
words!(Role, "a role: viewer, reviewer, policy_author or admin",
    Viewer => "viewer", Reviewer => "reviewer", PolicyAuthor => "policy_author", Admin => "admin");
words!(Right, "a scope: read, vote, policy or admin",
    Read => "read", Vote => "vote", Policy => "policy", Admin => "admin");

impl Role {
    /// The rights that a person with this role has.
    #[must_use]
    pub fn rights(self) -> &'static [Right] {
        match self {
            // A viewer may be the initiating human whose confirmation is asked for, so anyone may
            // cast a vote; the approval's rules refuse those whose vote does not count.
            Self::Viewer | Self::Reviewer => &[Right::Read, Right::Vote],
            Self::PolicyAuthor => &[Right::Read, Right::Vote, Right::Policy],
            Self::Admin => &[Right::Read, Right::Vote, Right::Policy, Right::Admin],
        }
    }
}

/// The authenticated party behind a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The person; for a machine, the person who answers for it.
    pub person: PersonId,
    /// Whether the person or a program is asking.
    pub kind: ActorKind,
    /// The person's roles now, at this request.
    pub roles: BTreeSet<Role>,
    /// The person's groups now, at this request. `"*"` stands for every group.
    pub groups: Vec<String>,
    /// How they proved who they are: `token`, `session:token`, `session:link`.
    pub method: String,
    /// The token that was used, if one was.
    pub token: Option<TokenId>,
    /// The person's other names.
    pub also: Vec<PersonId>,
    /// Who named the person as their stand-in, for now.
    pub delegators: Vec<Delegator>,
    rights: BTreeSet<Right>,
}

impl Actor {
    /// An actor whose rights are what its roles give, within what its token was made for (`scopes`;
    /// `None` for a session, which is as broad as the person). A machine's never include a vote (I3).
    #[must_use]
    pub fn new(
        person: PersonId,
        kind: ActorKind,
        roles: BTreeSet<Role>,
        groups: Vec<String>,
        method: impl Into<String>,
        token: Option<TokenId>,
        scopes: Option<&BTreeSet<Right>>,
    ) -> Self {
        let rights = roles
            .iter()
            .flat_map(|role| role.rights())
            .copied()
            .filter(|right| scopes.is_none_or(|scopes| scopes.contains(right)))
            .filter(|right| kind == ActorKind::Human || *right != Right::Vote)
            .collect();
        let (also, delegators) = (Vec::new(), Vec::new());
        Self { person, kind, roles, groups, method: method.into(), token, also, delegators, rights }
    }

    /// Whether that is the actor's person, by whatever name.
    #[must_use]
    pub fn is(&self, name: &PersonId) -> bool {
        self.person == *name || self.also.contains(name)
    }

    /// Whether this request may do that.
    #[must_use]
    pub fn may(&self, right: Right) -> bool {
        self.rights.contains(&right)
    }

    /// How surely a vote of this request is the person's own. A token may lie about in a file and a chat
    /// account is another company's word; somebody with a session sat down at the console.
    #[must_use]
    pub fn assurance(&self) -> Assurance {
        if self.method.starts_with("session:") { Assurance::Console } else { Assurance::Any }
    }

    /// What this request may do.
    #[must_use]
    pub fn rights(&self) -> &BTreeSet<Right> {
        &self.rights
    }

    /// The actor as the audit log names it: the person, and that it was a machine if it was one.
    #[must_use]
    pub fn audit_name(&self) -> String {
        match (self.kind, self.token) {
            (ActorKind::Machine, Some(token)) => format!("machine:{token}:{}", self.person),
            (ActorKind::Machine, None) => format!("machine::{}", self.person),
            (ActorKind::Human, _) => self.person.to_string(),
        }
    }
}

impl From<&Actor> for Author {
    /// Who it is, for a change and its audit event.
    fn from(actor: &Actor) -> Self {
        Self { name: actor.audit_name(), method: Some(actor.method.clone()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actor(kind: ActorKind, roles: &[Role], scopes: Option<&[Right]>) -> Actor {
        let scopes = scopes.map(|scopes| scopes.iter().copied().collect());
        Actor::new(
            "reviewer-one@example.com".parse().unwrap(),
            kind,
            roles.iter().copied().collect(),
            vec![],
            "token",
            None,
            scopes.as_ref(),
        )
    }

    #[test]
    fn no_machine_holds_a_vote_whatever_its_roles_and_scopes_say() {
        let machine = actor(ActorKind::Machine, Role::ALL, Some(Right::ALL));
        assert!(!machine.may(Right::Vote));
        assert!(machine.may(Right::Admin));
        assert!(!actor(ActorKind::Machine, Role::ALL, None).may(Right::Vote));
    }

    #[test]
    fn a_token_never_gives_more_than_the_person_has() {
        let scoped = actor(ActorKind::Human, &[Role::Reviewer], Some(Right::ALL));
        assert_eq!(scoped.rights().iter().copied().collect::<Vec<_>>(), [Right::Read, Right::Vote]);
        let narrow = actor(ActorKind::Human, &[Role::Admin], Some(&[Right::Read]));
        assert_eq!(narrow.rights().iter().copied().collect::<Vec<_>>(), [Right::Read]);
    }

    #[test]
    fn somebody_without_a_role_may_do_nothing() {
        assert!(actor(ActorKind::Human, &[], None).rights().is_empty());
    }

    #[test]
    fn words_read_what_they_write() {
        for role in Role::ALL {
            assert_eq!(role.to_string().parse(), Ok(*role));
        }
        for right in Right::ALL {
            assert_eq!(right.to_string().parse(), Ok(*right));
        }
        assert!("root".parse::<Role>().unwrap_err().to_string().contains("policy_author"));
    }
}
