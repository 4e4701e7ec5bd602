//! Answers that are too long to be kept: they are read as they pass, and their end is held back until it
//! is known what they are. An event without its blank line, or JSON without its last bracket, is nothing
//! to a client, so what turns out to be no plain answer breaks off and is never acted upon.

use bytes::{Bytes, BytesMut};
use countersign_model::Digest;
use sha2::{Digest as _, Sha256};

/// The longest name and the longest small value that matter.
const MAX_TOKEN: usize = 256;

/// In what a message is wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    Events,
    Plain,
}

/// What passes by.
#[derive(Debug)]
pub(super) struct Long {
    framing: Framing,
    held_back: BytesMut,
    line: Line,
    scanner: Scanner,
}

/// Where in an event's line the reader is.
#[derive(Debug)]
enum Line {
    Field(Vec<u8>),
    Data,
    Other,
}

/// A long message that has ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// The id of the request that it answers, as it was written.
    pub(super) id: String,
    /// Whether the request did what was asked.
    pub(super) success: bool,
    /// The digest of the result, as it was written.
    pub(super) result: Option<Digest>,
}

impl Long {
    pub(super) fn new(framing: Framing) -> Self {
        Self {
            framing,
            held_back: BytesMut::new(),
            line: Line::Field(Vec::new()),
            scanner: Scanner::default(),
        }
    }

    /// Reads a piece. Returns what can be passed on.
    pub(super) fn feed(&mut self, piece: &[u8]) -> Bytes {
        for byte in piece {
            match self.framing {
                Framing::Plain => self.scanner.feed(*byte),
                Framing::Events => self.feed_event(*byte),
            }
        }
        self.held_back.extend_from_slice(piece);
        let is_end = |byte: &u8| match self.framing {
            Framing::Events => matches!(byte, b'\n' | b'\r'),
            Framing::Plain => byte.is_ascii_whitespace(),
        };
        let end = self.held_back.iter().rposition(|byte| !is_end(byte)).map_or(0, |at| at + 1);
        let keep_last = usize::from(self.framing == Framing::Plain && end > 0);
        self.held_back.split_to(end.saturating_sub(keep_last)).freeze()
    }

    /// The message has ended. Returns what was held back, if it is the answer to a request and nothing else.
    pub(super) fn finish(self) -> Option<(Answer, Bytes)> {
        Some((self.scanner.answer()?, self.held_back.freeze()))
    }

    fn feed_event(&mut self, byte: u8) {
        if matches!(byte, b'\n' | b'\r') {
            if matches!(self.line, Line::Data) {
                self.scanner.feed(b'\n');
            }
            self.line = Line::Field(Vec::new());
            return;
        }
        match &mut self.line {
            Line::Data => self.scanner.feed(byte),
            Line::Other => {}
            Line::Field(field) if byte == b':' => {
                let field = field.strip_prefix(b"\xef\xbb\xbf").unwrap_or(field);
                self.line = if field == b"data" { Line::Data } else { Line::Other };
            }
            Line::Field(field) if field.len() < 8 => field.push(byte),
            Line::Field(_) => self.line = Line::Other,
        }
    }
}

/// Reads JSON byte by byte, and keeps nothing but what tells an answer from a request.
#[derive(Debug, Default)]
struct Scanner {
    depth: usize,
    /// Whether the outer two levels are objects.
    objects: [bool; 2],
    expects_name: bool,
    in_string: bool,
    escaped: bool,
    in_name: bool,
    /// The name of the member at each of the outer two levels.
    names: [Vec<u8>; 2],
    value: Vec<u8>,
    begun: bool,
    /// Something that an answer that can pass unread has not.
    refused: bool,
    id: Option<String>,
    result: bool,
    error: bool,
    is_error: Option<bool>,
    digest: ResultDigest,
}

/// The digest of the result, as it passes.
#[derive(Debug, Default)]
struct ResultDigest {
    hasher: Sha256,
    /// Bytes that wait to be hashed together.
    waiting: Vec<u8>,
    is_in_result: bool,
}

