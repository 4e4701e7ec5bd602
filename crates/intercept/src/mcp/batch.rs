//! Batches of messages (JSON-RPC 2.0 §6, MCP to 2025-03-26), taken apart.

use bytes::Bytes;
use serde_json::value::RawValue;

use super::envelope::EnvelopeError;

/// The most messages of one batch.
const MAX_BATCH: usize = 100;

/// Whether this is a batch and not one message.
pub(super) fn is_batch(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().first() == Some(&b'[')
}

/// The messages of a batch, each as its own bytes. Each has still to be read strictly.
///
/// # Errors
/// When it is no JSON array, is empty or has too many.
pub(super) fn elements(batch: &Bytes) -> Result<Vec<Bytes>, EnvelopeError> {
    let elements: Vec<&RawValue> = serde_json::from_slice(batch).map_err(EnvelopeError::parse)?;
    if elements.is_empty() || elements.len() > MAX_BATCH {
        return Err(EnvelopeError::invalid(None, format!("a batch has 1 to {MAX_BATCH} messages")));
    }
    Ok(elements.into_iter().map(|element| batch.slice_ref(element.get().as_bytes())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_an_array_of_some_messages_but_not_too_many() {
        let taken = |text: &'static str| elements(&Bytes::from_static(text.as_bytes()));
        assert_eq!(taken(r#" [{"a":1}, 2 ]"#).unwrap(), [&br#"{"a":1}"#[..], b"2"]);
        for refused in ["[]", "[1", "[1]]", "{}"] {
            taken(refused).unwrap_err();
        }
        let many = |count: usize| Bytes::from(format!("[{}]", vec!["1"; count].join(",")));
        assert_eq!(elements(&many(MAX_BATCH)).unwrap().len(), MAX_BATCH);
        elements(&many(MAX_BATCH + 1)).unwrap_err();
    }
}
