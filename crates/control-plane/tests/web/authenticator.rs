//! An authenticator in software, and the browser around it: what each would answer, and what it must not.

use aws_lc_rs::{
    digest::{SHA256, digest},
    encoding::AsDer,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

const PRESENT_AND_VERIFIED: u8 = 0b101;
const HAS_CREDENTIAL: u8 = 0b100_0000;

/// One key of somebody, and how its authenticator and browser behave.
pub(crate) struct Authenticator {
    key: EcdsaKeyPair,
    credential: Vec<u8>,
    pub(crate) counter: u32,
    pub(crate) flags: u8,
    pub(crate) origin: String,
    pub(crate) cross_origin: bool,
    pub(crate) rp_id: String,
}

impl Authenticator {
    pub(crate) fn new(origin: &str) -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let credential = digest(&SHA256, key.public_key().as_ref()).as_ref().to_vec();
        let (origin, rp_id) = (origin.to_owned(), "localhost".to_owned());
        Self { key, credential, counter: 0, flags: PRESENT_AND_VERIFIED, origin, cross_origin: false, rp_id }
    }

    /// Takes another's credential id, without its key.
    pub(crate) fn pretend_to_be(&mut self, other: &Self) {
        self.credential.clone_from(&other.credential);
    }

    fn client_data(&self, kind: &str, options: &Value) -> Vec<u8> {
        let data = json!({
            "type": kind,
            "challenge": options["challenge"],
            "origin": self.origin,
            "crossOrigin": self.cross_origin,
        });
        data.to_string().into_bytes()
    }

    fn authenticator_data(&self, flags: u8) -> Vec<u8> {
        let id_hash = digest(&SHA256, self.rp_id.as_bytes());
        [id_hash.as_ref(), &[self.flags | flags], &self.counter.to_be_bytes()].concat()
    }

    /// The key as authenticators write it: COSE_Key in CBOR (RFC 9052 §7).
    fn cose_key(&self) -> Vec<u8> {
        let point = self.key.public_key().as_ref();
        // {1: 2, 3: -7, -1: 1, -2: x, -3: y}
        let head = [0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21, 0x58, 0x20];
        [&head, &point[1..33], &[0x22, 0x58, 0x20], &point[33..]].concat()
    }

    /// `navigator.credentials.create`
    pub(crate) fn create(&self, options: &Value) -> String {
        let length = u16::try_from(self.credential.len()).unwrap().to_be_bytes();
        let attested = [&[0; 16], length.as_slice(), &self.credential, &self.cose_key()].concat();
        let data = [self.authenticator_data(HAS_CREDENTIAL), attested].concat();
        let spki = self.key.public_key().as_der().unwrap();
        json!({"id": text(&self.credential), "rawId": text(&self.credential), "type": "public-key", "response": {
            "clientDataJSON": text(&self.client_data("webauthn.create", options)),
            "authenticatorData": text(&data),
            "publicKey": text(spki.as_ref()),
            "publicKeyAlgorithm": -7,
        }})
        .to_string()
    }

    /// `navigator.credentials.get`
    pub(crate) fn get(&mut self, options: &Value) -> String {
        self.counter += 1;
        let (client_data, data) = (self.client_data("webauthn.get", options), self.authenticator_data(0));
        let message = [data.as_slice(), digest(&SHA256, &client_data).as_ref()].concat();
        let signature = self.key.sign(&SystemRandom::new(), &message).unwrap();
        json!({"id": text(&self.credential), "rawId": text(&self.credential), "type": "public-key", "response": {
            "clientDataJSON": text(&client_data),
            "authenticatorData": text(&data),
            "signature": text(signature.as_ref()),
        }})
        .to_string()
    }
}

fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
