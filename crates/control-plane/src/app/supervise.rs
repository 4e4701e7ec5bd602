//! Background work under supervision: when one task fails or ends early, all of them are stopped and
//! the process ends. None goes missing quietly.

use std::{error::Error, future::Future};

use countersign_model::Seconds;
use tokio::{
    task::{JoinHandle, JoinSet},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// What a task can fail with.
pub(crate) type TaskError = Box<dyn Error + Send + Sync>;

/// Why the control plane ended by itself.
#[derive(Debug, thiserror::Error)]
#[error("{task} ended: {reason}")]
pub struct Failure {
    /// The task that ended first.
    pub task: &'static str,
    /// Why.
    pub reason: String,
}

type Ended = (&'static str, Result<(), TaskError>);

/// Tasks that live and die together.
#[derive(Default)]
pub(crate) struct Supervisor {
    tasks: JoinSet<Ended>,
    stop: CancellationToken,
}

impl Supervisor {
    /// Cancelled when everything is to stop.
    pub(crate) fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Starts a task. It is expected to run until the stop token is cancelled.
    pub(crate) fn spawn<F>(&mut self, name: &'static str, task: F)
    where
        F: Future<Output = Result<(), TaskError>> + Send + 'static,
    {
        self.tasks.spawn(async move { (name, task.await) });
    }

    /// Watches over the tasks until all have ended. From the stop on they have `drain` to do so.
    pub(crate) fn watch(self, drain: Seconds) -> JoinHandle<Result<(), Failure>> {
        tokio::spawn(self.run(drain))
    }

    async fn run(mut self, drain: Seconds) -> Result<(), Failure> {
        let first = tokio::select! {
            // First, because a task that ends after the stop is doing what it should.
            biased;
            () = self.stop.cancelled() => Ok(()),
            ended = self.tasks.join_next() => Err(failure(ended)),
        };
        self.stop.cancel();
        let draining = async {
            while let Some(ended) = self.tasks.join_next().await {
                if let Ok((task, Err(error))) = ended {
                    tracing::warn!(task, %error, "failed while shutting down");
                }
            }
        };
        if timeout(drain.to_std(), draining).await.is_err() {
            tracing::warn!(%drain, "work that was not done in time is abandoned");
            self.tasks.shutdown().await;
        }
        first
    }
}

fn failure(ended: Option<Result<Ended, tokio::task::JoinError>>) -> Failure {
    match ended {
        Some(Ok((task, Err(error)))) => Failure { task, reason: error.to_string() },
        Some(Ok((task, Ok(())))) => Failure { task, reason: "it returned, which it never should".to_owned() },
        Some(Err(error)) => Failure { task: "a background task", reason: error.to_string() },
        None => Failure { task: "the supervisor", reason: "there was nothing to watch".to_owned() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_failure_stops_everything_and_is_named() {
        let mut supervisor = Supervisor::default();
        let stop = supervisor.stop_token();
        supervisor.spawn("patient", async move {
            stop.cancelled().await;
            Ok(())
        });
        supervisor.spawn("hasty", async { Err("out of luck".into()) });
        let failure = supervisor.watch(Seconds::new(60)).await.unwrap().unwrap_err();
        assert_eq!(failure.to_string(), "hasty ended: out of luck");
    }

    #[tokio::test]
    async fn a_panic_is_a_failure_too() {
        let mut supervisor = Supervisor::default();
        supervisor.spawn("unsound", async { panic!("no") });
        assert!(supervisor.watch(Seconds::new(60)).await.unwrap().is_err());
    }

    #[tokio::test]
    async fn a_task_that_does_not_stop_is_abandoned_at_the_deadline() {
        let mut supervisor = Supervisor::default();
        let stop = supervisor.stop_token();
        supervisor.spawn("stubborn", std::future::pending());
        stop.cancel();
        supervisor.watch(Seconds::new(1)).await.unwrap().unwrap();
    }
}
