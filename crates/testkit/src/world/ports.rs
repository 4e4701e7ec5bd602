//! Policy, audit log and journal, in memory, with faults to switch on.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use countersign_gate::{
    Outcome, Snapshot,
    ports::{
        AuditError, AuditSink, Clock, Consumption, Ended, Entropy, GrantJournal, JournalError, Lasting,
        NoPolicy, PolicySource, Standing,
    },
    record::{Kind, Record},
};
use countersign_model::{Amount, ApprovalId, Timestamp, amount::spend};
use futures::{FutureExt, future::BoxFuture};
use tokio::sync::watch;

use crate::{FakeClock, FakeEntropy};

impl Clock for FakeClock {
    fn now(&self) -> Timestamp {
        FakeClock::now(self)
    }
}

impl Entropy for FakeEntropy {
    fn bytes(&self) -> [u8; 10] {
        FakeEntropy::bytes(self)
    }
}

/// Policy that is in force because a test says so.
#[derive(Debug)]
pub struct FakePolicy {
    current: watch::Sender<Option<Arc<Snapshot>>>,
    lease_ended: AtomicBool,
}

impl Default for FakePolicy {
    fn default() -> Self {
        Self { current: watch::Sender::new(None), lease_ended: AtomicBool::new(false) }
    }
}

impl FakePolicy {
    /// Brings a bundle in force.
    pub fn activate(&self, snapshot: Snapshot) {
        self.current.send_replace(Some(Arc::new(snapshot)));
    }

    /// There is no policy.
    pub fn remove(&self) {
        self.current.send_replace(None);
    }

    /// The lease is over, or is not.
    pub fn set_lease_ended(&self, ended: bool) {
        self.lease_ended.store(ended, Ordering::SeqCst);
    }
}

impl PolicySource for FakePolicy {
    fn current(&self, _now: Timestamp) -> Result<Arc<Snapshot>, NoPolicy> {
        let snapshot = self.current.borrow().clone().ok_or(NoPolicy::Missing)?;
        if self.lease_ended.load(Ordering::SeqCst) {
            Err(NoPolicy::LeaseEnded(snapshot))
        } else {
            Ok(snapshot)
        }
    }

    fn changed(&self, than: &Arc<Snapshot>) -> BoxFuture<'_, ()> {
        let mut receiver = self.current.subscribe();
        let than = Arc::clone(than);
        async move {
            let other = |current: &Option<Arc<Snapshot>>| {
                current.as_ref().is_some_and(|current| !Arc::ptr_eq(current, &than))
            };
            let _ = receiver.wait_for(other).await;
        }
        .boxed()
    }
}

/// An audit log in memory.
#[derive(Debug, Default)]
pub struct FakeAudit {
    records: Mutex<Vec<(Record, bool)>>,
    full: AtomicBool,
}

impl FakeAudit {
    /// Everything that was recorded.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        self.records.lock().unwrap().iter().map(|(record, _)| record.clone()).collect()
    }

    /// The kinds of everything that was recorded.
    #[must_use]
    pub fn kinds(&self) -> Vec<Kind> {
        self.records.lock().unwrap().iter().map(|(record, _)| record.kind()).collect()
    }

    /// Whether the last record was durable before its maker went on.
    #[must_use]
    pub fn last_was_durable(&self) -> bool {
        self.records.lock().unwrap().last().is_some_and(|(_, durable)| *durable)
    }

    /// Whether the record of that number, from 0, was durable before its maker went on.
    #[must_use]
    pub fn was_durable(&self, number: usize) -> bool {
        self.records.lock().unwrap().get(number).is_some_and(|(_, durable)| *durable)
    }

    /// The log takes nothing in any more, or does again.
    pub fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::SeqCst);
    }

    /// Takes a record in that is durable together with something else.
    fn take(&self, record: Record) {
        self.records.lock().unwrap().push((record, true));
    }

    fn add(&self, record: Record, durable: bool) -> Result<(), AuditError> {
        if self.full.load(Ordering::SeqCst) {
            return Err(AuditError::Full);
        }
        self.records.lock().unwrap().push((record, durable));
        Ok(())
    }
}

