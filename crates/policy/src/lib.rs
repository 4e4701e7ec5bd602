//! Bundles of Cedar policy: loading, indexing, deciding, explaining. Pure.
