//! The way to the people who approve: the gate's [`ApprovalBroker`], over the link.
//!
//! Asking needs the link: without it an operation that must be approved is denied at once, with that
//! reason (I9). Waiting outlives it: who waits goes on waiting when the link is back.
//!
//! Every approval that was asked for is on the [`Tracker`]'s list until it is decided or given up, and is
//! named in each sign of life: an approval that is named by nobody is cancelled by the control plane.

mod tracker;

use std::{sync::Arc, time::Duration};

use countersign_approval::{CancelReason, Status, Submission};
use countersign_gate::{
    intent::MadeEdit,
    ports::{ApprovalBroker, BrokerError, Clock},
};
use countersign_model::ApprovalId;
use countersign_protocol::{AskEdit, CancelApproval, ProposedEdit, RefusalCode, Substitutable, WaitApproval};
use countersign_transport::{Link, RequestError};
use futures::future::BoxFuture;
use tokio::time::{Instant, timeout, timeout_at};

pub(crate) use self::tracker::Tracker;

/// How long a question waits for a link that is just coming up.
const LINK_GRACE: Duration = Duration::from_secs(1);
/// How long a submission is repeated when the link breaks while it is under way.
const SUBMIT_WITHIN: Duration = Duration::from_secs(15);
/// How long an answer may take to which nothing has to happen first.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Asks the control plane over the link.
pub(crate) struct LinkBroker {
    pub(crate) link: Link,
    pub(crate) tracker: Arc<Tracker>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl LinkBroker {
    /// Waits until the link is up.
    async fn link_up(&self, within: Duration) -> Result<(), BrokerError> {
        let mut states = self.link.state();
        match timeout(within, states.wait_for(|state| state.is_up())).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(BrokerError::Unreachable(RequestError::Down.to_string())),
        }
    }

    /// Submitting the same key again gives the same approval, so an answer that got lost is asked for
    /// again.
    async fn submit_until(&self, submission: &Submission, end: Instant) -> Result<Status, BrokerError> {
        loop {
            self.link_up(LINK_GRACE).await?;
            let answered = if submission.substitutable {
                self.link.request(Substitutable(submission.clone())).await
            } else {
                self.link.request(submission.clone()).await
            };
            match answered {
                Err(RequestError::Down | RequestError::Exchange(_)) if Instant::now() < end => {}
                answered => return answered.map_err(refusal),
            }
        }
    }

    async fn ask_wait(&self, id: ApprovalId, known_version: u64) -> Result<Status, BrokerError> {
        let answered = self.link.request(WaitApproval { id, known_version }).await.map_err(refusal);
        match &answered {
            Ok(status) => self.tracker.note(status),
            Err(BrokerError::Unknown) => self.tracker.forget(id),
            Err(_) => {}
        }
        answered
    }

    /// Where it stands now.
    async fn look(&self, id: ApprovalId, within: Duration) -> Result<Status, BrokerError> {
        self.link_up(within.min(LINK_GRACE)).await?;
        timeout(within, self.ask_wait(id, 0)).await.unwrap_or_else(|_| Err(no_answer()))
    }

    async fn watch(&self, id: ApprovalId, known: u64, within: Duration) -> Result<Status, BrokerError> {
        let end = Instant::now() + within;
        let news = async {
            loop {
                self.link_up(within).await?;
                match self.ask_wait(id, known).await {
                    // The control plane answers after a while even if there are no news.
                    Ok(status) if status.version <= known => {}
                    Err(BrokerError::Unreachable(_)) if Instant::now() < end => {}
                    answered => return answered,
                }
            }
        };
        match timeout_at(end, news).await {
            Ok(answered) => answered,
            Err(_) => self.look(id, ANSWER_WITHIN).await,
        }
    }
}

impl ApprovalBroker for LinkBroker {
    fn submit(&self, submission: Submission) -> BoxFuture<'_, Result<Status, BrokerError>> {
        Box::pin(async move {
            let status = self.submit_until(&submission, Instant::now() + SUBMIT_WITHIN).await?;
            self.tracker.asked(&submission, &status, self.clock.now()).await;
            Ok(status)
        })
    }

    fn wait(
        &self,
        id: ApprovalId,
        known_version: u64,
        within: Duration,
    ) -> BoxFuture<'_, Result<Status, BrokerError>> {
        Box::pin(async move {
            match known_version {
                0 => self.look(id, within).await,
                known => self.watch(id, known, within).await,
            }
        })
    }

    fn edit(&self, id: ApprovalId) -> BoxFuture<'_, Result<Option<MadeEdit>, BrokerError>> {
        Box::pin(async move {
            self.link_up(LINK_GRACE).await?;
            let asked = timeout(ANSWER_WITHIN, self.link.request(AskEdit { id }));
            match asked.await.unwrap_or(Err(RequestError::Down)).map_err(refusal) {
                Ok(ProposedEdit { by, changes, reason }) => {
                    Ok(Some(MadeEdit { approval: id, by, changes, reason }))
                }
                Err(BrokerError::Unknown) => Ok(None),
                Err(error) => Err(error),
            }
        })
    }

    fn cancel(&self, id: ApprovalId, why: CancelReason) -> BoxFuture<'_, Result<Status, BrokerError>> {
        Box::pin(async move {
            // From here on nobody waits for it, whether or not the control plane can be told now. Who is
            // gone wants no answer either: the list sees to it.
            match self.tracker.give_up(id, why) {
                Some(status) if why != CancelReason::Requester => return Ok(status),
                _ => {}
            }
            self.link_up(LINK_GRACE).await?;
            let asked = timeout(ANSWER_WITHIN, self.link.request(CancelApproval { id, why }));
            let answered = asked.await.unwrap_or(Err(RequestError::Down)).map_err(refusal);
            if !matches!(answered, Err(BrokerError::Unreachable(_))) {
                self.tracker.forget(id);
            }
            answered
        })
    }
}

fn no_answer() -> BrokerError {
    BrokerError::Unreachable("it did not answer in time".to_owned())
}

fn refusal(error: RequestError) -> BrokerError {
    match error {
        RequestError::Down | RequestError::Exchange(_) => BrokerError::Unreachable(error.to_string()),
        RequestError::Refused(refused) if refused.code == RefusalCode::NotFound => BrokerError::Unknown,
        RequestError::Refused(refused) if refused.code == RefusalCode::TooMany => {
            BrokerError::TooMany(refused.message)
        }
        RequestError::Refused(refused) if refused.code.is_transient() => {
            BrokerError::Unreachable(refused.message)
        }
        RequestError::Refused(refused) => BrokerError::Refused(refused.message),
        RequestError::Unexpected(_) => BrokerError::Refused(error.to_string()),
    }
}
