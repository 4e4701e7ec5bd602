//! Lists that the relay asks the server for on its own account: what the tools are must be known before one
//! is called. A client may call what it knows from before, or what has changed since it listed.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;
use tracing::warn;

use super::{Queue, Relay, request::terminated};
use crate::{
    local::wire::ToolsPage,
    mcp::{
        envelope::Id,
        framing::content,
        lists::{self, MAX_PAGES, PAGE_WITHIN},
        ruling::Call,
    },
};

/// What has been asked for.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Held while tools are listed: one at a time, and whoever waits finds it done.
    under_way: Mutex<()>,
    /// How often they have been listed.
    done: AtomicU64,
    /// How many requests have been made.
    requests: AtomicU64,
}

impl Relay {
    /// Asks the server what its tools are, on the occasion of a call, and tells the sidecar.
    pub(super) async fn list_tools(&self, call: &Call, to_server: &Queue) {
        let before = self.listing.done.load(Ordering::Acquire);
        let _listing = self.listing.under_way.lock().await;
        if self.listing.done.load(Ordering::Acquire) != before {
            return;
        }
        if let Err(error) = self.tell_tools(call, to_server).await {
            warn!(%error, server = self.name.server, "the server's tools could not be listed; they count as not listed");
        }
        self.listing.done.fetch_add(1, Ordering::AcqRel);
    }

    async fn tell_tools(&self, call: &Call, to_server: &Queue) -> Result<(), crate::local::LocalError> {
        let changes = self.changes.load(Ordering::Acquire);
        let mut cursor = None;
        for page in 0..=MAX_PAGES {
            let answer = if page < MAX_PAGES {
                self.ask_for_page(call, cursor.as_deref(), to_server).await
            } else {
                // A list without an end is none.
                None
            };
            let page = ToolsPage { relay: self.name.clone(), changes, is_first: page == 0, answer };
            cursor = self.settings.sidecar.tell_tools(&page).await?.cursor;
            if cursor.is_none() {
                break;
            }
        }
        Ok(())
    }

    async fn ask_for_page(&self, call: &Call, cursor: Option<&str>, to_server: &Queue) -> Option<String> {
        let number = self.listing.requests.fetch_add(1, Ordering::AcqRel);
        let id = format!("countersign-list-{number}");
        let asked = lists::request(call, &id, cursor);
        let id = Id::from_raw(&format!("{id:?}"))?;
        // A client that uses this id itself has to do without.
        self.calls.open(&id).ok()?;
        let answer = self.calls.forward(&id, || ())?;
        self.pass(to_server, terminated(asked)).await;
        let told = tokio::time::timeout(PAGE_WITHIN, answer).await;
        self.calls.close(&id);
        let told = told.ok()?.ok()?;
        std::str::from_utf8(content(&told.line)).ok().map(str::to_owned)
    }
}
