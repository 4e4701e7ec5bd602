//! What a bundle must pass before it is in force.
//!
//! In this order: its signature, by the keys that were pinned at enrolment; its trust domain; its
//! revision; every check of a bundle; the disk. Only then it replaces the one before, at once (I7).
//! Whatever fails, the one before stays.

use std::sync::Arc;

use countersign_audit::{EventDraft, kind};
use countersign_gate::{Snapshot, ports::Clock};
use countersign_model::{Revision, TrustDomain, signing::Jwks};
use countersign_policy::{
    Bundle, BundleFiles, FilesError, Problems,
    signed::{Manifest, SignedBundle, SignedBundleError},
};
use countersign_protocol::{BundleAck, BundleOutcome, DecodeError, EncodeError, Frame, PushBundle, codec};
use countersign_spool::{ActivateError, Spool, SpoolError, StoredBundle};
use serde_json::json;
use tokio::{sync::Mutex, task::spawn_blocking};

use super::policy::Policy;

/// The longest reason that the control plane is told, in characters.
const MAX_REASON: usize = 2_000;

/// Why a bundle is not put in force.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BundleRefusal {
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error(transparent)]
    Signed(#[from] SignedBundleError),
    #[error("the bundle is for the trust domain {0}")]
    TrustDomain(TrustDomain),
    #[error("revision {given} is not newer than revision {active}, which is in force")]
    NotNewer { active: Revision, given: Revision },
    #[error("{0}")]
    Invalid(Problems),
    #[error("it cannot be stored: {0}")]
    Encode(#[from] EncodeError),
    #[error("the stored bundle cannot be read: {0}")]
    Decode(#[from] DecodeError),
    #[error("it was stored as something else")]
    Mistaken,
    #[error(transparent)]
    Store(#[from] ActivateError),
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error("it could not be looked at: {0}")]
    Interrupted(#[from] tokio::task::JoinError),
}

/// Whom bundles are believed from.
#[derive(Debug, Clone)]
pub(crate) struct Pinned {
    /// The keys that were given at enrolment.
    pub(crate) keys: Jwks,
    /// The trust domain of this sidecar.
    pub(crate) trust_domain: TrustDomain,
}

/// A bundle that passed every check.
struct Checked {
    manifest: Manifest,
    bundle: Bundle,
    bytes: Vec<u8>,
}

/// Puts bundles in force.
pub(crate) struct Activator {
    policy: Arc<Policy>,
    spool: Spool,
    clock: Arc<dyn Clock>,
    pinned: Arc<Pinned>,
    turn: Mutex<()>,
}

impl Activator {
    pub(crate) fn new(policy: Arc<Policy>, spool: Spool, clock: Arc<dyn Clock>, pinned: Pinned) -> Self {
        Self { policy, spool, clock, pinned: Arc::new(pinned), turn: Mutex::default() }
    }

    /// Puts the bundle of before the restart in force (I9). Answers whether there was one.
    pub(crate) async fn resume(&self) -> Result<bool, BundleRefusal> {
        let Some(stored) = self.spool.state().active_bundle()? else { return Ok(false) };
        let pinned = Arc::clone(&self.pinned);
        let checked = spawn_blocking(move || -> Result<Checked, BundleRefusal> {
            match codec::decode_whole(&stored.bytes)? {
                Frame::PushBundle(pushed) => check(pushed, &pinned),
                _ => Err(BundleRefusal::Mistaken),
            }
        });
        self.put_in_force(checked.await??);
        Ok(true)
    }

    /// Takes a pushed bundle, one at a time.
    pub(crate) async fn take(&self, pushed: PushBundle) -> BundleAck {
        let _turn = self.turn.lock().await;
        let outcome = match self.try_take(pushed).await {
            Ok(outcome) => outcome,
            Err(refusal) => {
                tracing::error!(%refusal, "a bundle was refused; the one before stays in force");
                let reason: String = refusal.to_string().chars().take(MAX_REASON).collect();
                self.record_refusal(&reason);
                BundleOutcome::Refused(reason)
            }
        };
        BundleAck { revision: self.policy.revision(), outcome }
    }

    async fn try_take(&self, pushed: PushBundle) -> Result<BundleOutcome, BundleRefusal> {
        let pinned = Arc::clone(&self.pinned);
        let checked = spawn_blocking(move || check(pushed, &pinned)).await??;
        let revision = checked.manifest.revision;
        if let Some(active) = self.policy.snapshot() {
            if active.revision == revision && active.bundle.digest() == checked.manifest.digest {
                return Ok(BundleOutcome::Unchanged);
            }
            // An old signed bundle that is sent again does not bring old policy back.
            if revision <= active.revision {
                return Err(BundleRefusal::NotNewer { active: active.revision, given: revision });
            }
        }
        let mut event = EventDraft::new(self.clock.now(), kind::POLICY_ACTIVATED);
        event.body.insert("revision".to_owned(), json!(revision));
        event.body.insert("bundle".to_owned(), json!(checked.manifest.digest));
        let stored = StoredBundle { revision, bytes: checked.bytes.clone() };
        self.spool.state().activate_bundle(stored, Some(event)).await?;
        self.put_in_force(checked);
        Ok(BundleOutcome::Activated)
    }

    fn put_in_force(&self, checked: Checked) {
        let Checked { manifest, bundle, .. } = checked;
        let snapshot = Snapshot {
            bundle: Arc::new(bundle),
            revision: manifest.revision,
            jwks: manifest.jwks,
            activated_at: self.clock.now(),
        };
        tracing::info!(revision = %manifest.revision, bundle = manifest.name, "policy is in force");
        self.policy.activate(snapshot, manifest.lease);
    }

    fn record_refusal(&self, reason: &str) {
        let mut event = EventDraft::new(self.clock.now(), kind::POLICY_REFUSED);
        event.body.insert("reason".to_owned(), json!(reason));
        if let Err(error) = self.spool.enqueue(vec![event]) {
            tracing::warn!(%error, "the refusal of a bundle was not recorded");
        }
    }
}

/// Checks everything about a bundle that does not depend on the one in force. Takes a while.
fn check(pushed: PushBundle, pinned: &Pinned) -> Result<Checked, BundleRefusal> {
    let frame = Frame::PushBundle(pushed);
    let bytes = codec::encode(&frame)?.as_bytes().to_vec();
    let Frame::PushBundle(pushed) = frame else { return Err(BundleRefusal::Mistaken) };
    let signed = SignedBundle { manifest: pushed.manifest, files: BundleFiles::new(pushed.files)? };
    let manifest = signed.verify(&pinned.keys)?;
    if manifest.trust_domain != pinned.trust_domain {
        return Err(BundleRefusal::TrustDomain(manifest.trust_domain));
    }
    let bundle = Bundle::load(&signed.files).map_err(BundleRefusal::Invalid)?;
    Ok(Checked { manifest, bundle, bytes })
}
