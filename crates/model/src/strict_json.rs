//! JSON read so that two readers cannot disagree about it.
//!
//! Countersign forwards the bytes it was given. If it read them more leniently than the program
//! behind it, an agent could have one thing approved and another executed. So duplicate member
//! names at any depth, invalid UTF-8, trailing data and nesting deeper than 128 are refused
//! (RFC 7493 §2), and so are integers that a double cannot hold exactly (§2.2).

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The largest integer that every JSON reader agrees about: 2^53 − 1 (RFC 7493 §2.2).
pub const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// Why some bytes are not strict JSON.
#[derive(Debug, thiserror::Error)]
#[error("not acceptable JSON: {0}")]
pub struct StrictJsonError(#[from] serde_json::Error);

/// Reads one strict JSON text.
///
/// # Errors
/// When the bytes are not JSON, not UTF-8, have a duplicate member name, an integer beyond
/// [`MAX_SAFE_INTEGER`], are nested too deeply, or go on after the text.
pub fn parse(bytes: &[u8]) -> Result<Value, StrictJsonError> {
    // serde_json checks UTF-8 only inside strings that it hands out; check all of it.
    let text = std::str::from_utf8(bytes).map_err(serde_json::Error::custom)?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = Strict.deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

/// Reads one strict JSON text into a type.
///
/// # Errors
/// As [`parse`], and when the value does not have the shape of `T`.
pub fn parse_as<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, StrictJsonError> {
    Ok(serde_json::from_value(parse(bytes)?)?)
}

struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        if value > MAX_SAFE_INTEGER {
            return Err(E::custom(format!(
                "integer {value} cannot be read exactly by every JSON reader; send it as a string"
            )));
        }
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        if value.unsigned_abs() > MAX_SAFE_INTEGER {
            return Err(E::custom(format!(
                "integer {value} cannot be read exactly by every JSON reader; send it as a string"
            )));
        }
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number must be finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Strict)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(Strict)?;
            if map.contains_key(&name) {
                return Err(A::Error::custom(format!("duplicate member name {name:?}")));
            }
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_readers_could_disagree_about_is_refused() {
        for bytes in [
            br#"{"a":1,"a":2}"#.as_slice(),
            br#"{"x":[{"a":1,"a":1}]}"#,
            br#"{"a":1,"\u0061":2}"#,
            br#"{"a":1} {}"#,
            br"{'a':1}",
            b"\"\xff\"",
            b"9007199254740992",
            b"-9007199254740993",
            b"1e999",
            b"",
        ] {
            assert!(parse(bytes).is_err(), "{}", String::from_utf8_lossy(bytes));
        }
        let deep = "[".repeat(200) + &"]".repeat(200);
        assert!(parse(deep.as_bytes()).is_err());
    }

    #[test]
    fn ordinary_json_is_read_as_serde_json_reads_it() {
        let text = r#"{"a":[1,-2,3.5,true,null,"x"],"b":{"c":{}}}"#;
        assert_eq!(parse(text.as_bytes()).unwrap(), serde_json::from_str::<Value>(text).unwrap());
    }
}
