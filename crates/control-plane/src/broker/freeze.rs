//! From what a sidecar submits to the request that people are asked about.
//!
//! Nothing in a submission is believed that the control plane can know better: who asks is the
//! certificate's agent, what the requirements are is in the stored bundle, and what is shown must have
//! the digest that is approved (I12).

use countersign_approval::{
    Approval, Edit, Label, Request, RequestError, Submission, grant::definition_digest,
};
use countersign_model::{
    AgentId, AgentName, ApprovalId, PersonId, Requirement, RequirementName, Revision, Seconds, SpiffeId,
    Timestamp, TrustDomain,
};

/// The agent whose certificate the submission came with.
#[derive(Debug, Clone)]
pub(crate) struct Requester {
    /// Its id.
    pub(crate) agent: AgentId,
    /// Its name.
    pub(crate) name: AgentName,
    /// Who answers for it, by the store.
    pub(crate) owner: PersonId,
}

/// Everything about a new request that does not come from the sidecar.
#[derive(Debug, Clone)]
pub(crate) struct Circumstances {
    /// The new approval's id.
    pub(crate) id: ApprovalId,
    /// The trust domain.
    pub(crate) trust_domain: TrustDomain,
    /// How long the request outlives its requester.
    pub(crate) requester_lease: Seconds,
    /// The time.
    pub(crate) now: Timestamp,
    /// The request whose arguments somebody changed into these, and who has changed them so far.
    pub(crate) follows: Option<(Request, Edit)>,
    /// What the bundle of the revision that was named says of the resource.
    pub(crate) labels: Vec<Label>,
}

/// Why a submission is not put to people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FreezeError {
    /// The bundle of the revision that was named has no such requirement.
    #[error("policy revision {revision} has no requirement {name:?}")]
    UnknownRequirement {
        /// The revision.
        revision: Revision,
        /// The requirement.
        name: RequirementName,
    },
    /// The requirement is another one by now, so people would be asked under rules that are no longer in force (I7).
    #[error("requirement {0} has changed since; evaluate the operation again under the policy in force")]
    Outdated(RequirementName),
    /// It says that it is what a reviewer made of another request, and is not.
    #[error("it is not what a reviewer made of the request that it names")]
    NotTheEdit,
    /// The request itself does not hold.
    #[error(transparent)]
    Request(#[from] RequestError),
}

/// Freezes a submission. `named` looks requirements up in the stored bundle of the revision that the
/// sidecar names, `current` in the bundle in force.
pub(crate) fn freeze<'a>(
    mut submission: Submission,
    requester: Requester,
    circumstances: Circumstances,
    named: impl Fn(&RequirementName) -> Option<&'a Requirement>,
    current: impl Fn(&RequirementName) -> Option<&'a Requirement>,
) -> Result<Request, FreezeError> {
    let requirements = resolve(&submission, named, current)?;
    submission.provenance = submission.provenance.bounded();
    let Circumstances { id, trust_domain, requester_lease, now, follows, labels } = circumstances;
    let mut request = Request {
        id,
        submission,
        agent: requester.agent,
        audience: SpiffeId::agent(trust_domain, requester.name.clone()),
        agent_name: requester.name,
        owner: requester.owner,
        requirements,
        requester_lease,
        submitted_at: now,
        edited_by: Vec::new(),
        labels,
    };
    if let Some((from, edit)) = follows {
        if !edit.led_to(&from, &request) {
            return Err(FreezeError::NotTheEdit);
        }
        request.edited_by = from.edited_by;
        request.edited_by.push(edit.by);
    }
    request.check()?;
    Ok(request)
}

fn resolve<'a>(
    submission: &Submission,
    named: impl Fn(&RequirementName) -> Option<&'a Requirement>,
    current: impl Fn(&RequirementName) -> Option<&'a Requirement>,
) -> Result<Vec<Requirement>, FreezeError> {
    let resolve_one = |name: &RequirementName| {
        let unknown =
            || FreezeError::UnknownRequirement { revision: submission.revision, name: name.clone() };
        let requirement = named(name).ok_or_else(unknown)?;
        match current(name) {
            Some(today) if definition_digest(today) == definition_digest(requirement) => {
                Ok(requirement.clone())
            }
            _ => Err(FreezeError::Outdated(name.clone())),
        }
    };
    submission.requirements.iter().map(resolve_one).collect()
}

