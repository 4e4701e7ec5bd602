//! Requirements: named rules for an approval. Who may vote, how many, how fast, for what kind of grant.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{identity::PersonId, time::Seconds};

/// A text that is not what a requirement needs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequirementError {
    /// Not a requirement name.
    #[error("{0:?} is not a requirement name: 1 to 64 letters, digits, hyphens, underscores and dots")]
    Name(String),
    /// Not a reviewer selector.
    #[error("{0:?} names no reviewers: write \"group:NAME\", \"user:PERSON\", or \"*\" for any reviewer")]
    Reviewer(String),
    /// Not a grant shape.
    #[error(
        "a grant is \"once\" or {{ uses = N, within = \"1h\" }} with N from 1 to {}",
        GrantShape::MAX_USES
    )]
    Grant,
}

/// The name of a requirement, as policies give it in `@approval("…")`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequirementName(String);

impl RequirementName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequirementName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RequirementName {
    type Err = RequirementError;

    fn from_str(text: &str) -> Result<Self, RequirementError> {
        let fits = (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(RequirementError::Name(text.chars().take(64).collect()))
        }
    }
}

/// Who may vote on a requirement.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReviewerSelector {
    /// Anyone with the reviewer role (`*`).
    Anyone,
    /// Members of a group (`group:sre`).
    Group(String),
    /// One person (`user:alice@example.com`).
    User(PersonId),
}

impl fmt::Display for ReviewerSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anyone => f.write_str("*"),
            Self::Group(name) => write!(f, "group:{name}"),
            Self::User(person) => write!(f, "user:{person}"),
        }
    }
}

impl FromStr for ReviewerSelector {
    type Err = RequirementError;

    fn from_str(text: &str) -> Result<Self, RequirementError> {
        let error = || RequirementError::Reviewer(text.chars().take(64).collect());
        if text == "*" {
            return Ok(Self::Anyone);
        }
        if let Some(person) = text.strip_prefix("user:") {
            return person.parse().map(Self::User).map_err(|_| error());
        }
        let group = text.strip_prefix("group:").ok_or_else(error)?;
        let fits =
            (1..=128).contains(&group.len()) && !group.chars().any(|c| c.is_control() || c.is_whitespace());
        if fits { Ok(Self::Group(group.to_owned())) } else { Err(error()) }
    }
}

macro_rules! serde_as_text {
    ($($name:ty),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(D::Error::custom)
            }
        }
    )*};
}

serde_as_text!(RequirementName, ReviewerSelector);

/// Whose word a requirement asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequirementKind {
    /// Somebody else's: never the initiating human's or the agent's owner's (I3).
    #[default]
    Approval,
    /// The initiating human's own. Recorded as a confirmation; never counts as an approval.
    Confirmation,
}

/// How surely an approval has to be the person's own, weakest first. A stronger one counts for a weaker one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Assurance {
    /// Any sign-in: a chat account that the person linked, or their API token.
    #[default]
    Any,
    /// A session in the console, where the whole request is in front of them.
    Console,
    /// Their passkey, for this one decision.
    Passkey,
}

impl Assurance {
    /// The word for it in `approvals.toml` and in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Console => "console",
            Self::Passkey => "passkey",
        }
    }

    /// Whether it is the weakest, which asks for nothing. Left out where it would be written.
    #[must_use]
    pub fn is_any(&self) -> bool {
        *self == Self::Any
    }
}

/// How often, and for how long, an approved operation may run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum GrantShape {
    /// One time.
    #[default]
    Once,
    /// At most so many times within a span that starts with the approval.
    Uses {
        /// How many times, from 1 to [`GrantShape::MAX_USES`].
        uses: u32,
        /// For how long.
        within: Seconds,
    },
}

impl GrantShape {
    /// The most uses that one grant can have.
    pub const MAX_USES: u32 = 1_000;
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct UsesWithin {
    uses: u32,
    within: Seconds,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum GrantShapeText {
    Word(String),
    Uses(UsesWithin),
}

impl Serialize for GrantShape {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::Once => serializer.serialize_str("once"),
            Self::Uses { uses, within } => UsesWithin { uses, within }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for GrantShape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let error = || D::Error::custom(RequirementError::Grant);
        match GrantShapeText::deserialize(deserializer).map_err(|_| error())? {
            GrantShapeText::Word(word) if word == "once" => Ok(Self::Once),
            GrantShapeText::Uses(UsesWithin { uses, within })
                if (1..=Self::MAX_USES).contains(&uses) && within > Seconds::new(0) =>
            {
                Ok(Self::Uses { uses, within })
            }
            GrantShapeText::Word(_) | GrantShapeText::Uses(_) => Err(error()),
        }
    }
}

/// A named rule for an approval. Frozen into every request that it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requirement {
    /// Its name.
    pub name: RequirementName,
    /// Whose word it asks for.
    #[serde(default)]
    pub kind: RequirementKind,
    /// Who may vote. Empty for a confirmation, which only the initiating human can give.
    #[serde(default)]
    pub reviewers: Vec<ReviewerSelector>,
    /// How many distinct people must approve (I4). At least 1.
    pub quorum: u32,
    /// How long reviewers have to decide.
    pub decide_within: Seconds,
    /// How long after the approval execution may start.
    pub execute_within: Seconds,
    /// How often the approved operation may run.
    #[serde(default)]
    pub grant: GrantShape,
    /// How surely an approval has to be the person's own. A denial is taken from anywhere.
    #[serde(default, skip_serializing_if = "Assurance::is_any")]
    pub assurance: Assurance,
}

impl Requirement {
    /// How long reviewers have when the bundle does not say.
    pub const DEFAULT_DECIDE_WITHIN: Seconds = Seconds::new(15 * 60);
    /// How long execution may wait when the bundle does not say.
    pub const DEFAULT_EXECUTE_WITHIN: Seconds = Seconds::new(5 * 60);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_grant_is_bounded_in_uses_and_time() {
        let parse = |value| serde_json::from_value::<GrantShape>(value);
        assert_eq!(parse(json!("once")).unwrap(), GrantShape::Once);
        assert_eq!(
            parse(json!({"uses": 3, "within": "1h"})).unwrap(),
            GrantShape::Uses { uses: 3, within: Seconds::new(3600) }
        );
        for refused in [
            json!("forever"),
            json!({"uses": 0, "within": "1h"}),
            json!({"uses": 1_001, "within": "1h"}),
            json!({"uses": 1}),
            json!({"uses": 1, "within": "0s"}),
            json!({"uses": 1, "within": "1h", "unlimited": true}),
        ] {
            assert!(parse(refused.clone()).is_err(), "{refused}");
        }
    }

    #[test]
    fn reviewers_are_groups_people_or_anyone() {
        for text in ["*", "group:sre", "user:owner@example.com"] {
            assert_eq!(text.parse::<ReviewerSelector>().unwrap().to_string(), text);
        }
        for text in ["sre", "group:", "user:", "group:a b", ""] {
            assert!(text.parse::<ReviewerSelector>().is_err(), "{text}");
        }
    }
}
