//! Chat services as tests play them: they do as they are told, remember what they were asked, and can be slow
//! at the worst moment.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a test that cannot go on should stop"
)]

pub mod slack;
mod sockets;
pub mod teams;

pub use slack::FakeSlack;
pub use sockets::{Socket, Sockets};
pub use teams::{FakeTeams, Signer};

use std::time::Duration;

use tokio::sync::watch;

/// How long a test waits for something that has to happen. Generous: the machine may be busy, and a test
/// that passes does not wait for it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Something that changes, and that a test waits for.
#[derive(Debug, Default)]
struct Turns(watch::Sender<usize>);

impl Turns {
    fn turn(&self) {
        self.0.send_modify(|count| *count += 1);
    }

    /// What `look` finds, once it finds something; `None` when it never does.
    async fn until<T>(&self, look: impl Fn() -> Option<T>) -> Option<T> {
        let mut turned = self.0.subscribe();
        let found = async {
            loop {
                if let Some(found) = look() {
                    return found;
                }
                turned.changed().await.expect("the sender is ours");
            }
        };
        tokio::time::timeout(PATIENCE, found).await.ok()
    }
}

/// Kinds of calls that get no answer for now: whoever made one may be gone when it comes.
#[derive(Debug, Default)]
struct Held(watch::Sender<Vec<String>>);

impl Held {
    fn hold(&self, kind: &str) {
        self.0.send_modify(|held| held.push(kind.to_owned()));
    }

    fn release(&self) {
        self.0.send_modify(Vec::clear);
    }

    /// Waits while calls of that kind are held. Says whether they were.
    async fn wait(&self, kind: &str) -> bool {
        let is_held = |held: &Vec<String>| held.iter().any(|one| one == kind);
        let mut held = self.0.subscribe();
        let was_held = is_held(&held.borrow());
        let _ = held.wait_for(|held| !is_held(held)).await;
        was_held
    }
}
