//! Grants: the signed result of an approval, verifiable offline (I2).

use std::collections::BTreeSet;

use countersign_model::{
    Amount, ApprovalId, Charge, Digest, Escalation, GrantShape, PersonId, ReasonRule, Requirement,
    RequirementKind, RequirementName, ReviewerSelector, Revision, Seconds, SpiffeId, Timestamp,
    amount::spend,
    canonical::to_canonical_json,
    signing::{Jwks, SigningError, SigningKey},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    state::Approval,
    task::{Candidate, GrantScope, Uncovered},
};

/// How far a control plane's clock may be ahead of a sidecar's.
pub const CLOCK_LEEWAY: Seconds = Seconds::new(60);
/// The longest grant that is looked at, in bytes.
pub const MAX_GRANT: usize = 64 * 1024;
/// The JWS `typ` of a grant.
pub const GRANT_TYPE: &str = "countersign-grant+jwt";

/// A requirement that was met, as a grant and the record name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetRequirement {
    /// Its name.
    pub name: RequirementName,
    /// Whose word it was: a confirmation never counts as an approval.
    pub kind: RequirementKind,
    /// The digest of its frozen definition, so that a grant does not meet a stricter one of the same name.
    pub definition: Digest,
    /// Who gave their word, each person for one requirement only (I4).
    pub by: Vec<PersonId>,
    /// Whether one person met it alone by breaking the glass, which the requirement lets them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub break_glass: bool,
}

impl MetRequirement {
    /// A requirement that was met by these people's votes.
    #[must_use]
    pub fn new(requirement: &Requirement, by: Vec<PersonId>) -> Self {
        Self {
            name: requirement.name.clone(),
            kind: requirement.kind,
            definition: definition_digest(requirement),
            by,
            break_glass: false,
        }
    }

    /// A requirement for which one person broke the glass.
    #[must_use]
    pub fn by_breaking_glass(requirement: &Requirement, by: PersonId) -> Self {
        Self { break_glass: true, ..Self::new(requirement, vec![by]) }
    }

    /// Whether it meets the requirement as it is defined now.
    fn meets(&self, current: &Requirement) -> bool {
        let is_unchanged = definition_digest(current) == self.definition;
        is_unchanged && (!self.break_glass || !current.break_glass.is_empty())
    }
}

/// What a grant says: one operation, or those of one task, on one sidecar, for a bounded time and number of uses
/// (I2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantClaims {
    /// The control plane that signed it.
    pub iss: SpiffeId,
    /// The sidecar that it is for.
    pub aud: SpiffeId,
    /// The approval.
    pub jti: ApprovalId,
    /// The digest of the operation that was approved.
    pub digest: Digest,
    /// The requirements that were met, and by whom.
    pub requirements: Vec<MetRequirement>,
    /// The bundle revision whose requirements they were.
    pub revision: Revision,
    /// When it was approved, in whole seconds since the epoch (RFC 7519 §2).
    pub iat: i64,
    /// When it ends: no use may start at or after that second.
    pub exp: i64,
    /// When the first use must have started.
    pub execute_by: i64,
    /// How many uses it has.
    pub uses: u32,
    /// What it covers beyond that operation. Whoever does not know of it refuses the grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<GrantScope>,
}

/// What a sidecar demands of a grant before it is used.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The control plane that it enrolled with.
    pub issuer: &'a SpiffeId,
    /// The sidecar itself.
    pub audience: &'a SpiffeId,
    /// The approval that was asked for.
    pub approval: ApprovalId,
    /// The operation that is about to run.
    pub operation: Candidate<'a>,
    /// The bundle revision in force.
    pub revision: Revision,
    /// How many uses its own journal has already consumed.
    pub used: u32,
    /// How much of its amounts they have spent.
    pub spent: &'a [Amount],
    /// The time.
    pub now: Timestamp,
}

