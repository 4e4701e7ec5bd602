//! Server-sent events: where one ends, and what it says. The bytes themselves are never changed.

use bytes::{Bytes, BytesMut};

/// Events as they come in, in pieces of any size.
#[derive(Debug, Default)]
pub(super) struct Events {
    buffer: BytesMut,
    /// How far the buffer has been looked through.
    seen: usize,
    /// Whether the line at `seen` has nothing on it yet.
    line_is_empty: bool,
    begun: bool,
}

impl Events {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if !self.begun {
            self.begun = true;
            self.line_is_empty = true;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole event, with the blank line that ends it.
    pub(super) fn next(&mut self) -> Option<Bytes> {
        while let Some(&byte) = self.buffer.get(self.seen) {
            let next = self.buffer.get(self.seen + 1).copied();
            let end = match (byte, next) {
                (b'\n', _) => self.seen + 1,
                (b'\r', Some(b'\n')) => self.seen + 2,
                (b'\r', Some(_)) => self.seen + 1,
                // Whether a line feed follows decides what belongs to this line end.
                (b'\r', None) => return None,
                _ => {
                    self.line_is_empty = false;
                    self.seen += 1;
                    continue;
                }
            };
            self.seen = end;
            if self.line_is_empty {
                self.seen = 0;
                return Some(self.buffer.split_to(end).freeze());
            }
            self.line_is_empty = true;
        }
        None
    }

    /// How many bytes wait for the end of their event.
    pub(super) fn waiting(&self) -> usize {
        self.buffer.len()
    }

    /// The part of an unfinished event that has been looked through.
    pub(super) fn drain(&mut self) -> Bytes {
        let seen = std::mem::take(&mut self.seen);
        self.buffer.split_to(seen).freeze()
    }

    /// What is left when the stream ends.
    pub(super) fn take(&mut self) -> Bytes {
        self.seen = 0;
        self.line_is_empty = true;
        self.buffer.split().freeze()
    }
}

/// What an event says: its `data` fields, joined as a client joins them. `None` without any. An event of
/// a named type counts, too: not every client tells types apart.
pub(super) fn data(event: &[u8]) -> Option<Vec<u8>> {
    let mut data: Option<Vec<u8>> = None;
    for line in lines(event) {
        let (field, value) = match line.iter().position(|byte| *byte == b':') {
            Some(colon) => line.split_at(colon),
            None => (line, &b""[..]),
        };
        // A client takes a byte order mark at the beginning of a stream for nothing.
        if field.strip_prefix(b"\xef\xbb\xbf").unwrap_or(field) != b"data" {
            continue;
        }
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match &mut data {
            Some(data) => {
                data.push(b'\n');
                data.extend_from_slice(value);
            }
            None => data = Some(value.to_vec()),
        }
    }
    data
}

/// Whether an event lets its client come back for what follows it.
pub(super) fn is_resumable(event: &[u8]) -> bool {
    lines(event).any(|line| line.starts_with(b"id:"))
}

fn lines(event: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = event;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(rest.len());
        let (line, after) = rest.split_at(end);
        rest = after.strip_prefix(b"\r\n").or_else(|| after.get(1..)).unwrap_or_default();
        Some(line)
    })
}

/// An event that says one message.
pub(super) fn event(message: &str) -> Bytes {
    let mut event = String::with_capacity(message.len() + 32);
    event.push_str("event: message\n");
    // JSON has no line ends but between its tokens; each line of it is a line of data.
    for line in message.split(['\n', '\r']) {
        event.push_str("data: ");
        event.push_str(line);
        event.push('\n');
    }
    event.push('\n');
    Bytes::from(event)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(pieces: &[&[u8]]) -> Vec<Bytes> {
        let mut events = Events::default();
        let mut all = Vec::new();
        for piece in pieces {
            events.push(piece);
            while let Some(event) = events.next() {
                all.push(event);
            }
        }
        all
    }

    #[test]
    fn events_end_at_blank_lines_of_every_kind() {
        let text: &[u8] = b"data: a\n\nid: 1\r\ndata:b\r\ndata: c\r\n\r\n: x\r\rdata: d\n\n";
        let whole = split(&[text]);
        assert_eq!(whole.len(), 4);
        assert_eq!(
            whole.iter().filter_map(|event| data(event)).collect::<Vec<_>>(),
            [&b"a"[..], b"b\nc", b"d"]
        );
        assert!(is_resumable(&whole[1]) && !is_resumable(&whole[0]));
    }

    #[test]
    fn no_field_but_data_is_data() {
        for (event, expected) in [
            (&b"data\n\n"[..], Some(&b""[..])),
            (b"data:  x\n\n", Some(b" x")),
            (b"\xef\xbb\xbfdata: x\n\n", Some(b"x")),
            (b"Data: x\n\n", None),
            (b"data2: x\n\n", None),
            (b"event: other\ndata: x\n\n", Some(b"x")),
            (b": data: x\n\n", None),
        ] {
            assert_eq!(data(event).as_deref(), expected, "{}", String::from_utf8_lossy(event));
        }
        assert_eq!(data(&event("{\"a\":\n1}")).unwrap(), b"{\"a\":\n1}");
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_give_the_same_events(
            text in "[ab:\\r\\n]{0,60}", cuts in proptest::collection::vec(0usize..60, 0..6)
        ) {
            let bytes = format!("{text}\n\nx");
            let bytes = bytes.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts {
                pieces.push(&bytes[from..cut]);
                from = cut;
            }
            pieces.push(&bytes[from..]);
            let whole = split(&[bytes]);
            prop_assert_eq!(&split(&pieces), &whole);
            let joined: Vec<u8> = whole.concat();
            prop_assert_eq!(&bytes[..joined.len()], &joined[..]);
        }
    }
}
