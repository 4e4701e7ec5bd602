//! A control plane in memory, around the real approval state machine.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use countersign_approval::{
    Approval, ArgumentChange, CancelReason, Edit, GrantClaims, Input, Phase, Request, Status, Submission,
    VoteDecision, Voter, transition::transition,
};
use countersign_gate::{
    intent::MadeEdit,
    ports::{ApprovalBroker, BrokerError},
};
use countersign_model::{
    AgentId, ApprovalId, Assurance, Requirement, Revision, Seconds, SpiffeId, VoteId,
    signing::{Jwks, SigningKey},
};
use countersign_policy::Bundle;
use futures::{FutureExt, future::BoxFuture};
use tokio::sync::Notify;

use crate::{FakeClock, FakeEntropy};

/// A control plane.
#[derive(Debug)]
pub struct FakeControl {
    clock: FakeClock,
    audience: SpiffeId,
    key: SigningKey,
    jwks: Jwks,
    entropy: FakeEntropy,
    state: Mutex<State>,
    changed: Notify,
    unreachable: AtomicBool,
    lose_answer: AtomicBool,
    too_many: Mutex<Option<String>>,
}

#[derive(Debug, Default)]
struct State {
    bundles: HashMap<Revision, Arc<Bundle>>,
    approvals: HashMap<ApprovalId, Approval>,
    order: Vec<ApprovalId>,
    keys: HashMap<String, ApprovalId>,
}

impl FakeControl {
    pub(super) fn new(clock: FakeClock, audience: SpiffeId) -> Self {
        let (key, jwks) = super::key(1);
        Self {
            clock,
            audience,
            key,
            jwks,
            entropy: FakeEntropy::seeded(99),
            state: Mutex::default(),
            changed: Notify::new(),
            unreachable: AtomicBool::new(false),
            lose_answer: AtomicBool::new(false),
            too_many: Mutex::default(),
        }
    }

    /// The keys that sign its grants.
    #[must_use]
    pub fn jwks(&self) -> Jwks {
        self.jwks.clone()
    }

    pub(super) fn knows(&self, revision: Revision, bundle: Arc<Bundle>) {
        self.state.lock().unwrap().bundles.insert(revision, bundle);
    }

