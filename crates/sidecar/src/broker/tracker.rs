//! Which approvals were asked for, and are waited for.
//!
//! ```text
//! asked ──▶ waited for ──decided──────────────▶ over ──▶ forgotten
//!                └──given up, or restart of──▶ given up ──told──▶ over
//!                   a sidecar whose client was on its socket
//! ```
//!
//! The list is kept across restarts. A caller of the check API may come back for its answer; the clients
//! of the unix socket are gone with the connection that they waited on, so what they asked is given up.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use countersign_approval::{CancelReason, Phase, Status, Submission};
use countersign_gate::Interceptor;
use countersign_model::{ApprovalId, Seconds, Timestamp};
use countersign_protocol::{CancelApproval, limits::MAX_PENDING};
use countersign_spool::{PendingApproval, SidecarState, SpoolError};
use countersign_transport::{Link, RequestError};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::app::TaskError;

/// How long after its end an approval that nobody asked about again is forgotten.
const FORGET_AFTER: Seconds = Seconds::new(60);
/// How often the list is looked through without a cause.
const LOOK_THROUGH: Duration = Duration::from_secs(60);
/// How long to wait before somebody is told again who did not answer.
const RETRY: Duration = Duration::from_secs(2);
/// How long what is left may take at the stop.
const LAST_CALL: Duration = Duration::from_secs(2);

/// The approvals that were asked for.
pub(crate) struct Tracker {
    state: SidecarState,
    entries: Mutex<HashMap<ApprovalId, Entry>>,
    work: Notify,
}

#[derive(Debug, Clone)]
struct Entry {
    key: String,
    decide_by: Timestamp,
    standing: Standing,
    /// Where it stood last; `None` since a restart.
    status: Option<Status>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    WaitedFor,
    GivenUp(CancelReason),
    Over,
}

/// What is kept of a submission.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    interceptor: String,
    decide_by: Timestamp,
}

impl Tracker {
    /// The list of before the restart.
    pub(crate) fn resume(state: SidecarState) -> Result<Arc<Self>, SpoolError> {
        let mut entries = HashMap::new();
        for pending in state.pending()? {
            let kept: Option<Kept> = serde_json::from_str(&pending.submission).ok();
            let (Some(id), Some(kept)) = (pending.approval, kept) else { continue };
            let standing = if kept.interceptor == Interceptor::Check.as_str() {
                Standing::WaitedFor
            } else {
                Standing::GivenUp(CancelReason::RequesterGone)
            };
            entries.insert(id, Entry { key: pending.key, decide_by: kept.decide_by, standing, status: None });
        }
        Ok(Arc::new(Self { state, entries: Mutex::new(entries), work: Notify::new() }))
    }

    /// An approval was asked for.
    pub(crate) async fn asked(&self, submission: &Submission, status: &Status, now: Timestamp) {
        if status.phase != Phase::Pending {
            return;
        }
        let (key, decide_by) = (submission.key.clone(), status.decide_by);
        let entry = Entry {
            key: key.clone(),
            decide_by,
            standing: Standing::WaitedFor,
            status: Some(status.clone()),
        };
        let before = self.entries().insert(status.id, entry);
        // If the requester goes during the next steps, nobody else knows of the approval yet.
        let asking = Asking { tracker: self, id: status.id };
        if let Some(before) = before.filter(|before| before.key != key) {
            // The same was asked before a restart, and waits still. It is kept under one key.
            if let Err(error) = self.state.forget_pending(before.key).await {
                tracing::warn!(approval = %status.id, %error, "an old key could not be forgotten");
            }
        }
        let kept = Kept { interceptor: submission.interceptor.clone(), decide_by };
        let submission = serde_json::to_string(&kept).unwrap_or_default();
        let pending = PendingApproval { key, approval: Some(status.id), submission, since: now };
        if let Err(error) = self.state.remember_pending(pending).await {
            // Only a restart would miss it, and the control plane then cancels it by itself.
            tracing::warn!(approval = %status.id, %error, "a pending approval could not be kept");
        }
        std::mem::forget(asking);
    }

