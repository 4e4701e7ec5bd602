//! Entity tags of approvals (RFC 9110 §8.8.3): the version in quotes.

use http::{HeaderMap, HeaderName, header};

use super::problem::Problem;

/// What an `If-Match` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Precondition {
    /// Nothing: any version will do.
    None,
    /// Exactly that version.
    Version(u64),
}

/// The entity tag of a version.
pub(crate) fn of(version: u64) -> String {
    format!("\"{version}\"")
}

/// Reads `If-Match`. A weak tag never matches (RFC 9110 §13.1.1), nor does one that is none of ours;
/// both stand for version 0, which nothing has.
pub(crate) fn precondition(headers: &HeaderMap) -> Result<Precondition, Problem> {
    match text(headers, &header::IF_MATCH)? {
        None | Some("*") => Ok(Precondition::None),
        Some(tag) if tag.contains(',') => {
            Err(Problem::bad_request("If-Match: give one ETag, that of the version you saw"))
        }
        Some(tag) => Ok(Precondition::Version(version(tag.trim()).unwrap_or(0))),
    }
}

/// Whether `If-None-Match` names that version (weak comparison, RFC 9110 §13.1.2).
pub(crate) fn matches_none(headers: &HeaderMap, current: u64) -> Result<bool, Problem> {
    let Some(tags) = text(headers, &header::IF_NONE_MATCH)? else { return Ok(false) };
    let named = |tag: &str| {
        let tag = tag.trim();
        tag == "*" || version(tag.strip_prefix("W/").unwrap_or(tag)) == Some(current)
    };
    Ok(tags.split(',').any(named))
}

fn version(tag: &str) -> Option<u64> {
    tag.strip_prefix('"')?.strip_suffix('"')?.parse().ok()
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let value = headers.get(name).map(|value| value.to_str()).transpose();
    value.map_err(|_| Problem::bad_request(format!("{name}: not readable")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, http::HeaderValue::from_static(value))])
    }

    #[test]
    fn if_match_takes_exactly_the_version_that_was_seen() {
        let read = |value| precondition(&headers(header::IF_MATCH, value));
        assert_eq!(read("\"7\"").unwrap(), Precondition::Version(7));
        assert_eq!(read("*").unwrap(), Precondition::None);
        assert_eq!(read("W/\"7\"").unwrap(), Precondition::Version(0));
        assert_eq!(read("7").unwrap(), Precondition::Version(0));
        assert!(read("\"7\", \"8\"").is_err());
    }

    #[test]
    fn if_none_match_compares_weakly() {
        for value in ["\"7\"", "W/\"7\"", "\"6\", \"7\"", "*"] {
            assert!(matches_none(&headers(header::IF_NONE_MATCH, value), 7).unwrap(), "{value}");
        }
        for value in ["\"6\"", "7", ""] {
            assert!(!matches_none(&headers(header::IF_NONE_MATCH, value), 7).unwrap(), "{value}");
        }
    }
}
