//! Semantic projection: which fields of an operation are advisory and do not bind.
//!
//! A free-text `description` that a model words anew at each try would make every retry a new
//! operation, to be approved again. A mapping may therefore name such fields. Everything it does
//! not name binds.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::Value;

/// A JSON Pointer (RFC 6901) into an operation, such as `/action/properties/description`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AdvisoryField(String);

/// The parts of an operation below which a field may be advisory. Names, types and ids always bind.
const MAY_BE_ADVISORY: [&str; 3] = ["/action/properties/", "/resource/properties/", "/context/"];

/// A pointer that cannot name an advisory field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} cannot be advisory: give a JSON Pointer below /action/properties, /resource/properties or /context"
)]
pub struct AdvisoryFieldError(String);

impl FromStr for AdvisoryField {
    type Err = AdvisoryFieldError;

    fn from_str(text: &str) -> Result<Self, AdvisoryFieldError> {
        let below = |prefix: &&str| text.len() > prefix.len() && text.starts_with(*prefix);
        if text.len() <= 512 && MAY_BE_ADVISORY.iter().any(below) {
            Ok(Self(text.to_owned()))
        } else {
            Err(AdvisoryFieldError(text.chars().take(64).collect()))
        }
    }
}

impl fmt::Display for AdvisoryField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for AdvisoryField {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for AdvisoryField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// The advisory fields of one mapping, sorted, each once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Projection(Vec<AdvisoryField>);

impl Projection {
    /// Whether every field binds.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The pointers of the fields that do not bind.
    #[must_use]
    pub fn pointers(&self) -> &[AdvisoryField] {
        &self.0
    }

    pub(crate) fn remove_from(&self, value: &mut Value) {
        for field in &self.0 {
            let Some((parent, leaf)) = field.0.rsplit_once('/') else {
                continue;
            };
            if let Some(Value::Object(members)) = value.pointer_mut(parent) {
                members.remove(&leaf.replace("~1", "/").replace("~0", "~"));
            }
        }
    }
}

impl FromIterator<AdvisoryField> for Projection {
    fn from_iter<I: IntoIterator<Item = AdvisoryField>>(fields: I) -> Self {
        let mut fields: Vec<_> = fields.into_iter().collect();
        fields.sort();
        fields.dedup();
        Self(fields)
    }
}

impl<'de> Deserialize<'de> for Projection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Vec::<AdvisoryField>::deserialize(deserializer)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_identifies_an_operation_can_never_be_advisory() {
        for pointer in [
            "/subject/id",
            "/action/name",
            "/resource/id",
            "/context",
            "/context/",
            "",
            "/action/properties/",
        ] {
            assert!(pointer.parse::<AdvisoryField>().is_err(), "{pointer}");
        }
        assert!("/context/note".parse::<AdvisoryField>().is_ok());
    }
}