    /// Where an approval stands.
    pub(crate) fn note(&self, status: &Status) {
        if status.phase != Phase::Pending {
            self.forget(status.id);
        }
    }

    /// Nobody waits for an approval any more: it is cancelled as soon as the control plane can be told.
    /// Answers with where it stood last, if it is on the list.
    pub(crate) fn give_up(&self, id: ApprovalId, why: CancelReason) -> Option<Status> {
        self.set(id, Standing::GivenUp(why));
        self.entries().get(&id).and_then(|entry| entry.status.clone())
    }

    /// An approval is decided, or never was.
    pub(crate) fn forget(&self, id: ApprovalId) {
        self.set(id, Standing::Over);
    }

    /// The approvals that somebody waits for.
    pub(crate) fn waited_for(&self, now: Timestamp) -> Vec<ApprovalId> {
        let entries = self.entries();
        let waited = entries.iter().filter(|(_, entry)| {
            entry.standing == Standing::WaitedFor && now < entry.decide_by.plus(FORGET_AFTER)
        });
        waited.map(|(id, _)| *id).take(MAX_PENDING).collect()
    }

    /// Cancels what was given up, once the link is up, and forgets what is over, until the stop.
    pub(crate) async fn run(
        self: Arc<Self>,
        link: Link,
        now: impl Fn() -> Timestamp + Send,
        stop: CancellationToken,
    ) -> Result<(), TaskError> {
        let mut states = link.state();
        loop {
            let up = states.borrow_and_update().is_up();
            let told = if up { self.tell(&link).await } else { true };
            self.expire(now());
            self.drop_over().await?;
            let pause = if told { LOOK_THROUGH } else { RETRY };
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.work.notified() => {}
                () = sleep(pause) => {}
                changed = states.changed() => changed?,
            }
        }
        if link.state().borrow().is_up() {
            // What is not told now is told after the next start.
            let _ = timeout(LAST_CALL, self.tell(&link)).await;
        }
        Ok(())
    }

    /// Tells the control plane what was given up. Answers whether it took everything in.
    async fn tell(&self, link: &Link) -> bool {
        let given_up: Vec<_> = self.entries().iter().filter_map(|(id, entry)| entry.given_up(*id)).collect();
        let mut all = true;
        for cancel in given_up {
            match link.request(cancel).await {
                Ok(_) => self.forget(cancel.id),
                // It was decided in the meantime, or is not known: there is nothing to cancel.
                Err(RequestError::Refused(refused)) if !refused.code.is_transient() => self.forget(cancel.id),
                Err(error) => {
                    tracing::debug!(approval = %cancel.id, %error, "a request could not be cancelled yet");
                    all = false;
                }
            }
        }
        all
    }

    fn expire(&self, now: Timestamp) {
        for entry in self.entries().values_mut() {
            if now >= entry.decide_by.plus(FORGET_AFTER) {
                entry.standing = Standing::Over;
            }
        }
    }

    async fn drop_over(&self) -> Result<(), SpoolError> {
        let over: Vec<_> = {
            let mut entries = self.entries();
            let over = entries.values().filter(|entry| entry.standing == Standing::Over);
            let over: Vec<_> = over.map(|entry| entry.key.clone()).collect();
            entries.retain(|_, entry| entry.standing != Standing::Over);
            over
        };
        for key in over {
            self.state.forget_pending(key).await?;
        }
        Ok(())
    }

    fn set(&self, id: ApprovalId, standing: Standing) {
        if let Some(entry) = self.entries().get_mut(&id) {
            entry.standing = standing;
            self.work.notify_one();
        }
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<ApprovalId, Entry>> {
        // Every change is complete when the lock is released, even by a panic.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An approval whose requester does not know of it yet. Dropping it gives the approval up.
struct Asking<'a> {
    tracker: &'a Tracker,
    id: ApprovalId,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.tracker.give_up(self.id, CancelReason::RequesterGone);
    }
}

impl Entry {
    fn given_up(&self, id: ApprovalId) -> Option<CancelApproval> {
        match self.standing {
            Standing::GivenUp(why) => Some(CancelApproval { id, why }),
            Standing::WaitedFor | Standing::Over => None,
        }
    }
}
