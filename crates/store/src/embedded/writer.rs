//! The writer: one thread that commits whole groups of commands.
//!
//! Commands come through a bounded queue and are applied one after another in a single transaction,
//! which is made durable once; then each is answered. While a commit waits for the disk the next group
//! gathers, so that commits grow with the load. After a storage error nothing more is written: every
//! waiting and later command is told, and a restart goes on from what is durable.

use std::{
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use redb::Database;
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    EventEntropy,
    lookup::storage,
    work::{Tail, Work},
};
use crate::StoreError;

/// The most commands that share one commit.
const MAX_GROUP: usize = 1_024;

/// What a command does with the outcome of its group's commit.
type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
/// Does the command's work; says whether it was refused.
type Job = Box<dyn FnOnce(&mut Work<'_>) -> (bool, Answer) + Send>;

/// The way to the writer thread. Clones lead to the same one.
#[derive(Clone)]
pub(super) struct Writer {
    jobs: mpsc::Sender<Job>,
    failure: Arc<Mutex<Option<StoreError>>>,
}

/// What the writer thread works with. The size is dropped last, when the file is let go.
pub(super) struct WriterState {
    pub(super) database: Arc<Database>,
    pub(super) tail: Tail,
    pub(super) entropy: EventEntropy,
    /// The ledger's size, for those who follow it.
    pub(super) size: watch::Sender<u64>,
}

impl Writer {
    pub(super) fn start(state: WriterState, queue: usize) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::channel(queue.max(1));
        let writer = Self { jobs, failure: Arc::default() };
        let failure = Arc::clone(&writer.failure);
        thread::Builder::new().name("store-writer".to_owned()).spawn(move || state.run(queue, &failure))?;
        Ok(writer)
    }

    /// Applies a command and returns once it is durable, or refused.
    pub(super) async fn run<T, E>(
        &self,
        apply: impl FnOnce(&mut Work<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(move |work: &mut Work<'_>| {
            let result = apply(work);
            let refused = result.is_err();
            let answer: Answer = Box::new(move |committed| {
                // Nobody listening any more is no reason to undo what is durable.
                let _ = reply.send(committed.map_err(E::from).and(result));
            });
            (refused, answer)
        });
        if self.jobs.send(job).await.is_err() {
            return Err(self.stopped().into());
        }
        answer.await.unwrap_or_else(|_| Err(self.stopped().into()))
    }

    /// Why nothing is written any more.
    pub(super) fn stopped(&self) -> StoreError {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or(StoreError::Closed)
    }

    /// Returns when nothing is written any more.
    pub(super) async fn ended(&self) -> StoreError {
        self.jobs.closed().await;
        self.stopped()
    }
}

impl WriterState {
    fn run(mut self, mut queue: mpsc::Receiver<Job>, failure: &Mutex<Option<StoreError>>) {
        while let Some(first) = queue.blocking_recv() {
            let mut group = vec![first];
            while group.len() < MAX_GROUP {
                let Ok(job) = queue.try_recv() else { break };
                group.push(job);
            }
            if let Err(error) = self.commit(group) {
                // Before the queue is closed: whoever finds it closed asks why.
                *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                return;
            }
        }
    }

    fn commit(&mut self, group: Vec<Job>) -> Result<(), StoreError> {
        let mut answers = Vec::with_capacity(group.len());
        let committed = self.transact(group, &mut answers);
        for answer in answers {
            answer(committed.clone());
        }
        committed
    }

    fn transact(&mut self, group: Vec<Job>, answers: &mut Vec<Answer>) -> Result<(), StoreError> {
        let mut transaction = self.database.begin_write().map_err(storage)?;
        // Two-phase commits and a saved allocator state: reopening after a kill takes milliseconds.
        transaction.set_quick_repair(true);
        let mut work = Work::new(&transaction, self.tail.clone(), &mut self.entropy);
        let mut broken = false;
        for job in group {
            let before = work.writes();
            let (refused, answer) = job(&mut work);
            answers.push(answer);
            broken |= refused && work.writes() != before;
        }
        if broken {
            return Err(storage("a command failed half-way; nothing of its group was kept"));
        }
        if work.writes() == 0 {
            return transaction.abort().map_err(storage);
        }
        let tail = work.seal()?;
        transaction.commit().map_err(storage)?;
        self.size.send_replace(tail.frontier.size());
        self.tail = tail;
        Ok(())
    }
}
