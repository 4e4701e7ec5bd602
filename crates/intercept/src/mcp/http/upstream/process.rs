//! One process of a server, and everybody who speaks with it.
//!
//! A process that has ended stays ended: whoever still holds it is told so, and what was meant for it never
//! reaches another one.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, BufReader},
    process::ChildStdout,
    sync::{OwnedSemaphorePermit, mpsc},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    ToolsChanged, UpstreamError,
    child::{self, Processes, Running},
    command::CommandSettings,
    table::{Callers, Route, Table},
};
use crate::mcp::{
    envelope::{FromServer, read_from_server},
    framing::{Line, Lines, content},
};

/// The most bytes that a message of a process may have.
const MAX_MESSAGE: usize = 64 * 1024 * 1024;
/// How many messages may wait to be written to a process, and to a caller.
const QUEUE: usize = 64;
/// How many messages that a process says by itself are kept for a client that does not listen, and how many
/// bytes of them.
const MAX_UNASKED: usize = 64;
const MAX_UNASKED_BYTES: usize = 1024 * 1024;
/// How long a caller may leave its messages lying. All callers of a process wait for the slowest.
const STALLED_AFTER: Duration = Duration::from_secs(10);
/// How long what a process said last may take to be read.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What a process is started for.
pub(super) struct Purpose {
    pub(super) callers: Callers,
    /// Its share of what may run at a time.
    pub(super) place: Option<OwnedSemaphorePermit>,
    /// After how long without anybody it ends by itself.
    pub(super) idle: Option<Duration>,
    /// Cancelled when it is to end.
    pub(super) ending: CancellationToken,
    pub(super) tools_changed: ToolsChanged,
}

/// A message for a caller.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) text: String,
    /// Whether nothing more will come.
    pub(super) is_last: bool,
}

/// A process.
pub(super) struct Process {
    server: String,
    input: mpsc::Sender<String>,
    state: Mutex<State>,
    ending: CancellationToken,
    ended: CancellationToken,
    tools_changed: ToolsChanged,
}

struct State {
    table: Table,
    streams: BTreeMap<u64, Stream>,
    last_stream: u64,
    /// The stream that a client listens at.
    listener: Option<u64>,
    unasked: VecDeque<String>,
    used: Instant,
    has_ended: bool,
}

struct Stream {
    to: mpsc::Sender<Said>,
    /// Whether what the process says by itself may go there.
    takes_unasked: bool,
}

