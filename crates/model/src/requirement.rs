//! Requirements: named rules for an approval. Who may vote, how many, how fast, for what kind of grant.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{identity::PersonId, task_scope::TaskScope, time::Seconds};

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
        "a grant is \"once\", {{ uses = N, within = \"1h\" }} with N from 1 to {}, {{ window = \"1h\" }}, or \
         {{ task = {{ count = N, within = \"1h\" }} }}",
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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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
    /// As often as it is wanted within a span that starts with the approval. Always the same operation;
    /// [`GrantShape::MAX_USES`] still bounds it.
    Window(Seconds),
    /// With others of the same action, inside a budget.
    Task(TaskScope),
}

impl GrantShape {
    /// The most uses that one grant can have.
    pub const MAX_USES: u32 = 1_000;
}

/// In words, for who decides: "once", "up to 3 times within 1h".
impl fmt::Display for GrantShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Once => f.write_str("once"),
            Self::Uses { uses: 1, within } => write!(f, "once within {within}"),
            Self::Uses { uses, within } => write!(f, "up to {uses} times within {within}"),
            Self::Window(within) => write!(f, "as often as it is wanted within {within}"),
            Self::Task(scope) => scope.fmt(f),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct UsesWithin {
    uses: u32,
    within: Seconds,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Window {
    window: Seconds,
}

/// What is in it is read by itself, so that a mistake in it is named.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Task<T> {
    task: T,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum GrantShapeText {
    Word(String),
    Uses(UsesWithin),
    Window(Window),
    Task(Task<serde_json::Value>),
}

impl Serialize for GrantShape {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Once => serializer.serialize_str("once"),
            Self::Uses { uses, within } => UsesWithin { uses: *uses, within: *within }.serialize(serializer),
            Self::Window(window) => Window { window: *window }.serialize(serializer),
            Self::Task(task) => Task { task }.serialize(serializer),
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
            GrantShapeText::Window(Window { window }) if window > Seconds::new(0) => Ok(Self::Window(window)),
            GrantShapeText::Task(Task { task }) => {
                serde_json::from_value(task).map(Self::Task).map_err(D::Error::custom)
            }
            GrantShapeText::Word(_) | GrantShapeText::Uses(_) | GrantShapeText::Window(_) => Err(error()),
        }
    }
}

/// Who else may vote when a requirement is not met for some time. That time never approves anything (I5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Escalation {
    /// How long after its first reviewers were asked.
    pub after: Seconds,
    /// Who may vote from then on, too.
    pub to: Vec<ReviewerSelector>,
}

/// Whether a vote must say why.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasonRule {
    /// It may.
    #[default]
    Optional,
    /// It must, whether it approves or denies.
    Required,
}

impl ReasonRule {
    /// For serde: what is the default is left out.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
    fn is_optional(&self) -> bool {
        *self == Self::Optional
    }
}

/// A named rule for an approval. Frozen into every request that it holds.
///
/// A member that an early requirement did not have is left out when it is at its default, so that what was
/// stored before stays what it was.
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
    /// When it is asked for: the requirements of a lower stage must be met before. At least 1.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub stage: u32,
    /// How many distinct people must deny to end the request. At least 1.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub deny_threshold: u32,
    /// Who else is asked when it is not met for some time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalate: Option<Escalation>,
    /// How often its reviewers are reminded while it is not met, at most [`Requirement::MAX_REMINDERS`] times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remind_every: Option<Seconds>,
    /// Whether a vote on it must say why.
    #[serde(default, skip_serializing_if = "ReasonRule::is_optional")]
    pub reason: ReasonRule,
    /// Who may approve alone in an emergency, with a reason, and is reviewed by somebody else afterwards.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub break_glass: Vec<ReviewerSelector>,
}

fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_one(number: &u32) -> bool {
    *number == 1
}

impl Requirement {
    /// The last stage that there can be.
    pub const LAST_STAGE: u32 = 16;
    /// How often reviewers are reminded at most.
    pub const MAX_REMINDERS: u32 = 10;

    /// An approval by one of these people, with everything else at its default.
    #[must_use]
    pub fn new(name: RequirementName, reviewers: Vec<ReviewerSelector>) -> Self {
        Self {
            name,
            kind: RequirementKind::Approval,
            reviewers,
            quorum: 1,
            decide_within: Self::DEFAULT_DECIDE_WITHIN,
            execute_within: Self::DEFAULT_EXECUTE_WITHIN,
            grant: GrantShape::Once,
            assurance: Assurance::Any,
            stage: 1,
            deny_threshold: 1,
            escalate: None,
            remind_every: None,
            reason: ReasonRule::Optional,
            break_glass: Vec::new(),
        }
    }

    /// Everyone who may ever vote on it: its reviewers, and those whom it escalates to.
    pub fn everybody_asked(&self) -> impl Iterator<Item = &ReviewerSelector> {
        self.reviewers.iter().chain(self.escalate.iter().flat_map(|escalation| &escalation.to))
    }

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
        assert_eq!(parse(json!({"window": "1h"})).unwrap(), GrantShape::Window(Seconds::new(3600)));
        let task = json!({"task": {"count": 5, "within": "1h"}});
        assert!(matches!(parse(task.clone()).unwrap(), GrantShape::Task(TaskScope { count: 5, .. })));
        assert_eq!(
            serde_json::to_value(parse(task).unwrap()).unwrap(),
            json!({"task": {"count": 5, "within": "1h"}})
        );
        let error = parse(json!({"task": {"count": 1, "within": "1h"}})).unwrap_err().to_string();
        assert!(error.contains("from 2 to 1000"), "{error}");
        for refused in [
            json!("forever"),
            json!({"task": {"count": 5}}),
            json!({"task": {"count": 5, "within": "1h"}, "window": "1h"}),
            json!({"window": "0s"}),
            json!({"window": "1h", "uses": 3}),
            json!({"window": "1h", "within": "1h"}),
            json!({"uses": 0, "within": "1h"}),
            json!({"uses": 1_001, "within": "1h"}),
            json!({"uses": 1}),
            json!({"uses": 1, "within": "0s"}),
            json!({"uses": 1, "within": "1h", "unlimited": true}),
        ] {
            assert!(parse(refused.clone()).is_err(), "{refused}");
        }
    }

    /// Whatever was stored before a member was added must read, and write, as it did.
    #[test]
    fn what_is_at_its_default_is_left_out() {
        let stored = json!({
            "name": "sre", "kind": "approval", "reviewers": ["group:sre"], "quorum": 1,
            "decide_within": "15m", "execute_within": "5m", "grant": "once"
        });
        let requirement: Requirement = serde_json::from_value(stored.clone()).unwrap();
        assert_eq!(requirement, Requirement::new("sre".parse().unwrap(), vec!["group:sre".parse().unwrap()]));
        assert_eq!(serde_json::to_value(requirement).unwrap(), stored);
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
