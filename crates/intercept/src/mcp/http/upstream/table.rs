//! Whose message is whose. A process has one channel for everything, and over HTTP every request has a
//! stream of its own.
//!
//! | the process says | in a session | among callers that know nothing of each other |
//! |---|---|---|
//! | an answer | to the stream of its request | the same, under the id that the caller knows |
//! | progress | to the stream of its token | the same, with the token that the caller knows |
//! | what a subscription asked for | – | to its stream, with the id that the caller knows |
//! | a log message | by itself | to the one request that asked for log messages |
//! | a request, anything else | by itself | to nobody: the revision has no such thing |
//! | an answer to what was not asked | to nobody | to nobody |
//!
//! Callers that know nothing of each other use the same ids, so that the process gets ids of ours. In a
//! session it gets the client's own, but for those that look like ours, which the sidecar uses itself.
//! Nothing else of a message is touched. Nothing here speaks to anybody: it is told what was said.

use std::{borrow::Cow, collections::HashMap};

use crate::mcp::{
    edit::{Edits, Members},
    envelope::Id,
};

/// The most requests that one process may be asked at a time.
const MAX_ASKED: usize = 1_024;
/// The longest id, and the longest progress token.
const MAX_ID: usize = 1_024;
/// What ids of ours begin with.
const OURS: &str = "\"countersign-";
/// The member of `_meta` that names a subscription.
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";
/// The member of `_meta` that asks for log messages.
const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";

const CANCELLED: &str = "notifications/cancelled";

/// Who speaks with a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Callers {
    /// One client, in a session (to 2025-11-25).
    One,
    /// Any number, with requests that stand for themselves (from 2026-07-28 on).
    Many,
}

/// Why a message is not taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum TableError {
    #[error("too many requests are under way; try again later")]
    Full,
    #[error("a request's id or progress token is longer than {MAX_ID} bytes")]
    LongId,
    #[error("another request with this id is still under way")]
    Duplicate,
    #[error("not a JSON-RPC message")]
    Unreadable,
}

/// A message of a caller, as far as the process is concerned.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// What the process gets, without a line end; nothing when the message is none of its business.
    pub(super) line: Option<String>,
    /// Whether it will be answered.
    pub(super) is_request: bool,
    /// Whether the sidecar itself asks, and looks at nothing but the answer.
    pub(super) is_ours: bool,
    /// The stream that has nothing to wait for any more.
    pub(super) ended: Option<u64>,
}

/// Where a message of the process goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route<'a> {
    /// To the stream of a caller.
    Stream {
        stream: u64,
        text: Cow<'a, str>,
        /// Whether nothing more will come there.
        is_last: bool,
    },
    /// The process speaks by itself.
    Unasked,
    /// To nobody.
    Nowhere(&'static str),
}

/// What a process was asked and has not answered.
#[derive(Debug)]
pub(super) struct Table {
    callers: Callers,
    /// By the id that the process knows.
    asked: HashMap<Id, Asked>,
    /// The id that the process knows, by the progress token that it knows.
    tokens: HashMap<Id, Id>,
    last_name: u64,
}

#[derive(Debug)]
struct Asked {
    stream: u64,
    /// The id as its caller wrote it, when the process knows another.
    id: Option<String>,
    /// The progress token that the process knows, and its caller's when that is another.
    token: Option<(Id, Option<String>)>,
    is_subscription: bool,
    wants_logs: bool,
}

impl Table {
    pub(super) fn new(callers: Callers) -> Self {
        Self { callers, asked: HashMap::new(), tokens: HashMap::new(), last_name: 0 }
    }

    pub(super) fn callers(&self) -> Callers {
        self.callers
    }

    /// Takes in a message that a caller sends, whose answers go to a stream.
    pub(super) fn take(&mut self, stream: u64, text: &str) -> Result<Taken, TableError> {
        let members = Members::parse(text).map_err(|_| TableError::Unreadable)?;
        let method = members.string("method").unwrap_or_default();
        let params = members.raw("params").and_then(|params| Members::parse(params).ok());
        match members.raw("id").filter(|_| members.raw("method").is_some()) {
            Some(id) => self.request(stream, text, (&method, id), params.as_ref()),
            None if method == CANCELLED => Ok(self.cancel(text, params.as_ref())),
            None => Ok(Taken { line: Some(one_line(text)), ..Taken::default() }),
        }
    }

