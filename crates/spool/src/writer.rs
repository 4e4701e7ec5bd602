//! The writer: one thread that commits whole groups of commands.
//!
//! Commands come through a bounded queue and are applied one after another in a single transaction,
//! which is made durable once; then each is answered. A command that can wait (`batched`) lets others
//! join it until the flush interval is over. After a storage error nothing more is written: every
//! waiting and later command is told, and a restart goes on from what is durable.

use std::{
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use redb::Database;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, timeout_at},
};

use crate::{
    EventEntropy,
    spool::Depth,
    work::{SpoolError, Tail, Work},
};

/// The most commands that share one commit.
const MAX_GROUP: usize = 1_024;

/// What a command does with the outcome of its group's commit.
type Answer = Box<dyn FnOnce(Result<(), SpoolError>) + Send>;

/// Does the command's work; says whether it was refused.
type Apply = Box<dyn FnOnce(&mut Work<'_>) -> (bool, Answer) + Send>;

/// A command on its way to the writer.
pub(crate) struct Job {
    /// Whether somebody waits for it to be durable.
    urgent: bool,
    apply: Apply,
}

impl Job {
    /// A command that nobody waits for.
    pub(crate) fn batched(
        apply: impl FnOnce(&mut Work<'_>) -> Result<(), SpoolError> + Send + 'static,
    ) -> Self {
        let apply = Box::new(move |work: &mut Work<'_>| {
            let nothing: Answer = Box::new(|_| ());
            (apply(work).is_err(), nothing)
        });
        Self { urgent: false, apply }
    }

    fn urgent<T, E>(
        apply: impl FnOnce(&mut Work<'_>) -> Result<T, E> + Send + 'static,
        reply: oneshot::Sender<Result<T, E>>,
    ) -> Self
    where
        T: Send + 'static,
        E: From<SpoolError> + Send + 'static,
    {
        let apply = Box::new(move |work: &mut Work<'_>| {
            let result = apply(work);
            let refused = result.is_err();
            let answer: Answer = Box::new(move |committed| {
                // Nobody listening any more is no reason to undo what is durable.
                let _ = reply.send(committed.map_err(E::from).and(result));
            });
            (refused, answer)
        });
        Self { urgent: true, apply }
    }
}

/// The way to the writer thread. Clones lead to the same one.
#[derive(Clone)]
pub(crate) struct Writer {
    jobs: mpsc::Sender<Job>,
    failure: Arc<Mutex<Option<SpoolError>>>,
}

/// What the writer thread works with. The depth is dropped last, when the file is let go.
pub(crate) struct WriterState {
    pub(crate) database: Arc<Database>,
    pub(crate) tail: Tail,
    pub(crate) max_bytes: u64,
    pub(crate) flush_interval: Duration,
    pub(crate) entropy: EventEntropy,
    pub(crate) depth: watch::Sender<Depth>,
}

impl Writer {
    pub(crate) fn start(state: WriterState, queue: usize) -> Result<Self, SpoolError> {
        let (jobs, queue) = mpsc::channel(queue.max(1));
        let writer = Self { jobs, failure: Arc::default() };
        let failure = Arc::clone(&writer.failure);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(SpoolError::storage)?;
        thread::Builder::new()
            .name("spool-writer".to_owned())
            .spawn(move || runtime.block_on(state.run(queue, &failure)))
            .map_err(SpoolError::storage)?;
        Ok(writer)
    }

    /// Applies a command and returns once it is durable, or refused.
    pub(crate) async fn run<T, E>(
        &self,
        apply: impl FnOnce(&mut Work<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<SpoolError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        if self.jobs.send(Job::urgent(apply, reply)).await.is_err() {
            return Err(self.stopped().into());
        }
        answer.await.unwrap_or_else(|_| Err(self.stopped().into()))
    }

    /// Hands over a command that nobody waits for. `Ok(false)`: the queue is full.
    pub(crate) fn try_hand_over(&self, job: Job) -> Result<bool, SpoolError> {
        match self.jobs.try_send(job) {
            Ok(()) => Ok(true),
            Err(mpsc::error::TrySendError::Full(_)) => Ok(false),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(self.stopped()),
        }
    }

    fn stopped(&self) -> SpoolError {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or(SpoolError::Closed)
    }
}

impl WriterState {
    async fn run(mut self, mut queue: mpsc::Receiver<Job>, failure: &Mutex<Option<SpoolError>>) {
        while let Some(first) = queue.recv().await {
            let group = gather(first, &mut queue, self.flush_interval).await;
            if let Err(error) = self.commit(group) {
                // Before the queue is closed: whoever finds it closed asks why.
                *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                return;
            }
        }
    }

    fn commit(&mut self, group: Vec<Job>) -> Result<(), SpoolError> {
        let mut answers = Vec::with_capacity(group.len());
        let committed = self.transact(group, &mut answers);
        for answer in answers {
            answer(committed.clone());
        }
        committed
    }

    fn transact(&mut self, group: Vec<Job>, answers: &mut Vec<Answer>) -> Result<(), SpoolError> {
        let mut transaction = self.database.begin_write().map_err(SpoolError::storage)?;
        // Two-phase commits and a saved allocator state: reopening after a kill takes milliseconds.
        transaction.set_quick_repair(true);
        let mut work = Work::new(&transaction, self.tail.clone(), self.max_bytes, &mut self.entropy);
        let mut broken = false;
        for job in group {
            let before = work.writes();
            let (refused, answer) = (job.apply)(&mut work);
            answers.push(answer);
            broken |= refused && work.writes() != before;
        }
        if broken {
            return Err(SpoolError::storage("a command failed half-way; nothing of its group was kept"));
        }
        let tail = work.seal()?;
        transaction.commit().map_err(SpoolError::storage)?;
        self.depth.send_replace(tail.depth());
        self.tail = tail;
        Ok(())
    }
}

async fn gather(first: Job, queue: &mut mpsc::Receiver<Job>, flush_interval: Duration) -> Vec<Job> {
    let deadline = Instant::now() + flush_interval;
    let mut urgent = first.urgent;
    let mut group = vec![first];
    while !urgent && group.len() < MAX_GROUP {
        match timeout_at(deadline, queue.recv()).await {
            Ok(Some(job)) => {
                urgent = job.urgent;
                group.push(job);
            }
            Ok(None) | Err(_) => break,
        }
    }
    while group.len() < MAX_GROUP {
        match queue.try_recv() {
            Ok(job) => group.push(job),
            Err(_) => break,
        }
    }
    group
}
