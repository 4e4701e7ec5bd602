//! Votes, and the people who cast them.

use countersign_model::{Assurance, PersonId, RequirementName, Timestamp, VoteId};
use serde::{Deserialize, Serialize};

/// The longest reason of a vote, in characters.
pub const MAX_REASON: usize = 2_000;

/// One person's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VoteDecision {
    /// Let it run.
    Approve,
    /// Do not let it run. One eligible denial denies the whole request, unless a requirement asks for more.
    Deny,
}

/// Somebody who wants to vote, as their sign-in shows them at the time of the vote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voter {
    /// Who.
    pub person: PersonId,
    /// The other names of the same human: what one of them owns, began or has said is theirs under each (I3, I4).
    pub also: Vec<PersonId>,
    /// The groups that their identity provider vouches for. [`Voter::EVERY_GROUP`] stands for all of
    /// them; only a development set-up may put it there, never a claim from outside.
    pub groups: Vec<String>,
    /// Whether they have the reviewer role.
    pub reviewer: bool,
    /// Whether the credential is a machine's (an API token without a person behind it).
    pub machine: bool,
    /// Whether the credential belongs to an agent.
    pub agent: bool,
    /// Where they voted: `console`, `cli`, `api`, …
    pub channel: String,
    /// How they signed in.
    pub method: String,
    /// How surely this vote is theirs: by the sign-in, or by what was proved for this one vote.
    pub assurance: Assurance,
    /// The people who named them as their stand-in, for now. What those may vote on they may, too.
    pub delegators: Vec<Delegator>,
}

/// Somebody who named the voter as their stand-in, as they are known at the time of the vote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delegator {
    /// Who.
    pub person: PersonId,
    /// The other names of the same human.
    pub also: Vec<PersonId>,
    /// Their groups, as in [`Voter::groups`].
    pub groups: Vec<String>,
    /// Whether they have the reviewer role.
    pub reviewer: bool,
    /// How surely it was their word that the voter stands in for them. It counts for no requirement that asks
    /// for more: whoever has somebody's token does not get at what takes their passkey.
    pub assurance: Assurance,
}

impl Voter {
    /// Stands for membership in every group.
    pub const EVERY_GROUP: &'static str = "*";

    pub(crate) fn names(&self) -> Names<'_> {
        Names { person: &self.person, also: &self.also }
    }
}

impl Delegator {
    pub(crate) fn names(&self) -> Names<'_> {
        Names { person: &self.person, also: &self.also }
    }
}

/// Everything that one human is called.
#[derive(Clone, Copy)]
pub(crate) struct Names<'a> {
    person: &'a PersonId,
    also: &'a [PersonId],
}

impl Names<'_> {
    /// Whether that is this human, by whatever name.
    pub(crate) fn has(self, name: &PersonId) -> bool {
        self.person == name || self.also.contains(name)
    }

    /// Whether that is this human by another name than the one they go by.
    fn has_other(self, name: &PersonId) -> bool {
        self.person != name && self.has(name)
    }

    /// Whether this human has voted by another name, or somebody has by the right of that name.
    pub(crate) fn spoke_as_another(self, votes: &[Vote]) -> bool {
        let by_right = |vote: &Vote| vote.delegated.iter().any(|right| self.has_other(&right.from));
        votes.iter().any(|vote| self.has_other(&vote.person) || by_right(vote))
    }
}

/// A vote that was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// Its id.
    pub id: VoteId,
    /// Whose it is.
    pub person: PersonId,
    /// What they said.
    pub decision: VoteDecision,
    /// Why.
    pub reason: Option<String>,
    /// When.
    pub at: Timestamp,
    /// Where they voted.
    pub channel: String,
    /// How they had signed in.
    pub method: String,
    /// How surely it was theirs.
    #[serde(default, skip_serializing_if = "Assurance::is_any")]
    pub assurance: Assurance,
    /// The requirements that they were eligible for when they voted, as surely as they voted. Their word counts for one of them (I4).
    pub eligible_for: Vec<RequirementName>,
    /// For which of them that was another person's right, and whose.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub delegated: Vec<DelegatedRight>,
}

/// A requirement that a person was eligible for as somebody's stand-in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DelegatedRight {
    /// The requirement.
    pub requirement: RequirementName,
    /// Whose right it is.
    pub from: PersonId,
}

impl Vote {
    /// Whose right this vote uses for a requirement: the voter's own, or the right of whom they stand in for.
    #[must_use]
    pub fn right_of(&self, name: &RequirementName) -> &PersonId {
        let delegated = self.delegated.iter().find(|delegated| delegated.requirement == *name);
        delegated.map_or(&self.person, |delegated| &delegated.from)
    }
}
