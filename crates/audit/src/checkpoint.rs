//! Checkpoints: the ledger's signed head (C2SP tlog-checkpoint, a C2SP signed-note).
//!
//! ```text
//! countersign.example/ledger
//! 1234
//! CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=
//!
//! — countersign.example/ledger Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
//! ```

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::STANDARD};
use countersign_model::{
    Digest,
    signing::{SigningKey, VerifyingKey},
};

use crate::proof::TreeHead;

/// The longest origin, in bytes.
pub const MAX_ORIGIN: usize = 255;
/// The longest checkpoint that is read, in bytes.
pub const MAX_NOTE: usize = 16 * 1024;
/// The signature type of Ed25519 (C2SP signed-note §Signature types).
const ED25519: u8 = 1;
/// What a signature line begins with: an em dash and a space.
const SIGNATURE_MARK: &str = "\u{2014} ";

/// Why something is not a checkpoint to be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Not a name that a log can have.
    #[error(
        "a log's name has 1 to {MAX_ORIGIN} bytes, without white space, control characters and plus signs"
    )]
    Origin,
    /// Not a verifier key.
    #[error("not a verifier key: NAME+HASH+KEY, as the control plane prints it")]
    Key,
    /// Not a signed note.
    #[error("not a signed note (C2SP signed-note)")]
    Note,
    /// A signed note, but not a checkpoint.
    #[error("not a checkpoint: an origin, a size and a root, each in the one way to write it")]
    Checkpoint,
    /// A checkpoint of another log.
    #[error("the checkpoint is of another log")]
    OtherLog,
    /// Not signed by the log's key.
    #[error("the checkpoint is not signed by the trusted key")]
    Unsigned,
    /// The signature of the log's key does not match.
    #[error("the checkpoint's signature does not match: it was changed after it was signed")]
    Signature,
}

/// The public key of a log under the log's name: `NAME+HASH+KEY`, as Go's `sumdb/note` reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogKey {
    origin: String,
    key: VerifyingKey,
}

impl LogKey {
    /// A log's key.
    ///
    /// # Errors
    /// When the origin is not one that a note can be signed under.
    pub fn new(origin: &str, key: VerifyingKey) -> Result<Self, CheckpointError> {
        let odd = |c: char| c.is_whitespace() || c.is_control() || c == '+';
        if origin.is_empty() || origin.len() > MAX_ORIGIN || origin.chars().any(odd) {
            return Err(CheckpointError::Origin);
        }
        Ok(Self { origin: origin.to_owned(), key })
    }

    /// The log's name: the first line of its checkpoints.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &VerifyingKey {
        &self.key
    }

    /// The first four bytes of SHA-256 over the name, a line break, the type and the key (C2SP signed-note).
    fn hash(&self) -> [u8; 4] {
        let digest = Digest::of_parts(&[self.origin.as_bytes(), b"\n", &[ED25519], self.key.as_bytes()]);
        let [a, b, c, d, ..] = *digest.as_bytes();
        [a, b, c, d]
    }
}

impl fmt::Display for LogKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = vec![ED25519];
        key.extend_from_slice(self.key.as_bytes());
        write!(f, "{}+{:08x}+{}", self.origin, u32::from_be_bytes(self.hash()), STANDARD.encode(key))
    }
}

impl FromStr for LogKey {
    type Err = CheckpointError;

    fn from_str(text: &str) -> Result<Self, CheckpointError> {
        let mut parts = text.splitn(3, '+');
        let (Some(origin), Some(_), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(CheckpointError::Key);
        };
        let bytes = STANDARD.decode(key).map_err(|_| CheckpointError::Key)?;
        let Some((&ED25519, key)) = bytes.split_first() else { return Err(CheckpointError::Key) };
        let key = VerifyingKey::from_bytes(key.try_into().map_err(|_| CheckpointError::Key)?);
        let parsed = Self::new(origin, key)?;
        // Whatever was in the hash's place, there is one way to write a key.
        if parsed.to_string() == text { Ok(parsed) } else { Err(CheckpointError::Key) }
    }
}

