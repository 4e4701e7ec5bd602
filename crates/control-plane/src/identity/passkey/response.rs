//! What a browser answers, as `PublicKeyCredential.toJSON()` writes it (§5.1), and what it proves.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_model::Digest;
use countersign_store::Passkey;
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::{Value, json};

use super::{
    RelyingParty, Unverified,
    authenticator::AuthenticatorData,
    client,
    key::{ALGORITHMS, PublicKey},
};

/// The longest member that is looked at, in bytes.
const MAX_MEMBER: usize = 8 * 1024;

/// Bytes that are written in base64url.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Bytes(Vec<u8>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        if text.len() > MAX_MEMBER {
            return Err(D::Error::custom("too long"));
        }
        URL_SAFE_NO_PAD.decode(text.as_bytes()).map(Self).map_err(D::Error::custom)
    }
}

/// The answer of `navigator.credentials.create`.
#[derive(Debug, Clone, Deserialize)]
pub struct Registration {
    id: Bytes,
    #[serde(rename = "type")]
    kind: String,
    response: Attested,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attested {
    #[serde(rename = "clientDataJSON")]
    client_data: Bytes,
    authenticator_data: Bytes,
    public_key: Bytes,
    public_key_algorithm: i32,
}

/// A key that a person's authenticator has made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// SHA-256 over the credential id.
    pub id: Digest,
    /// The credential id, base64url.
    pub credential: String,
    /// The COSE algorithm.
    pub algorithm: i32,
    /// The `SubjectPublicKeyInfo`, base64url.
    pub public_key: String,
    /// Where its counter starts.
    pub counter: u32,
}

impl Registration {
    /// Reads what the script has sent.
    ///
    /// # Errors
    /// When it is not what a browser answers.
    pub fn read(json: &str) -> Result<Self, Unverified> {
        serde_json::from_str(json).map_err(|_| Unverified::Malformed("registration"))
    }

    /// The challenge that it answers, made on this console's own page.
    ///
    /// # Errors
    /// When it was made elsewhere or for something else.
    pub fn challenge(&self, party: &RelyingParty) -> Result<Digest, Unverified> {
        client::challenge(&self.response.client_data.0, "webauthn.create", party)
    }

    /// The key (§7.1, without attestation).
    ///
    /// # Errors
    /// The first thing that is not as it was asked for.
    pub fn verify(&self, party: &RelyingParty) -> Result<NewKey, Unverified> {
        let response = &self.response;
        let data = AuthenticatorData::read(&response.authenticator_data.0, party)?;
        if self.kind != "public-key" || data.new_credential != Some(&self.id.0) {
            return Err(Unverified::Malformed("registration"));
        }
        PublicKey::parse(response.public_key_algorithm, &response.public_key.0)?;
        Ok(NewKey {
            id: Digest::of(&self.id.0),
            credential: URL_SAFE_NO_PAD.encode(&self.id.0),
            algorithm: response.public_key_algorithm,
            public_key: URL_SAFE_NO_PAD.encode(&response.public_key.0),
            counter: data.counter,
        })
    }
}

/// The answer of `navigator.credentials.get`.
#[derive(Debug, Clone, Deserialize)]
pub struct Assertion {
    id: Bytes,
    #[serde(rename = "type")]
    kind: String,
    response: Asserted,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asserted {
    #[serde(rename = "clientDataJSON")]
    client_data: Bytes,
    authenticator_data: Bytes,
    signature: Bytes,
}

/// What a passkey has signed.
#[derive(Debug, Clone, PartialEq)]
pub struct Signed {
    /// What its counter says now.
    pub counter: u32,
    /// The signature and what it covers, for the audit log.
    pub evidence: Value,
}

impl Assertion {
    /// Reads what the script has sent.
    ///
    /// # Errors
    /// When it is not what a browser answers.
    pub fn read(json: &str) -> Result<Self, Unverified> {
        let read: Self = serde_json::from_str(json).map_err(|_| Unverified::Malformed("assertion"))?;
        if read.kind == "public-key" { Ok(read) } else { Err(Unverified::Malformed("assertion")) }
    }

    /// Which passkey was used.
    #[must_use]
    pub fn passkey(&self) -> Digest {
        Digest::of(&self.id.0)
    }

    /// The challenge that it answers, given on this console's own page.
    ///
    /// # Errors
    /// When it was given elsewhere or for something else.
    pub fn challenge(&self, party: &RelyingParty) -> Result<Digest, Unverified> {
        client::challenge(&self.response.client_data.0, "webauthn.get", party)
    }

    /// Checks that this passkey signed it, by an authenticator that verified the person (§7.2).
    ///
    /// # Errors
    /// The first thing that is not as it was asked for.
    pub fn verify(&self, party: &RelyingParty, passkey: &Passkey) -> Result<Signed, Unverified> {
        let response = &self.response;
        let data = AuthenticatorData::read(&response.authenticator_data.0, party)?;
        let spki = URL_SAFE_NO_PAD.decode(&passkey.public_key).map_err(|_| Unverified::Key)?;
        let client_data = Digest::of(&response.client_data.0);
        let message = [response.authenticator_data.0.as_slice(), client_data.as_bytes()].concat();
        PublicKey::parse(passkey.algorithm, &spki)?.verify(&message, &response.signature.0)?;
        let text = |bytes: &Bytes| URL_SAFE_NO_PAD.encode(&bytes.0);
        let evidence = json!({
            "authenticator_data": text(&response.authenticator_data),
            "client_data": text(&response.client_data),
            "signature": text(&response.signature),
        });
        Ok(Signed { counter: data.counter, evidence })
    }
}

/// What a browser is asked for a new passkey (`PublicKeyCredentialCreationOptionsJSON`).
pub(crate) fn creation_options(
    party: &RelyingParty,
    person: &str,
    challenge: Digest,
    known: &[Passkey],
) -> Value {
    // The same for all passkeys of a person, and not their address.
    let user = Digest::of_parts(&[b"countersign passkey user\0", person.as_bytes()]);
    let algorithms = ALGORITHMS.map(|alg| json!({"type": "public-key", "alg": alg}));
    json!({
        "rp": {"id": party.id(), "name": "Countersign"},
        "user": {"id": URL_SAFE_NO_PAD.encode(user.as_bytes()), "name": person, "displayName": person},
        "challenge": URL_SAFE_NO_PAD.encode(challenge.as_bytes()),
        "pubKeyCredParams": algorithms,
        "timeout": super::CEREMONY_LIFETIME.as_millis(),
        "excludeCredentials": descriptors(known),
        "authenticatorSelection": {"residentKey": "discouraged", "userVerification": "required"},
        "attestation": "none",
    })
}

/// What a browser is asked for a confirmation (`PublicKeyCredentialRequestOptionsJSON`).
pub(crate) fn request_options(party: &RelyingParty, challenge: Digest, known: &[Passkey]) -> Value {
    json!({
        "rpId": party.id(),
        "challenge": URL_SAFE_NO_PAD.encode(challenge.as_bytes()),
        "timeout": super::CEREMONY_LIFETIME.as_millis(),
        "allowCredentials": descriptors(known),
        "userVerification": "required",
    })
}

fn descriptors(passkeys: &[Passkey]) -> Vec<Value> {
    passkeys.iter().map(|passkey| json!({"type": "public-key", "id": passkey.credential})).collect()
}
