//! Randomness of the cryptographic library that is used everywhere else here too.

use rustls::crypto::aws_lc_rs;

/// The operating system gives no randomness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gives no randomness")]
pub struct NoRandomness;

/// Fills a buffer with bytes that nobody can guess.
///
/// # Errors
/// When the operating system gives none.
pub fn fill(buffer: &mut [u8]) -> Result<(), NoRandomness> {
    aws_lc_rs::default_provider().secure_random.fill(buffer).map_err(|_| NoRandomness)
}
