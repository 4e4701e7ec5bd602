//! The uses of grants and their outcomes: told until the control plane has acknowledged them.

use std::{sync::Arc, time::Duration};

use countersign_approval::Outcome;
use countersign_protocol::{ReportClaim, ReportOutcome, Request};
use countersign_spool::{Ending, GrantJournal, Report, SpoolError, Unreported};
use countersign_transport::{Link, RequestError};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::app::TaskError;

/// How many uses are looked at a time: more than can be under way.
const BATCH: usize = 8_192;
/// How long to wait before what was not taken is told again.
const RETRY: Duration = Duration::from_secs(2);
/// How long what is left may take at the stop.
const LAST_CALL: Duration = Duration::from_secs(2);

/// Tells the control plane what became of grants.
pub(crate) struct Reporter {
    pub(crate) journal: GrantJournal,
    pub(crate) link: Link,
    /// Told when there may be something to report.
    pub(crate) work: Arc<Notify>,
}

impl Reporter {
    /// Reports until the stop, and then what is left, if that is quick.
    pub(crate) async fn run(self, stop: CancellationToken) -> Result<(), TaskError> {
        let mut states = self.link.state();
        loop {
            let up = states.borrow_and_update().is_up();
            let done = if up { self.report_all().await? } else { true };
            let again = async {
                if done {
                    self.work.notified().await;
                } else {
                    sleep(RETRY).await;
                }
            };
            tokio::select! {
                () = stop.cancelled() => break,
                () = again => {}
                changed = states.changed() => changed?,
            }
        }
        if self.link.state().borrow().is_up() {
            timeout(LAST_CALL, self.report_all()).await.unwrap_or(Ok(false))?;
        }
        Ok(())
    }

    /// Answers whether the control plane took everything in.
    async fn report_all(&self) -> Result<bool, SpoolError> {
        let mut all = true;
        for one in self.journal.unreported(BATCH)? {
            all &= self.report(&one).await?;
        }
        Ok(all)
    }

    async fn report(&self, one: &Unreported) -> Result<bool, SpoolError> {
        let Unreported { approval: id, use_number, claimed_at, claim_reported, ended } = *one;
        if !claim_reported {
            let claim = ReportClaim { id, use_number, at: claimed_at };
            if !self.tell(one, Report::Claim, claim).await? {
                return Ok(false);
            }
        }
        let Some((ending, at)) = ended else { return Ok(true) };
        let outcome = match ending {
            Ending::Executed => Outcome::Executed,
            Ending::Failed => Outcome::Failed,
            Ending::OutcomeUnknown => Outcome::OutcomeUnknown,
        };
        self.tell(one, Report::Outcome, ReportOutcome { id, use_number, outcome, at }).await
    }

    async fn tell<R: Request>(&self, one: &Unreported, what: Report, report: R) -> Result<bool, SpoolError> {
        match self.link.request(report).await {
            Ok(_) => {}
            Err(RequestError::Refused(refused)) if !refused.code.is_transient() => {
                // It will never be taken; the audit log has it all the same.
                tracing::error!(approval = %one.approval, ?what, %refused, "a report was refused");
            }
            Err(error) => {
                tracing::debug!(approval = %one.approval, ?what, %error, "a report was not taken yet");
                return Ok(false);
            }
        }
        self.journal.reported(one.approval, one.use_number, what).await?;
        Ok(true)
    }
}
