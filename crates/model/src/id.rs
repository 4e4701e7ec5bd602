//! Typed identifiers: UUID version 7 (RFC 9562 §5.7), so that they sort by the time they were made.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::time::Timestamp;

/// A text that is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a UUID, which is what a {kind} id looks like")]
pub struct IdError {
    kind: &'static str,
    text: String,
}

macro_rules! typed_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Makes an id from the time it is made at and ten bytes of fresh randomness.
            #[must_use]
            pub fn new(now: Timestamp, entropy: [u8; 10]) -> Self {
                let millis = u64::try_from(now.as_millis()).unwrap_or(0);
                Self(uuid::Builder::from_unix_timestamp_millis(millis, &entropy).into_uuid())
            }

            /// The sixteen bytes of the id, in network order.
            #[must_use]
            pub fn to_bytes(self) -> [u8; 16] {
                self.0.into_bytes()
            }

            /// The id that [`Self::to_bytes`] was taken from.
            #[must_use]
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0.hyphenated())
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Uuid::try_parse(text).map(Self).map_err(|_| IdError {
                    kind: $kind,
                    text: text.chars().take(64).collect(),
                })
            }
        }
    };
}

typed_id!(
    /// An enrolled agent (one sidecar).
    AgentId,
    "agent"
);
typed_id!(
    /// An approval request, from its submission to its end.
    ApprovalId,
    "approval"
);
typed_id!(
    /// One evaluation of one operation (ARAP `evaluation_id`).
    EvaluationId,
    "evaluation"
);
typed_id!(
    /// One audit event.
    EventId,
    "event"
);
typed_id!(
    /// One vote of one person.
    VoteId,
    "vote"
);
typed_id!(
    /// An API token. The id is public; the secret is not part of it.
    TokenId,
    "token"
);
typed_id!(
    /// A stand-in that a person named.
    DelegationId,
    "delegation"
);
typed_id!(
    /// A one-time join token. The id is public; the secret is not part of it.
    JoinTokenId,
    "join token"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_the_time_they_were_made() {
        let early = ApprovalId::new(Timestamp::from_millis(1_000), [255; 10]);
        let late = ApprovalId::new(Timestamp::from_millis(1_001), [0; 10]);
        assert!(early < late);
        assert_eq!(early.to_string().parse(), Ok(early));
        assert_eq!(ApprovalId::from_bytes(early.to_bytes()), early);
    }

    #[test]
    fn a_bad_id_says_what_was_expected() {
        let error = "not-an-id".parse::<AgentId>().unwrap_err();
        assert!(error.to_string().contains("is not a UUID"));
    }
}
