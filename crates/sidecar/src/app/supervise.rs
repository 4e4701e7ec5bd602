//! Background work under supervision: when one task fails or ends early, all of them are stopped and
//! the process ends. None goes missing quietly.
//!
//! The stop goes in stages, so that what is finished last can still be recorded and reported: first the
//! listeners, with what is under way there; then the work behind them; then the link.

use std::{error::Error, future::Future, time::Duration};

use countersign_model::Seconds;
use tokio::{
    task::{JoinError, JoinSet},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// What a task can fail with.
pub(crate) type TaskError = Box<dyn Error + Send + Sync>;

/// How long each stage after the listeners has to end.
const LAST_CALL: Duration = Duration::from_secs(5);

/// Why the sidecar ended by itself.
#[derive(Debug, thiserror::Error)]
#[error("{task} ended: {reason}")]
pub struct Failure {
    /// The task that ended first.
    pub task: &'static str,
    /// Why.
    pub reason: String,
}

/// When a task is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The listeners.
    Front,
    /// What they rely on.
    Work,
    /// What that relies on.
    Link,
}

type Ended = (&'static str, Result<(), TaskError>);

#[derive(Default)]
struct Crew {
    tasks: JoinSet<Ended>,
    stop: CancellationToken,
}

/// Tasks that live and die together.
#[derive(Default)]
pub(crate) struct Supervisor {
    front: Crew,
    work: Crew,
    link: Crew,
}

impl Supervisor {
    /// Starts a task. It is expected to run until the token that it is given is cancelled.
    pub(crate) fn spawn<F>(
        &mut self,
        stage: Stage,
        name: &'static str,
        task: impl FnOnce(CancellationToken) -> F,
    ) where
        F: Future<Output = Result<(), TaskError>> + Send + 'static,
    {
        let crew = match stage {
            Stage::Front => &mut self.front,
            Stage::Work => &mut self.work,
            Stage::Link => &mut self.link,
        };
        let task = task(crew.stop.clone());
        crew.tasks.spawn(async move { (name, task.await) });
    }

    /// Watches over the tasks until the stop or the first failure, and then until all have ended. What is
    /// under way at the listeners has `drain` to do so.
    pub(crate) async fn watch(mut self, stop: CancellationToken, drain: Seconds) -> Result<(), Failure> {
        let first = tokio::select! {
            () = stop.cancelled() => Ok(()),
            Some(ended) = self.front.tasks.join_next() => Err(failure(ended)),
            Some(ended) = self.work.tasks.join_next() => Err(failure(ended)),
            Some(ended) = self.link.tasks.join_next() => Err(failure(ended)),
        };
        stop.cancel();
        self.front.dismiss(drain.to_std()).await;
        self.work.dismiss(LAST_CALL).await;
        self.link.dismiss(LAST_CALL).await;
        first
    }
}

impl Crew {
    async fn dismiss(&mut self, within: Duration) {
        self.stop.cancel();
        let ending = async {
            while let Some(ended) = self.tasks.join_next().await {
                if let Ok((task, Err(error))) = ended {
                    tracing::warn!(task, %error, "failed while shutting down");
                }
            }
        };
        if timeout(within, ending).await.is_err() {
            tracing::warn!(?within, "work that was not done in time is abandoned");
            self.tasks.shutdown().await;
        }
    }
}

fn failure(ended: Result<Ended, JoinError>) -> Failure {
    match ended {
        Ok((task, Err(error))) => Failure { task, reason: error.to_string() },
        Ok((task, Ok(()))) => Failure { task, reason: "it returned, which it never should".to_owned() },
        Err(error) => Failure { task: "a background task", reason: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn one_failure_stops_everything_and_is_named() {
        let mut supervisor = Supervisor::default();
        supervisor.spawn(Stage::Front, "patient", async |stop| {
            stop.cancelled().await;
            Ok(())
        });
        supervisor.spawn(Stage::Work, "hasty", async |_| Err("out of luck".into()));
        let failure = supervisor.watch(CancellationToken::new(), Seconds::new(60)).await.unwrap_err();
        assert_eq!(failure.to_string(), "hasty ended: out of luck");
    }

    #[tokio::test]
    async fn the_link_outlives_the_work_and_the_work_outlives_the_listeners() {
        let mut supervisor = Supervisor::default();
        let (told, mut order) = mpsc::unbounded_channel();
        for (stage, name) in [(Stage::Link, "link"), (Stage::Work, "work"), (Stage::Front, "front")] {
            let told = told.clone();
            supervisor.spawn(stage, name, async move |stop| {
                stop.cancelled().await;
                told.send(name)?;
                Ok(())
            });
        }
        let stop = CancellationToken::new();
        stop.cancel();
        supervisor.watch(stop, Seconds::new(60)).await.unwrap();
        assert_eq!(
            [order.recv().await, order.recv().await, order.recv().await].map(Option::unwrap),
            ["front", "work", "link"]
        );
    }
}
