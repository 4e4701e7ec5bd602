//! A gate with everything around it faked, but for policy and the approval state machine, which are real.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is test code, and a panic is how a test fails"
)]

mod control;
mod ports;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use countersign_gate::{
    Act, Answer, Arguments, Denial, Gate, Held, Intent, Interceptor, Permit, Ports, Settings, Snapshot,
    ports::Unobserved,
};
use countersign_model::{
    Action, Operation, Projection, Provenance, Resource, Revision, SpiffeId,
    signing::{Jwks, SigningKey},
};
use countersign_policy::{Bundle, BundleFiles};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::{FakeClock, FakeEntropy};

pub use control::FakeControl;
pub use ports::{FakeAudit, FakeJournal, FakePolicy};

/// The bundle that worlds begin with.
pub const POLICIES: &str = r#"
permit (principal, action in [Action::"read", Action::"deploy", Action::"publish"], resource);

@id("prod-deploy") @approval("sre") @reason("Production deploys need an SRE")
forbid (principal, action == Action::"deploy", resource)
unless { context.approvals.contains("sre") };

@id("publish") @approval("press") @reason("Publishing needs the press office, up to three times")
forbid (principal, action == Action::"publish", resource)
unless { context.approvals.contains("press") };

@id("no-wipe") @reason("Nothing may be wiped")
forbid (principal, action == Action::"wipe", resource);
"#;

/// The requirements that worlds begin with.
pub const REQUIREMENTS: &str = r#"
[requirements.sre]
reviewers = ["group:sre"]
quorum = 1
decide_within = "15m"
execute_within = "5m"

[requirements.two-sre]
reviewers = ["group:sre"]
quorum = 2

[requirements.press]
reviewers = ["*"]
quorum = 1
grant = { uses = 3, within = "1h" }
"#;

/// A gate and the world around it.
pub struct World {
    /// The time.
    pub clock: FakeClock,
    /// The policy in force.
    pub policy: Arc<FakePolicy>,
    /// The control plane.
    pub control: Arc<FakeControl>,
    /// The audit log.
    pub audit: Arc<FakeAudit>,
    /// The grant journal.
    pub journal: Arc<FakeJournal>,
    /// The gate.
    pub gate: Gate,
    ports: Ports,
    settings: Settings,
    housekeeper: JoinHandle<()>,
}

impl World {
    /// A world with the usual policies.
    #[must_use]
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// A world whose gate has other bounds.
    #[must_use]
    pub fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let clock = FakeClock::default();
        let audience = spiffe("spiffe://example.org/agent/deploy-bot");
        let policy = Arc::new(FakePolicy::default());
        let control = Arc::new(FakeControl::new(clock.clone(), audience.clone()));
        let audit = Arc::new(FakeAudit::default());
        let journal = Arc::new(FakeJournal::new(audit.clone()));
        let ports = Ports {
            policy: policy.clone(),
            broker: control.clone(),
            audit: audit.clone(),
            journal: journal.clone(),
            clock: Arc::new(clock.clone()),
            entropy: Arc::new(FakeEntropy::default()),
            observer: Arc::new(Unobserved),
        };
        let mut settings = Settings::new("deploy-bot".parse().unwrap(), audience);
        change(&mut settings);
        let (gate, housekeeper) = Gate::new(ports.clone(), settings.clone());
        let housekeeper = tokio::spawn(housekeeper.run());
        let world = Self { clock, policy, control, audit, journal, gate, ports, settings, housekeeper };
        world.activate(1, POLICIES, REQUIREMENTS);
        world
    }

    /// Brings a bundle in force, here and at the control plane.
    pub fn activate(&self, revision: u64, policies: &str, requirements: &str) {
        self.activate_bundle(revision, bundle(policies, requirements));
    }

    /// Brings a bundle in force, here and at the control plane.
    pub fn activate_bundle(&self, revision: u64, bundle: Bundle) {
        let bundle = Arc::new(bundle);
        self.control.knows(Revision(revision), Arc::clone(&bundle));
        self.policy.activate(Snapshot {
            bundle,
            revision: Revision(revision),
            jwks: self.control.jwks(),
            activated_at: self.clock.now(),
        });
    }

    /// The sidecar crashes and starts again: the gate forgets, what is durable stays.
    pub fn restart(&mut self) {
        self.housekeeper.abort();
        let mut ports = self.ports.clone();
        ports.entropy = Arc::new(FakeEntropy::seeded(7));
        let (gate, housekeeper) = Gate::new(ports, self.settings.clone());
        self.gate = gate;
        self.housekeeper = tokio::spawn(housekeeper.run());
    }

    /// Decides, and expects a permit.
    pub async fn permit(&self, intent: Intent) -> Permit {
        permitted(self.gate.decide(intent).await)
    }

    /// Decides, and expects a hold.
    pub async fn held(&self, intent: Intent) -> Held {
        held(self.gate.decide(intent).await)
    }

    /// Decides, and expects a denial.
    pub async fn denied(&self, intent: Intent) -> Denial {
        denied(self.gate.decide(intent).await)
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.housekeeper.abort();
    }
}

