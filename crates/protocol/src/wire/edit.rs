//! Edits: submissions that can be answered with one, and what a reviewer made of the arguments.

use bincode::{Decode, Encode};
use countersign_approval::{
    ArgumentChange, Submission,
    edit::{MAX_CHANGES, MAX_VALUE},
};
use countersign_model::{ApprovalId, strict_json};

use super::{
    approval::SubmissionV1,
    bounded::{FieldError, List, Text},
};
use crate::{
    limits,
    message::{AskEdit, ProposedEdit, Substitutable},
};

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct SubstitutableV1 {
    submission: SubmissionV1,
    follows: Option<[u8; 16]>,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct AskEditV1 {
    id: [u8; 16],
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct ProposedEditV1 {
    by: Text<{ limits::MAX_NAME }>,
    changes: List<ChangeV1, MAX_CHANGES>,
    reason: Option<Text<{ limits::MAX_FREE_TEXT }>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
struct ChangeV1 {
    pointer: Text<{ limits::MAX_SHORT_TEXT }>,
    /// JSON.
    value: Text<MAX_VALUE>,
}

impl TryFrom<&Substitutable> for SubstitutableV1 {
    type Error = FieldError;

    fn try_from(Substitutable(from): &Substitutable) -> Result<Self, FieldError> {
        Ok(Self { submission: from.try_into()?, follows: from.follows.map(ApprovalId::to_bytes) })
    }
}

impl TryFrom<SubstitutableV1> for Substitutable {
    type Error = FieldError;

    fn try_from(from: SubstitutableV1) -> Result<Self, FieldError> {
        let follows = from.follows.map(ApprovalId::from_bytes);
        Ok(Self(Submission { substitutable: true, follows, ..from.submission.try_into()? }))
    }
}

impl From<&AskEdit> for AskEditV1 {
    fn from(from: &AskEdit) -> Self {
        Self { id: from.id.to_bytes() }
    }
}

impl From<AskEditV1> for AskEdit {
    fn from(from: AskEditV1) -> Self {
        Self { id: ApprovalId::from_bytes(from.id) }
    }
}

impl TryFrom<&ProposedEdit> for ProposedEditV1 {
    type Error = FieldError;

    fn try_from(from: &ProposedEdit) -> Result<Self, FieldError> {
        Ok(Self {
            by: Text::new("by", from.by.as_str())?,
            changes: List::collect("changes", &from.changes, |change| -> Result<_, FieldError> {
                let value = Text::new("value", &change.value.to_string())?;
                Ok(ChangeV1 { pointer: Text::new("pointer", &change.pointer)?, value })
            })?,
            reason: from.reason.as_deref().map(|reason| Text::new("reason", reason)).transpose()?,
        })
    }
}

impl TryFrom<ProposedEditV1> for ProposedEdit {
    type Error = FieldError;

    fn try_from(from: ProposedEditV1) -> Result<Self, FieldError> {
        Ok(Self {
            by: from.by.parse("by")?,
            changes: from.changes.map(|ChangeV1 { pointer, value }| {
                let value = strict_json::parse(value.into_string().as_bytes())
                    .map_err(|_| FieldError::new("value", "not JSON that every reader reads alike"))?;
                Ok(ArgumentChange { pointer: pointer.into_string(), value })
            })?,
            reason: from.reason.map(Text::into_string),
        })
    }
}