impl ResultDigest {
    fn feed(&mut self, byte: u8) {
        self.waiting.push(byte);
        if self.waiting.len() >= 4_096 {
            self.hasher.update(&self.waiting);
            self.waiting.clear();
        }
    }

    fn finish(mut self) -> Digest {
        self.hasher.update(&self.waiting);
        Digest::from_bytes(self.hasher.finalize().into())
    }
}

impl Scanner {
    fn feed(&mut self, byte: u8) {
        let was_in_result = self.digest.is_in_result;
        self.read(byte);
        // The bracket that opens the result belongs to it, and so does the one that closes it.
        if was_in_result || self.digest.is_in_result {
            self.digest.feed(byte);
        }
    }

    fn read(&mut self, byte: u8) {
        if self.in_string {
            return self.feed_string(byte);
        }
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' => {}
            _ if self.depth == 0 && (self.begun || byte != b'{') => self.refused = true,
            b'"' => {
                self.in_string = true;
                self.in_name = self.expects_name && self.level().is_some();
                self.keep(byte);
            }
            b'{' | b'[' => self.open(byte == b'{'),
            b'}' | b']' => {
                self.end_value();
                self.depth = self.depth.saturating_sub(1);
                self.expects_name = false;
                self.digest.is_in_result &= self.depth > 1;
            }
            b',' => {
                self.end_value();
                self.expects_name = self.level().is_some_and(|level| self.objects.get(level) == Some(&true));
            }
            b':' if self.expects_name && self.level().is_some() => {
                self.expects_name = false;
                self.value.clear();
            }
            _ => self.keep(byte),
        }
    }

    /// The level, from 0, whose members matter.
    fn level(&self) -> Option<usize> {
        let level = self.depth.checked_sub(1)?;
        let matters = level == 0 || (level == 1 && self.name(0) == Some(b"result"));
        matters.then_some(level)
    }

    fn name(&self, level: usize) -> Option<&[u8]> {
        self.names.get(level).map(Vec::as_slice)
    }

    fn open(&mut self, is_object: bool) {
        self.begun = true;
        self.depth += 1;
        if let Some(object) = self.objects.get_mut(self.depth - 1) {
            *object = is_object;
        }
        self.expects_name = is_object && self.level().is_some();
        self.digest.is_in_result |= self.depth == 2 && self.name(0) == Some(b"result");
    }

    fn feed_string(&mut self, byte: u8) {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' => {
                self.escaped = true;
                // A name that is written in a roundabout way has something to hide.
                self.refused |= self.in_name;
            }
            b'"' => {
                self.in_string = false;
                if self.in_name {
                    return self.end_name();
                }
            }
            _ => {}
        }
        self.keep(byte);
    }

    fn keep(&mut self, byte: u8) {
        if self.level().is_some() && self.value.len() < MAX_TOKEN {
            self.value.push(byte);
        }
    }

    fn end_name(&mut self) {
        self.in_name = false;
        let name = self.value.split_off(1.min(self.value.len()));
        self.value.clear();
        let folded = String::from_utf8_lossy(&name).to_lowercase();
        let top = self.level() == Some(0);
        self.refused |= match (top, folded.as_str()) {
            (true, "result") => std::mem::replace(&mut self.result, true) || name != b"result",
            (true, "error") => std::mem::replace(&mut self.error, true) || name != b"error",
            (true, "id") => self.id.is_some() || name != b"id",
            (true, "method" | "params") => true,
            // Questions to the client are decided about, so they must be short enough to be read.
            (false, "inputrequests") => true,
            (false, "iserror") => self.is_error.is_some() || name != b"isError",
            _ => !folded.is_ascii() && top,
        };
        if let Some(slot) = self.level().and_then(|level| self.names.get_mut(level)) {
            *slot = name;
        }
    }

    fn end_value(&mut self) {
        let Some(level) = self.level() else { return };
        let value = String::from_utf8_lossy(&self.value).into_owned();
        match (level, self.name(level)) {
            (0, Some(b"id")) => self.id = Some(value),
            (1, Some(b"isError")) => self.is_error = Some(value != "false"),
            _ => {}
        }
        self.value.clear();
        if let Some(slot) = self.names.get_mut(level) {
            slot.clear();
        }
    }

    fn answer(self) -> Option<Answer> {
        let is_answer = self.begun && self.depth == 0 && !self.refused && self.result != self.error;
        let success = self.result && self.is_error != Some(true);
        let result = self.result.then(|| self.digest.finish());
        self.id.filter(|_| is_answer).map(|id| Answer { id, success, result })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(framing: Framing, pieces: &[&str]) -> (String, Option<(Answer, Bytes)>) {
        let mut long = Long::new(framing);
        let passed: Vec<u8> = pieces.iter().flat_map(|piece| long.feed(piece.as_bytes())).collect();
        (String::from_utf8(passed).unwrap(), long.finish())
    }

    fn answer(json: &str) -> Option<(String, bool)> {
        let (passed, end) = read(Framing::Plain, &[json]);
        let (passed_as_event, as_event) = read(Framing::Events, &[&format!("data: {json}\n\n")]);
        assert!(passed.len() < json.len(), "the end is held back");
        assert!(!passed_as_event.ends_with('\n'));
        assert_eq!(as_event.is_some(), end.is_some());
        end.map(|(answer, held_back)| {
            assert_eq!(format!("{passed}{}", String::from_utf8_lossy(&held_back)), json);
            let raw = json.split_once("\"result\":").map(|(_, rest)| rest);
            if let (Some(digest), Some(rest)) = (answer.result, raw) {
                let value =
                    serde_json::Deserializer::from_str(rest).into_iter::<&serde_json::value::RawValue>();
                let value = value.flatten().next().unwrap();
                assert_eq!(digest, Digest::of(value.get().as_bytes()), "as for one that is kept whole");
            }
            (answer.id, answer.success)
        })
    }

    #[test]
    fn an_answer_is_told_by_its_outer_members() {
        let ok = |id: &str| Some((id.to_owned(), true));
        assert_eq!(
            answer(r#"{"jsonrpc":"2.0","id":7,"result":{"content":[{"method":"x","id":9}]}}"#),
            ok("7")
        );
        assert_eq!(answer(r#"{"id":"a{\"b","result":{"x":"\"}","isError":false}}"#), ok(r#""a{\"b""#));
        assert_eq!(answer(r#"{"result":{"isError":true},"id":1}"#), Some(("1".to_owned(), false)));
        assert_eq!(answer(r#"{"error":{"code":1},"id":1}"#), Some(("1".to_owned(), false)));
        assert_eq!(
            answer(r#"{"result":{"structuredContent":{"isError":true,"inputRequests":{}}},"id":1}"#),
            ok("1")
        );
    }

    #[test]
    fn what_is_no_plain_answer_breaks_off() {
        for json in [
            r#"{"id":1,"params":{"a":"long"},"method":"sampling/createMessage"}"#,
            r#"{"id":1,"result":{},"Method":"sampling/createMessage"}"#,
            r#"{"id":1,"result":{},"\u006dethod":"x"}"#,
            r#"{"id":1,"id":2,"result":{}}"#,
            r#"{"id":1,"result":{},"result":{}}"#,
            r#"{"id":1,"result":{},"error":{}}"#,
            r#"{"id":1,"result":{"inputRequests":{}}}"#,
            r#"{"id":1,"result":{"InputRequests":{}}}"#,
            r#"{"id":1,"result":{}"#,
            r#"{"id":1,"result":{}} {}"#,
            r#"[{"id":1,"result":{}}]"#,
            r#"{"result":{}}"#,
        ] {
            assert_eq!(answer(json), None, "{json}");
        }
    }

    #[test]
    fn events_may_be_cut_anywhere_and_have_other_fields() {
        let text = "event: message\nid: 3\ndata: {\"id\":1,\ndata: \"result\":{}}\n\n";
        for cut in 0..=text.len() {
            let (head, tail) = text.split_at(cut);
            let (passed, end) = read(Framing::Events, &[head, tail]);
            let (answer, held_back) = end.unwrap();
            assert_eq!((answer.id.as_str(), answer.success), ("1", true));
            assert_eq!(format!("{passed}{}", String::from_utf8_lossy(&held_back)), text);
        }
    }
}