impl Process {
    /// Starts a process.
    pub(super) fn start(
        (server, settings): (&str, &CommandSettings),
        processes: &Processes,
        purpose: Purpose,
    ) -> Result<Arc<Self>, UpstreamError> {
        let Purpose { callers, place, idle, ending, tools_changed } = purpose;
        let (running, pipes) = Running::start(settings)?;
        let (input, lines) = mpsc::channel(QUEUE);
        let process = Arc::new(Self {
            server: server.to_owned(),
            input,
            state: Mutex::new(State::new(callers)),
            ending,
            ended: CancellationToken::new(),
            tools_changed,
        });
        processes.spawn(child::write(pipes.input, lines, process.ended.clone()));
        let kept = Arc::clone(&process);
        processes.spawn(async move {
            let _place = place;
            tokio::select! {
                () = kept.keep(running, pipes.output, idle) => {}
                never = child::log(&kept.server, pipes.complaints) => match never {},
            }
        });
        Ok(process)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn callers(&self) -> Callers {
        self.lock().table.callers()
    }

    /// Cancelled to end it.
    pub(super) fn ending(&self) -> &CancellationToken {
        &self.ending
    }

    /// Whether nobody can speak with it any more.
    pub(super) fn has_ended(&self) -> bool {
        self.ending.is_cancelled() || self.ended.is_cancelled()
    }

    /// Waits until nobody can speak with it any more.
    pub(super) async fn until_ended(&self) {
        tokio::select! {
            () = self.ending.cancelled() => {}
            () = self.ended.cancelled() => {}
        }
    }

    /// Since when nobody waits for anything from it.
    pub(super) fn unused_since(&self) -> Option<Instant> {
        let state = self.lock();
        state.streams.is_empty().then_some(state.used)
    }

    /// Sends messages of one caller, and returns who hears the answers, if there will be any.
    /// `takes_unasked` says whether the caller may hear what the process says by itself meanwhile.
    pub(super) async fn send(
        self: &Arc<Self>,
        messages: &[&str],
        takes_unasked: bool,
    ) -> Result<Option<Caller>, UpstreamError> {
        let (lines, caller) = self.take(messages, takes_unasked)?;
        for (number, line) in lines.into_iter().enumerate() {
            if self.input.send(line).await.is_err() {
                let why = "its process takes nothing more".to_owned();
                let lost = if number == 0 { UpstreamError::Unreachable } else { UpstreamError::Broken };
                return Err(lost(why));
            }
        }
        Ok(caller)
    }

    /// Writes down who asks what, before any answer can come.
    fn take(
        self: &Arc<Self>,
        messages: &[&str],
        takes_unasked: bool,
    ) -> Result<(Vec<String>, Option<Caller>), UpstreamError> {
        let mut state = self.lock();
        if state.has_ended || self.has_ended() {
            return Err(UpstreamError::Unreachable("its process has ended".to_owned()));
        }
        let stream = state.next_stream();
        let (mut lines, mut waits, mut is_ours) = (Vec::new(), false, false);
        for message in messages {
            let taken = state.table.take(stream, message).map_err(|error| {
                state.table.hang_up(stream);
                UpstreamError::Unreachable(error.to_string())
            })?;
            if let Some(ended) = taken.ended {
                state.streams.remove(&ended);
            }
            lines.extend(taken.line);
            waits |= taken.is_request;
            is_ours |= taken.is_ours;
        }
        let caller = waits.then(|| self.open(&mut state, stream, takes_unasked && !is_ours));
        Ok((lines, caller))
    }

    fn open(self: &Arc<Self>, state: &mut State, stream: u64, takes_unasked: bool) -> Caller {
        let (to, said) = mpsc::channel(QUEUE);
        state.streams.insert(stream, Stream { to, takes_unasked });
        Caller { process: Arc::clone(self), stream, said }
    }

    /// Listens to what the process says by itself. Whoever listened before does not any more: over HTTP it
    /// takes long to notice that a client has gone.
    pub(super) fn listen(self: &Arc<Self>) -> Result<Caller, UpstreamError> {
        let mut state = self.lock();
        if state.has_ended {
            return Err(UpstreamError::Unreachable("its process has ended".to_owned()));
        }
        let stream = state.next_stream();
        let before = state.listener.replace(stream);
        if let Some(before) = before {
            state.streams.remove(&before);
        }
        let caller = self.open(&mut state, stream, false);
        let kept: Vec<String> = state.unasked.drain(..).collect();
        if let Some(Stream { to, .. }) = state.streams.get(&stream) {
            for text in kept {
                // There is room: no more was kept than fits.
                let _ = to.try_send(Said { text, is_last: false });
            }
        }
        Ok(caller)
    }

    /// A caller does not listen any more.
    fn hang_up(&self, stream: u64) {
        let mut state = self.lock();
        state.used = Instant::now();
        state.streams.remove(&stream);
        if state.listener == Some(stream) {
            state.listener = None;
        }
        for notice in state.table.hang_up(stream) {
            // A process that has not read for so long that there is no room will not read this either.
            if self.input.try_send(notice).is_err() {
                debug!(server = self.server, "a process could not be told that a request was cancelled");
            }
        }
    }

    /// Speaks with the process until there is a reason to end it, and ends it.
    async fn keep(&self, mut running: Running, output: ChildStdout, idle: Option<Duration>) {
        let server = &self.server;
        {
            let mut reading = std::pin::pin!(self.read(output));
            tokio::select! {
                () = &mut reading => debug!(server, "a process of an MCP server has closed its output"),
                status = running.ended() => {
                    info!(server, ?status, "a process of an MCP server has ended by itself");
                    let _ = timeout(LAST_WORDS, reading).await;
                }
                () = self.ending.cancelled() => {}
                () = self.unused_for(idle) => info!(server, "an MCP session was not used for long and is over"),
            }
        }
        self.close();
        running.end().await;
    }

    /// Nobody can speak with it any more. Streams break off, and its input is closed.
    fn close(&self) {
        let mut state = self.lock();
        if state.table.callers() == Callers::Many {
            // The next process may have other tools.
            (self.tools_changed)();
        }
        state.has_ended = true;
        state.streams.clear();
        state.unasked.clear();
        self.ended.cancel();
    }

    async fn unused_for(&self, idle: Option<Duration>) {
        let Some(idle) = idle else { return std::future::pending().await };
        loop {
            let since = self.unused_since().unwrap_or_else(Instant::now);
            let left = (since + idle).saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            sleep(left).await;
        }
    }

    async fn read(&self, stdout: impl AsyncRead + Unpin) {
        let mut lines = Lines::new(BufReader::new(stdout), MAX_MESSAGE);
        loop {
            match lines.next().await {
                Ok(Some(Line::Whole(line))) => self.said(content(&line)).await,
                Ok(Some(Line::TooLong)) => {
                    warn!(server = self.server, limit = MAX_MESSAGE, "a message is too long; not forwarded");
                }
                Ok(None) => return,
                Err(error) => return warn!(server = self.server, %error, "a process cannot be read any more"),
            }
        }
    }

    async fn said(&self, line: &[u8]) {
        let Ok(text) = std::str::from_utf8(line) else {
            return warn!(server = self.server, "a message that is not UTF-8; not forwarded");
        };
        if !text.starts_with('[') {
            return self.deliver(text).await;
        }
        // Up to 2025-03-26 a server may answer in batches.
        let elements: Vec<&serde_json::value::RawValue> = serde_json::from_str(text).unwrap_or_default();
        for element in elements {
            self.deliver(element.get()).await;
        }
    }

    async fn deliver(&self, text: &str) {
        if text.is_empty() {
            return;
        }
        let Some((stream, to, said)) = self.receiver(text) else { return };
        match timeout(STALLED_AFTER, to.send(said)).await {
            Ok(Ok(())) => {}
            // It has gone in this moment.
            Ok(Err(_)) => debug!(server = self.server, "nobody is there for a message any more"),
            Err(_) => {
                warn!(server = self.server, "a caller does not read its messages; its stream is broken off");
                self.hang_up(stream);
            }
        }
    }

    /// Who gets a message now, if anybody.
    fn receiver(&self, text: &str) -> Option<(u64, mpsc::Sender<Said>, Said)> {
        let mut state = self.lock();
        let State { table, streams, .. } = &mut *state;
        match table.route(text) {
            Route::Stream { stream, text, is_last } => {
                let said = Said { text: text.into_owned(), is_last };
                let to = if is_last { streams.remove(&stream) } else { None };
                let to = to.map(|stream| stream.to).or_else(|| Some(streams.get(&stream)?.to.clone()))?;
                Some((stream, to, said))
            }
            Route::Unasked => {
                if read_from_server(text.as_bytes()) == FromServer::ToolsChanged {
                    (self.tools_changed)();
                }
                state.unasked(text)
            }
            Route::Nowhere(why) => {
                debug!(server = self.server, why, "a message of a process was not forwarded");
                None
            }
        }
    }
}

impl State {
    fn new(callers: Callers) -> Self {
        Self {
            table: Table::new(callers),
            streams: BTreeMap::new(),
            last_stream: 0,
            listener: None,
            unasked: VecDeque::new(),
            used: Instant::now(),
            has_ended: false,
        }
    }

