//! The one gate: decide, hold, permit, record.