/// Waits for a condition, for as long as a broken machine might need.
///
/// # Panics
/// When it does not come true.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..3_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never came true: {what}");
}

/// The permit in an answer.
///
/// # Panics
/// When there is none.
pub fn permitted(answer: Answer) -> Permit {
    match answer {
        Answer::Permitted(permit) => permit,
        other => panic!("expected a permit, got {other:?}"),
    }
}

/// The held operation in an answer.
///
/// # Panics
/// When there is none.
pub fn held(answer: Answer) -> Held {
    match answer {
        Answer::Held(held) => held,
        other => panic!("expected a hold, got {other:?}"),
    }
}

/// The denial in an answer.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn denied(answer: Answer) -> Denial {
    match answer {
        Answer::Denied(denial) => denial,
        other => panic!("expected a denial, got {other:?}"),
    }
}

/// A bundle of some policies and requirements.
///
/// # Panics
/// When they do not load.
#[must_use]
pub fn bundle(policies: &str, requirements: &str) -> Bundle {
    bundle_with("name = \"test\"\nlease = \"1h\"\n", policies, requirements)
}

/// A bundle of some settings, policies and requirements.
///
/// # Panics
/// When they do not load.
#[must_use]
pub fn bundle_with(settings: &str, policies: &str, requirements: &str) -> Bundle {
    let files =
        [("bundle.toml", settings), ("policies/main.cedar", policies), ("approvals.toml", requirements)];
    let files: BTreeMap<_, _> =
        files.into_iter().map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec())).collect();
    match Bundle::load(&BundleFiles::new(files).unwrap()) {
        Ok(bundle) => bundle,
        Err(problems) => panic!("{problems}"),
    }
}

/// The agent wants to do something to the service `payments`.
#[must_use]
pub fn intent(action: &str, properties: Value) -> Intent {
    let Value::Object(properties) = properties else { panic!("properties are an object") };
    let operation = Operation {
        subject: countersign_gate::intent::agent_subject(&"deploy-bot".parse().unwrap()),
        action: Action { name: action.to_owned(), properties },
        resource: Resource {
            kind: "Service".to_owned(),
            id: "payments".to_owned(),
            properties: serde_json::Map::new(),
        },
        context: serde_json::Map::new(),
    };
    Intent {
        interceptor: Interceptor::Exec,
        act: Act::Operation { operation: Box::new(operation), projection: Projection::default() },
        provenance: Provenance::default(),
        asserted_subject: None,
        trace: None,
        tool_pin: None,
        arguments: Arguments::AsGiven,
    }
}

/// The agent wants to deploy a version: held for `sre`.
#[must_use]
pub fn deploy(version: &str) -> Intent {
    intent("deploy", json!({"version": version}))
}

/// The agent wants to read: permitted.
#[must_use]
pub fn read() -> Intent {
    intent("read", json!({}))
}

/// A SPIFFE ID.
///
/// # Panics
/// When it is none.
#[must_use]
pub fn spiffe(text: &str) -> SpiffeId {
    text.parse().unwrap()
}

/// A signing key, and the set that trusts it.
pub(crate) fn key(seed: u8) -> (SigningKey, Jwks) {
    let key = SigningKey::from_seed(&[seed; 32]).unwrap();
    let jwks = [key.verifying_key()].into_iter().collect();
    (key, jwks)
}
