//! Turn people's signed answer into a permit, once (I2).
//!
//! In this order, and nothing is skipped: the grant is verified against the keys of the bundle in force;
//! policy is asked again, with what people have met as an input, and has the last word; the use is
//! journalled durably; the decision is recorded durably; only then the permit is made.

use std::{sync::Arc, time::Duration};

use countersign_approval::{Candidate, Expected, GrantClaims, GrantRefusal, Status, grant::GRANT_TYPE};
use countersign_model::{ApprovalId, Decision, SpiffeId, Timestamp};
use tracing::Instrument;

use crate::{
    Answer, Cause, Gate, Intent, Permit,
    engine::{Case, Engine},
    hold::{Question, cause_of},
    permit::Use,
    ports::{BrokerError, Consumption, JournalError, Lasting},
    record::{Details, Kind},
};

/// How long the control plane may take to say where an approval stands.
const STATUS_WAIT: Duration = Duration::from_secs(5);

impl Gate {
    /// Answers an operation for which the caller presents an approval, and perhaps the grant itself.
    ///
    /// The control plane is asked where the approval stands. When it cannot be reached, a grant for one use
    /// that the caller presents is as good as one that the gate waited for: it is signed, for this sidecar
    /// and this operation, and must be used soon. One for several uses is not: it lasts, and whoever took it
    /// back in the meantime could not say so here.
    pub async fn redeem(&self, intent: Intent, id: ApprovalId, grant: Option<&str>) -> Answer {
        let started = std::time::Instant::now();
        let span = self.engine.operation_span(&intent);
        let interceptor = intent.interceptor;
        let intent = Arc::new(intent);
        let work = async {
            match self.engine.open(&intent, &span).await {
                Ok(case) => self.engine.redeem(&intent, case, id, grant).await,
                Err(denial) => Answer::Denied(denial),
            }
        };
        let answer = work.instrument(span.clone()).await;
        self.engine.ports.observer.decided(answer.decision(), interceptor, started.elapsed());
        answer
    }

    /// Until when the grant of an approval can be used, if it has one that the policy in force trusts.
    #[must_use]
    pub fn grant_ends(&self, status: &Status) -> Option<Timestamp> {
        let snapshot = self.policy().ok()?;
        let claims: GrantClaims = snapshot.jwks.verify_jws(GRANT_TYPE, status.grant.as_deref()?).ok()?;
        Some(Timestamp::from_millis(claims.exp.saturating_mul(1_000)))
    }
}

impl Case {
    /// The operation, as a grant for a task is held against it.
    pub(crate) fn candidate(&self) -> Candidate<'_> {
        Candidate {
            digest: self.matter.digest(),
            operation: self.matter.text(),
            interceptor: self.matter.interceptor.as_str(),
            provenance: &self.matter.provenance,
            tool_pin: self.matter.tool_pin,
        }
    }
}

impl Engine {
    async fn redeem(
        self: &Arc<Self>,
        intent: &Arc<Intent>,
        case: Case,
        id: ApprovalId,
        presented: Option<&str>,
    ) -> Answer {
        let status = match self.ports.broker.wait(id, 0, STATUS_WAIT).await {
            Ok(status) => status,
            Err(BrokerError::Unreachable(why)) => match presented {
                Some(grant) if self.verify(&case, id, grant).is_ok_and(|claims| claims.uses > 1) => {
                    let why =
                        format!("{why}; an approval for several uses counts only while it can be asked");
                    return self.refuse_grant(&case, id, Cause::Unreachable(why)).await;
                }
                Some(grant) => return self.redeem_grant(intent, case, id, grant).await,
                None => return self.refuse_grant(&case, id, Cause::Unreachable(why)).await,
            },
            Err(error) => return self.refuse_grant(&case, id, Cause::Grant(error.to_string())).await,
        };
        self.pending.note(&status, self.ports.clock.now());
        if let Some(cause) = cause_of(&status) {
            return self.refuse_grant(&case, id, cause).await;
        }
        // The caller's own copy must be right, too, if it presents one (ARAP, completion semantics).
        match presented.or(status.grant.as_deref()) {
            Some(grant) => self.redeem_grant(intent, case, id, grant).await,
            None => self.refuse_grant(&case, id, Cause::Used).await,
        }
    }

