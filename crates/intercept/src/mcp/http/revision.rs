//! The header that names the revision of a message.

use http::{HeaderMap, HeaderName};

use crate::mcp::revision::Revision;

/// The header that names the revision. Defined from 2025-06-18 on.
pub(super) const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");

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
