//! The revisions of the protocol.

use serde_json::{Value, json};

use super::edit::Members;

/// The code for a revision that is not understood (2026-07-28).
pub(crate) const UNSUPPORTED: i32 = -32022;
/// The member of `_meta` that names the revision from 2026-07-28 on.
const VERSION_KEY: &str = "io.modelcontextprotocol/protocolVersion";

/// A revision of the protocol, older ones first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Revision {
    November2024,
    March2025,
    June2025,
    November2025,
    July2026,
}

impl Revision {
    const ALL: [Self; 5] =
        [Self::July2026, Self::November2025, Self::June2025, Self::March2025, Self::November2024];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::November2024 => "2024-11-05",
            Self::March2025 => "2025-03-26",
            Self::June2025 => "2025-06-18",
            Self::November2025 => "2025-11-25",
            Self::July2026 => "2026-07-28",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|revision| revision.as_str() == text)
    }

    /// Every revision that is understood here, newest first.
    fn names() -> [&'static str; 5] {
        Self::ALL.map(Self::as_str)
    }

    /// Whether each request stands for itself: no handshake, no sessions, no requests of the server.
    pub(crate) fn is_stateless(self) -> bool {
        self >= Self::July2026
    }

    /// Whether messages may come in batches.
    pub(crate) fn has_batches(self) -> bool {
        self <= Self::March2025
    }
}

/// The revision that a message with these parameters itself says it is in.
pub(crate) fn said(params: Option<&str>) -> Option<String> {
    let params = Members::parse(params?).ok()?;
    Members::parse(params.get("_meta")?).ok()?.string(VERSION_KEY)
}

/// What is told about a revision that is not understood.
pub(crate) fn unsupported(requested: &str) -> (&'static str, Value) {
    let data = json!({"supported": Revision::names(), "requested": requested});
    ("Unsupported protocol version", data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_are_ordered_and_known_by_name() {
        assert!(Revision::November2024 < Revision::July2026);
        assert!(Revision::March2025.has_batches() && !Revision::June2025.has_batches());
        assert!(Revision::names().iter().all(|name| Revision::parse(name).is_some()));
    }
}
