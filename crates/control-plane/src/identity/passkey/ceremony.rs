//! Challenges: what each is for, and that each is used once, soon, and in the session that asked for it.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use countersign_approval::VoteDecision;
use countersign_model::{ApprovalId, Digest, PersonId, Seconds, Timestamp};
use serde_json::{Value, json};

use super::Unverified;

/// How long a person has to use their authenticator.
pub const CEREMONY_LIFETIME: Seconds = Seconds::new(2 * 60);
/// The most challenges that one session has open at a time; the oldest makes room.
const MOST_OPEN: usize = 8;

/// What a person confirms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Intent {
    /// A new passkey of theirs.
    Add,
    /// Adding one more passkey, by one that they have.
    AddAnother,
    /// Removing one of their passkeys.
    Remove {
        /// Which.
        passkey: Digest,
    },
    /// An answer to a request.
    Decide {
        /// The request. What is asked in it never changes.
        approval: ApprovalId,
        /// The digest of the operation.
        digest: Digest,
        /// The answer.
        decision: VoteDecision,
        /// Why.
        reason: Option<String>,
    },
}

impl Intent {
    /// The challenge for this: a digest over parts that are each of fixed length or end in a NUL.
    fn challenge(&self, person: &PersonId, nonce: &[u8; 32]) -> Digest {
        let person = Digest::of(person.as_str().as_bytes());
        let parts: [&[u8]; 3] = [b"countersign passkey v1\0", nonce, person.as_bytes()];
        let about = match self {
            Self::Add => b"add\0".to_vec(),
            Self::AddAnother => b"add another\0".to_vec(),
            Self::Remove { passkey } => [b"remove\0", passkey.as_bytes().as_slice()].concat(),
            Self::Decide { approval, digest, decision, reason } => {
                let word: &[u8] = match decision {
                    VoteDecision::Approve => b"approve\0",
                    VoteDecision::Deny => b"deny\0",
                };
                let reason = Digest::of(reason.as_deref().unwrap_or_default().as_bytes());
                let approval = approval.to_bytes();
                [b"decide\0", approval.as_slice(), digest.as_bytes(), word, reason.as_bytes()].concat()
            }
        };
        Digest::of_parts(&[parts.concat().as_slice(), &about])
    }

    /// The same for the audit log, from which the challenge can be worked out again.
    fn evidence(&self) -> Value {
        match self {
            Self::Add => json!({"what": "add"}),
            Self::AddAnother => json!({"what": "add another"}),
            Self::Remove { passkey } => json!({"what": "remove", "passkey": passkey}),
            Self::Decide { approval, digest, decision, reason } => json!({
                "what": "decide", "approval": approval, "digest": digest, "decision": decision, "reason": reason,
            }),
        }
    }
}

/// A challenge that was taken up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ceremony {
    nonce: [u8; 32],
}

impl Ceremony {
    /// The intent and nonce that the challenge was made of, for the audit log.
    #[must_use]
    pub fn evidence(&self, intent: &Intent) -> Value {
        let mut evidence = intent.evidence();
        if let Some(members) = evidence.as_object_mut() {
            members.insert("nonce".to_owned(), json!(Digest::from_bytes(self.nonce)));
        }
        evidence
    }
}

#[derive(Debug)]
struct Open {
    nonce: [u8; 32],
    challenge: Digest,
    until: Timestamp,
}

/// The challenges that are open, by session. In memory: after a restart, people try again.
#[derive(Debug, Default)]
pub struct Ceremonies(Mutex<HashMap<Digest, Vec<Open>>>);

impl Ceremonies {
    /// A challenge for an intent of this session's person, from fresh randomness.
    pub fn begin(
        &self,
        session: Digest,
        person: &PersonId,
        intent: &Intent,
        nonce: [u8; 32],
        now: Timestamp,
    ) -> Digest {
        let challenge = intent.challenge(person, &nonce);
        let mut sessions = self.lock();
        sessions.retain(|_, open| {
            open.retain(|one| now < one.until);
            !open.is_empty()
        });
        let open = sessions.entry(session).or_default();
        if open.len() >= MOST_OPEN {
            open.remove(0);
        }
        open.push(Open { nonce, challenge, until: now.plus(CEREMONY_LIFETIME) });
        challenge
    }