/// Why a grant does not authorise an operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantRefusal {
    /// Not signed by a trusted key, or not a grant at all.
    #[error("the grant cannot be trusted: {0}")]
    Signature(#[from] SigningError),
    /// From another control plane.
    #[error("the grant was issued by {0}")]
    Issuer(SpiffeId),
    /// For another sidecar.
    #[error("the grant is for {0}, not for this sidecar")]
    Audience(SpiffeId),
    /// For another approval.
    #[error("the grant belongs to approval {0}")]
    Approval(ApprovalId),
    /// For another operation.
    #[error("the grant is for another operation ({granted}) than the one that would run ({requested})")]
    Digest {
        /// What was approved.
        granted: Digest,
        /// What would run.
        requested: Digest,
    },
    /// Not one of the operations of a task.
    #[error("the grant is for a task that the operation does not belong to: {0}")]
    Task(#[from] Uncovered),
    /// More than is left.
    #[error("the operation is more than what is left of the grant's budget")]
    OverBudget,
    /// From a revision that this sidecar does not know yet.
    #[error("the grant was made under bundle revision {granted}, but {current} is in force")]
    Revision {
        /// The grant's.
        granted: Revision,
        /// The one in force.
        current: Revision,
    },
    /// From the future.
    #[error("the grant begins at {0}, which is in the future; check this machine's clock")]
    NotYet(Timestamp),
    /// Not started in time.
    #[error("the operation had to start by {0}")]
    Lapsed(Timestamp),
    /// At its end.
    #[error("the grant ended at {0}")]
    Expired(Timestamp),
    /// Every use consumed.
    #[error("all {0} uses of the grant are consumed")]
    UsedUp(u32),
    /// A grant that says nothing, or contradicts itself.
    #[error("the grant is malformed: {0}")]
    Malformed(&'static str),
}

/// The digest of a requirement's definition, over every field that a bundle can set.
#[must_use]
pub fn definition_digest(requirement: &Requirement) -> Digest {
    let Requirement { name, kind, reviewers, quorum, decide_within, execute_within, grant, .. } = requirement;
    let kind = match kind {
        RequirementKind::Approval => "approval",
        RequirementKind::Confirmation => "confirmation",
    };
    let (uses, within) = match grant {
        GrantShape::Once => (0, 0),
        GrantShape::Uses { uses, within } => (*uses, within.get()),
        // Neither of the others has a span without uses.
        GrantShape::Window(within) => (0, within.get()),
        // All of it is said below.
        GrantShape::Task(_) => (0, 0),
    };
    // None of the parts can hold a line break.
    let text = format!(
        "requirement v1\n{name}\n{kind}\n{quorum}\n{}\n{}\n{uses}\n{within}\n{}\n{}",
        decide_within.get(),
        execute_within.get(),
        sorted(reviewers).join("\n"),
        later_members(requirement),
    );
    Digest::of(text.as_bytes())
}

/// The members that the first requirements did not have: a line for each that is not at its default, so
/// that definitions without them keep their digest. No selector holds a blank, so no line reads as one.
fn later_members(requirement: &Requirement) -> String {
    let Requirement {
        name: _,
        kind: _,
        reviewers: _,
        quorum: _,
        decide_within: _,
        execute_within: _,
        grant,
        assurance,
        stage,
        deny_threshold,
        escalate,
        remind_every,
        reason,
        break_glass,
    } = requirement;
    let lines = [
        (!assurance.is_any()).then(|| format!("assurance {}\n", assurance.as_str())),
        (*stage != 1).then(|| format!("stage {stage}\n")),
        (*deny_threshold != 1).then(|| format!("deny_threshold {deny_threshold}\n")),
        escalate.as_ref().map(|Escalation { after, to }| {
            format!("escalate after {} to {}\n", after.get(), sorted(to).join(" "))
        }),
        remind_every.map(|span| format!("remind_every {}\n", span.get())),
        (*reason == ReasonRule::Required).then(|| "reason required\n".to_owned()),
        (!break_glass.is_empty()).then(|| format!("break_glass {}\n", sorted(break_glass).join(" "))),
        match grant {
            GrantShape::Task(scope) => {
                // It has no numbers that JSON could not carry.
                Some(format!("task {}\n", to_canonical_json(&json!(scope)).unwrap_or_default()))
            }
            GrantShape::Once | GrantShape::Uses { .. } | GrantShape::Window(_) => None,
        },
    ];
    lines.into_iter().flatten().collect()
}

fn sorted(selectors: &[ReviewerSelector]) -> Vec<String> {
    let mut selectors: Vec<_> = selectors.iter().map(ToString::to_string).collect();
    selectors.sort();
    selectors
}

impl GrantClaims {
    /// What the grant of an approval says; `None` unless it was approved.
    #[must_use]
    pub fn of(approval: &Approval, issuer: SpiffeId) -> Option<Self> {
        let terms = approval.terms.as_ref()?;
        Some(Self {
            iss: issuer,
            aud: approval.request.audience.clone(),
            jti: approval.request.id,
            digest: approval.request.submission.digest,
            requirements: terms.met.clone(),
            revision: approval.request.submission.revision,
            iat: terms.approved_at.as_seconds(),
            exp: terms.not_after.as_seconds(),
            execute_by: terms.execute_by.as_seconds(),
            uses: terms.uses,
            scope: terms.scope.clone(),
        })
    }

    /// Signs the grant. The same claims and key always give the same text.
    ///
    /// # Errors
    /// Only when the claims cannot be written as JSON.
    pub fn sign(&self, key: &SigningKey) -> Result<String, SigningError> {
        key.sign_jws(GRANT_TYPE, self)
    }

    /// Checks that a grant authorises one more use for what is about to run, here and now (I2): exactly what was
    /// approved, or what belongs to the task that was.
    ///
    /// # Errors
    /// The first thing that it does not authorise.
    pub fn verify(token: &str, trusted: &Jwks, expected: &Expected<'_>) -> Result<Self, GrantRefusal> {
        if token.len() > MAX_GRANT {
            return Err(GrantRefusal::Malformed("it is too long"));
        }
        let claims: Self = trusted.verify_jws(GRANT_TYPE, token)?;
        claims.check_form()?;
        claims.check_binding(expected)?;
        claims.check_left(expected)?;
        Ok(claims)
    }

    fn check_form(&self) -> Result<(), GrantRefusal> {
        if self.uses == 0 || self.execute_by > self.exp || self.iat > self.exp {
            return Err(GrantRefusal::Malformed("its times or uses contradict each other"));
        }
        if self.scope.as_ref().is_some_and(|scope| scope.budgets.is_empty()) {
            return Err(GrantRefusal::Malformed("its task has no budget"));
        }
        if self.requirements.is_empty() || self.requirements.iter().any(|met| met.by.is_empty()) {
            return Err(GrantRefusal::Malformed("it names nobody who approved"));
        }
        // Breaking the glass is one person's doing, for any number of requirements, and counts for nothing else.
        let (broken, voted): (Vec<_>, Vec<_>) = self.requirements.iter().partition(|met| met.break_glass);
        let alone: BTreeSet<_> = broken.iter().flat_map(|met| &met.by).collect();
        if alone.len() > 1 {
            return Err(GrantRefusal::Malformed("more than one person broke the glass"));
        }
        let people: Vec<_> = alone.into_iter().chain(voted.iter().flat_map(|met| &met.by)).collect();
        if people.iter().collect::<BTreeSet<_>>().len() != people.len() {
            return Err(GrantRefusal::Malformed("it counts a person twice"));
        }
        Ok(())
    }

    fn check_binding(&self, expected: &Expected<'_>) -> Result<(), GrantRefusal> {
        if self.iss != *expected.issuer {
            return Err(GrantRefusal::Issuer(self.iss.clone()));
        }
        if self.aud != *expected.audience {
            return Err(GrantRefusal::Audience(self.aud.clone()));
        }
        if self.jti != expected.approval {
            return Err(GrantRefusal::Approval(self.jti));
        }
        let requested = expected.operation.digest;
        match &self.scope {
            _ if requested == self.digest => {}
            None => return Err(GrantRefusal::Digest { granted: self.digest, requested }),
            Some(scope) => scope.check_kin(&expected.operation)?,
        }
        if self.revision > expected.revision {
            return Err(GrantRefusal::Revision { granted: self.revision, current: expected.revision });
        }
        Ok(())
    }

    fn check_left(&self, expected: &Expected<'_>) -> Result<(), GrantRefusal> {
        let at = |seconds: i64| Timestamp::from_millis(seconds.saturating_mul(1000));
        if expected.now.plus(CLOCK_LEEWAY) < at(self.iat) {
            return Err(GrantRefusal::NotYet(at(self.iat)));
        }
        if expected.now >= at(self.exp) {
            return Err(GrantRefusal::Expired(at(self.exp)));
        }
        if expected.used == 0 && expected.now >= at(self.execute_by) {
            return Err(GrantRefusal::Lapsed(at(self.execute_by)));
        }
        if expected.used >= self.uses {
            return Err(GrantRefusal::UsedUp(self.uses));
        }
        let charges = self.charges(&expected.operation)?;
        spend(expected.spent, &charges).map(drop).ok_or(GrantRefusal::OverBudget)
    }

    /// What an operation takes of each amount that the grant is for; nothing unless it is for a task.
    ///
    /// # Errors
    /// When the operation is outside of the task.
    pub fn charges(&self, operation: &Candidate<'_>) -> Result<Vec<Charge>, Uncovered> {
        self.scope.as_ref().map_or(Ok(Vec::new()), |scope| scope.charges(operation))
    }

    /// The requirements that this grant meets under the bundle in force: those whose definition is still
    /// the one that people were asked under. One that was made stricter since is not met (I7).
    #[must_use]
    pub fn met_under<'a>(
        &self,
        current: impl Fn(&RequirementName) -> Option<&'a Requirement>,
    ) -> BTreeSet<RequirementName> {
        let meets = |met: &&MetRequirement| current(&met.name).is_some_and(|current| met.meets(current));
        self.requirements.iter().filter(meets).map(|met| met.name.clone()).collect()
    }
}
