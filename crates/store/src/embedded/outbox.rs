//! The outbox: messages in order, lane by lane.

use async_trait::async_trait;
use countersign_model::{ApprovalId, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    EmbeddedStore,
    codec::{self, Record},
    layout::{self, Bytes, OUTBOX, join, lane_prefix},
    lookup::Lookup,
};
use crate::{Lane, OutboxMessage, OutboxStore, StoreError, Telling};

/// A message as it is stored; its number is in its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OutboxRow {
    pub(super) telling: Telling,
    pub(super) approval: ApprovalId,
    pub(super) at: Timestamp,
}

impl Record for OutboxRow {
    const TABLE: Bytes = OUTBOX;
}

fn read_message(key: &[u8], value: &[u8]) -> Result<OutboxMessage, StoreError> {
    let seq = layout::last_number(key).ok_or_else(|| StoreError::Damaged("an outbox key".to_owned()))?;
    let OutboxRow { telling, approval, at } = codec::decode(value)?;
    Ok(OutboxMessage { seq, telling, approval, at })
}

#[async_trait]
impl OutboxStore for EmbeddedStore {
    async fn outbox(&self, lane: Lane, limit: usize) -> Result<Vec<OutboxMessage>, StoreError> {
        self.read(move |view| {
            let entries = view.prefixed(OUTBOX, &lane_prefix(lane), limit)?;
            entries.iter().map(|(key, value)| read_message(key, value)).collect()
        })
        .await
    }

    async fn acknowledge_outbox(&self, lane: Lane, through: u64) -> Result<(), StoreError> {
        let prefix = lane_prefix(lane);
        let (first, last) = (join(&prefix, &[0; 8]), join(&prefix, &through.to_be_bytes()));
        self.writer.run(move |work| work.remove_range(OUTBOX, &first, &last)).await
    }
}
