//! Messages on stdio: one a line (MCP, transports §stdio). Bytes are handed over as they came, with
//! their line end.

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _};

/// What stands on one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// The bytes, with the line end unless the stream ended without one.
    Whole(Bytes),
    /// More bytes than are accepted; they are gone.
    TooLong,
}

/// A bounded reader of lines.
pub(super) struct Lines<R> {
    reader: R,
    limit: usize,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    pub(super) fn new(reader: R, limit: usize) -> Self {
        Self { reader, limit }
    }

    /// The next line; `None` at the end.
    pub(super) async fn next(&mut self) -> std::io::Result<Option<Line>> {
        let mut line = BytesMut::new();
        let mut too_long = false;
        loop {
            let available = self.reader.fill_buf().await?;
            let end = available.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
            let taken = available.get(..end.unwrap_or(available.len())).unwrap_or(available);
            let (used, ended) = (taken.len(), taken.is_empty());
            too_long |= line.len() + used > self.limit;
            if too_long {
                line.clear();
            } else {
                line.extend_from_slice(taken);
            }
            self.reader.consume(used);
            if end.is_some() || ended {
                return Ok(match (too_long, line.is_empty()) {
                    (true, _) => Some(Line::TooLong),
                    (false, true) => None,
                    (false, false) => Some(Line::Whole(line.freeze())),
                });
            }
        }
    }
}

/// A line without its line end and the white space around it; empty for a blank line.
pub(super) fn content(line: &[u8]) -> &[u8] {
    line.trim_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(bytes: &[u8], limit: usize) -> Vec<Line> {
        let mut lines = Lines::new(tokio::io::BufReader::with_capacity(3, bytes), limit);
        let mut all = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            all.push(line);
        }
        all
    }

    #[tokio::test]
    async fn lines_keep_their_bytes_and_are_bounded() {
        let whole = |bytes: &'static [u8]| Line::Whole(Bytes::from_static(bytes));
        assert_eq!(lines(b"ab\r\n\ncde", 8).await, [whole(b"ab\r\n"), whole(b"\n"), whole(b"cde")]);
        assert_eq!(lines(b"abcdefgh\nab\n", 4).await, [Line::TooLong, whole(b"ab\n")]);
        assert_eq!(lines(b"abcdefgh", 4).await, [Line::TooLong]);
        assert_eq!(lines(b"", 4).await, []);
    }
}