    /// Uses a grant up for an operation.
    pub(crate) async fn redeem_grant(
        self: &Arc<Self>,
        intent: &Arc<Intent>,
        case: Case,
        id: ApprovalId,
        grant: &str,
    ) -> Answer {
        let claims = match self.verify(&case, id, grant) {
            Ok(claims) => claims,
            Err(cause) => return self.refuse_grant(&case, id, cause).await,
        };
        let bundle = &case.snapshot.bundle;
        let met = claims.met_under(|name| bundle.requirement(name));
        let verdict = self.evaluate(&case, &met, true);
        match verdict.decision {
            Decision::Permit => {}
            Decision::Deny => {
                return Answer::Denied(self.deny(&case, Cause::Policy, verdict.policies, Some(id)).await);
            }
            Decision::Hold { requirements } => {
                return self.held(intent, case, verdict.policies, requirements).await;
            }
        }
        let Some(place) = self.reserve() else {
            return Answer::Denied(self.deny(&case, Cause::Busy, verdict.policies, Some(id)).await);
        };
        let charges = match claims.charges(&case.candidate()) {
            Ok(charges) => charges,
            Err(error) => return self.refuse_grant(&case, id, cause_of_refusal(error.into())).await,
        };
        let question = Question::of(&case).digest();
        let consumption = Consumption {
            approval: id,
            digest: case.matter.digest(),
            granted: claims.digest,
            uses: claims.uses,
            charges,
            lasting: (claims.uses > 1).then(|| Lasting { question, grant: grant.to_owned() }),
            not_after: Timestamp::from_millis(claims.exp.saturating_mul(1_000)),
            at: self.ports.clock.now(),
            record: self.record(&case, Kind::GrantConsumed, Some(id), Details::Grant { refusal: None }),
        };
        let not_after = consumption.not_after;
        let number = match self.ports.journal.consume(consumption).await {
            Ok(number) => number,
            Err(JournalError::Exhausted) => return self.refuse_grant(&case, id, Cause::Used).await,
            Err(JournalError::Revoked) => return self.refuse_grant(&case, id, Cause::Revoked(None)).await,
            Err(JournalError::Ended) => return self.refuse_grant(&case, id, Cause::Lapsed).await,
            Err(JournalError::Unavailable(why)) => {
                return self.refuse_grant(&case, id, Cause::Journal(why)).await;
            }
        };
        let used = Use { approval: id, number, not_after };
        // From here on the use is spent, whatever happens (I2). Dropping the permit reports it.
        let met = met.into_iter().collect();
        let permit = Permit::mint(Arc::clone(self), place, case.clone(), met, Some(used));
        match self.record_permit(&case, Some(id), verdict.policies).await {
            Ok(()) => Answer::Permitted(permit),
            Err(problem) => {
                drop(permit);
                let cause = Cause::Unrecorded(problem.to_string());
                Answer::Denied(self.deny(&case, cause, Vec::new(), Some(id)).await)
            }
        }
    }

    /// Whether a grant lets an operation run now, as far as this sidecar knows.
    pub(crate) fn verify(&self, case: &Case, id: ApprovalId, grant: &str) -> Result<GrantClaims, Cause> {
        let standing = self.ports.journal.standing(id);
        let issuer = SpiffeId::control_plane(self.settings.audience.trust_domain().clone());
        let expected = Expected {
            issuer: &issuer,
            audience: &self.settings.audience,
            approval: id,
            operation: case.candidate(),
            revision: case.snapshot.revision,
            used: standing.used,
            spent: &standing.spent,
            now: self.ports.clock.now(),
        };
        let claims = GrantClaims::verify(grant, &case.snapshot.jwks, &expected).map_err(cause_of_refusal)?;
        if standing.revoked {
            return Err(Cause::Revoked(None));
        }
        Ok(claims)
    }

    /// Refuses an approval that was presented, and says so in the log beside the denial itself.
    async fn refuse_grant(&self, case: &Case, id: ApprovalId, cause: Cause) -> Answer {
        let details = Details::Grant { refusal: Some(cause.clone()) };
        let refused = self.record(case, Kind::GrantRefused, Some(id), details);
        // If this one cannot be kept, neither can the denial's, which says so.
        let _ = self.ports.audit.enqueue(refused);
        Answer::Denied(self.deny(case, cause, Vec::new(), Some(id)).await)
    }
}

fn cause_of_refusal(refusal: GrantRefusal) -> Cause {
    match refusal {
        GrantRefusal::UsedUp(_) | GrantRefusal::OverBudget => Cause::Used,
        GrantRefusal::Lapsed(_) | GrantRefusal::Expired(_) => Cause::Lapsed,
        GrantRefusal::Digest { .. } | GrantRefusal::Task(_) => Cause::OutOfScope,
        other => Cause::Grant(other.to_string()),
    }
}
