//! One sign-in on its way: what binds a provider's answer to the browser that asked.
//!
//! The state, the nonce and the PKCE verifier all follow from one secret in a strict cookie, so there is
//! nothing to keep here, to fill up, or to mix up between browsers. They are tied to the provider and to
//! when it began as well, so that one provider's answer is none to another's question.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_model::{Digest, Seconds, Timestamp};

use super::super::{Secret, same};
use crate::clock::{NoEntropy, entropy};

/// How long somebody may take at the provider.
pub(in crate::identity) const FLOW_LIFETIME: Seconds = Seconds::new(10 * 60);
/// The longest path to go on to that is remembered.
const MAX_NEXT: usize = 1_024;

/// A sign-in on its way.
#[derive(Debug, Clone)]
pub(in crate::identity) struct Flow {
    secret: Secret,
    started: Timestamp,
    /// The provider that was asked.
    provider: String,
    /// Where to go afterwards.
    pub(in crate::identity) next: String,
    /// The session whose person says that the account is theirs, too; none when somebody signs in.
    pub(in crate::identity) joins: Option<Digest>,
}

impl Flow {
    /// Begins a sign-in.
    pub(in crate::identity) fn new(provider: &str, next: &str, now: Timestamp) -> Result<Self, NoEntropy> {
        let next = if next.len() > MAX_NEXT { "" } else { next };
        let secret = Secret::new(entropy()?);
        Ok(Self { secret, started: now, provider: provider.to_owned(), next: next.to_owned(), joins: None })
    }

    /// The same, so that its account's name becomes another one of that session's person.
    pub(in crate::identity) fn joining(self, session: Digest) -> Self {
        Self { joins: Some(session), ..self }
    }

    /// What the browser keeps.
    pub(in crate::identity) fn cookie(&self) -> String {
        let next = URL_SAFE_NO_PAD.encode(&self.next);
        let joins = self.joins.map(|session| session.to_string()).unwrap_or_default();
        format!("{}.{}.{}.{next}.{joins}", self.secret.expose(), self.started.as_millis(), self.provider)
    }

    /// Reads what the browser kept.
    pub(in crate::identity) fn parse(cookie: &str) -> Option<Self> {
        let mut parts = cookie.split('.');
        let secret = parts.next()?.parse().ok()?;
        let started = Timestamp::from_millis(parts.next()?.parse().ok()?);
        let provider = parts.next()?.to_owned();
        let next = String::from_utf8(URL_SAFE_NO_PAD.decode(parts.next()?).ok()?).ok()?;
        let joins = parts.next().filter(|session| !session.is_empty());
        let joins = joins.map(str::parse).transpose().ok()?;
        parts.next().is_none().then_some(Self { secret, started, provider, next, joins })
    }

    fn derive(&self, purpose: &str) -> String {
        let joins = self.joins.map(|session| session.to_string()).unwrap_or_default();
        let (provider, started) = (&self.provider, self.started.as_millis());
        let bound = format!("oidc {purpose}\0{provider}\0{started}\0{}\0{joins}", self.next);
        URL_SAFE_NO_PAD.encode(self.secret.derive(&bound).as_bytes())
    }

    /// What the provider must give back.
    pub(super) fn state(&self) -> String {
        self.derive("state")
    }

    /// What the ID token must carry.
    pub(super) fn nonce(&self) -> String {
        self.derive("nonce")
    }

    /// What proves that whoever redeems the code asked for it (RFC 7636).
    pub(super) fn verifier(&self) -> String {
        self.derive("pkce")
    }

    /// The verifier as the provider may see it beforehand (S256).
    pub(super) fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(Digest::of(self.verifier().as_bytes()).as_bytes())
    }

    /// Whether an answer with that state, from that provider, now, is one to this flow.
    pub(in crate::identity) fn is_answered_by(&self, provider: &str, state: &str, now: Timestamp) -> bool {
        let digest = |text: &str| Digest::of(text.as_bytes());
        let age = now.millis_since(self.started);
        self.provider == provider
            && (0..FLOW_LIFETIME.as_millis()).contains(&age)
            && same(&digest(&self.state()), &digest(state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    #[test]
    fn a_flow_is_answered_in_its_browser_by_its_provider_and_in_time() {
        let flow = Flow::new("okta", "/approvals/x?y=z", NOW).unwrap();
        let kept = Flow::parse(&flow.cookie()).unwrap();
        let state = flow.state();
        assert!(kept.is_answered_by("okta", &state, NOW));
        assert_eq!((kept.next.as_str(), kept.verifier()), ("/approvals/x?y=z", flow.verifier()));
        assert!(!kept.is_answered_by("google", &state, NOW));
        assert!(!kept.is_answered_by("okta", "", NOW));
        assert!(!kept.is_answered_by("okta", &state, NOW.plus(FLOW_LIFETIME)));
        assert!(!kept.is_answered_by("okta", &state, NOW.minus(Seconds::new(1))));
        let other = Flow::new("okta", "/approvals/x?y=z", NOW).unwrap();
        assert!(!other.is_answered_by("okta", &state, NOW));
    }

    #[test]
    fn what_was_asked_cannot_be_changed_in_the_cookie() {
        let flow = Flow::new("okta", "/a", NOW).unwrap();
        let (cookie, state) = (flow.cookie(), flow.state());
        for (from, to) in [("okta", "google"), (".L2E", ".L2I"), ("1800000000000", "1800000000001")] {
            let changed = Flow::parse(&cookie.replace(from, to)).unwrap();
            assert!(!changed.is_answered_by(&changed.provider, &state, NOW.plus(Seconds::new(1))), "{to}");
        }
        for broken in ["", "a.b.c.d", &format!("{cookie}.x"), &cookie[1..]] {
            assert!(Flow::parse(broken).is_none(), "{broken}");
        }
    }

    #[test]
    fn nothing_that_travels_tells_the_rest() {
        let flow = Flow::new("okta", "", NOW).unwrap();
        let all = [flow.state(), flow.nonce(), flow.verifier(), flow.challenge(), flow.secret.expose()];
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
        assert!(flow.verifier().len() >= 43, "RFC 7636 §4.1");
    }
}
