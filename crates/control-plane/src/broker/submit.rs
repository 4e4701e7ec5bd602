//! From a sidecar's submission to the approval that people are asked for: a new one, or the one that asks
//! the very same already.

use countersign_approval::{Approval, Edit, Input, Label, Phase, Request, Status, Submission};
use countersign_audit::{EventDraft, kind};
use countersign_model::{ApprovalId, Operation, SpiffeId, Timestamp};
use countersign_policy::Bundle;
use countersign_store::{By, Change, CommandError, StoreError};
use serde_json::json;
use tracing::Instrument;

use super::{Broker, Circumstances, FreezeError, Requester, SubmitError, crowd::Admission, freeze, spans};
use crate::{clock::entropy, distribution::load_edition, trace::trace_id};

impl Broker {
    /// Takes a submission in. The same key of the same agent again gives the same approval, and so does
    /// the very same question while people are asked about it.
    pub(crate) async fn submit(
        &self,
        requester: Requester,
        submission: Submission,
    ) -> Result<Status, SubmitError> {
        let span = spans::request(submission.trace.as_deref());
        let turn = self.crowd.turn(requester.agent).await;
        let submitted = self.submit_in_turn(requester, submission).instrument(span.clone()).await;
        drop(turn);
        let approval = submitted.inspect_err(|error| {
            tracing::debug!(parent: &span, %error, "a submission was refused");
        })?;
        spans::describe(&span, &approval);
        Ok(self.status(&approval))
    }

    async fn submit_in_turn(
        &self,
        requester: Requester,
        submission: Submission,
    ) -> Result<Approval, SubmitError> {
        // Things may have changed since the key was used: a repeated question gets the answer that it has,
        // whatever a new one would get.
        let known = self.store.approval_for_key(requester.agent, &submission.key).await?;
        if let Some(known) = known.filter(|known| known.request.submission.digest == submission.digest) {
            return self.attach(known, &submission).await;
        }
        let now = self.clock.now();
        let agent = SpiffeId::agent(self.own_id.trust_domain().clone(), requester.name.clone());
        let mut by = By::new(agent.to_string(), now);
        by.trace_id = submission.trace.as_deref().and_then(trace_id);
        let request = self.freeze(requester, submission, now).await?;
        if let Some(same) = self.pending_same(&request).await? {
            return self.attach(same, &request.submission).await;
        }
        self.admit(&request, now).await?;
        let submitted = self.store.submit_approval(request, by).await?;
        self.tell(&submitted.approval, &submitted.effects);
        Ok(submitted.approval)
    }

    async fn freeze(
        &self,
        requester: Requester,
        submission: Submission,
        now: Timestamp,
    ) -> Result<Request, SubmitError> {
        let current = self.catalogue.active().ok_or(SubmitError::NoPolicy)?;
        let follows = match submission.follows {
            Some(id) => Some(self.edit_of(id).await?.ok_or(FreezeError::NotTheEdit)?),
            None => None,
        };
        let named = load_edition(&self.store, &self.catalogue, submission.revision).await?;
        let circumstances = Circumstances {
            id: ApprovalId::new(now, entropy()?),
            trust_domain: self.own_id.trust_domain().clone(),
            requester_lease: self.requester_lease,
            now,
            follows,
            labels: labels(&named.bundle, &submission.operation),
        };
        Ok(freeze::freeze(
            submission,
            requester,
            circumstances,
            |name| named.bundle.requirement(name),
            |name| current.bundle.requirement(name),
        )?)
    }

    /// What a reviewer made of a request.
    async fn edit_of(&self, id: ApprovalId) -> Result<Option<(Request, Edit)>, StoreError> {
        let found = self.store.approval(id).await?;
        Ok(found.and_then(|found| Some((found.request, found.edited?))))
    }

    /// What waits for people already and asks the very same, under another key: a sidecar that was
    /// restarted does not know what it asked before.
    async fn pending_same(&self, request: &Request) -> Result<Option<Approval>, StoreError> {
        for id in self.crowd.waiting_for(request.agent, request.submission.digest) {
            let found = self.store.approval(id).await?;
            let same =
                |found: &Approval| found.phase() == Phase::Pending && found.request.asks_the_same(request);
            if let Some(found) = found.filter(same) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Notes that it is asked again, as long as people can be told. An answer that is there is the answer.
    async fn attach(&self, known: Approval, submission: &Submission) -> Result<Approval, SubmitError> {
        if known.phase() != Phase::Pending {
            return Ok(known);
        }
        let (id, agent) = (known.request.id, known.request.agent);
        let input = Input::AskAgain { evaluation: submission.evaluation };
        let change = Change { id, input, agent: Some(agent), expected_version: None };
        match self.apply(change, known.request.audience.to_string().into()).await {
            Ok(applied) => Ok(applied.approval),
            Err(CommandError::Store(error)) => Err(error.into()),
            Err(CommandError::Refused(refusal)) => {
                tracing::debug!(approval = %id, %refusal, "asked again too late");
                Ok(known)
            }
        }
    }

    /// Refuses an agent that asks too much. The log has the beginning and the end of it, not each refusal.
    async fn admit(&self, request: &Request, now: Timestamp) -> Result<(), SubmitError> {
        match self.crowd.admit(request.agent, now) {
            Admission::Admitted { refused_before: 0 } => Ok(()),
            Admission::Admitted { refused_before } => {
                let mut draft = flood(request, kind::REQUESTS_RESUMED, now);
                draft.body.insert("refused".to_owned(), json!(refused_before));
                self.store.record(vec![draft]).await?;
                Ok(())
            }
            Admission::Refused { why, is_first } => {
                if is_first {
                    tracing::warn!(agent = %request.agent_name, %why, "an agent asks too much of people");
                    let mut draft = flood(request, kind::REQUESTS_REFUSED, now);
                    draft.body.insert("why".to_owned(), json!(why.to_string()));
                    self.store.record(vec![draft]).await?;
                }
                Err(SubmitError::TooMany(why))
            }
        }
    }
}

/// What a bundle says of an operation's resource.
fn labels(bundle: &Bundle, operation: &str) -> Vec<Label> {
    let Ok(Operation { resource, .. }) = serde_json::from_str(operation) else { return Vec::new() };
    let labels = bundle.labels(&resource.kind, &resource.id).into_iter();
    labels.map(|(name, value)| Label { name, value }).collect()
}

fn flood(request: &Request, kind: &'static str, now: Timestamp) -> EventDraft {
    let mut draft = EventDraft::new(now, kind);
    draft.actor = Some(request.audience.to_string());
    draft.body.insert("agent".to_owned(), json!(request.agent_name));
    draft
}
