//! Identity of machines: the certificate authority, join tokens, certificate requests, X.509-SVIDs
//! and the rotation of all of them.
//!
//! The control plane has an [`Authority`]. A sidecar makes an [`IdentityRequest`] (its private key
//! stays where it was made, I11), proves by a [`JoinToken`] that it may have a name, and gets an
//! X.509-SVID with which it becomes an [`Identity`]. Each side knows the other by the SPIFFE ID in
//! its certificate ([`PeerCertificate`]) under the current [`TrustBundle`], and by nothing else.
//!
//! Nothing here reads a clock: the time is passed in. Randomness for keys, serial numbers and secrets
//! comes from the cryptographic library.

pub mod authority;
mod files;
pub mod identity;
pub mod join;
pub mod peer;
mod pem;
mod profile;
pub mod random;
pub mod trust;

pub use authority::{Authority, AuthorityError, IssuedSvid};
pub use countersign_model::identity::{AgentName, SpiffeId, TrustDomain};
pub use files::FileError;
pub use identity::{Identity, IdentityError, IdentityRequest};
pub use join::{JoinSecret, JoinToken, JoinTokenError};
pub use peer::{CertificateError, PeerCertificate};
pub use random::NoRandomness;
pub use trust::{TrustBundle, TrustError};