/// The requirement of an approval that policy no longer has as people were asked about it.
pub(crate) fn outdated<'a>(
    approval: &Approval,
    current: impl Fn(&RequirementName) -> Option<&'a Requirement>,
) -> Option<RequirementName> {
    let same = |frozen: &Requirement| {
        current(&frozen.name).is_some_and(|today| definition_digest(today) == definition_digest(frozen))
    };
    let changed = approval.request.requirements.iter().find(|frozen| !same(frozen));
    changed.map(|frozen| frozen.name.clone())
}

#[cfg(test)]
mod tests {
    use countersign_model::{Digest, EvaluationId, Provenance, ReviewerSelector};

    use super::*;

    fn requirement(name: &str, quorum: u32) -> Requirement {
        Requirement { quorum, ..Requirement::new(name.parse().unwrap(), vec![ReviewerSelector::Anyone]) }
    }

    fn submission(operation: &str) -> Submission {
        Submission {
            key: "key".to_owned(),
            evaluation: EvaluationId::from_bytes([1; 16]),
            digest: Digest::of(operation.as_bytes()),
            operation: operation.to_owned(),
            redacted: vec![],
            provenance: Provenance::default(),
            interceptor: "check".to_owned(),
            policies: vec![],
            requirements: vec!["two".parse().unwrap()],
            revision: Revision(1),
            tool_pin: None,
            trace: None,
            substitutable: false,
            follows: None,
        }
    }

    fn try_freeze(
        submission: Submission,
        named: &[Requirement],
        current: &[Requirement],
    ) -> Result<Request, FreezeError> {
        let requester = Requester {
            agent: AgentId::from_bytes([2; 16]),
            name: "bot".parse().unwrap(),
            owner: "owner@example.com".parse().unwrap(),
        };
        let circumstances = Circumstances {
            id: ApprovalId::from_bytes([3; 16]),
            trust_domain: "example.org".parse().unwrap(),
            requester_lease: Seconds::new(60),
            now: Timestamp::from_millis(0),
            follows: None,
            labels: Vec::new(),
        };
        let find =
            |all: &'_ [Requirement], name: &RequirementName| all.iter().position(|one| one.name == *name);
        freeze(
            submission,
            requester,
            circumstances,
            |name| find(named, name).and_then(|at| named.get(at)),
            |name| find(current, name).and_then(|at| current.get(at)),
        )
    }

    #[test]
    fn requirements_are_the_stored_bundles_and_not_the_sidecars() {
        let stored = [requirement("two", 2)];
        let request = try_freeze(submission("{}"), &stored, &stored).unwrap();
        assert_eq!(request.requirements, stored);
        assert_eq!(request.audience.to_string(), "spiffe://example.org/agent/bot");
        assert!(matches!(
            try_freeze(submission("{}"), &[requirement("other", 1)], &stored),
            Err(FreezeError::UnknownRequirement { .. })
        ));
    }

    /// A sidecar that names an old revision does not get that revision's laxer rule.
    #[test]
    fn an_outdated_requirement_is_refused() {
        let (old, new) = ([requirement("two", 1)], [requirement("two", 2)]);
        assert!(matches!(try_freeze(submission("{}"), &old, &new), Err(FreezeError::Outdated(_))));
        assert!(matches!(try_freeze(submission("{}"), &old, &[]), Err(FreezeError::Outdated(_))));
    }

    /// Showing people one operation and having another one approved does not work.
    #[test]
    fn what_is_shown_must_be_what_is_approved() {
        let stored = [requirement("two", 2)];
        let swapped = Submission { digest: Digest::of(b"{\"harmful\":true}"), ..submission("{}") };
        assert_eq!(
            try_freeze(swapped, &stored, &stored),
            Err(FreezeError::Request(RequestError::NotWhatRuns))
        );
    }
}
