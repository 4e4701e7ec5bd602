//! The revisions of the protocol, and which of them a message is in.

use http::{HeaderMap, HeaderName};

/// The header that names the revision. Defined from 2025-06-18 on.
pub(super) const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");

/// The member of `_meta` that names the revision from 2026-07-28 on.
pub(super) const VERSION_KEY: &str = "io.modelcontextprotocol/protocolVersion";

/// A revision of the protocol, older ones first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Revision {
    November2024,
    March2025,
    June2025,
    November2025,
    July2026,
}

impl Revision {
    const ALL: [Self; 5] =
        [Self::July2026, Self::November2025, Self::June2025, Self::March2025, Self::November2024];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::November2024 => "2024-11-05",
            Self::March2025 => "2025-03-26",
            Self::June2025 => "2025-06-18",
            Self::November2025 => "2025-11-25",
            Self::July2026 => "2026-07-28",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|revision| revision.as_str() == text)
    }

    /// Every revision that is understood here, newest first.
    pub(super) fn names() -> [&'static str; 5] {
        Self::ALL.map(Self::as_str)
    }

    /// Whether each request stands for itself: no handshake, no sessions, no requests of the server.
    pub(super) fn is_stateless(self) -> bool {
        self >= Self::July2026
    }

    /// Whether messages may come in batches.
    pub(super) fn has_batches(self) -> bool {
        self <= Self::March2025
    }
}

/// What the header says about the revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Named {
    Not,
    Known(Revision),
    Unknown(String),
    /// More than one header, or one that is no text.
    Unclear,
}

pub(super) fn named(headers: &HeaderMap) -> Named {
    let mut given = headers.get_all(PROTOCOL_VERSION).iter();
    let (Some(value), None) = (given.next(), given.next()) else {
        return if headers.contains_key(PROTOCOL_VERSION) { Named::Unclear } else { Named::Not };
    };
    let Ok(text) = value.to_str() else { return Named::Unclear };
    Revision::parse(text).map_or_else(|| Named::Unknown(text.to_owned()), Named::Known)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn revisions_are_ordered_and_known_by_name() {
        assert!(Revision::November2024 < Revision::July2026);
        assert!(Revision::March2025.has_batches() && !Revision::June2025.has_batches());
        assert!(Revision::names().iter().all(|name| Revision::parse(name).is_some()));
    }

    #[test]
    fn a_header_that_is_there_twice_names_nothing() {
        let mut headers = HeaderMap::new();
        assert_eq!(named(&headers), Named::Not);
        headers.append(PROTOCOL_VERSION, HeaderValue::from_static("2025-11-25"));
        assert_eq!(named(&headers), Named::Known(Revision::November2025));
        headers.append(PROTOCOL_VERSION, HeaderValue::from_static("2025-11-25"));
        assert_eq!(named(&headers), Named::Unclear);
        headers.insert(PROTOCOL_VERSION, HeaderValue::from_static("1900-01-01"));
        assert_eq!(named(&headers), Named::Unknown("1900-01-01".to_owned()));
    }
}
