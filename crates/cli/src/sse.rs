//! Server-sent events, as far as the control plane sends them.

use anyhow::{Context as _, Result};
use futures::StreamExt as _;

use crate::api::Api;

/// The longest event.
const MAX_EVENT: usize = 1024 * 1024;

/// A stream of hints that something has changed.
pub(crate) struct Events {
    chunks: std::pin::Pin<Box<dyn futures::Stream<Item = reqwest::Result<Vec<u8>>> + Send>>,
    buffer: Vec<u8>,
}

impl Events {
    /// Opens the stream. Its first event is `sync`.
    pub(crate) async fn open(api: &Api) -> Result<Self> {
        let response = api.stream("/api/v1/events", &[]).await?;
        let chunks = response.bytes_stream().map(|chunk| chunk.map(|bytes| bytes.to_vec()));
        Ok(Self { chunks: Box::pin(chunks), buffer: Vec::new() })
    }

    /// The name of the next event; `None` when the stream has ended.
    pub(crate) async fn next(&mut self) -> Result<Option<String>> {
        loop {
            if let Some(name) = take_event(&mut self.buffer) {
                return Ok(Some(name));
            }
            match self.chunks.next().await {
                Some(chunk) => self.buffer.extend(chunk.context("the event stream broke off")?),
                None => return Ok(None),
            }
            anyhow::ensure!(self.buffer.len() <= MAX_EVENT, "an event is too long");
        }
    }
}

/// Takes the first whole event with a name out of a buffer, and drops comments before it.
fn take_event(buffer: &mut Vec<u8>) -> Option<String> {
    loop {
        let end = buffer.windows(2).position(|pair| pair == b"\n\n")?;
        let block: Vec<u8> = buffer.drain(..end + 2).collect();
        let text = String::from_utf8_lossy(&block);
        if let Some(name) = text.lines().find_map(|line| line.strip_prefix("event:")) {
            return Some(name.trim().to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_across_chunks_and_comments_are_not() {
        let mut buffer = b": alive\n\nevent: sync\nid: 1\ndata: {}\n\nevent: appr".to_vec();
        assert_eq!(take_event(&mut buffer).as_deref(), Some("sync"));
        assert_eq!(take_event(&mut buffer), None);
        buffer.extend_from_slice(b"oval\ndata: {}\n\n");
        assert_eq!(take_event(&mut buffer).as_deref(), Some("approval"));
    }
}
