//! `requestState` (2026-07-28, multi round-trip requests): what a client brings back when it asks again
//! for something that people were still deciding about.
//!
//! It is sealed: a client can neither read nor change it. It is bound to the agent, to the server and to
//! the request, and it ends. It permits nothing: the request is decided about anew, and a grant is used up
//! at most once whatever a client replays. It says what the client would otherwise have to send again: the
//! server's own state and the answers to the server's own questions.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use countersign_model::{ApprovalId, Digest, Timestamp, canonical::to_canonical_json, strict_json};
use serde::{Deserialize, Serialize};

use super::{edit::Members, servers::ServerError};

/// What a state of ours begins with.
const PREFIX: &str = "countersign.1.";
/// The members that a client adds when it asks again.
pub(super) const STATE: &str = "requestState";
const RESPONSES: &str = "inputResponses";

/// What is sealed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Sealed {
    /// The agent.
    agent: String,
    /// The request.
    request: Digest,
    /// Until when it can be brought back.
    expires: Timestamp,
    /// What people decide about.
    approval: ApprovalId,
    /// The server's own state, as raw JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    /// The answers to the server's questions, as raw JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    responses: Option<String>,
}

/// Why a state is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum StateError {
    #[error("requestState failed verification; make the request again without it")]
    Forged,
    #[error("requestState belongs to another request")]
    Elsewhere,
    #[error("requestState has expired; make the request again without it")]
    Expired,
}

/// The key of one server, for as long as the sidecar runs: what is asked does not outlive it either.
pub(super) struct Seal {
    key: RandomizedNonceKey,
    server: String,
}

impl Seal {
    pub(super) fn new(server: &str) -> Result<Self, ServerError> {
        let mut key = [0; 32];
        aws_lc_rs::rand::fill(&mut key).map_err(|_| ServerError::Key)?;
        let key = RandomizedNonceKey::new(&AES_256_GCM, &key).map_err(|_| ServerError::Key)?;
        Ok(Self { key, server: server.to_owned() })
    }

    fn seal(&self, sealed: &Sealed) -> Option<String> {
        let mut text = serde_json::to_vec(sealed).ok()?;
        let nonce = self.key.seal_in_place_append_tag(Aad::from(&self.server), &mut text).ok()?;
        let whole = [nonce.as_ref().as_slice(), &text].concat();
        Some(format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(whole)))
    }

    fn open(&self, text: &str) -> Option<Sealed> {
        let mut whole = BASE64_URL_SAFE_NO_PAD.decode(text.strip_prefix(PREFIX)?).ok()?;
        let (nonce, text) = whole.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let text = self.key.open_in_place(nonce, Aad::from(&self.server), text).ok()?;
        serde_json::from_slice(text).ok()
    }

    /// The state for a request that is still being decided about.
    pub(super) fn issue(
        &self,
        agent: &str,
        method: &str,
        params: Option<&str>,
        (approval, expires): (ApprovalId, Timestamp),
    ) -> Option<String> {
        let members = Members::parse(params.unwrap_or("{}")).ok()?;
        self.seal(&Sealed {
            agent: agent.to_owned(),
            request: digest(method, &members),
            expires,
            approval,
            state: members.get(STATE).map(str::to_owned),
            responses: members.get(RESPONSES).map(str::to_owned),
        })
    }

    /// The parameters as they were before a state of ours was added; `None` when there is none.
    pub(super) fn restore(
        &self,
        agent: &str,
        method: &str,
        params: &str,
        now: Timestamp,
    ) -> Result<Option<String>, StateError> {
        let Ok(mut members) = Members::parse(params) else { return Ok(None) };
        let Some(text) = members.string(STATE).filter(|text| text.starts_with(PREFIX)) else {
            return Ok(None);
        };
        let sealed = self.open(&text).ok_or(StateError::Forged)?;
        if sealed.agent != agent || sealed.request != digest(method, &members) {
            return Err(StateError::Elsewhere);
        }
        if now >= sealed.expires {
            return Err(StateError::Expired);
        }
        for (name, before) in [(STATE, sealed.state), (RESPONSES, sealed.responses)] {
            match before {
                Some(raw) => members.set(name, raw),
                None => members.remove(name),
            }
        }
        Ok(Some(members.to_string()))
    }
}

/// What a request is, apart from what differs each time it is made.
fn digest(method: &str, params: &Members<'_>) -> Digest {
    let mut same = params.clone();
    for name in ["_meta", STATE, RESPONSES] {
        same.remove(name);
    }
    let text = same.to_string();
    let canonical = strict_json::parse(text.as_bytes()).ok().and_then(|value| to_canonical_json(&value).ok());
    Digest::of(format!("{method}\n{}", canonical.unwrap_or(text)).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: &str = r#"{"name":"deploy","arguments":{"to":"prod"},"_meta":{"progressToken":1}}"#;

    fn now() -> Timestamp {
        Timestamp::from_millis(1_000_000)
    }

    fn issue(seal: &Seal, params: &str) -> String {
        let approval = ApprovalId::new(now(), [1; 10]);
        seal.issue("bot", "tools/call", Some(params), (approval, Timestamp::from_millis(2_000_000))).unwrap()
    }

    fn with(params: &str, state: &str) -> String {
        let mut members = Members::parse(params).unwrap();
        members.set(STATE, serde_json::Value::from(state).to_string());
        members.to_string()
    }

    #[test]
    fn a_request_that_comes_back_is_what_it_was() {
        let seal = Seal::new("files").unwrap();
        let before = r#"{"name":"deploy","arguments":{"to":"prod"},"requestState":"theirs","inputResponses":{"a":{"x":1}}}"#;
        for call in [CALL, before] {
            let state = issue(&seal, call);
            let back = with(call, &state);
            assert_eq!(seal.restore("bot", "tools/call", &back, now()), Ok(Some(call.to_owned())));
        }
        // The client adds nothing of its own to our question.
        let stripped = with(r#"{"name":"deploy","arguments":{"to":"prod"}}"#, &issue(&seal, before));
        let restored = seal.restore("bot", "tools/call", &stripped, now()).unwrap().unwrap();
        assert!(
            restored.contains(r#""requestState":"theirs""#)
                && restored.contains(r#""inputResponses":{"a":{"x":1}}"#)
        );
        assert_eq!(seal.restore("bot", "tools/call", before, now()), Ok(None));
    }

    #[test]
    fn a_state_is_worth_nothing_anywhere_else() {
        let seal = Seal::new("files").unwrap();
        let state = issue(&seal, CALL);
        let back = with(CALL, &state);
        let restore = |agent, method, params: &str, at| seal.restore(agent, method, params, at);
        assert_eq!(restore("eve", "tools/call", &back, now()), Err(StateError::Elsewhere));
        assert_eq!(restore("bot", "prompts/get", &back, now()), Err(StateError::Elsewhere));
        assert_eq!(
            restore("bot", "tools/call", &back.replace("prod", "test"), now()),
            Err(StateError::Elsewhere)
        );
        let late = Timestamp::from_millis(2_000_000);
        assert_eq!(restore("bot", "tools/call", &back, late), Err(StateError::Expired));
        let other = Seal::new("files").unwrap();
        assert_eq!(other.restore("bot", "tools/call", &back, now()), Err(StateError::Forged));
        for forged in [PREFIX.to_owned(), format!("{PREFIX}AAAA"), state.replacen("1.", "1.A", 1)] {
            assert_eq!(restore("bot", "tools/call", &with(CALL, &forged), now()), Err(StateError::Forged));
        }
    }
}
