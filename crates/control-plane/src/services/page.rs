//! Pages of a list, by cursor.

use countersign_store::CursorError;
use serde::Serialize;

/// Which page is wanted.
#[derive(Debug, Clone, Default)]
pub struct PageRequest {
    /// How many items at most; bounded by [`PageRequest::MAX`], [`PageRequest::DEFAULT`] when missing.
    pub limit: Option<usize>,
    /// Where the last page ended: its `next`.
    pub cursor: Option<String>,
}

impl PageRequest {
    /// The longest page.
    pub const MAX: usize = 500;
    /// How long a page is when nothing else is asked for.
    pub const DEFAULT: usize = 50;

    /// The number of items to give.
    #[must_use]
    pub fn size(&self) -> usize {
        self.limit.unwrap_or(Self::DEFAULT).clamp(1, Self::MAX)
    }

    /// The same request, as the store takes it.
    pub(super) fn to_store(&self) -> Result<countersign_store::PageRequest, CursorError> {
        let after = self.cursor.as_deref().map(str::parse).transpose()?;
        Ok(countersign_store::PageRequest { limit: self.size(), after })
    }
}

/// Some items of a list, and where the next ones start.
#[derive(Debug, Clone, Serialize)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// The cursor of the next page; `null` on the last.
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// A page of the store, each item as `view` shows it.
    pub(super) fn of<S>(page: countersign_store::Page<S>, view: impl FnMut(&S) -> T) -> Self {
        let next = page.next.map(|next| next.to_string());
        Self { items: page.items.iter().map(view).collect(), next }
    }
}
