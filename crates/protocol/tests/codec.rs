//! Decoding is total, what is written is read, and limits hold before memory is used.

#![cfg(test)]

mod samples;

use std::collections::BTreeSet;

use countersign_protocol::{
    AuditBatch, DecodeError, EncodeError, Frame, FrameKind, Header, Lane, PROTOCOL_VERSION, RefusalCode,
    codec::{decode_whole, encode},
    limits,
};
use proptest::{collection::vec, prelude::any, prop_assert, prop_assert_eq, proptest};

fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[PROTOCOL_VERSION, kind][..], &length[..], body].concat()
}

fn header(bytes: &[u8]) -> [u8; Header::LENGTH] {
    bytes[..Header::LENGTH].try_into().unwrap()
}

#[test]
fn there_is_a_sample_of_every_kind_and_it_is_read_as_it_was_written() {
    let kinds: BTreeSet<_> = samples::all().iter().map(Frame::kind).collect();
    assert_eq!(kinds, FrameKind::ALL.iter().copied().collect());
    for frame in samples::all() {
        let encoded = encode(&frame).unwrap();
        assert_eq!(encoded.kind(), frame.kind());
        assert_eq!(decode_whole(encoded.as_bytes()).unwrap(), frame);
    }
}

#[test]
fn every_shortened_or_lengthened_frame_is_refused() {
    for frame in samples::all() {
        let encoded = encode(&frame).unwrap();
        let bytes = encoded.as_bytes();
        for end in 0..bytes.len() {
            assert!(decode_whole(&bytes[..end]).is_err());
            // The same with a header that says so.
            if let Some(body) = bytes.get(Header::LENGTH..end) {
                assert!(decode_whole(&framed(frame.kind() as u8, body)).is_err(), "{frame:?} {end}");
            }
        }
        let longer = framed(frame.kind() as u8, &[&bytes[Header::LENGTH..], &[0]].concat());
        assert!(decode_whole(&longer).is_err());
    }
}

#[test]
fn a_later_version_or_kind_is_not_known_which_can_be_said_and_is_no_offence() {
    let mut later = encode(&samples::all()[0]).unwrap().as_bytes().to_vec();
    later[0] = PROTOCOL_VERSION + 1;
    let unknown = framed(200, b"whatever it is");
    for bytes in [later, unknown] {
        let error = Header::read(header(&bytes), Lane::ToControl).unwrap_err();
        assert!(matches!(error, DecodeError::Unsupported { .. }));
        assert_eq!(error.refusal().unwrap().code, RefusalCode::Unsupported);
        assert_eq!(decode_whole(&bytes).unwrap_err(), error);
    }
    assert!(DecodeError::Length.refusal().is_none());
}

#[test]
fn a_frame_travels_only_where_it_belongs() {
    let lanes = [Lane::ToControl, Lane::ToSidecar, Lane::EnrolToControl, Lane::EnrolToSidecar];
    for frame in samples::all() {
        let encoded = encode(&frame).unwrap();
        for lane in lanes {
            let read = Header::read(header(encoded.as_bytes()), lane);
            assert_eq!(read.is_ok(), frame.kind().lanes().contains(&lane), "{:?} {lane:?}", frame.kind());
        }
    }
    // A stranger can say one thing only, and nobody but a stranger can say it.
    let sayable = |lane| FrameKind::ALL.iter().filter(move |kind| kind.lanes().contains(&lane));
    assert_eq!(sayable(Lane::EnrolToControl).collect::<Vec<_>>(), [&FrameKind::Enrol]);
    assert_eq!(FrameKind::Enrol.lanes(), [Lane::EnrolToControl]);
}

#[test]
fn an_announced_length_above_the_limit_is_refused_before_the_body() {
    for kind in FrameKind::ALL {
        let mut bytes = framed(*kind as u8, b"");
        bytes[2..6].copy_from_slice(&u32::try_from(kind.limit() + 1).unwrap().to_be_bytes());
        let refused = Header::read(header(&bytes), kind.lanes()[0]);
        assert!(matches!(refused, Err(DecodeError::TooLarge { .. })), "{kind:?}");
        bytes[2..6].copy_from_slice(&u32::MAX.to_be_bytes());
        assert!(matches!(decode_whole(&bytes), Err(DecodeError::TooLarge { .. })));
    }
    assert!(FrameKind::Enrol.limit() <= limits::MAX_ENROL_FRAME);
}

/// The attack: a few bytes that announce a list of billions, so that the reader reserves memory for it.
#[test]
fn an_announced_count_that_the_frame_cannot_hold_is_refused() {
    for count in [5_u64, 4_096, 4_097, u64::from(u32::MAX), u64::MAX] {
        let mut body = vec![253];
        body.extend_from_slice(&count.to_le_bytes());
        let error = decode_whole(&framed(FrameKind::AuditBatch as u8, &body)).unwrap_err();
        assert!(error.to_string().contains("a length is"), "{error}");
    }
}

