//! JSON that is put together piece by piece.

use serde_json::Value;

/// An object with more members.
pub(super) fn with(mut object: Value, more: Value) -> Value {
    if let (Value::Object(object), Value::Object(more)) = (&mut object, more) {
        object.extend(more);
    }
    object
}
