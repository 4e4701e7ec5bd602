//! Bundles of Cedar policy: loading, indexing, deciding, explaining.
//!
//! A [`Bundle`] is loaded from [`BundleFiles`] whole or not at all, with every [`Problem`] reported at
//! once. It then decides operations ([`Bundle::decide`]): permit, deny, or hold with exactly the
//! requirements that stand in the way. Everything that can be worked out at load is: names, the
//! index by action and resource type, which entities a policy can look into, mappings.
//!
//! The crate is pure: it opens nothing, reads no clock and draws no randomness.

mod bundle;
mod decide;
mod entities;
mod evaluate;
mod expr;
mod files;
mod index;
mod labels;
pub mod mapping;
pub mod narrow;
pub mod outputs;
mod policies;
mod problem;
mod request;
mod requirements;
mod self_test;
mod settings;
pub mod signed;
mod templates;
mod toml_reader;
mod value;

#[cfg(test)]
mod tests;

pub use bundle::Bundle;
pub use decide::{ConsideredPolicy, Explanation, PolicyAnswer, UNASKABLE, Verdict};
pub use files::{BundleFiles, FilesError, MAX_BYTES, MAX_FILES, MAX_PATH};
pub use problem::{Problem, Problems};
pub use request::Call;
pub use self_test::{TestReport, TestResult};
pub use settings::AuditDurability;
pub use templates::{Template, UnknownTemplate};