    /// The link is down, or up again.
    pub fn set_unreachable(&self, unreachable: bool) {
        self.unreachable.store(unreachable, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    /// The next submission arrives, but its answer does not.
    pub fn lose_next_answer(&self) {
        self.lose_answer.store(true, Ordering::SeqCst);
    }

    /// The next submission is refused, because the agent asks too much.
    pub fn refuse_next_with_too_many(&self, why: &str) {
        *self.too_many.lock().unwrap() = Some(why.to_owned());
    }

    /// Every approval that was asked for, in order.
    #[must_use]
    pub fn approvals(&self) -> Vec<Approval> {
        let state = self.state.lock().unwrap();
        state.order.iter().filter_map(|id| state.approvals.get(id)).cloned().collect()
    }

    /// Where every approval stands, in order.
    #[must_use]
    pub fn phases(&self) -> Vec<Phase> {
        self.approvals().iter().map(Approval::phase).collect()
    }

    /// The approval that was asked for last.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn last(&self) -> ApprovalId {
        *self.state.lock().unwrap().order.last().expect("no approval was asked for")
    }

    /// Somebody of the group `sre` votes.
    ///
    /// # Panics
    /// When the vote is refused.
    pub fn vote(&self, id: ApprovalId, person: &str, decision: VoteDecision) {
        let voter = voter(person);
        let vote = VoteId::new(self.clock.now(), self.entropy.bytes());
        self.apply(id, &Input::Vote { id: vote, voter, decision, reason: None });
    }

    /// The usual reviewer approves.
    pub fn approve(&self, id: ApprovalId) {
        self.vote(id, "reviewer-one@example.com", VoteDecision::Approve);
    }

    /// The usual reviewer refuses.
    pub fn deny(&self, id: ApprovalId) {
        self.vote(id, "reviewer-one@example.com", VoteDecision::Deny);
    }

    /// Somebody of the group `sre` changes arguments instead of voting.
    ///
    /// # Panics
    /// When that is refused.
    pub fn edit(&self, id: ApprovalId, pointer: &str, value: serde_json::Value) {
        let changes = vec![ArgumentChange { pointer: pointer.to_owned(), value }];
        let reason = Some("not that much".to_owned());
        self.apply(id, &Input::Edit { voter: voter("editor@example.com"), changes, reason });
    }

    /// Whether an edit is refused.
    #[must_use]
    pub fn refuses_edit(&self, id: ApprovalId, changes: Vec<ArgumentChange>) -> bool {
        let voter = voter("editor@example.com");
        self.try_apply(id, &Input::Edit { voter, changes, reason: None }).is_err()
    }

    /// Takes an edit for one whatever it changes, as a control plane would that is not to be trusted.
    ///
    /// # Panics
    /// When there is no such approval.
    pub fn force_edit(&self, id: ApprovalId, changes: Vec<ArgumentChange>) {
        let mut state = self.state.lock().unwrap();
        let approval = state.approvals.get_mut(&id).expect("an approval");
        approval.state = countersign_approval::State::Cancelled { why: CancelReason::Superseded };
        approval.version += 1;
        approval.edited = Some(Edit {
            by: "editor@example.com".parse().unwrap(),
            changes,
            reason: None,
            at: self.clock.now(),
            channel: "console".to_owned(),
            method: "local".to_owned(),
        });
        drop(state);
        self.changed.notify_waiters();
    }

    /// Something happens to an approval.
    ///
    /// # Panics
    /// When it is refused.
    pub fn apply(&self, id: ApprovalId, input: &Input) {
        if let Err(error) = self.try_apply(id, input) {
            panic!("{error}");
        }
    }

    fn try_apply(&self, id: ApprovalId, input: &Input) -> Result<(), String> {
        let mut state = self.state.lock().unwrap();
        let approval = state.approvals.get(&id).ok_or("no such approval")?;
        let (next, _) = transition(approval, input, self.clock.now()).map_err(|error| error.to_string())?;
        state.approvals.insert(id, next);
        drop(state);
        self.changed.notify_waiters();
        Ok(())
    }

    /// The grant of an approval.
    #[must_use]
    pub fn grant(&self, id: ApprovalId) -> Option<String> {
        let state = self.state.lock().unwrap();
        self.status(state.approvals.get(&id)?).grant
    }

    /// Signs whatever a test wants to have signed, with the right key.
    #[must_use]
    pub fn sign(&self, claims: &GrantClaims) -> String {
        claims.sign(&self.key).unwrap()
    }

    /// What the grant of an approval says.
    #[must_use]
    pub fn claims(&self, id: ApprovalId) -> Option<GrantClaims> {
        let state = self.state.lock().unwrap();
        GrantClaims::of(state.approvals.get(&id)?, self.issuer())
    }

    fn issuer(&self) -> SpiffeId {
        SpiffeId::control_plane(self.audience.trust_domain().clone())
    }

    fn status(&self, approval: &Approval) -> Status {
        let claims = GrantClaims::of(approval, self.issuer());
        let usable = matches!(approval.phase(), Phase::Approved | Phase::Claimed);
        approval.status(claims.filter(|_| usable).map(|claims| self.sign(&claims)))
    }

    fn reachable(&self) -> Result<(), BrokerError> {
        if self.unreachable.load(Ordering::SeqCst) {
            Err(BrokerError::Unreachable("the link is down".to_owned()))
        } else {
            Ok(())
        }
    }

    fn open(&self, submission: Submission) -> Result<Status, BrokerError> {
        self.reachable()?;
        if let Some(why) = self.too_many.lock().unwrap().take() {
            return Err(BrokerError::TooMany(why));
        }
        let refused = |error: String| BrokerError::Refused(error);
        let mut state = self.state.lock().unwrap();
        if let Some(known) = state.keys.get(&submission.key).and_then(|id| state.approvals.get(id)) {
            let again = Input::AskAgain { evaluation: submission.evaluation };
            let (known, _) =
                transition(known, &again, self.clock.now()).map_err(|e| refused(e.to_string()))?;
            let status = self.status(&known);
            state.approvals.insert(status.id, known);
            return Ok(status);
        }
        let bundle =
            state.bundles.get(&submission.revision).ok_or_else(|| refused("no such revision".into()))?;
        let found: Option<Vec<Requirement>> =
            submission.requirements.iter().map(|name| bundle.requirement(name).cloned()).collect();
        let followed = submission.follows.and_then(|id| state.approvals.get(&id)?.edited.as_ref());
        let edited_by = followed.map(|edit| edit.by.clone()).into_iter().collect();
        let now = self.clock.now();
        let id = ApprovalId::new(now, self.entropy.bytes());
        let key = submission.key.clone();
        let request = Request {
            id,
            agent: AgentId::from_bytes([1; 16]),
            agent_name: self.audience.agent_name().cloned().unwrap(),
            audience: self.audience.clone(),
            owner: "owner@example.com".parse().unwrap(),
            requirements: found.ok_or_else(|| refused("no such requirement".into()))?,
            requester_lease: Seconds::new(3_600),
            submitted_at: now,
            edited_by,
            submission,
            labels: Vec::new(),
        };
        let (approval, _) = Approval::open(request).map_err(|error| refused(error.to_string()))?;
        let status = self.status(&approval);
        state.approvals.insert(id, approval);
        state.order.push(id);
        state.keys.insert(key, id);
        Ok(status)
    }

    fn look(&self, id: ApprovalId) -> Result<Status, BrokerError> {
        self.reachable()?;
        let state = self.state.lock().unwrap();
        state.approvals.get(&id).map(|approval| self.status(approval)).ok_or(BrokerError::Unknown)
    }
}

/// Somebody of the group `sre`.
fn voter(person: &str) -> Voter {
    Voter {
        person: person.parse().unwrap(),
        groups: vec!["sre".to_owned()],
        reviewer: true,
        machine: false,
        agent: false,
        channel: "console".to_owned(),
        method: "local".to_owned(),
        assurance: Assurance::Console,
        also: Vec::new(),
        delegators: Vec::new(),
    }
}

impl ApprovalBroker for FakeControl {
    fn submit(&self, submission: Submission) -> BoxFuture<'_, Result<Status, BrokerError>> {
        async move {
            let status = self.open(submission)?;
            if self.lose_answer.swap(false, Ordering::SeqCst) {
                return Err(BrokerError::Unreachable("the link broke".to_owned()));
            }
            Ok(status)
        }
        .boxed()
    }

