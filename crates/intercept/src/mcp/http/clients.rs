//! How long clients wait for an answer, by the names that they give themselves.
//!
//! What the operator says about a client goes first, then what it has shown, then what is usual. A name is no
//! proof of anything: all that depends on it is when an answer says "pending".

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// The most clients whose habits are remembered.
const MAX_CLIENTS: usize = 256;
/// A person who interrupts a call seldom does so twice after the same time; a clock does.
const SAME_TIME: Duration = Duration::from_secs(1);
/// Whoever gives up earlier than this does so for another reason.
const SHORTEST: Duration = Duration::from_secs(5);

/// The clients of one server.
#[derive(Debug)]
pub(super) struct Clients {
    usual: Duration,
    configured: BTreeMap<String, Duration>,
    habits: Mutex<BTreeMap<String, Habit>>,
}

#[derive(Debug, Default)]
struct Habit {
    /// After what time it gave up last.
    gave_up: Duration,
    /// How long it waits, once that is known.
    patience: Option<Duration>,
}

impl Clients {
    pub(super) fn new(usual: Duration, configured: BTreeMap<String, Duration>) -> Self {
        Self { usual, configured, habits: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Habit>> {
        self.habits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long a client can be kept waiting.
    pub(super) fn patience(&self, client: Option<&str>) -> Duration {
        let Some(client) = client else { return self.usual };
        let configured = self.configured.get(client).copied();
        configured.or_else(|| self.lock().get(client)?.patience).unwrap_or(self.usual)
    }

    /// A client has gone away from a call that was held. Twice after the same time, and it is known how long
    /// it waits: the next time it is told before that.
    pub(super) fn gave_up(&self, client: Option<&str>, after: Duration) {
        let Some(client) = client.filter(|_| after >= SHORTEST) else { return };
        let mut habits = self.lock();
        if habits.len() >= MAX_CLIENTS && !habits.contains_key(client) {
            return;
        }
        let habit = habits.entry(client.to_owned()).or_default();
        if habit.gave_up.abs_diff(after) <= SAME_TIME {
            habit.patience = Some(after * 5 / 6);
        }
        habit.gave_up = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_operator_says_goes_first_and_then_what_a_client_has_shown() {
        let seconds = Duration::from_secs;
        let clients = Clients::new(seconds(50), BTreeMap::from([("ide".to_owned(), seconds(240))]));
        let patience = |client: &str| clients.patience(Some(client)).as_secs();
        assert_eq!((patience("ide"), patience("agent"), clients.patience(None)), (240, 50, seconds(50)));
        for after in [12, 30, 2, 2] {
            clients.gave_up(Some("agent"), seconds(after));
            clients.gave_up(None, seconds(after));
        }
        assert_eq!(patience("agent"), 50, "people interrupt when they please");
        clients.gave_up(Some("agent"), seconds(30));
        assert_eq!(patience("agent"), 25);
        clients.gave_up(Some("ide"), seconds(30));
        clients.gave_up(Some("ide"), seconds(30));
        assert_eq!(patience("ide"), 240);
        for number in 0..2 * MAX_CLIENTS {
            clients.gave_up(Some(&number.to_string()), seconds(60));
        }
        assert_eq!(clients.lock().len(), MAX_CLIENTS);
    }
}
