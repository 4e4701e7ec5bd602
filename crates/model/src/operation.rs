//! One unit of work that needs its own decision, and the digest that stands for it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    canonical::{CanonicalError, to_canonical_json},
    digest::Digest,
    projection::Projection,
};

/// The members of a JSON object.
pub type Object = Map<String, Value>;

/// Who wants to act (AuthZEN §5.1). Cedar's principal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Subject {
    /// The Cedar entity type, for example `Agent`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The entity id within its type.
    pub id: String,
    /// Attributes, over those of the bundle's entity of that name.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub properties: Object,
}

/// What they want to do (AuthZEN §5.3).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Action {
    /// The Cedar action id, optionally with a namespace: `deploy`, `Exec::run`.
    pub name: String,
    /// Arguments of the action; policy sees them as `context.action`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub properties: Object,
}

/// What they want to do it to (AuthZEN §5.2).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Resource {
    /// The Cedar entity type, for example `Mcp::Tool`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The entity id within its type.
    pub id: String,
    /// Attributes, over those of the bundle's entity of that name.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub properties: Object,
}

/// One unit of work that needs its own decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    /// Who.
    pub subject: Subject,
    /// Does what.
    pub action: Action,
    /// To what.
    pub resource: Resource,
    /// Under which circumstances, as the caller gave them.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub context: Object,
}

/// The context members that the gate sets itself. A caller's own values for them never reach policy.
pub const RESERVED_CONTEXT: [&str; 5] = ["action", "agent", "approvals", "subject", "time"];

/// An operation in the form that is authorised: canonical JSON without its advisory fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundOperation {
    text: String,
    digest: Digest,
}

impl BoundOperation {
    /// The RFC 8785 text that the digest was taken over.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// SHA-256 over [`Self::text`]: what reviewers approve and what grants are bound to (I2, I12).
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

impl Operation {
    /// The form that is authorised. Which fields the projection left out is itself part of the form,
    /// so a digest made under one projection never matches one made under another.
    ///
    /// # Errors
    /// When the operation holds an integer that JSON cannot carry exactly.
    pub fn bind(&self, projection: &Projection) -> Result<BoundOperation, CanonicalError> {
        let mut value = json!({
            "v": 1,
            "subject": self.subject,
            "action": self.action,
            "resource": self.resource,
            "context": self.context,
        });
        projection.remove_from(&mut value);
        if !projection.is_empty()
            && let Value::Object(members) = &mut value
        {
            members.insert("advisory".to_owned(), json!(projection.pointers()));
        }
        let text = to_canonical_json(&value)?;
        let digest = Digest::of(text.as_bytes());
        Ok(BoundOperation { text, digest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn deploy() -> Operation {
        serde_json::from_value(json!({
            "subject": {"type": "Agent", "id": "deploy-bot"},
            "action": {"name": "deploy", "properties": {"version": "1.4.2", "description": "fix"}},
            "resource": {"type": "Service", "id": "payments", "properties": {"replicas": 3}},
            "context": {"ticket": "OPS-7"}
        }))
        .unwrap()
    }

    #[test]
    fn the_same_operation_has_one_digest_and_a_changed_one_another() {
        let operation = deploy();
        let digest = operation.bind(&Projection::default()).unwrap().digest();
        assert_eq!(deploy().bind(&Projection::default()).unwrap().digest(), digest);
        let mut changed = operation;
        changed.action.properties.insert("version".into(), json!("1.4.3"));
        assert_ne!(changed.bind(&Projection::default()).unwrap().digest(), digest);
    }

    #[test]
    fn a_projection_ignores_its_fields_and_says_so_in_the_bound_form() {
        let projection: Projection =
            ["/action/properties/description".parse().unwrap()].into_iter().collect();
        let bound = deploy().bind(&projection).unwrap();
        let mut reworded = deploy();
        reworded.action.properties.insert("description".into(), json!("something else"));
        assert_eq!(reworded.bind(&projection).unwrap(), bound);
        assert_ne!(deploy().bind(&Projection::default()).unwrap().digest(), bound.digest());
        assert!(bound.text().contains(r#""advisory":["/action/properties/description"]"#));
    }
}
