//! What a button stands for: one approval, as it was when the button was drawn.

use std::{fmt, str::FromStr};

use countersign_model::{ApprovalId, Digest};

use crate::review::Review;

/// What a card's buttons carry. It says what was shown, never who clicks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    /// The approval.
    pub(crate) approval: ApprovalId,
    /// Its version when the card was drawn.
    pub(crate) version: u64,
    /// The digest of what the card showed. A vote is only taken for exactly this (I12).
    pub(crate) digest: Digest,
}

/// A text that is no ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this button is not one of ours")]
pub(crate) struct TicketError;

impl Ticket {
    /// For the buttons of a view.
    pub(crate) fn of(review: &Review) -> Self {
        Self { approval: review.id, version: review.version, digest: review.digest }
    }
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.approval, self.version, self.digest)
    }
}

impl FromStr for Ticket {
    type Err = TicketError;

    fn from_str(text: &str) -> Result<Self, TicketError> {
        let mut parts = text.splitn(3, '.');
        let mut next = || parts.next().ok_or(TicketError);
        let (approval, version, digest) = (next()?, next()?, next()?);
        Ok(Self {
            approval: approval.parse().map_err(|_| TicketError)?,
            version: version.parse().map_err(|_| TicketError)?,
            digest: digest.parse().map_err(|_| TicketError)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use countersign_model::Timestamp;

    use super::*;

    #[test]
    fn a_ticket_reads_what_it_writes_and_nothing_else() {
        let ticket = Ticket {
            approval: ApprovalId::new(Timestamp::from_millis(1), [7; 10]),
            version: 3,
            digest: Digest::of(b"x"),
        };
        assert_eq!(ticket.to_string().parse(), Ok(ticket));
        let text = ticket.to_string();
        for other in ["", "a.b.c", &text[1..], &format!("{text}0"), &text.replace(".3.", ".-3.")] {
            assert_eq!(other.parse::<Ticket>(), Err(TicketError), "{other}");
        }
    }
}
