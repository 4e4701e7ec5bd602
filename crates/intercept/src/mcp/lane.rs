//! The requests of one side that policy had to look at, from their first byte to their answer.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use super::envelope::Id;

/// The most requests of one side that may wait or run at a time.
const MAX_UNDER_WAY: usize = 256;

/// One direction's requests under way, and what is told of the answer to one.
#[derive(Debug)]
pub(super) struct Lane<T>(Mutex<Requests<T>>);

#[derive(Debug)]
struct Requests<T> {
    under_way: HashMap<Id, Stage<T>>,
    /// The requester has gone: nothing waits for people any more.
    closed: bool,
}

#[derive(Debug)]
enum Stage<T> {
    /// Policy is being asked. Dropping the sender withdraws the request.
    Deciding {
        /// Whether it waits for people.
        held: bool,
        /// Only ever dropped.
        _withdraw: oneshot::Sender<()>,
    },
    /// Forwarded. The sender is told of the answer.
    Running(oneshot::Sender<T>),
}

/// Why a request was not taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum LaneError {
    #[error("another request with this id is still under way")]
    Duplicate,
    #[error("too many requests are under way; try again later")]
    Full,
}

/// What an answer from the other side answers.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answered {
    /// A request that was forwarded.
    Forward,
    /// A request that is being decided about: no such answer can be honest.
    Forged,
    /// No request that is under way.
    Unasked,
}

impl<T> Default for Lane<T> {
    fn default() -> Self {
        Self(Mutex::new(Requests { under_way: HashMap::new(), closed: false }))
    }
}

impl<T> Lane<T> {
    fn lock(&self) -> MutexGuard<'_, Requests<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a request in. The receiver resolves when it is withdrawn.
    pub(super) fn open(&self, id: &Id) -> Result<oneshot::Receiver<()>, LaneError> {
        let mut requests = self.lock();
        if requests.under_way.contains_key(id) {
            return Err(LaneError::Duplicate);
        }
        if requests.under_way.len() >= MAX_UNDER_WAY {
            return Err(LaneError::Full);
        }
        let (withdraw, withdrawn) = oneshot::channel();
        requests.under_way.insert(id.clone(), Stage::Deciding { held: false, _withdraw: withdraw });
        Ok(withdrawn)
    }

    /// Notes that a request waits for people. With its requester gone it is withdrawn at once.
    pub(super) fn hold(&self, id: &Id) {
        let mut requests = self.lock();
        if requests.closed {
            requests.under_way.remove(id);
        } else if let Some(Stage::Deciding { held, .. }) = requests.under_way.get_mut(id) {
            *held = true;
        }
    }

    /// Forwards a permitted request, unless it was withdrawn. Both are one step, so that a withdrawn
    /// request is never forwarded. The receiver is told of the answer.
    pub(super) fn forward(&self, id: &Id, send: impl FnOnce()) -> Option<oneshot::Receiver<T>> {
        let mut requests = self.lock();
        let stage = requests.under_way.get_mut(id)?;
        let (running, answer) = oneshot::channel();
        *stage = Stage::Running(running);
        send();
        Some(answer)
    }

    /// Forgets a request that was refused.
    pub(super) fn close(&self, id: &Id) {
        self.lock().under_way.remove(id);
    }

    /// The requester cancels a request. Returns whether the other side knows of it and must be told.
    pub(super) fn cancel(&self, id: &Id) -> bool {
        // Forgetting a running one leaves its outcome unknown, which it is: a cancelled request is not answered.
        !matches!(self.lock().under_way.remove(id), Some(Stage::Deciding { .. }))
    }

    /// The other side answers a request.
    pub(super) fn answer(&self, id: &Id, answer: T) -> Answered {
        let mut requests = self.lock();
        match requests.under_way.remove(id) {
            Some(Stage::Running(running)) => {
                // Nobody listens any more only when the sidecar broke off, and then it knows.
                let _ = running.send(answer);
                Answered::Forward
            }
            Some(deciding) => {
                requests.under_way.insert(id.clone(), deciding);
                Answered::Forged
            }
            None => Answered::Unasked,
        }
    }

    /// The requester has gone. What waits for people is withdrawn; what is being decided may finish.
    pub(super) fn requester_gone(&self) {
        let mut requests = self.lock();
        requests.closed = true;
        requests.under_way.retain(|_, stage| match stage {
            Stage::Deciding { held, .. } => !*held,
            Stage::Running(_) => true,
        });
    }

    /// The other side has gone. What waits is withdrawn, and what runs has an unknown outcome.
    pub(super) fn abandon(&self) {
        let mut requests = self.lock();
        requests.closed = true;
        requests.under_way.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::envelope::{Envelope, read};

    type Lane = super::Lane<&'static str>;

    fn id(number: u32) -> Id {
        let line = format!(r#"{{"jsonrpc":"2.0","id":{number},"method":"x"}}"#);
        match read(line.as_bytes()).unwrap() {
            Envelope::Request { id, .. } => id,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_cancelled_request_is_never_forwarded() {
        let lane = Lane::default();
        let mut withdrawn = lane.open(&id(1)).unwrap();
        assert!(!lane.cancel(&id(1)), "the other side has never seen it");
        assert!(withdrawn.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Closed));
        assert!(lane.forward(&id(1), || panic!("forwarded")).is_none());
    }

    #[test]
    fn an_answer_to_what_was_not_forwarded_is_forged() {
        let lane = Lane::default();
        let _withdrawn = lane.open(&id(1)).unwrap();
        assert_eq!(lane.answer(&id(1), "done"), Answered::Forged);
        let mut outcome = lane.forward(&id(1), || ()).unwrap();
        assert_eq!(lane.answer(&id(1), "done"), Answered::Forward);
        assert_eq!(outcome.try_recv(), Ok("done"));
    }

    #[test]
    fn ids_are_used_once_at_a_time_and_not_without_end() {
        let lane = Lane::default();
        let kept: Vec<_> = (0..256).map(|number| lane.open(&id(number)).unwrap()).collect();
        assert_eq!(lane.open(&id(0)).unwrap_err(), LaneError::Duplicate);
        assert_eq!(lane.open(&id(256)).unwrap_err(), LaneError::Full);
        drop(kept);
    }

    #[test]
    fn when_the_requester_goes_only_what_waits_for_people_is_withdrawn() {
        let lane = Lane::default();
        let (_deciding, _held) = (lane.open(&id(1)).unwrap(), lane.open(&id(2)).unwrap());
        lane.hold(&id(2));
        lane.requester_gone();
        assert!(lane.forward(&id(1), || ()).is_some());
        assert!(lane.forward(&id(2), || ()).is_none());
        let _late = lane.open(&id(3)).unwrap();
        lane.hold(&id(3));
        assert!(lane.forward(&id(3), || ()).is_none());
    }
}
