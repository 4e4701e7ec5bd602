//! The approval state machine, its requirements and votes, and signed grants. Pure.
