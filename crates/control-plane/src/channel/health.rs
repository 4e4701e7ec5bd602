//! Whether a channel works: by what becomes of its messages, and by what it knows itself.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use countersign_model::Timestamp;
use tokio::sync::Notify;

use super::{back_off, port::DeliveryError};
use crate::clock::Clock;

/// How many failures in a row make a channel one that does not work.
const MOST_FAILURES: u32 = 3;
/// The longest pause between two tries of a channel that does not work.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// The pause after a failure that only another configuration mends, in case it was mended elsewhere.
const CONFIGURATION_PAUSE: Duration = Duration::from_secs(600);
/// The longest time that the other side can ask to be left alone.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3_600);
/// The longest error that is kept, in characters.
const MAX_ERROR: usize = 500;

/// A channel's health. Clones are of the same channel.
#[derive(Clone)]
pub(crate) struct Health {
    clock: Clock,
    state: Arc<Mutex<State>>,
    /// Notified when a channel begins or ceases to work.
    turned: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    refused: bool,
    /// What the channel's own watchdog says.
    alarm: Option<String>,
    down_since: Option<Timestamp>,
    paused_until: Option<Timestamp>,
    last_error: Option<String>,
    last_success: Option<Timestamp>,
}

/// What can be told of a channel's health.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Standing {
    /// Since when it does not work; `None` while it does.
    pub(crate) down_since: Option<Timestamp>,
    /// Why a message failed last, or what its watchdog says.
    pub(crate) last_error: Option<String>,
    /// When it last took a message.
    pub(crate) last_success: Option<Timestamp>,
    /// Until when it is left alone.
    pub(crate) paused_until: Option<Timestamp>,
}

impl Health {
    /// A channel that works until it turns out not to.
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, state: Arc::default(), turned: Arc::default() }
    }

    /// It took a message.
    pub(crate) fn succeeded(&self) {
        let now = self.clock.now();
        self.change(now, |state| {
            (state.failures, state.refused, state.paused_until) = (0, false, None);
            state.last_success = Some(now);
        });
    }

    /// It did not take a message.
    pub(crate) fn failed(&self, error: &DeliveryError) {
        let now = self.clock.now();
        self.change(now, |state| {
            state.failures = state.failures.saturating_add(1);
            state.refused |= matches!(error, DeliveryError::Configuration(_));
            state.last_error = Some(error.to_string().chars().take(MAX_ERROR).collect());
            state.paused_until = pause(state, error).map(|pause| plus(now, pause));
        });
    }

    /// What its watchdog says: `None` is all right.
    pub(crate) fn alarm(&self, alarm: Option<String>) {
        let now = self.clock.now();
        self.change(now, |state| {
            if alarm.is_some() {
                state.last_error.clone_from(&alarm);
            }
            state.alarm = alarm;
        });
    }

    /// Whether it works, as far as is known.
    pub(crate) fn is_up(&self) -> bool {
        self.lock().down_since.is_none()
    }

    /// What can be told of it.
    pub(crate) fn standing(&self) -> Standing {
        let state = self.lock();
        Standing {
            down_since: state.down_since,
            last_error: state.last_error.clone(),
            last_success: state.last_success,
            paused_until: state.paused_until,
        }
    }

    /// Returns when it begins or ceases to work.
    pub(super) async fn turned(&self) {
        self.turned.notified().await;
    }

    fn change(&self, now: Timestamp, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        let is_down = state.refused || state.alarm.is_some() || state.failures >= MOST_FAILURES;
        let turned = is_down != state.down_since.is_some();
        if turned {
            state.down_since = is_down.then_some(now);
        }
        drop(state);
        if turned {
            self.turned.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves the state whole: every change to it is an assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long the whole channel is left alone after a failure.
fn pause(state: &State, error: &DeliveryError) -> Option<Duration> {
    match error {
        DeliveryError::Configuration(_) => Some(CONFIGURATION_PAUSE),
        DeliveryError::Later { after: Some(after), .. } => Some((*after).min(LONGEST_RETRY_AFTER)),
        _ if state.failures >= MOST_FAILURES => Some(back_off::after(state.failures, LONGEST_PAUSE)),
        _ => None,
    }
}

/// A time after another.
pub(super) fn plus(now: Timestamp, span: Duration) -> Timestamp {
    let millis = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(now.as_millis().saturating_add(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_772_366_400_000);

    fn health() -> Health {
        Health::new(Clock::new(|| NOW))
    }

    #[test]
    fn a_few_failures_in_a_row_take_a_channel_down_and_one_success_brings_it_back() {
        let health = health();
        for _ in 1..MOST_FAILURES {
            health.failed(&DeliveryError::later("connection refused"));
        }
        assert!(health.is_up() && health.standing().paused_until.is_none());
        health.failed(&DeliveryError::later("connection refused"));
        let standing = health.standing();
        assert_eq!(
            (standing.down_since, standing.last_error.as_deref()),
            (Some(NOW), Some("connection refused"))
        );
        assert!(standing.paused_until > Some(NOW));
        health.succeeded();
        let standing = health.standing();
        assert_eq!((standing.down_since, standing.paused_until), (None, None));
        assert_eq!(standing.last_success, Some(NOW));
    }

    #[test]
    fn refused_credentials_take_it_down_at_once() {
        let health = health();
        health.failed(&DeliveryError::Configuration("401".to_owned()));
        assert!(!health.is_up());
        assert_eq!(health.standing().paused_until, Some(plus(NOW, CONFIGURATION_PAUSE)));
    }

    #[test]
    fn the_other_side_can_ask_for_a_pause_but_not_for_ever() {
        let health = health();
        let after = Some(Duration::from_secs(1_000_000));
        health.failed(&DeliveryError::Later { why: "429".to_owned(), after });
        assert!(health.is_up());
        assert_eq!(health.standing().paused_until, Some(plus(NOW, LONGEST_RETRY_AFTER)));
    }

    /// One message that went through does not silence the watchdog.
    #[test]
    fn an_alarm_lasts_until_it_is_withdrawn() {
        let health = health();
        health.alarm(Some("no socket is open".to_owned()));
        health.succeeded();
        assert!(!health.is_up());
        health.alarm(None);
        assert!(health.is_up());
        assert_eq!(health.standing().last_error.as_deref(), Some("no socket is open"));
    }
}