    fn request(
        &mut self,
        stream: u64,
        text: &str,
        (method, id): (&str, &str),
        params: Option<&Members<'_>>,
    ) -> Result<Taken, TableError> {
        let meta = params.and_then(|params| Members::parse(params.raw("_meta")?).ok());
        let token = meta.as_ref().and_then(|meta| meta.raw("progressToken"));
        let token = token.and_then(|token| Some((token, Id::from_raw(token)?)));
        if id.len().max(token.as_ref().map_or(0, |(token, _)| token.len())) > MAX_ID {
            return Err(TableError::LongId);
        }
        if self.asked.len() >= MAX_ASKED {
            return Err(TableError::Full);
        }
        let (mut name, is_ours) = (Id::from_raw(id).ok_or(TableError::Unreadable)?, id.starts_with(OURS));
        let is_renamed = self.callers == Callers::Many || is_ours;
        if is_renamed {
            name = self.name();
        } else if self.asked.contains_key(&name) {
            return Err(TableError::Duplicate);
        }
        let token = token.map(|(raw, token)| match self.callers {
            Callers::One if !self.tokens.contains_key(&token) => (raw, token, None),
            Callers::One | Callers::Many => (raw, self.name(), Some(raw.to_owned())),
        });
        let mut edits = Edits::new(text);
        if is_renamed {
            edits.replace(id, name.raw());
        }
        if let Some((raw, known, Some(_))) = &token {
            edits.replace(raw, known.raw());
        }
        let line = one_line(&edits.finish());
        if let Some((_, known, _)) = &token {
            self.tokens.insert(known.clone(), name.clone());
        }
        let asked = Asked {
            stream,
            id: is_renamed.then(|| id.to_owned()),
            token: token.map(|(_, known, given)| (known, given)),
            is_subscription: method == "subscriptions/listen",
            wants_logs: meta.is_some_and(|meta| meta.raw(LOG_LEVEL).is_some()),
        };
        self.asked.insert(name, asked);
        Ok(Taken { line: Some(line), is_request: true, is_ours, ended: None })
    }

    /// A caller takes a request back. Whoever is many says so by hanging up; a notice could mean the request
    /// of somebody else.
    fn cancel(&mut self, text: &str, params: Option<&Members<'_>>) -> Taken {
        if self.callers == Callers::Many {
            return Taken::default();
        }
        let raw = params.and_then(|params| params.raw("requestId"));
        let meant = raw.and_then(Id::from_raw).and_then(|given| self.known_as(&given));
        let mut edits = Edits::new(text);
        let mut ended = None;
        if let (Some(raw), Some(name)) = (raw, &meant)
            && let Some(asked) = self.forget(name)
        {
            if asked.id.is_some() {
                edits.replace(raw, name.raw());
            }
            // It is not answered any more (cancellation, behavior requirements).
            ended = Some(asked.stream).filter(|stream| self.is_over(*stream));
        }
        Taken { line: Some(one_line(&edits.finish())), ended, ..Taken::default() }
    }

    /// The id by which the process knows what its caller knows by another.
    fn known_as(&self, given: &Id) -> Option<Id> {
        let is_meant = |name: &Id, asked: &Asked| match &asked.id {
            Some(id) => Id::from_raw(id).as_ref() == Some(given),
            None => name == given,
        };
        self.asked.iter().find(|(name, asked)| is_meant(name, asked)).map(|(name, _)| name.clone())
    }

    /// An id, or a token, that the process has not seen.
    fn name(&mut self) -> Id {
        loop {
            self.last_name += 1;
            let name = Id::from_raw(&format!("{OURS}{}\"", self.last_name));
            let is_new = |name: &Id| !self.asked.contains_key(name) && !self.tokens.contains_key(name);
            if let Some(name) = name.filter(is_new) {
                return name;
            }
        }
    }

    fn forget(&mut self, name: &Id) -> Option<Asked> {
        let asked = self.asked.remove(name)?;
        if let Some((token, _)) = &asked.token {
            self.tokens.remove(token);
        }
        Some(asked)
    }

    /// Whether nothing that was asked from a stream is still to be answered.
    fn is_over(&self, stream: u64) -> bool {
        !self.asked.values().any(|asked| asked.stream == stream)
    }

    /// A stream's caller has gone. Returns what the process is told of that: in a session nothing, for
    /// there a client that goes does not mean to cancel.
    pub(super) fn hang_up(&mut self, stream: u64) -> Vec<String> {
        let names: Vec<Id> = self
            .asked
            .iter()
            .filter(|(_, asked)| asked.stream == stream)
            .map(|(name, _)| name.clone())
            .collect();
        for name in &names {
            self.forget(name);
        }
        let notice = |name: &Id| {
            let id = name.raw();
            format!("{{\"jsonrpc\":\"2.0\",\"method\":\"{CANCELLED}\",\"params\":{{\"requestId\":{id}}}}}")
        };
        match self.callers {
            Callers::One => Vec::new(),
            Callers::Many => names.iter().map(notice).collect(),
        }
    }

