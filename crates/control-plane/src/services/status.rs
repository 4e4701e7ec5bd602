//! Whether the control plane can do its work.

use serde::Serialize;
use utoipa::ToSchema;

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
pub struct StatusService {}

impl StatusService {
    /// The state of things now. Needs no credentials: it names nothing secret.
    pub async fn readiness(&self) -> Readiness {
        Readiness {
            ready: false,
            problems: vec!["the store is not open".to_owned()],
            trust_domain: String::new(),
            revision: None,
            revision_age_seconds: None,
            agents_connected: 0,
            ledger_size: 0,
            ledger_lag: 0,
        }
    }
}