/// A log's head: what a checkpoint says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name.
    pub origin: String,
    /// Its size and root.
    pub head: TreeHead,
}

impl Checkpoint {
    /// Signs a log's head. Deterministic.
    ///
    /// # Errors
    /// When the origin is not one that a note can be signed under.
    pub fn sign(&self, key: &SigningKey) -> Result<String, CheckpointError> {
        let log = LogKey::new(&self.origin, key.verifying_key())?;
        let text = self.to_string();
        let mut signature = log.hash().to_vec();
        signature.extend_from_slice(&key.sign(text.as_bytes()));
        Ok(format!("{text}\n{SIGNATURE_MARK}{} {}\n", self.origin, STANDARD.encode(signature)))
    }

    /// Reads a checkpoint and checks that the log signed it. Signatures of others are passed over.
    ///
    /// # Errors
    /// When it is not a checkpoint of that log, or not signed by its key.
    pub fn verify(note: &str, log: &LogKey) -> Result<Self, CheckpointError> {
        let (text, signatures) = split(note)?;
        let checkpoint: Self = text.parse()?;
        if checkpoint.origin != log.origin {
            return Err(CheckpointError::OtherLog);
        }
        let mut signed = Err(CheckpointError::Unsigned);
        for line in signatures.lines() {
            let (name, bytes) = signature(line)?;
            if name != log.origin {
                continue;
            }
            if let Some(signature) = bytes.strip_prefix(&log.hash()) {
                log.key.verify(text.as_bytes(), signature).map_err(|_| CheckpointError::Signature)?;
                signed = Ok(());
            }
        }
        signed.map(|()| checkpoint)
    }
}

/// The text that is signed. Its last character is a line break.
impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TreeHead { size, root } = self.head;
        write!(f, "{}\n{size}\n{}\n", self.origin, STANDARD.encode(root.as_bytes()))
    }
}

impl FromStr for Checkpoint {
    type Err = CheckpointError;

    /// Reads the text of a checkpoint, without its signatures; extension lines are passed over.
    fn from_str(text: &str) -> Result<Self, CheckpointError> {
        let malformed = || CheckpointError::Checkpoint;
        let mut lines = text.strip_suffix('\n').ok_or_else(malformed)?.split('\n');
        let origin = lines.next().filter(|origin| !origin.is_empty()).ok_or_else(malformed)?;
        let size_text = lines.next().ok_or_else(malformed)?;
        let size: u64 = size_text.parse().map_err(|_| malformed())?;
        let root = STANDARD.decode(lines.next().ok_or_else(malformed)?).map_err(|_| malformed())?;
        let root = Digest::from_bytes(root.try_into().map_err(|_| malformed())?);
        if size.to_string() != size_text || lines.any(str::is_empty) {
            return Err(malformed());
        }
        Ok(Self { origin: origin.to_owned(), head: TreeHead { size, root } })
    }
}

/// A note's text and its signature lines. The text ends at the last empty line (C2SP signed-note §Format).
fn split(note: &str) -> Result<(&str, &str), CheckpointError> {
    let odd = |c: char| c.is_control() && c != '\n';
    if note.len() > MAX_NOTE || note.contains(odd) || !note.ends_with('\n') {
        return Err(CheckpointError::Note);
    }
    let end = note.rfind("\n\n").ok_or(CheckpointError::Note)?;
    let (text, signatures) = (note.get(..=end), note.get(end + 2..));
    match (text, signatures) {
        (Some(text), Some(signatures)) if !signatures.is_empty() => Ok((text, signatures)),
        _ => Err(CheckpointError::Note),
    }
}

