//! Pages of a list, by cursor.

use std::{fmt, str::FromStr};

use crate::StoreError;

/// Where a page ended: opaque, valid for the list that gave it out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(Vec<u8>);

/// A text that no page gave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cursor is none that a page gave out")]
pub struct CursorError;

impl Cursor {
    /// The longest key that a cursor can stand for.
    const MAX_BYTES: usize = 256;

    pub(crate) fn after(key: &[u8]) -> Self {
        Self(key.to_vec())
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        if text.is_empty() || text.len() > 2 * Self::MAX_BYTES || !text.len().is_multiple_of(2) {
            return Err(CursorError);
        }
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let byte = |pair: &[u8]| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        };
        text.as_bytes().chunks(2).map(byte).collect::<Option<Vec<u8>>>().map(Self).ok_or(CursorError)
    }
}

/// Which page is wanted.
#[derive(Debug, Clone, Default)]
pub struct PageRequest {
    /// How many items at most; between 1 and [`PageRequest::MAX`].
    pub limit: usize,
    /// Where the last page ended.
    pub after: Option<Cursor>,
}

impl PageRequest {
    /// The longest page.
    pub const MAX: usize = 1_000;

    /// The first page.
    #[must_use]
    pub fn first(limit: usize) -> Self {
        Self { limit, after: None }
    }

    pub(crate) fn size(&self) -> usize {
        self.limit.clamp(1, Self::MAX)
    }
}

/// Some items of a list. A page can be shorter than asked for, even empty, and still have a next one:
/// only `next` says whether the list goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page starts; `None` on the last.
    pub next: Option<Cursor>,
}

/// Why there is no such page.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// The cursor belongs to another list.
    #[error(transparent)]
    Cursor(#[from] CursorError),
    /// The store does not work.
    #[error(transparent)]
    Store(#[from] StoreError),
}
