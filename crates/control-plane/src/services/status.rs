//! Whether the control plane can do its work.

use std::sync::Arc;

use countersign_model::Timestamp;
use countersign_store::IndexProgress;
use serde::Serialize;
use utoipa::ToSchema;

use super::Parts;

/// What `/readyz` says.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Readiness {
    /// Whether requests can be served.
    pub ready: bool,
    /// Why not; empty when ready.
    pub problems: Vec<String>,
    /// The trust domain that this control plane vouches for.
    pub trust_domain: String,
    /// The active policy revision; `null` before the first push.
    pub revision: Option<u64>,
    /// How long that revision has been active, in seconds.
    pub revision_age_seconds: Option<u64>,
    /// How many agents are connected.
    pub agents_connected: usize,
    /// How many events the ledger holds.
    pub ledger_size: u64,
    /// How many of them the search index has not caught up with.
    pub ledger_lag: u64,
}

/// Says whether the control plane can do its work.
#[derive(Debug, Clone)]
pub struct StatusService {
    parts: Arc<Parts>,
}

impl StatusService {
    pub(super) fn new(parts: Arc<Parts>) -> Self {
        Self { parts }
    }

    /// The state of things now. Needs no credentials: it names nothing secret.
    pub async fn readiness(&self) -> Readiness {
        let parts = &self.parts;
        let mut problems = Vec::new();
        let progress = parts.store.index_progress().await.unwrap_or_else(|error| {
            tracing::error!(%error, "the store does not answer");
            problems.push("the store does not answer".to_owned());
            IndexProgress { indexed: 0, size: 0 }
        });
        let edition = parts.catalogue.active();
        let age = |since: Timestamp| u64::try_from(parts.clock.now().millis_since(since) / 1000).unwrap_or(0);
        Readiness {
            ready: problems.is_empty(),
            problems,
            trust_domain: parts.trust_domain.to_string(),
            revision: edition.as_ref().map(|edition| edition.revision.0),
            revision_age_seconds: edition.map(|edition| age(edition.activated_at)),
            agents_connected: parts.registry.connected(),
            ledger_size: progress.size,
            ledger_lag: progress.size.saturating_sub(progress.indexed),
        }
    }
}