#[test]
fn what_is_too_large_is_not_sent_either() {
    let too_many = AuditBatch { events: vec![Vec::new(); limits::MAX_EVENTS + 1] };
    assert!(matches!(encode(&too_many.into()), Err(EncodeError::Field { .. })));
    let too_long = AuditBatch { events: vec![vec![0; limits::MAX_EVENT + 1]] };
    assert!(matches!(encode(&too_long.into()), Err(EncodeError::Field { .. })));
    let too_much = AuditBatch { events: vec![vec![0; limits::MAX_EVENT]; 20] };
    assert!(matches!(encode(&too_much.into()), Err(EncodeError::TooLarge { .. })));
    let mut submission = samples::submission();
    submission.operation = "x".repeat(limits::MAX_OPERATION + 1);
    let error = encode(&submission.into()).unwrap_err();
    assert!(error.to_string().contains("operation"), "{error}");
}

#[test]
fn the_largest_allowed_operation_and_bundle_fit() {
    let mut submission = samples::submission();
    submission.operation = "x".repeat(limits::MAX_OPERATION);
    let encoded = encode(&submission.into()).unwrap();
    assert!(decode_whole(encoded.as_bytes()).is_ok());
    let files =
        (0..limits::MAX_FILES).map(|number| (format!("policies/{number}.cedar"), vec![b' '; 8 * 1024]));
    let bundle = countersign_protocol::PushBundle { manifest: String::new(), files: files.collect() };
    let encoded = encode(&bundle.into()).unwrap();
    assert!(decode_whole(encoded.as_bytes()).is_ok());
}

/// Values that the wire can carry but the domain does not know.
#[test]
fn parts_that_make_no_sense_are_refused_by_name() {
    let replaced = |frame: Frame, from: &[u8], to: &[u8]| {
        let bytes = encode(&frame).unwrap().as_bytes().to_vec();
        let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
        let changed = [&bytes[..at], to, &bytes[at + from.len()..]].concat();
        decode_whole(&changed).unwrap_err().to_string()
    };
    let submission = || Frame::from(samples::submission());
    assert!(replaced(submission(), b"two-sre", b"two sre").contains("policy approval"));
    assert!(replaced(submission(), b"owner@", b"own er").contains("initiator"));
    assert!(replaced(submission(), b"a-model", b"\xff-model").contains("UTF-8"));
    let find = |kind| samples::all().into_iter().find(|frame| frame.kind() == kind).unwrap();
    assert!(replaced(find(FrameKind::Enrolled), b"deploy-bot", b"Deploy-bot").contains("name"));
    assert!(replaced(find(FrameKind::Enrolled), b"example.org", b"example/org").contains("trust_domain"));
    let twice = framed(FrameKind::PushBundle as u8, b"\0\x02\x01a\0\x01a\0");
    assert!(decode_whole(&twice).unwrap_err().to_string().contains("twice"));
    let claim = framed(FrameKind::ReportClaim as u8, &[&[7; 16][..], &[0, 0]].concat());
    assert!(decode_whole(&claim).unwrap_err().to_string().contains("numbered from 1"));
    let empty_svid = framed(FrameKind::Svid as u8, &[0, 0]);
    assert!(decode_whole(&empty_svid).unwrap_err().to_string().contains("chain"));
}

#[test]
fn a_refusal_of_a_later_release_is_still_a_refusal() {
    let bytes = framed(FrameKind::Refused as u8, &[251, 0xe8, 0x03, 2, b'n', b'o']);
    match decode_whole(&bytes).unwrap() {
        Frame::Refused(refused) => {
            assert_eq!((refused.code, refused.message.as_str()), (RefusalCode::Other, "no"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_secret_is_not_printed_with_its_frame() {
    let enrol = samples::all().into_iter().find(|frame| frame.kind() == FrameKind::Enrol).unwrap();
    let shown = format!("{enrol:?} {:?}", encode(&enrol).unwrap());
    assert!(!shown.contains("165") && !shown.to_lowercase().contains("a5a5"), "{shown}");
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in vec(any::<u8>(), 0..400)) {
        let _ = decode_whole(&bytes);
        for kind in FrameKind::ALL {
            let _ = decode_whole(&framed(*kind as u8, &bytes));
        }
    }

    /// Whatever is accepted is a value like any other: it can be sent on, and means the same there.
    #[test]
    fn mutated_frames_are_refused_or_stable(
        which in 0_usize..FrameKind::ALL.len(),
        changes in vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<proptest::sample::Index>(),
        inserted in vec(any::<u8>(), 0..4),
    ) {
        let frame = samples::all().swap_remove(which);
        let kind = frame.kind() as u8;
        let mut body = encode(&frame).unwrap().as_bytes()[Header::LENGTH..].to_vec();
        for (place, byte) in changes {
            if !body.is_empty() {
                let place = place.index(body.len());
                body[place] = byte;
            }
        }
        let at = cut.index(body.len() + 1);
        body.splice(at..at, inserted);
        if let Ok(read) = decode_whole(&framed(kind, &body)) {
            let again = encode(&read);
            prop_assert!(again.is_ok());
            prop_assert_eq!(decode_whole(again.unwrap().as_bytes()).unwrap(), read);
        }
    }
}
