//! What people do with cards, from whichever way it comes: taken once, and worked off after it was acknowledged.

use std::{future::Future, pin::Pin, sync::Arc};

use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::interaction::{Interaction, InteractionError};
use crate::{channel::recent::Recent, clock::Clock};

/// How many are worked off at a time; more are turned away.
const MOST_AT_A_TIME: usize = 64;

/// What is done about an interaction.
pub(super) type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Takes interactions in.
pub(super) struct Inbox {
    clock: Clock,
    recent: Recent,
    places: Arc<Semaphore>,
    work: TaskTracker,
    handle: Box<dyn Fn(Interaction) -> Work + Send + Sync>,
}

/// Too much is being worked off already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many clicks at a time")]
pub(super) struct Busy;

impl Inbox {
    /// An inbox that has `handle` work things off.
    pub(super) fn new(clock: Clock, handle: impl Fn(Interaction) -> Work + Send + Sync + 'static) -> Self {
        let places = Arc::new(Semaphore::new(MOST_AT_A_TIME));
        Self { clock, recent: Recent::default(), places, work: TaskTracker::new(), handle: Box::new(handle) }
    }

    /// Takes a payload that is known to come from Slack. `name` is its own and no other's: the same one
    /// again is passed over.
    pub(super) fn take(&self, name: &[u8], payload: &str) -> Result<(), Busy> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| Busy)?;
        if !self.recent.is_new(name, self.clock.now()) {
            return Ok(());
        }
        match Interaction::parse(payload) {
            Ok(interaction) => {
                let work = (self.handle)(interaction);
                self.work.spawn(async move {
                    work.await;
                    drop(place);
                });
            }
            Err(InteractionError::NotOurs) => {}
            Err(error) => tracing::warn!(%error, "an interaction of Slack's is passed over"),
        }
        Ok(())
    }

    /// Waits until everything that was taken is worked off. Nothing is to be taken any more.
    pub(super) async fn finish(&self) {
        self.work.close();
        self.work.wait().await;
    }
}
