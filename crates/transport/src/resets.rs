//! What lets a peer know at once that a restarted control plane has forgotten its connection.
//!
//! After a crash, packets of old connections arrive at a new process. It answers them with a stateless
//! reset (RFC 9000 §10.3), which the peer believes because it was told the token before. The token follows
//! from a key that survives the crash; without one, a peer notices only at its idle time-out.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use quinn::{
    ConnectionId, ConnectionIdGenerator, EndpointConfig,
    crypto::{CryptoError, HmacKey},
};

/// How long connection ids are. Long enough that none is met by chance.
const ID_LENGTH: usize = 8;
/// The shortest time between two resets. Whoever sends noise gets less back than they sent.
const BETWEEN_RESETS: Duration = Duration::from_millis(1);

type Mac = dyn Fn(&[u8]) -> [u8; 32] + Send + Sync;

/// A keyed hash (a MAC) whose key survives restarts.
#[derive(Clone)]
pub struct ResetKey(Arc<Mac>);

impl ResetKey {
    /// The key of a MAC.
    #[must_use]
    pub fn new(mac: impl Fn(&[u8]) -> [u8; 32] + Send + Sync + 'static) -> Self {
        Self(Arc::new(mac))
    }

    fn mac(&self, purpose: &[u8], data: &[u8]) -> [u8; 32] {
        (self.0)(&[purpose, b"\0", data].concat())
    }

    /// The configuration of an endpoint that resets what it has forgotten.
    pub(crate) fn endpoint_config(&self) -> EndpointConfig {
        let mut config = EndpointConfig::new(Arc::new(Tokens(self.clone())));
        let key = self.clone();
        config.cid_generator(move || Box::new(Ids::new(key.clone()))).min_reset_interval(BETWEEN_RESETS);
        config
    }
}

impl fmt::Debug for ResetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResetKey(…)")
    }
}

/// The tokens of connection ids.
struct Tokens(ResetKey);

impl HmacKey for Tokens {
    fn sign(&self, data: &[u8], out: &mut [u8]) {
        for (to, from) in out.iter_mut().zip(self.0.mac(b"reset token", data)) {
            *to = from;
        }
    }

    fn signature_len(&self) -> usize {
        32
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        // Only ever asked of this side's own tokens, so there is nobody whose timing could tell.
        if self.0.mac(b"reset token", data) == signature { Ok(()) } else { Err(CryptoError) }
    }
}

/// Connection ids that nobody can guess or link to each other.
struct Ids {
    key: ResetKey,
    started: [u8; 16],
    count: u64,
}

impl Ids {
    fn new(key: ResetKey) -> Self {
        let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { key, started: started.as_nanos().to_be_bytes(), count: 0 }
    }
}

impl ConnectionIdGenerator for Ids {
    fn generate_cid(&mut self) -> ConnectionId {
        self.count += 1;
        let id = self.key.mac(b"connection id", &[&self.started[..], &self.count.to_be_bytes()].concat());
        ConnectionId::new(id.split_at(ID_LENGTH).0)
    }

    fn cid_len(&self) -> usize {
        ID_LENGTH
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> ResetKey {
        ResetKey::new(move |data| {
            let mut out = [seed; 32];
            for (index, byte) in data.iter().enumerate() {
                out[index % 32] = out[index % 32].rotate_left(3) ^ byte;
            }
            out
        })
    }

    #[test]
    fn a_token_follows_from_the_key_alone() {
        let (mut first, mut again, mut other) = ([0; 32], [0; 32], [0; 32]);
        Tokens(key(1)).sign(b"id", &mut first);
        Tokens(key(1)).sign(b"id", &mut again);
        Tokens(key(2)).sign(b"id", &mut other);
        assert_eq!(first, again);
        assert_ne!(first, other);
        assert!(
            Tokens(key(1)).verify(b"id", &first).is_ok() && Tokens(key(2)).verify(b"id", &first).is_err()
        );
    }

    #[test]
    fn connection_ids_differ() {
        let mut ids = Ids::new(key(1));
        assert_ne!(ids.generate_cid(), ids.generate_cid());
        assert_eq!(ids.generate_cid().len(), ids.cid_len());
    }
}