    fn next_stream(&mut self) -> u64 {
        self.used = Instant::now();
        self.last_stream += 1;
        self.last_stream
    }

    /// Who hears what the process says by itself: whoever has asked it something last, else who listens. It
    /// is kept when there is neither.
    fn unasked(&mut self, text: &str) -> Option<(u64, mpsc::Sender<Said>, Said)> {
        let asking = self.streams.iter().rev().find(|(_, stream)| stream.takes_unasked);
        let listening = || self.listener.and_then(|listener| self.streams.get_key_value(&listener));
        if let Some((stream, Stream { to, .. })) = asking.or_else(listening) {
            return Some((*stream, to.clone(), Said { text: text.to_owned(), is_last: false }));
        }
        self.unasked.push_back(text.to_owned());
        let too_much =
            |kept: &VecDeque<String>| kept.iter().map(String::len).sum::<usize>() > MAX_UNASKED_BYTES;
        while self.unasked.len() > MAX_UNASKED || too_much(&self.unasked) {
            self.unasked.pop_front();
        }
        None
    }
}

/// Who waits for messages of a process.
pub(super) struct Caller {
    process: Arc<Process>,
    stream: u64,
    said: mpsc::Receiver<Said>,
}

impl Caller {
    /// The next message; `None` when the stream has ended.
    pub(super) async fn next(&mut self) -> Option<Said> {
        self.said.recv().await
    }

    pub(super) fn callers(&self) -> Callers {
        self.process.callers()
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.process.hang_up(self.stream);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_listens_to_is_kept_within_bounds_and_the_latest_of_it() {
        let mut state = State::new(Callers::One);
        for number in 0..3 * MAX_UNASKED {
            assert!(state.unasked(&number.to_string()).is_none());
        }
        let latest = (3 * MAX_UNASKED - 1).to_string();
        assert_eq!((state.unasked.len(), state.unasked.back()), (MAX_UNASKED, Some(&latest)));
        state.unasked(&"x".repeat(MAX_UNASKED_BYTES));
        assert_eq!(state.unasked.len(), 1);
        state.unasked(&"x".repeat(MAX_UNASKED_BYTES + 1));
        assert!(state.unasked.is_empty());
    }
}
