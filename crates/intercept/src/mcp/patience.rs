//! Waiting for people for as long as the client waits, and not longer.

use std::sync::{Mutex, PoisonError};

use countersign_gate::{Answer, Denial, Held, Permit, Phase, Status, hold::Waited as GateWaited};
use countersign_model::EvaluationId;
use tokio::sync::oneshot;
use tracing::warn;

use super::{known::Known, refusal, ruling};
use crate::local::wire::DeniedEvent;

/// How a wait ended.
pub(super) enum Waited {
    Permitted(Box<Permit>),
    Denied(Box<Denial>),
    /// The client would give up now. The request stays open; the same again attaches to it.
    Pending(Box<Status>),
    /// The client has taken the request back.
    Withdrawn,
    /// The sidecar stops.
    Stopping(EvaluationId),
    /// Policy asks for something else each time it is asked.
    Unsettled(Box<Held>),
}

impl Waited {
    /// What a server is told whose question is not asked; `None` when it is, or when nobody waits.
    pub(super) fn denied(&self) -> Option<DeniedEvent> {
        match self {
            Self::Denied(denial) => Some(ruling::denied(denial)),
            Self::Unsettled(held) => Some(ruling::unsettled(held)),
            Self::Stopping(evaluation) => Some(ruling::stopping(*evaluation)),
            Self::Pending(status) => Some(DeniedEvent {
                evaluation: None,
                approval: Some(status.id),
                code: refusal::PENDING.to_owned(),
                retry: true,
                message: "people are still deciding about this question".to_owned(),
                policies: Vec::new(),
            }),
            Self::Permitted(_) | Self::Withdrawn => None,
        }
    }
}

impl Known {
    /// Asks people, and waits until they have decided, or until the client would give up.
    pub(super) async fn wait(
        &self,
        held: Held,
        withdrawn: oneshot::Receiver<()>,
        until: impl Future<Output = ()> + Send,
        mut progress: impl FnMut(&Status) + Send,
    ) -> Waited {
        let evaluation = held.evaluation();
        let latest = Mutex::new(None);
        let waiting = self.gate.hold_within(held, until, |status: &Status| {
            *latest.lock().unwrap_or_else(PoisonError::into_inner) = Some((status.id, status.phase));
            progress(status);
        });
        tokio::select! {
            waited = waiting => match waited {
                GateWaited::Answered(Answer::Permitted(permit)) => Waited::Permitted(Box::new(permit)),
                GateWaited::Answered(Answer::Denied(denial)) => Waited::Denied(Box::new(denial)),
                GateWaited::Answered(Answer::Held(held)) => Waited::Unsettled(Box::new(held)),
                GateWaited::Pending(status) => Waited::Pending(Box::new(status)),
            },
            _ = withdrawn => {
                let latest = *latest.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some((id, Phase::Pending)) = latest
                    && let Err(error) = self.gate.cancel(id).await
                {
                    warn!(%error, "a withdrawn request counts as one whose requester has gone");
                }
                Waited::Withdrawn
            }
            () = self.stop().cancelled() => Waited::Stopping(evaluation),
        }
    }
}