impl AuditSink for FakeAudit {
    fn enqueue(&self, record: Record) -> Result<(), AuditError> {
        self.add(record, false)
    }

    fn commit(&self, record: Record) -> BoxFuture<'_, Result<(), AuditError>> {
        async move { self.add(record, true) }.boxed()
    }
}

/// A journal in memory. It is what stays when a [`World`](super::World) restarts.
#[derive(Debug)]
pub struct FakeJournal {
    audit: Arc<FakeAudit>,
    used: Mutex<HashMap<ApprovalId, (u32, Vec<Amount>)>>,
    lasting: Mutex<BTreeMap<ApprovalId, (Lasting, Timestamp)>>,
    outcomes: Mutex<Vec<(ApprovalId, u32, Outcome)>>,
    revoked: Mutex<HashSet<ApprovalId>>,
    broken: AtomicBool,
}

impl FakeJournal {
    pub(super) fn new(audit: Arc<FakeAudit>) -> Self {
        Self {
            audit,
            used: Mutex::default(),
            lasting: Mutex::default(),
            outcomes: Mutex::default(),
            revoked: Mutex::default(),
            broken: AtomicBool::new(false),
        }
    }

    /// How much of a grant is used up.
    #[must_use]
    pub fn used(&self, approval: ApprovalId) -> u32 {
        self.used.lock().unwrap().get(&approval).map_or(0, |(used, _)| *used)
    }

    /// How the uses ended.
    #[must_use]
    pub fn outcomes(&self) -> Vec<Outcome> {
        self.outcomes.lock().unwrap().iter().map(|(_, _, outcome)| outcome.clone()).collect()
    }

    /// The control plane has revoked an approval.
    pub fn revoke(&self, approval: ApprovalId) {
        self.revoked.lock().unwrap().insert(approval);
    }

    /// Nothing can be written any more, or can again.
    pub fn set_broken(&self, broken: bool) {
        self.broken.store(broken, Ordering::SeqCst);
    }

    fn working(&self) -> Result<(), JournalError> {
        if self.broken.load(Ordering::SeqCst) {
            Err(JournalError::Unavailable("the disk is full".to_owned()))
        } else {
            Ok(())
        }
    }
}

impl GrantJournal for FakeJournal {
    fn consume(&self, consumption: Consumption) -> BoxFuture<'_, Result<u32, JournalError>> {
        async move {
            self.working()?;
            let mut used = self.used.lock().unwrap();
            let (count, spent) = used.entry(consumption.approval).or_default();
            let after = spend(spent, &consumption.charges).filter(|_| *count < consumption.uses);
            *spent = after.ok_or(JournalError::Exhausted)?;
            *count += 1;
            if let Some(lasting) = consumption.lasting {
                let mut kept = self.lasting.lock().unwrap();
                kept.entry(consumption.approval).or_insert((lasting, consumption.not_after));
            }
            self.audit.take(consumption.record);
            Ok(*count)
        }
        .boxed()
    }

    fn finish(&self, ended: Ended) -> BoxFuture<'_, Result<(), JournalError>> {
        async move {
            self.working()?;
            self.outcomes.lock().unwrap().push((ended.approval, ended.use_number, ended.outcome));
            self.audit.take(ended.record);
            Ok(())
        }
        .boxed()
    }

    fn standing(&self, approval: ApprovalId) -> Standing {
        let (used, spent) = self.used.lock().unwrap().get(&approval).cloned().unwrap_or_default();
        Standing { used, spent, revoked: self.revoked.lock().unwrap().contains(&approval) }
    }

    fn lasting(&self, now: Timestamp) -> Vec<(ApprovalId, Lasting)> {
        let kept = self.lasting.lock().unwrap();
        let live = kept.iter().filter(|(_, (_, not_after))| now < *not_after);
        live.map(|(id, (lasting, _))| (*id, lasting.clone())).collect()
    }
}
