//! Why and where an operation comes from. Shown to reviewers and recorded; never bound by the digest.

use serde::{Deserialize, Serialize};

use crate::identity::PersonId;

/// The longest free text kept in a provenance, in characters; the rest is cut off.
pub const MAX_TEXT: usize = 2_000;

/// The human on whose behalf an agent acts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Initiator {
    /// The person.
    pub person: PersonId,
    /// Whether somebody trustworthy vouched for it. An unverified initiator can only take rights
    /// away (that person may not vote, I3); it never confers any.
    #[serde(default)]
    pub verified: bool,
}

/// Where an operation comes from, as far as it is known. All of it but a verified initiator is the
/// agent's own word, and is shown as such.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// The human on whose behalf the agent acts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initiator: Option<Initiator>,
    /// The model that drives the agent (`gen_ai.request.model`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The conversation or session (`gen_ai.conversation.id`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Why the agent says it does this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What the agent was told to do, shortened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
}

impl Provenance {
    /// The same provenance with every free text cut to [`MAX_TEXT`] characters.
    #[must_use]
    pub fn bounded(self) -> Self {
        let cut = |text: Option<String>| text.map(|text| text.chars().take(MAX_TEXT).collect());
        Self {
            initiator: self.initiator,
            model: cut(self.model),
            session: cut(self.session),
            reason: cut(self.reason),
            prompt: cut(self.prompt),
        }
    }
}
