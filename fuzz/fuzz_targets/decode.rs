//! Decoding is total: no bytes panic, and whatever is accepted is written and read back the same.

#![no_main]

use countersign_protocol::{
    FrameKind, PROTOCOL_VERSION,
    codec::{decode_whole, encode},
};
use libfuzzer_sys::fuzz_target;

fn check(bytes: &[u8]) {
    if let Ok(frame) = decode_whole(bytes) {
        let again = encode(&frame).expect("what was read can be sent on");
        assert_eq!(decode_whole(again.as_bytes()).expect("what was sent is read"), frame);
    }
}

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    // The same bytes as the body of every kind, so that the fuzzer need not find out about lengths.
    for kind in FrameKind::ALL {
        let length = u32::try_from(bytes.len()).expect("inputs are small").to_be_bytes();
        check(&[&[PROTOCOL_VERSION, *kind as u8][..], &length[..], bytes].concat());
    }
});
