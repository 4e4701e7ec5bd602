//! RFC 8785 canonical JSON (JCS): one text for one value, whatever order or spacing it came in.

use serde_json::Value;

use crate::{canonical_scan, strict_json, strict_json::MAX_SAFE_INTEGER};

/// Why a value has no canonical form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CanonicalError {
    /// An integer that a double cannot hold: two different ones would share a canonical form.
    #[error("the integer {0} cannot be canonicalised exactly (RFC 7493 §2.2); send it as a string")]
    InexactInteger(String),
    /// The canonicaliser refused the value.
    #[error("not canonicalisable: {0}")]
    Refused(String),
}

/// The RFC 8785 canonical text of a value.
///
/// # Errors
/// When the value holds an integer that a double cannot represent exactly.
pub fn to_canonical_json(value: &Value) -> Result<String, CanonicalError> {
    check_numbers(value)?;
    serde_json_canonicalizer::to_string(value).map_err(|error| CanonicalError::Refused(error.to_string()))
}

/// Whether some bytes are the canonical text of a JSON value that [`strict_json::parse`] accepts.
///
/// # Errors
/// When they are no such JSON at all.
pub fn is_canonical(bytes: &[u8]) -> Result<bool, strict_json::StrictJsonError> {
    if std::str::from_utf8(bytes).is_ok_and(canonical_scan::is_plainly_canonical) {
        return Ok(true);
    }
    let value = strict_json::parse(bytes)?;
    Ok(to_canonical_json(&value).is_ok_and(|canonical| canonical.as_bytes() == bytes))
}

/// Walks over the members of an object whose text is canonical beyond doubt: each one's name and the text
/// of its value, in order. `None` says nothing, and nothing that was seen until then counts: ask
/// [`is_canonical`].
pub fn plain_members<'a>(bytes: &'a [u8], member: &mut dyn FnMut(&'a str, &'a str)) -> Option<()> {
    canonical_scan::plain_members(std::str::from_utf8(bytes).ok()?, member)
}

fn check_numbers(value: &Value) -> Result<(), CanonicalError> {
    match value {
        Value::Number(number) => {
            let safe = match (number.as_u64(), number.as_i64()) {
                (Some(positive), _) => positive <= MAX_SAFE_INTEGER,
                (None, Some(negative)) => negative.unsigned_abs() <= MAX_SAFE_INTEGER,
                // RFC 8785 writes a whole double below 1e21 as an integer, which then is none that
                // every reader reads exactly.
                (None, None) => number.as_f64().is_some_and(|double| {
                    double.fract() != 0.0 || double.abs() < 9_007_199_254_740_992.0 || double.abs() >= 1e21
                }),
            };
            if safe { Ok(()) } else { Err(CanonicalError::InexactInteger(number.to_string())) }
        }
        Value::Array(items) => items.iter().try_for_each(check_numbers),
        Value::Object(members) => members.values().try_for_each(check_numbers),
        Value::Null | Value::Bool(_) | Value::String(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The example of RFC 8785 §3.2.2 and §3.2.3, and its published output.
    #[test]
    fn the_example_of_the_standard() {
        let input = r#"{
            "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
            "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
            "literals": [null, true, false]
        }"#;
        let expected = "{\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],\
                        \"string\":\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}";
        assert_eq!(to_canonical_json(&serde_json::from_str(input).unwrap()).unwrap(), expected);
    }

    /// RFC 8785 §3.2.3: members sort by UTF-16 code units, not by code points.
    #[test]
    fn members_sort_by_utf16() {
        let input =
            json!({"\u{20ac}": 1, "\r": 2, "\u{fb33}": 3, "1": 4, "\u{1f600}": 5, "\u{80}": 6, "\u{f6}": 7});
        let canonical = to_canonical_json(&input).unwrap();
        let order: Vec<char> = "\r1\u{80}\u{f6}\u{20ac}\u{1f600}\u{fb33}".chars().collect();
        let positions: Vec<usize> = order
            .iter()
            .map(|c| if *c == '\r' { canonical.find("\\r").unwrap() } else { canonical.find(*c).unwrap() })
            .collect();
        assert!(positions.windows(2).all(|pair| pair[0] < pair[1]), "{canonical}");
    }

    #[test]
    fn integers_that_would_collide_are_refused() {
        assert!(to_canonical_json(&json!(9_007_199_254_740_991_u64)).is_ok());
        assert!(to_canonical_json(&json!({"a": [9_007_199_254_740_993_u64]})).is_err());
        assert!(to_canonical_json(&json!(-9_007_199_254_740_993_i64)).is_err());
        assert!(to_canonical_json(&json!(1e16)).is_err(), "it would be written as an integer");
        assert!(to_canonical_json(&json!(1e21)).is_ok() && to_canonical_json(&json!(1e15)).is_ok());
    }
}