    /// Takes a challenge up, once, whatever comes of it.
    ///
    /// # Errors
    /// When this session has no such challenge, or it was made for something else.
    pub fn take(
        &self,
        session: Digest,
        person: &PersonId,
        intent: &Intent,
        challenge: Digest,
        now: Timestamp,
    ) -> Result<Ceremony, Unverified> {
        let taken = {
            let mut sessions = self.lock();
            let open = sessions.get_mut(&session).ok_or(Unverified::Challenge)?;
            let at = open.iter().position(|one| one.challenge == challenge).ok_or(Unverified::Challenge)?;
            open.remove(at)
        };
        if now >= taken.until {
            return Err(Unverified::Challenge);
        }
        if intent.challenge(person, &taken.nonce) != challenge {
            return Err(Unverified::OtherIntent);
        }
        Ok(Ceremony { nonce: taken.nonce })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Vec<Open>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn person() -> PersonId {
        "reviewer-one@example.com".parse().unwrap()
    }

    fn decide(approval: u8, digest: &[u8], decision: VoteDecision, reason: Option<&str>) -> Intent {
        Intent::Decide {
            approval: ApprovalId::from_bytes([approval; 16]),
            digest: Digest::of(digest),
            decision,
            reason: reason.map(ToOwned::to_owned),
        }
    }

    #[test]
    fn no_two_intents_share_a_challenge() {
        use VoteDecision::{Approve, Deny};
        let intents = [
            Intent::Add,
            Intent::AddAnother,
            Intent::Remove { passkey: Digest::of(b"a") },
            Intent::Remove { passkey: Digest::of(b"b") },
            decide(1, b"a", Approve, None),
            decide(1, b"a", Deny, None),
            decide(2, b"a", Approve, None),
            decide(1, b"b", Approve, None),
            decide(1, b"a", Approve, Some("because")),
        ];
        let other = "reviewer-two@example.com".parse().unwrap();
        let challenges = intents.iter().flat_map(|intent| {
            [([1; 32], person()), ([2; 32], person()), ([1; 32], PersonId::clone(&other))]
                .map(|(nonce, person)| intent.challenge(&person, &nonce))
        });
        assert_eq!(challenges.collect::<BTreeSet<_>>().len(), intents.len() * 3);
    }

    #[test]
    fn a_challenge_is_taken_up_once_and_soon_and_in_its_session() {
        let ceremonies = Ceremonies::default();
        let (session, elsewhere) = (Digest::of(b"session"), Digest::of(b"another"));
        let begin = |nonce| ceremonies.begin(session, &person(), &Intent::Add, [nonce; 32], START);
        let take = |session, intent: &Intent, challenge, now| {
            ceremonies.take(session, &person(), intent, challenge, now)
        };
        let challenge = begin(1);
        assert_eq!(take(elsewhere, &Intent::Add, challenge, START), Err(Unverified::Challenge));
        take(session, &Intent::Add, challenge, START).unwrap();
        assert_eq!(take(session, &Intent::Add, challenge, START), Err(Unverified::Challenge));
        // Trying it for something else uses it up.
        let challenge = begin(2);
        assert_eq!(take(session, &Intent::AddAnother, challenge, START), Err(Unverified::OtherIntent));
        assert_eq!(take(session, &Intent::Add, challenge, START), Err(Unverified::Challenge));
        let late = START.plus(CEREMONY_LIFETIME);
        assert_eq!(take(session, &Intent::Add, begin(3), late), Err(Unverified::Challenge));
    }

    #[test]
    fn a_session_cannot_hoard_challenges() {
        let ceremonies = Ceremonies::default();
        let session = Digest::of(b"session");
        let begin = |nonce| ceremonies.begin(session, &person(), &Intent::Add, [nonce; 32], START);
        let first = begin(0);
        let rest: Vec<_> = (1..=u8::try_from(MOST_OPEN).unwrap()).map(begin).collect();
        let take = |challenge| ceremonies.take(session, &person(), &Intent::Add, challenge, START);
        assert_eq!(take(first), Err(Unverified::Challenge));
        assert!(rest.into_iter().all(|challenge| take(challenge).is_ok()));
    }
}
