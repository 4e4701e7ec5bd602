//! Certificate authority, join tokens, CSRs, SVIDs and rotation.
