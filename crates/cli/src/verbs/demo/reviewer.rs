//! The second local reviewer: whoever sits at the terminal, or `--yes`. Both vote through the API.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::keys::Keys;
use crate::api::Api;

/// Who is expected to decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Whoever sits at the terminal.
    Key,
    /// Somebody in the console.
    Console,
    /// Nobody: it is decided already that it is approved.
    Nobody,
}

/// The reviewer.
pub(super) struct Reviewer<'a> {
    api: &'a Api,
    keys: Option<Keys>,
    yes: bool,
    has_voted: bool,
}

impl<'a> Reviewer<'a> {
    pub(super) fn new(api: &'a Api, yes: bool) -> Self {
        let keys = if yes { None } else { Keys::open() };
        Self { api, keys, yes, has_voted: false }
    }

    /// Who is expected to decide.
    pub(super) fn wanted(&self) -> Wanted {
        match (self.yes, &self.keys) {
            (true, _) => Wanted::Nobody,
            (false, Some(_)) => Wanted::Key,
            (false, None) => Wanted::Console,
        }
    }

    /// Votes once, and then never again.
    pub(super) async fn decides(&mut self, approval: &Value) -> Result<&'static str> {
        if self.has_voted {
            return std::future::pending().await;
        }
        let decision = match &mut self.keys {
            _ if self.yes => "approve",
            Some(keys) => keys.decision().await,
            None => return std::future::pending().await,
        };
        let id = approval.get("id").and_then(Value::as_str).context("the approval has no id")?;
        let ballot = json!({"decision": decision, "reason": "the demo's second reviewer"});
        let _: Value = self.api.post(&format!("/api/v1/approvals/{id}/votes"), &ballot).await?;
        self.has_voted = true;
        Ok(decision)
    }
}
