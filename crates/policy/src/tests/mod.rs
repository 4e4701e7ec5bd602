//! Tests of whole bundles.
