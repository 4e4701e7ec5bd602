//! Every layout ever sent stays readable: by this crate, and by another implementation of the encoding.
//!
//! The files in `golden/v1` are frames in hexadecimal, header and body, one kind each. They are written
//! once, when a kind is new (run with `WRITE_GOLDEN=1`), and never changed.

#![cfg(test)]

mod samples;

use std::{fs, path::PathBuf};

use countersign_protocol::{
    Frame, FrameKind, Header,
    codec::{decode_whole, encode},
};
use wincode::{SchemaRead, config::Configuration};

fn path(kind: FrameKind) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden/v1");
    folder.join(format!("{}.hex", kind.as_str()))
}

fn golden(kind: FrameKind) -> Vec<u8> {
    let text = fs::read_to_string(path(kind)).unwrap_or_else(|error| panic!("{kind:?}: {error}"));
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap();
    let byte = |pair: &[u8]| u8::try_from(digit(pair[0]) * 16 + digit(pair[1])).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn write_missing(frame: &Frame) {
    let path = path(frame.kind());
    if std::env::var_os("WRITE_GOLDEN").is_some() && !path.exists() {
        let hex: Vec<String> = encode(frame)
            .unwrap()
            .as_bytes()
            .chunks(32)
            .map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n")
            .collect();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, hex.concat()).unwrap();
    }
}

#[test]
fn every_kind_is_written_and_read_as_it_always_was() {
    for frame in samples::all() {
        write_missing(&frame);
        let bytes = golden(frame.kind());
        assert_eq!(decode_whole(&bytes).unwrap(), frame, "{:?} is no longer read", frame.kind());
        assert_eq!(encode(&frame).unwrap().as_bytes(), bytes, "{:?} is written differently", frame.kind());
    }
}

/// Reads the body of a golden file with wincode.
fn body<T>(kind: FrameKind) -> T
where
    T: for<'de> SchemaRead<'de, Encoding, Dst = T>,
{
    wincode::config::deserialize_exact(&golden(kind)[Header::LENGTH..], encoding()).unwrap()
}

type Encoding = Configuration<
    true,
    { wincode::config::DEFAULT_PREALLOCATION_SIZE_LIMIT },
    wincode::len::BincodeLen,
    wincode::int_encoding::LittleEndian,
    wincode::int_encoding::VarInt,
    u32,
>;

const fn encoding() -> Encoding {
    Configuration::default().with_varint_encoding()
}

type Bytes32 = [u8; 32];
type Bytes16 = [u8; 16];

#[derive(SchemaRead)]
struct Hello {
    protocol: u8,
    software: String,
    revision: Option<u64>,
    bundle: Option<Bytes32>,
    last_seq: u64,
    spool_depth: u64,
    pending: Vec<Bytes16>,
}

#[derive(SchemaRead)]
struct Submission {
    key: String,
    evaluation: Bytes16,
    digest: Bytes32,
    operation: String,
    redacted: Vec<String>,
    initiator: Option<(String, bool)>,
    texts: (Option<String>, Option<String>, Option<String>, Option<String>),
    interceptor: String,
    policies: Vec<Policy>,
    requirements: Vec<String>,
    revision: u64,
    tool_pin: Option<Bytes32>,
    trace: Option<String>,
}

#[derive(SchemaRead)]
struct Policy {
    id: String,
    effect: Effect,
    reason: Option<String>,
    approval: Option<String>,
}

#[derive(Debug, PartialEq, SchemaRead)]
enum Effect {
    Permit,
    Forbid,
    Error,
}

#[derive(SchemaRead)]
struct Status {
    id: Bytes16,
    version: u64,
    phase: u32,
    cancelled: Option<u32>,
    grant: Option<String>,
    reason: Option<String>,
    decide_by: i64,
    execute_by: Option<i64>,
    progress: Vec<(String, u32, u32, u32, Vec<String>)>,
}

#[derive(Debug, PartialEq, SchemaRead)]
enum Outcome {
    Activated,
    Unchanged,
    Refused(String),
}

#[test]
fn wincode_reads_a_greeting() {
    let hello: Hello = body(FrameKind::Hello);
    assert_eq!((hello.protocol, hello.software.as_str()), (1, "countersign-sidecar 0.1.0"));
    assert_eq!((hello.revision, hello.last_seq, hello.spool_depth), (Some(7), 41, 3));
    assert!(hello.bundle.is_some());
    assert_eq!(hello.pending.len(), 2);
}

#[test]
fn wincode_reads_a_submission() {
    let read: Submission = body(FrameKind::SubmitApproval);
    let sent = samples::submission();
    assert_eq!((read.key, read.operation), (sent.key, sent.operation));
    assert_eq!(read.evaluation, sent.evaluation.to_bytes());
    assert_eq!(&read.digest, sent.digest.as_bytes());
    assert_eq!(read.redacted, sent.redacted);
    assert_eq!(read.initiator, Some(("owner@example.com".to_owned(), true)));
    let texts =
        (sent.provenance.model, sent.provenance.session, sent.provenance.reason, sent.provenance.prompt);
    assert_eq!(read.texts, texts);
    assert_eq!((read.interceptor, read.trace), (sent.interceptor, sent.trace));
    assert_eq!((read.requirements, read.revision), (vec!["two-sre".to_owned()], 300));
    assert_eq!(read.tool_pin.as_ref(), sent.tool_pin.as_ref().map(|digest| digest.as_bytes()));
    let policy = &read.policies[0];
    assert_eq!((policy.id.as_str(), &policy.effect), ("policies/deploy.cedar#1", &Effect::Forbid));
    assert_eq!(
        (policy.reason.as_deref(), policy.approval.as_deref()),
        (sent.policies[0].reason.as_deref(), Some("two-sre"))
    );
}

#[test]
fn wincode_reads_a_status() {
    let read: Status = body(FrameKind::ApprovalStatus);
    let sent = samples::status();
    assert_eq!((read.id, read.version), (sent.id.to_bytes(), sent.version));
    assert_eq!((read.phase, read.cancelled), (11, Some(1)));
    assert_eq!((read.grant, read.reason), (sent.grant, sent.reason));
    assert_eq!(read.decide_by, sent.decide_by.as_millis());
    assert_eq!(read.execute_by, sent.execute_by.map(countersign_model::Timestamp::as_millis));
    assert_eq!(read.progress, [("two-sre".to_owned(), 0, 1, 2, vec!["group:sre".to_owned()])]);
}

#[test]
fn wincode_reads_batches_bundles_and_acknowledgements() {
    let events: Vec<Vec<u8>> = body(FrameKind::AuditBatch);
    assert_eq!(events, [b"{}".to_vec(), vec![0xff; 300]]);
    assert_eq!(body::<u64>(FrameKind::AuditAck), u64::MAX);
    assert_eq!(body::<i64>(FrameKind::HeartbeatAck), -1);
    let (manifest, files): (String, Vec<(String, Vec<u8>)>) = body(FrameKind::PushBundle);
    assert_eq!((manifest.as_str(), files.len()), ("header.payload.signature", 2));
    let (revision, outcome): (Option<u64>, Outcome) = body(FrameKind::BundleAck);
    assert_eq!((revision, outcome), (Some(6), Outcome::Refused("no".to_owned())));
    let (id, number, outcome, at): (Bytes16, u32, u32, i64) = body(FrameKind::ReportOutcome);
    assert_eq!((id[0] != 0xff, number, outcome, at), (true, 2, 2, samples::at().as_millis()));
}
