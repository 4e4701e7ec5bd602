//! Makes what an event says fit into an event, whatever it is.
//!
//! An agent chooses its own arguments. If it could make them too large, too deep or too odd to be
//! recorded, it could keep its operation out of the log, or stop the log. So a body is shortened until
//! it fits, and says where it was. The operation's digest still covers all of it.

use countersign_model::{
    Digest, canonical::to_canonical_json, operation::Object, strict_json::MAX_SAFE_INTEGER,
};
use serde_json::{Number, Value, json};

/// The deepest nesting in a body. Well below what JSON readers refuse.
const MAX_DEPTH: usize = 48;
/// The limits that are tried one after the other: bytes of a text, members of an array or object.
const ATTEMPTS: [(usize, usize); 4] = [(16_384, 4_096), (2_048, 512), (256, 64), (64, 16)];

/// The member that says that something was shortened.
const MARK: &str = "[shortened]";

/// Makes a body one that every reader reads: not too deep, and without integers that some would round.
pub(crate) fn tame(body: &mut Object) {
    body.values_mut().for_each(|member| tame_value(member, 1));
}

fn tame_value(value: &mut Value, depth: usize) {
    match value {
        Value::Array(_) | Value::Object(_) if depth >= MAX_DEPTH => *value = MARK.into(),
        Value::Array(items) => items.iter_mut().for_each(|item| tame_value(item, depth + 1)),
        Value::Object(members) => members.values_mut().for_each(|member| tame_value(member, depth + 1)),
        Value::Number(number) if !is_safe(number) => *value = number.to_string().into(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Whether all readers agree about a number. RFC 8785 writes large whole doubles as integers.
fn is_safe(number: &Number) -> bool {
    match (number.as_u64(), number.as_i64(), number.as_f64()) {
        (Some(positive), _, _) => positive <= MAX_SAFE_INTEGER,
        (None, Some(negative), _) => negative.unsigned_abs() <= MAX_SAFE_INTEGER,
        #[expect(clippy::cast_precision_loss, reason = "2^53 - 1 is exact in a double")]
        (None, None, Some(real)) => real.abs() <= MAX_SAFE_INTEGER as f64,
        (None, None, None) => false,
    }
}

/// A tame body, shortened as little as is needed to fit into so many bytes of canonical JSON.
pub(crate) fn to_fit(body: Object, most: usize) -> Object {
    let mut body = Value::Object(body);
    let whole = canonical(&body);
    let note = json!({"bytes": whole.len(), "digest": Digest::of(whole.as_bytes())});
    for (text, members) in ATTEMPTS {
        shorten(&mut body, text, members);
        if let Value::Object(shortened) = &mut body {
            shortened.insert(MARK.to_owned(), note.clone());
        }
        if canonical(&body).len() <= most {
            break;
        }
    }
    match body {
        Value::Object(shortened) if canonical(&Value::Object(shortened.clone())).len() <= most => shortened,
        _ => Object::from_iter([(MARK.to_owned(), note)]),
    }
}

fn canonical(tame: &Value) -> String {
    to_canonical_json(tame).unwrap_or_default()
}

fn shorten(value: &mut Value, text: usize, members: usize) {
    match value {
        Value::String(long) if long.len() > text => *long = cut(long, text) + MARK,
        Value::Array(items) => {
            if items.len() > members {
                items.truncate(members);
                items.push(MARK.into());
            }
            items.iter_mut().for_each(|item| shorten(item, text, members));
        }
        Value::Object(all) => {
            let total = all.len();
            let kept = std::mem::take(all).into_iter().take(members);
            *all = kept.map(|(name, member)| (cut(&name, text), member)).collect();
            all.values_mut().for_each(|member| shorten(member, text, members));
            if total > members {
                all.insert(MARK.to_owned(), total.into());
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A text cut to so many bytes, between characters.
pub(crate) fn cut(text: &str, most: usize) -> String {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end).unwrap_or_default().to_owned()
}
