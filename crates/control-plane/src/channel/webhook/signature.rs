//! Signatures of the Standard Webhooks specification, version 1 of the symmetric kind: HMAC-SHA256 over
//! identifier, timestamp and body, one for each secret, so that secrets can be changed without a gap.

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::STANDARD};

/// What every secret starts with.
const PREFIX: &str = "whsec_";
/// How long the key in a secret is, in bytes.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// What messages are signed with. Never printed.
pub(super) struct Secrets(Vec<hmac::Key>);

/// A text that is no secret of a webhook. It does not repeat the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it must hold \"whsec_\" and the base64 of 24 to 64 random bytes")]
pub(super) struct NotASecret;

impl Secrets {
    /// Reads secrets, the one in use first.
    pub(super) fn new(texts: &[String]) -> Result<Self, NotASecret> {
        texts.iter().map(|text| key(text)).collect::<Result<_, _>>().map(Self)
    }

    /// The value of the header `webhook-signature`.
    pub(super) fn sign(&self, id: &str, timestamp: i64, body: &str) -> String {
        let signed = format!("{id}.{timestamp}.{body}");
        let signature = |key| format!("v1,{}", STANDARD.encode(hmac::sign(key, signed.as_bytes())));
        self.0.iter().map(signature).collect::<Vec<_>>().join(" ")
    }
}

fn key(text: &str) -> Result<hmac::Key, NotASecret> {
    let encoded = text.strip_prefix(PREFIX).ok_or(NotASecret)?;
    let bytes = STANDARD.decode(encoded).map_err(|_| NotASecret)?;
    if !KEY_BYTES.contains(&bytes.len()) {
        return Err(NotASecret);
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    /// The example of the specification's own libraries.
    #[test]
    fn the_published_example_is_signed_as_published() {
        let secrets = Secrets::new(&[SECRET.to_owned()]).unwrap();
        let signature = secrets.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, "{\"test\": 2432232314}");
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn there_is_a_signature_for_each_secret() {
        let both = Secrets::new(&[SECRET.to_owned(), format!("whsec_{}", STANDARD.encode([7; 32]))]).unwrap();
        let signatures = both.sign("msg_1", 1, "{}");
        assert_eq!(signatures.split(' ').count(), 2);
        assert!(signatures.split(' ').all(|one| one.starts_with("v1,")));
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        for text in ["", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_", "whsec_AAAA", "whsec_!!!!"] {
            assert!(Secrets::new(&[text.to_owned()]).is_err(), "{text}");
        }
    }
}