    /// Finds out where a message of the process goes.
    pub(super) fn route<'a>(&mut self, text: &'a str) -> Route<'a> {
        let Ok(members) = Members::parse(text) else {
            return Route::Nowhere("it is no JSON object that all read alike");
        };
        match (members.raw("method"), members.raw("id")) {
            (None, Some(id)) => self.answer(text, id, members.raw("result")),
            (None, None) => Route::Nowhere("it is no message"),
            (Some(_), Some(_)) if self.callers == Callers::Many => {
                Route::Nowhere("this revision has no requests of the server")
            }
            (Some(_), Some(_)) => Route::Unasked,
            (Some(method), None) => {
                let method: String = serde_json::from_str(method).unwrap_or_default();
                let params = members.raw("params").and_then(|params| Members::parse(params).ok());
                self.notification(text, &method, params.as_ref())
            }
        }
    }

    fn answer<'a>(&mut self, text: &'a str, id: &'a str, result: Option<&'a str>) -> Route<'a> {
        let Some((name, asked)) = Id::from_raw(id).and_then(|name| self.asked.remove_entry(&name)) else {
            return Route::Nowhere("it answers what was not asked, or not any more");
        };
        let Asked { stream, id: given, token, is_subscription, .. } = asked;
        if let Some((token, _)) = token {
            self.tokens.remove(&token);
        }
        let is_last = self.is_over(stream);
        let Some(given) = given else { return Route::Stream { stream, text: text.into(), is_last } };
        let mut edits = Edits::new(text);
        edits.replace(id, &given);
        let result = result.filter(|_| is_subscription).and_then(|result| Members::parse(result).ok());
        if let Some(named) = result.and_then(|result| subscription(&result))
            && Id::from_raw(named).as_ref() == Some(&name)
        {
            edits.replace(named, &given);
        }
        Route::Stream { stream, text: edits.finish().into_owned().into(), is_last }
    }

    fn notification<'a>(&mut self, text: &'a str, method: &str, params: Option<&Members<'a>>) -> Route<'a> {
        let about = params.and_then(|params| match method {
            "notifications/progress" => self.progress(text, params.raw("progressToken")?),
            CANCELLED => self.subscription_ends(text, params.raw("requestId")?),
            _ => self.for_subscription(text, subscription(params)?),
        });
        match (about, self.callers) {
            (Some(route), _) => route,
            (None, Callers::One) => Route::Unasked,
            (None, Callers::Many) if method == "notifications/message" => self.log(text),
            (None, Callers::Many) => Route::Nowhere("it belongs to no request that is under way"),
        }
    }

    fn progress<'a>(&self, text: &'a str, raw: &'a str) -> Option<Route<'a>> {
        let asked = self.asked.get(self.tokens.get(&Id::from_raw(raw)?)?)?;
        let given = asked.token.as_ref().and_then(|(_, given)| given.as_deref());
        Some(self.restored(asked.stream, text, given.map(|given| (raw, given))))
    }

    /// A server that ends a subscription says so (2026-07-28, subscriptions).
    fn subscription_ends<'a>(&mut self, text: &'a str, raw: &'a str) -> Option<Route<'a>> {
        let name = Id::from_raw(raw).filter(|_| self.callers == Callers::Many)?;
        self.asked.get(&name).filter(|asked| asked.is_subscription)?;
        let Asked { stream, id, .. } = self.forget(&name)?;
        Some(self.restored(stream, text, id.as_deref().map(|given| (raw, given))))
    }

    fn for_subscription<'a>(&self, text: &'a str, raw: &'a str) -> Option<Route<'a>> {
        let name = Id::from_raw(raw).filter(|_| self.callers == Callers::Many)?;
        let asked = self.asked.get(&name).filter(|asked| asked.is_subscription)?;
        Some(self.restored(asked.stream, text, asked.id.as_deref().map(|given| (raw, given))))
    }

    /// A log message does not say which request it belongs to. With more than one that could be meant, it
    /// could tell a caller about another one's.
    fn log<'a>(&self, text: &'a str) -> Route<'a> {
        let mut wanted = self.asked.values().filter(|asked| asked.wants_logs);
        match (wanted.next(), wanted.next()) {
            (Some(asked), None) => self.restored(asked.stream, text, None),
            (None, _) => Route::Nowhere("nobody has asked for log messages"),
            (Some(_), Some(_)) => Route::Nowhere("more than one request has asked for log messages"),
        }
    }

    fn restored<'a>(&self, stream: u64, text: &'a str, part: Option<(&str, &str)>) -> Route<'a> {
        let is_last = self.is_over(stream);
        let Some((known, given)) = part else { return Route::Stream { stream, text: text.into(), is_last } };
        let mut edits = Edits::new(text);
        edits.replace(known, given);
        Route::Stream { stream, text: edits.finish().into_owned().into(), is_last }
    }
}

fn subscription<'a>(holder: &Members<'a>) -> Option<&'a str> {
    Members::parse(holder.raw("_meta")?).ok()?.raw(SUBSCRIPTION)
}

/// A message on one line. JSON has line ends between its tokens only.
fn one_line(text: &str) -> String {
    let text = text.trim();
    if text.contains(['\n', '\r']) { text.replace(['\n', '\r'], " ") } else { text.to_owned() }
}

#[cfg(test)]
mod tests;
