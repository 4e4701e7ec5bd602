//! Exports: a ledger, or a part of it, as text that can be verified with nothing but a public key.
//!
//! One JSON object a line (JSON Lines), each in the one way to write it:
//!
//! ```text
//! {"header":{"checkpoint":"…","complete":true,"format":"countersign-audit-export/1","vkey":"…"}}
//! {"event":{…},"index":0}                    every event, in order; or, in a part of a ledger,
//! {"event":{…},"index":7,"proof":["…",…]}    some events, in order, each with its inclusion proof
//! {"earlier":{"checkpoint":"…","proof":[…]}} any number of earlier checkpoints, each with its consistency proof
//! {"end":{"events":2}}
//! ```
//!
//! The checkpoint comes first, so that both writing and verifying need no more memory than a line. It
//! is a C2SP signed note; a proof is a list of digests as elsewhere in Countersign (`sha256:…`).

use countersign_model::{Digest, canonical::to_canonical_json};
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};

use crate::{
    checkpoint::LogKey,
    event::{CanonicalEvent, EventError},
};

/// The format's name and version.
pub const FORMAT: &str = "countersign-audit-export/1";
/// The longest line that is read, in bytes.
pub const MAX_LINE: usize = 128 * 1024;

/// The first line: what is exported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// The signed head of the ledger.
    pub checkpoint: String,
    /// Whether every event up to the checkpoint is there.
    pub complete: bool,
    /// [`FORMAT`].
    pub format: String,
    /// The ledger's verifier key. For finding out which one it was; to be trusted, it must come from elsewhere.
    pub vkey: String,
}

/// An earlier head of the same ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Earlier {
    /// The signed head.
    pub checkpoint: String,
    /// The proof that it is a beginning of the header's.
    pub proof: Vec<Digest>,
}

/// The last line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// How many events there were.
    pub events: u64,
}

/// One line of an export.
#[derive(Debug, Clone, PartialEq)]
pub enum Line {
    /// What is exported.
    Header(Header),
    /// One event.
    Event {
        /// Its index in the ledger, from 0.
        index: u64,
        /// The event.
        event: Box<CanonicalEvent>,
        /// Its inclusion proof, in a part of a ledger.
        proof: Option<Vec<Digest>>,
    },
    /// An earlier head.
    Earlier(Earlier),
    /// The end.
    End(End),
}

/// Why a line is not one of an export.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// Longer than a line can be.
    #[error("the line is longer than {MAX_LINE} bytes")]
    TooLong,
    /// Not a line of an export, or not in the one way to write it.
    #[error("not a line of an audit export")]
    Malformed,
    /// Its event is not one.
    #[error(transparent)]
    Event(#[from] EventError),
}

/// The header's line.
#[must_use]
pub fn header_line(checkpoint: &str, log: &LogKey, complete: bool) -> String {
    let (checkpoint, vkey) = (checkpoint.to_owned(), log.to_string());
    write("header", &Header { checkpoint, complete, format: FORMAT.to_owned(), vkey })
}

/// The line of an event that is given as its canonical bytes; with its proof in a part of a ledger.
#[must_use]
pub fn event_line(index: u64, event: &[u8], proof: Option<&[Digest]>) -> String {
    let event = String::from_utf8_lossy(event);
    match proof {
        None => format!("{{\"event\":{event},\"index\":{index}}}\n"),
        Some(proof) => format!("{{\"event\":{event},\"index\":{index},\"proof\":{}}}\n", json!(proof)),
    }
}

/// The line of an earlier checkpoint, with the proof that it is a beginning of the header's.
#[must_use]
pub fn earlier_line(checkpoint: &str, proof: Vec<Digest>) -> String {
    write("earlier", &Earlier { checkpoint: checkpoint.to_owned(), proof })
}

/// The last line.
#[must_use]
pub fn end_line(events: u64) -> String {
    write("end", &End { events })
}

fn write<T: Serialize>(name: &str, content: &T) -> String {
    to_canonical_json(&json!({name: content})).unwrap_or_default() + "\n"
}

/// What can be in a line. Every part is read again in its own form.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts<'a> {
    header: Option<Header>,
    #[serde(borrow)]
    event: Option<&'a RawValue>,
    index: Option<u64>,
    proof: Option<Vec<Digest>>,
    earlier: Option<Earlier>,
    end: Option<End>,
}

impl Line {
    /// Reads a line, without its line break.
    ///
    /// # Errors
    /// When it is not a line of an export, written in the one way to write it.
    pub fn parse(line: &[u8]) -> Result<Self, LineError> {
        if line.len() > MAX_LINE {
            return Err(LineError::TooLong);
        }
        let parts: Parts<'_> = serde_json::from_slice(line).map_err(|_| LineError::Malformed)?;
        let parsed = Self::from_parts(parts)?;
        // A byte that does not matter to the meaning must not be one that nobody notices changing.
        if parsed.to_text().as_bytes().strip_suffix(b"\n") == Some(line) {
            Ok(parsed)
        } else {
            Err(LineError::Malformed)
        }
    }

    fn from_parts(parts: Parts<'_>) -> Result<Self, LineError> {
        match parts {
            Parts { event: Some(event), index: Some(index), proof, .. } => {
                let event = CanonicalEvent::parse(event.get().as_bytes().to_vec())?;
                Ok(Self::Event { index, event: Box::new(event), proof })
            }
            Parts { header: Some(header), .. } if header.format == FORMAT => Ok(Self::Header(header)),
            Parts { earlier: Some(earlier), .. } => Ok(Self::Earlier(earlier)),
            Parts { end: Some(end), .. } => Ok(Self::End(end)),
            _ => Err(LineError::Malformed),
        }
    }

    fn to_text(&self) -> String {
        match self {
            Self::Header(header) => write("header", header),
            Self::Event { index, event, proof } => event_line(*index, event.bytes(), proof.as_deref()),
            Self::Earlier(earlier) => write("earlier", earlier),
            Self::End(end) => write("end", end),
        }
    }
}
