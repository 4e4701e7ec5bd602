//! Operations that an approval lets run which was given for another one, or before a restart.
//!
//! A grant of several uses is kept from its first use on. An operation that people would have to be asked about is
//! first held against these: it runs under one that was given for the very same question, or for a task that it
//! belongs to, if all that policy needs now is met by it, and enough is left. The control plane is asked whether it
//! still stands, as for every grant that lasts.

use countersign_approval::{GrantClaims, Phase, Status, grant::GRANT_TYPE};
use countersign_model::{ApprovalId, amount::spend};

use super::{Held, HoldError, WAIT};
use crate::{
    engine::Engine,
    ports::{BrokerError, Lasting},
};

impl Engine {
    /// The approval under which a held operation may run without another question.
    pub(super) async fn covered(&self, held: &Held) -> Result<Option<Status>, HoldError> {
        let now = self.ports.clock.now();
        if self.pending.answers(held.question(), &held.requirements, now) {
            return Ok(None);
        }
        for (id, lasting) in self.ports.journal.lasting(now) {
            if !self.covers(held, id, &lasting) {
                continue;
            }
            let status = match self.ports.broker.wait(id, 0, WAIT).await {
                Err(BrokerError::Unknown) => continue,
                answered => answered?,
            };
            let stands = matches!(status.phase, Phase::Approved | Phase::Claimed) && status.grant.is_some();
            if stands {
                return Ok(Some(status));
            }
        }
        Ok(None)
    }

    fn covers(&self, held: &Held, id: ApprovalId, lasting: &Lasting) -> bool {
        let case = &held.case;
        let Ok(claims) = self.verify(case, id, &lasting.grant) else { return false };
        let is_meant = lasting.question == held.question().digest()
            || claims.scope.as_ref().is_some_and(|scope| scope.check_kin(&case.candidate()).is_ok());
        let met = claims.met_under(|name| case.snapshot.bundle.requirement(name));
        is_meant && held.requirements.iter().all(|name| met.contains(name))
    }

    /// Whether nothing is left of a grant for an operation, by this sidecar's own journal. The control plane may
    /// not have heard of the last use yet.
    pub(super) fn is_spent(&self, held: &Held, status: &Status) -> bool {
        let Some(grant) = status.grant.as_deref() else {
            return false;
        };
        let snapshot = &held.case.snapshot;
        let Ok(claims) = snapshot.jwks.verify_jws::<GrantClaims>(GRANT_TYPE, grant) else { return false };
        let standing = self.ports.journal.standing(status.id);
        let charges = claims.charges(&held.case.candidate());
        let is_over = charges.is_ok_and(|charges| spend(&standing.spent, &charges).is_none());
        standing.used >= claims.uses || is_over
    }
}
