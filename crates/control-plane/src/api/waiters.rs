//! How many requests may wait at once: event streams and long polls.

use std::sync::Arc;

use http::{HeaderValue, StatusCode, header};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::Problem;

/// How many may wait.
const PLACES: usize = 2_048;

/// The places for requests that wait.
#[derive(Debug, Clone)]
pub(crate) struct Waiters(Arc<Semaphore>);

/// A place, kept until it is dropped.
#[derive(Debug)]
pub(crate) struct Place(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Default for Waiters {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(PLACES)))
    }
}

impl Waiters {
    /// Takes a place, or says at once that there is none.
    pub(crate) fn enter(&self) -> Result<Place, Problem> {
        Arc::clone(&self.0).try_acquire_owned().map(Place).map_err(|_| {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_waiting", "Too many requests are waiting")
                .header(header::RETRY_AFTER, HeaderValue::from_static("5"))
        })
    }
}
