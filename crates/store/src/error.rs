//! What can go wrong with any command, and who a command is from.

use countersign_model::Timestamp;

/// The store does not work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Reading or writing failed. After a failed write nothing more is written until a restart; what
    /// was acknowledged is safe.
    #[error("the store's storage failed: {0}")]
    Storage(String),
    /// Something stored is not what was written.
    #[error("the store holds something unreadable: {0}")]
    Damaged(String),
    /// It was closed.
    #[error("the store is closed")]
    Closed,
}

/// Why a command changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError<R: std::error::Error + 'static> {
    /// It was refused, for a reason of its own.
    #[error(transparent)]
    Refused(R),
    /// The store does not work.
    #[error(transparent)]
    Store(StoreError),
}

impl<R: std::error::Error> From<StoreError> for CommandError<R> {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Who a command is from, for its audit events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct By {
    /// A person, a machine's token, an agent's SPIFFE ID.
    pub actor: String,
    /// How a person, or the program that acts for them, has proved who they are.
    pub method: Option<String>,
    /// When it came.
    pub at: Timestamp,
    /// The trace that it belongs to (32 hexadecimal digits).
    pub trace_id: Option<String>,
}

impl By {
    /// A command outside any trace.
    #[must_use]
    pub fn new(author: impl Into<Author>, at: Timestamp) -> Self {
        let Author { name, method } = author.into();
        Self { actor: name, method, at, trace_id: None }
    }
}

/// Who changes something, apart from when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// A person, a machine's token, an agent's SPIFFE ID.
    pub name: String,
    /// How a person, or the program that acts for them, has proved who they are.
    pub method: Option<String>,
}

impl From<String> for Author {
    fn from(name: String) -> Self {
        Self { name, method: None }
    }
}

impl From<&str> for Author {
    fn from(name: &str) -> Self {
        name.to_owned().into()
    }
}
