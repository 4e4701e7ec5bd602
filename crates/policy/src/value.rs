//! JSON to Cedar, through Cedar's own constructors and not through its JSON reader.
//!
//! So a caller's `{"__entity": …}` is an ordinary record: data from outside can never become a
//! reference to an entity.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use cedar_policy_core::{
    ast::{ExtensionFunction, Name, PartialValue, Value, ValueKind},
    extensions::Extensions,
};
use countersign_model::{Object, Timestamp};
use serde_json::{Number, Value as Json};

/// A JSON value as policy sees it.
///
/// - An integer is a `Long`, however it is written (`1`, `1.0` and `1e0` have one canonical form
///   and so one meaning).
/// - Another number is a `decimal` when it is exactly one, else its text.
/// - `null` as a member is left out. In a list it stays, as an empty record, so that a list with
///   something in it never looks empty.
pub(crate) fn to_cedar(value: &Json) -> Value {
    match value {
        Json::Null => Value::empty_record(None),
        Json::Bool(flag) => Value::from(*flag),
        Json::Number(number) => number_to_cedar(number),
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => Value::set(items.iter().map(to_cedar), None),
        Json::Object(members) => record(members),
    }
}

/// The members of a JSON object as a Cedar record.
pub(crate) fn record(members: &Object) -> Value {
    let present = members.iter().filter(|(_, member)| !member.is_null());
    let pairs: BTreeMap<_, _> =
        present.map(|(name, member)| (name.as_str().into(), to_cedar(member))).collect();
    Value::record_arc(Arc::new(pairs), None)
}

fn number_to_cedar(number: &Number) -> Value {
    if let Some(integer) = number.as_i64() {
        return Value::from(integer);
    }
    match number.as_f64() {
        Some(float) if float.fract() == 0.0 && float.abs() < MAX_EXACT => {
            #[expect(clippy::cast_possible_truncation, reason = "integral and below 2^53, so exact")]
            let integer = float as i64;
            Value::from(integer)
        }
        Some(float) => decimal(float).unwrap_or_else(|| Value::from(number.to_string().as_str())),
        None => Value::from(number.to_string().as_str()),
    }
}

/// 2^53: below it, every integral double is exactly one integer.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

fn decimal(float: f64) -> Option<Value> {
    let text = format!("{float:?}");
    let (_, fraction) = text.split_once('.')?;
    if fraction.len() > 4 || text.contains('e') {
        return None;
    }
    extension(*DECIMAL, &text)
}

/// A point in time as a Cedar `datetime`; `None` outside the years that it can hold.
pub(crate) fn datetime(at: Timestamp) -> Option<Value> {
    extension(*DATETIME, &at.to_string())
}

/// Looked up once: finding a constructor by its name means parsing the name.
static DECIMAL: LazyLock<Option<&'static ExtensionFunction>> = LazyLock::new(|| constructor("decimal"));
static DATETIME: LazyLock<Option<&'static ExtensionFunction>> = LazyLock::new(|| constructor("datetime"));

fn constructor(name: &str) -> Option<&'static ExtensionFunction> {
    let name = Name::parse_unqualified_name(name).ok()?;
    Extensions::all_available().func(&name).ok()
}

fn extension(constructor: Option<&ExtensionFunction>, text: &str) -> Option<Value> {
    match constructor?.call(&[Value::from(text)]).ok()? {
        PartialValue::Value(value) => Some(value),
        PartialValue::Residual(_) => None,
    }
}

/// The boolean in a value, if it is one.
pub(crate) fn as_bool(value: &Value) -> Option<bool> {
    match value.value_kind() {
        ValueKind::Lit(cedar_policy_core::ast::Literal::Bool(flag)) => Some(*flag),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(value: &Json) -> String {
        to_cedar(value).to_string()
    }

    #[test]
    fn one_canonical_form_has_one_meaning() {
        assert_eq!(to_cedar(&json!(1)), to_cedar(&serde_json::from_str("1.0").unwrap()));
        assert_eq!(to_cedar(&json!(1000)), to_cedar(&serde_json::from_str("1e3").unwrap()));
        assert_eq!(shown(&json!(1.5)), r#"decimal("1.5")"#);
        assert_eq!(shown(&json!(-0.25)), r#"decimal("-0.25")"#);
        assert_eq!(shown(&json!(1e-9)), r#""1e-9""#);
        assert_eq!(shown(&json!(1e30)), r#""1e+30""#);
    }

    #[test]
    fn data_never_becomes_a_reference() {
        let value = to_cedar(
            &json!({"__entity": {"type": "User", "id": "root"}, "__extn": {"fn": "ip", "arg": "::1"}}),
        );
        assert!(value.all_literal_uids().is_empty());
        assert!(matches!(value.value_kind(), ValueKind::Record(members) if members.len() == 2));
    }

    #[test]
    fn nothing_is_no_member_but_still_an_element() {
        assert_eq!(shown(&json!({"a": null, "b": 1})), "{b: 1}");
        assert_eq!(shown(&json!([null])), "[{}]");
    }

    #[test]
    fn time_is_a_datetime() {
        let value = datetime(Timestamp::from_millis(1_772_366_400_250)).unwrap();
        assert_eq!(value.to_string(), r#"datetime("2026-03-01T12:00:00.250Z")"#);
        assert!(datetime(Timestamp::from_millis(i64::MAX)).is_none());
    }
}
