//! Batches on stdio (JSON-RPC 2.0 §6, MCP to 2025-03-26). Each element is a message of its own: it is decided,
//! held and forwarded like any other, and waits for none of its neighbours. Only the answers go back together.
//!
//! The revision is not asked for: a later client that sends a batch gets no more through with it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::mcp::{envelope::Id, framing::content};

/// The answers that are still gathered.
#[derive(Debug, Default)]
pub(super) struct Batches(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// Which batch a request came in.
    of: HashMap<Id, u64>,
    open: BTreeMap<u64, Gathered>,
}

#[derive(Debug, Default)]
struct Gathered {
    owed: usize,
    answers: Vec<Bytes>,
}

impl Gathered {
    /// All answers on one line; nothing when there are none (JSON-RPC 2.0 §6).
    fn line(&self) -> Option<Bytes> {
        let (first, rest) = self.answers.split_first()?;
        let mut line = BytesMut::from(&b"["[..]);
        line.extend_from_slice(content(first));
        for answer in rest {
            line.put_u8(b',');
            line.extend_from_slice(content(answer));
        }
        line.extend_from_slice(b"]\n");
        Some(line.freeze())
    }
}

impl Batches {
    /// Notes the requests of a batch, whose answers are to go back together with `own`.
    pub(super) fn open(&self, requests: Vec<Id>, own: Vec<Bytes>) -> Option<Bytes> {
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        let mut gathered = Gathered { owed: 0, answers: own };
        for id in requests {
            // Of an id that is awaited already, the earlier batch gets the next answer.
            if let std::collections::hash_map::Entry::Vacant(free) = state.of.entry(id) {
                free.insert(number);
                gathered.owed += 1;
            }
        }
        if gathered.owed == 0 {
            return gathered.line();
        }
        state.open.insert(number, gathered);
        None
    }

    /// What is to be sent now that a request is answered: the answer itself when it came alone, all of
    /// them when it was the last of its batch.
    pub(super) fn answer(&self, id: &Id, line: Bytes) -> Option<Bytes> {
        let mut state = self.lock();
        let Some(number) = state.of.remove(id) else { return Some(line) };
        state.settle(number, Some(line))
    }

    /// What is to be sent now that a request will not be answered any more.
    pub(super) fn forget(&self, id: &Id) -> Option<Bytes> {
        let mut state = self.lock();
        let number = state.of.remove(id)?;
        state.settle(number, None)
    }

    /// What there is when nothing more will come.
    pub(super) fn rest(&self) -> Vec<Bytes> {
        let mut state = self.lock();
        state.of.clear();
        std::mem::take(&mut state.open).values().filter_map(Gathered::line).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn settle(&mut self, number: u64, answer: Option<Bytes>) -> Option<Bytes> {
        let gathered = self.open.get_mut(&number)?;
        gathered.answers.extend(answer);
        gathered.owed = gathered.owed.saturating_sub(1);
        if gathered.owed > 0 {
            return None;
        }
        self.open.remove(&number)?.line()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::envelope::{Envelope, read};

    fn id(number: u32) -> Id {
        let line = format!(r#"{{"jsonrpc":"2.0","id":{number},"method":"x"}}"#);
        match read(line.as_bytes()).unwrap() {
            Envelope::Request { id, .. } => id,
            other => panic!("{other:?}"),
        }
    }

    fn text(line: &'static str) -> Bytes {
        Bytes::from_static(line.as_bytes())
    }

    #[test]
    fn answers_go_back_together_once_the_last_has_come() {
        let batches = Batches::default();
        assert_eq!(batches.open(vec![id(1), id(2), id(3)], vec![text("0\n")]), None);
        assert_eq!(batches.answer(&id(2), text("2\n")), None);
        assert_eq!(batches.answer(&id(9), text("9\n")), Some(text("9\n")), "it came alone");
        assert_eq!(batches.forget(&id(3)), None);
        assert_eq!(batches.answer(&id(1), text("1\n")), Some(text("[0,2,1]\n")));
        assert_eq!(batches.answer(&id(1), text("1\n")), Some(text("1\n")), "the id is free again");
    }

    #[test]
    fn of_what_nobody_answers_nothing_is_said_and_nothing_is_lost() {
        let batches = Batches::default();
        assert_eq!(batches.open(vec![], vec![]), None);
        assert_eq!(batches.open(vec![], vec![text("0\n")]), Some(text("[0]\n")));
        assert_eq!(batches.open(vec![id(1)], vec![]), None);
        assert_eq!(batches.forget(&id(1)), None);
        assert_eq!(batches.open(vec![id(1), id(2)], vec![]), None);
        assert_eq!(batches.answer(&id(2), text("2\n")), None);
        assert_eq!(batches.rest(), [text("[2]\n")]);
    }
}