    fn wait(
        &self,
        id: ApprovalId,
        known_version: u64,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<Status, BrokerError>> {
        async move {
            let until = tokio::time::Instant::now() + timeout;
            loop {
                let changed = self.changed.notified();
                let status = self.look(id)?;
                if status.version > known_version || tokio::time::timeout_at(until, changed).await.is_err() {
                    return Ok(status);
                }
            }
        }
        .boxed()
    }

    fn edit(&self, id: ApprovalId) -> BoxFuture<'_, Result<Option<MadeEdit>, BrokerError>> {
        async move {
            self.reachable()?;
            let edited = self.state.lock().unwrap().approvals.get(&id).and_then(|found| found.edited.clone());
            Ok(edited.map(|Edit { by, changes, reason, .. }| MadeEdit { approval: id, by, changes, reason }))
        }
        .boxed()
    }

    fn cancel(&self, id: ApprovalId, why: CancelReason) -> BoxFuture<'_, Result<Status, BrokerError>> {
        async move {
            let known = self.look(id)?;
            if known.phase.is_terminal() {
                return Err(BrokerError::Refused("it is over".to_owned()));
            }
            self.try_apply(id, &Input::Cancel { why }).map_err(BrokerError::Refused)?;
            self.look(id)
        }
        .boxed()
    }
}
