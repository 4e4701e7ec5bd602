//! Whether a request comes from Slack: the `v0` signature over its timestamp and its raw body.

use aws_lc_rs::hmac;
use countersign_model::{Seconds, Timestamp};
use http::HeaderMap;

/// How far a request's timestamp may be from our clock, either way.
const SKEW: Seconds = Seconds::new(300);

/// Why a request is not taken for Slack's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum SignatureError {
    /// It is not signed.
    #[error("the request carries no signature, or no timestamp")]
    Missing,
    /// It is a recorded one, or a clock is wrong.
    #[error("the request's timestamp is more than five minutes from this machine's clock")]
    Late,
    /// Somebody else signed it, or it was altered.
    #[error("the signature does not belong to this request")]
    Forged,
}

/// The signing secret of the Slack app.
#[derive(Clone)]
pub(super) struct SigningSecret(hmac::Key);

impl SigningSecret {
    /// The secret as the app's page shows it.
    pub(super) fn new(secret: &str) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()))
    }

    /// Checks a request. The comparison takes the same time wherever a signature is wrong.
    pub(super) fn verify(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        now: Timestamp,
    ) -> Result<(), SignatureError> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let timestamp = text("x-slack-request-timestamp").ok_or(SignatureError::Missing)?;
        let signature = text("x-slack-signature").ok_or(SignatureError::Missing)?;
        let at: i64 = timestamp.parse().map_err(|_| SignatureError::Missing)?;
        if now.as_seconds().abs_diff(at) > u64::from(SKEW.get()) {
            return Err(SignatureError::Late);
        }
        let tag = signature.strip_prefix("v0=").and_then(|tag| hex::decode(tag).ok());
        let signed = [b"v0:", timestamp.as_bytes(), b":", body].concat();
        hmac::verify(&self.0, &signed, &tag.ok_or(SignatureError::Forged)?)
            .map_err(|_| SignatureError::Forged)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    // The example of Slack's own documentation.
    const SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";
    const AT: i64 = 1_531_420_618;
    const SIGNATURE: &str = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
    const BODY: &str = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&\
        channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&\
        text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F\
        96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";

    fn headers(timestamp: &str, signature: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("x-slack-request-timestamp", HeaderValue::from_str(timestamp).unwrap());
        headers.insert("x-slack-signature", HeaderValue::from_str(signature).unwrap());
        headers
    }

    fn verify(timestamp: &str, signature: &str, body: &str, now: i64) -> Result<(), SignatureError> {
        let now = Timestamp::from_millis(now * 1_000);
        SigningSecret::new(SECRET).verify(&headers(timestamp, signature), body.as_bytes(), now)
    }

    #[test]
    fn what_slack_signed_is_taken_for_five_minutes() {
        let at = AT.to_string();
        for now in [AT - 300, AT, AT + 300] {
            assert_eq!(verify(&at, SIGNATURE, BODY, now), Ok(()));
        }
        for now in [AT - 301, AT + 301] {
            assert_eq!(verify(&at, SIGNATURE, BODY, now), Err(SignatureError::Late));
        }
    }

    #[test]
    fn what_was_altered_or_forged_is_refused() {
        let at = AT.to_string();
        let late = (AT + 1).to_string();
        let other = SIGNATURE.replace("a2", "a3");
        for (timestamp, signature, body) in [
            (&at, SIGNATURE, "token=other"),
            (&late, SIGNATURE, BODY),
            (&at, other.as_str(), BODY),
            (&at, "v0=", BODY),
            (&at, &SIGNATURE[..20], BODY),
            (&at, &SIGNATURE[3..], BODY),
            (&at, "v1=00", BODY),
            (&at, "v0=not-hexadecimal", BODY),
        ] {
            assert_eq!(verify(timestamp, signature, body, AT), Err(SignatureError::Forged), "{signature}");
        }
    }

    #[test]
    fn what_is_not_signed_is_refused() {
        let secret = SigningSecret::new(SECRET);
        let now = Timestamp::from_millis(AT * 1_000);
        assert_eq!(secret.verify(&HeaderMap::new(), b"", now), Err(SignatureError::Missing));
        assert_eq!(verify("soon", SIGNATURE, BODY, AT), Err(SignatureError::Missing));
        for extreme in [i64::MIN, i64::MAX] {
            assert_eq!(verify(&extreme.to_string(), SIGNATURE, BODY, AT), Err(SignatureError::Late));
        }
    }
}
