//! Authenticator data: what the authenticator says about itself and the person in front of it (§6.1).

use super::{RelyingParty, Unverified};

const PRESENT: u8 = 1 << 0;
const VERIFIED: u8 = 1 << 2;
const BACKUP_ELIGIBLE: u8 = 1 << 3;
const BACKED_UP: u8 = 1 << 4;
const HAS_CREDENTIAL: u8 = 1 << 6;

/// The longest credential id (§7.1).
const MAX_CREDENTIAL: usize = 1_023;

/// Authenticator data of this relying party, by an authenticator that verified the person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AuthenticatorData<'a> {
    /// How often the key was used, if the authenticator counts.
    pub(super) counter: u32,
    /// The id of a credential that was just made.
    pub(super) new_credential: Option<&'a [u8]>,
}

impl<'a> AuthenticatorData<'a> {
    pub(super) fn read(bytes: &'a [u8], party: &RelyingParty) -> Result<Self, Unverified> {
        let malformed = Unverified::Malformed("authenticator data");
        let (id_hash, rest) = bytes.split_first_chunk::<32>().ok_or(malformed.clone())?;
        let (flags, rest) = rest.split_first().ok_or(malformed.clone())?;
        let (counter, rest) = rest.split_first_chunk::<4>().ok_or(malformed.clone())?;
        if id_hash != party.id_hash().as_bytes() {
            return Err(Unverified::RelyingParty);
        }
        let has = |flag: u8| flags & flag != 0;
        if !has(PRESENT) || !has(VERIFIED) {
            return Err(Unverified::NotVerified);
        }
        // What is backed up must be what can be (§6.1.3).
        if has(BACKED_UP) && !has(BACKUP_ELIGIBLE) {
            return Err(malformed);
        }
        let new_credential =
            if has(HAS_CREDENTIAL) { Some(credential(rest).ok_or(malformed)?) } else { None };
        Ok(Self { counter: u32::from_be_bytes(*counter), new_credential })
    }
}

/// The credential's id in attested credential data (§6.5.2): after the authenticator's model, behind its length.
fn credential(attested: &[u8]) -> Option<&[u8]> {
    let (_model, rest) = attested.split_first_chunk::<16>()?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let length = usize::from(u16::from_be_bytes(*length));
    rest.get(..length).filter(|id| (1..=MAX_CREDENTIAL).contains(&id.len()))
}
