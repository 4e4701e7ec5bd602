//! Lists: `{"items": […], "next": …}`, by cursor.

use serde::Serialize;
use utoipa::ToSchema;

use super::problem::Problem;
use crate::services::{Page, PageRequest};

/// The longest cursor that is looked at.
const MAX_CURSOR: usize = 512;

/// Some items of a list.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct PageOf<T> {
    /// The items.
    pub items: Vec<T>,
    /// The `cursor` of the next page; `null` on the last.
    pub next: Option<String>,
}

impl<T> From<Page<T>> for PageOf<T> {
    fn from(page: Page<T>) -> Self {
        Self { items: page.items, next: page.next }
    }
}

/// A list's query parameters, checked.
pub(crate) fn page_request(limit: Option<usize>, cursor: Option<String>) -> Result<PageRequest, Problem> {
    if limit.is_some_and(|limit| !(1..=PageRequest::MAX).contains(&limit)) {
        return Err(Problem::bad_request(format!("limit: a number from 1 to {}", PageRequest::MAX)));
    }
    if cursor.as_ref().is_some_and(|cursor| cursor.len() > MAX_CURSOR) {
        return Err(Problem::bad_request("the cursor is none that a page gave out"));
    }
    Ok(PageRequest { limit, cursor })
}

/// A page's query parameters, for lists that have no other.
#[derive(Debug, serde::Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// How many at most (1 to 500).
    pub(crate) limit: Option<usize>,
    /// Where the last page ended: its `next`.
    pub(crate) cursor: Option<String>,
}

impl PageQuery {
    pub(crate) fn request(self) -> Result<PageRequest, Problem> {
        page_request(self.limit, self.cursor)
    }
}