fn signature(line: &str) -> Result<(&str, Vec<u8>), CheckpointError> {
    let line = line.strip_prefix(SIGNATURE_MARK).ok_or(CheckpointError::Note)?;
    let (name, signature) = line.split_once(' ').ok_or(CheckpointError::Note)?;
    let bytes = STANDARD.decode(signature).map_err(|_| CheckpointError::Note)?;
    if name.is_empty() || bytes.len() < 5 { Err(CheckpointError::Note) } else { Ok((name, bytes)) }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::merkle::empty_root;

    pub(crate) fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32]).unwrap()
    }

    pub(crate) fn log(seed: u8) -> LogKey {
        LogKey::new("example.org/ledger", key(seed).verifying_key()).unwrap()
    }

    fn checkpoint() -> Checkpoint {
        let head = TreeHead { size: 1_234, root: Digest::of(b"root") };
        Checkpoint { origin: "example.org/ledger".into(), head }
    }

    /// The example key and note of Go's `golang.org/x/mod/sumdb/note`, which the C2SP specification took over.
    #[test]
    fn the_published_example_verifies() {
        let text = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        let log: LogKey = text.parse().unwrap();
        assert_eq!(log.to_string(), text);
        let signed = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
        let line = "\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=";
        let (name, bytes) = signature(line).unwrap();
        assert_eq!(name, log.origin());
        let signature = bytes.strip_prefix(&log.hash()).unwrap();
        log.key().verify(signed.as_bytes(), signature).unwrap();
    }

    #[test]
    fn a_checkpoint_is_read_only_with_its_logs_key() {
        let note = checkpoint().sign(&key(1)).unwrap();
        assert_eq!(Checkpoint::verify(&note, &log(1)), Ok(checkpoint()));
        assert_eq!(Checkpoint::verify(&note, &log(2)), Err(CheckpointError::Unsigned));
        let other = LogKey::new("example.org/other", key(1).verifying_key()).unwrap();
        assert_eq!(Checkpoint::verify(&note, &other), Err(CheckpointError::OtherLog));
    }

    #[test]
    fn signatures_of_others_are_passed_over_but_must_be_well_formed() {
        let note = checkpoint().sign(&key(1)).unwrap();
        let witness = format!("{SIGNATURE_MARK}witness.example {}\n", STANDARD.encode([7; 76]));
        assert!(Checkpoint::verify(&(note.clone() + &witness), &log(1)).is_ok());
        assert!(Checkpoint::verify(&(note + "witness\n"), &log(1)).is_err());
        let extended = checkpoint().to_string() + "extension\n";
        assert_eq!(extended.parse(), Ok(checkpoint()));
        assert!((checkpoint().to_string() + "\n").parse::<Checkpoint>().is_err());
    }

    #[test]
    fn there_is_one_way_to_write_a_checkpoint_and_a_key() {
        let root = STANDARD.encode(empty_root().as_bytes());
        for text in
            ["", "o\n", "o\n01\n{root}\n", "o\n+1\n{root}\n", "o\n1\n{root}", "o\n1\nAAAA\n", "\n1\n{root}\n"]
        {
            assert!(text.replace("{root}", &root).parse::<Checkpoint>().is_err(), "{text:?}");
        }
        let key = log(1).to_string();
        assert_eq!(key.parse(), Ok(log(1)));
        assert!(key.to_uppercase().parse::<LogKey>().is_err());
        assert!(key.replace("example", "elsewhere").parse::<LogKey>().is_err());
        for origin in ["", "a b", "a+b", "a\nb", &"x".repeat(256)] {
            assert_eq!(LogKey::new(origin, VerifyingKey::from_bytes([0; 32])), Err(CheckpointError::Origin));
        }
    }

    proptest! {
        #[test]
        fn every_changed_byte_of_a_checkpoint_is_noticed(at in any::<prop::sample::Index>(), to in any::<u8>()) {
            let note = checkpoint().sign(&key(1)).unwrap();
            let mut changed = note.clone().into_bytes();
            let position = at.index(changed.len());
            changed[position] = to;
            prop_assume!(changed != note.as_bytes());
            if let Ok(changed) = String::from_utf8(changed) {
                prop_assert!(Checkpoint::verify(&changed, &log(1)).is_err());
            }
        }

        #[test]
        fn reading_a_note_never_panics(note in "(?s).{0,200}|[o1\\n— =A-Za-z0-9]{0,200}") {
            let _ = Checkpoint::verify(&note, &log(1));
            let _ = note.parse::<LogKey>();
        }
    }
}
