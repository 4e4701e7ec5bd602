//! The three kinds of public keys that are asked for, and their signatures.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, VerificationAlgorithm,
};

use super::Unverified;

/// The COSE algorithms that are asked for, in order of preference: ES256, EdDSA, RS256.
pub(super) const ALGORITHMS: [i32; 3] = [-7, -8, -257];

/// A public key that a signature can be checked with.
pub(super) struct PublicKey(ParsedPublicKey);

impl PublicKey {
    /// A key of that COSE algorithm, from its `SubjectPublicKeyInfo`.
    pub(super) fn parse(algorithm: i32, spki: &[u8]) -> Result<Self, Unverified> {
        let algorithm: &'static dyn VerificationAlgorithm = match algorithm {
            -7 => &ECDSA_P256_SHA256_ASN1,
            -8 => &ED25519,
            -257 => &RSA_PKCS1_2048_8192_SHA256,
            _ => return Err(Unverified::Key),
        };
        ParsedPublicKey::new(algorithm, spki).map(Self).map_err(|_| Unverified::Key)
    }

    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), Unverified> {
        self.0.verify_sig(message, signature).map_err(|_| Unverified::Signature)
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::{
        encoding::AsDer,
        rand::SystemRandom,
        rsa::KeySize,
        signature::{
            ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
            KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
        },
    };

    use super::*;

    #[test]
    fn each_kind_of_key_verifies_its_own_signatures_and_no_others() {
        let random = SystemRandom::new();
        let p256 = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let ed = Ed25519KeyPair::generate().unwrap();
        let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let mut by_rsa = vec![0; rsa.public_modulus_len()];
        rsa.sign(&RSA_PKCS1_SHA256, &random, b"message", &mut by_rsa).unwrap();
        let signed = [
            (
                -7,
                p256.public_key().as_der().unwrap().as_ref().to_vec(),
                p256.sign(&random, b"message").unwrap().as_ref().to_vec(),
            ),
            (-8, ed.public_key().as_der().unwrap().as_ref().to_vec(), ed.sign(b"message").as_ref().to_vec()),
            (-257, rsa.public_key().as_der().unwrap().as_ref().to_vec(), by_rsa),
        ];
        for (algorithm, spki, signature) in &signed {
            let key =
                PublicKey::parse(*algorithm, spki).unwrap_or_else(|error| panic!("{algorithm}: {error}"));
            assert_eq!(key.verify(b"message", signature), Ok(()), "{algorithm}");
            assert_eq!(key.verify(b"massage", signature), Err(Unverified::Signature));
            assert_eq!(key.verify(b"message", &[]), Err(Unverified::Signature));
            for other in ALGORITHMS.into_iter().filter(|other| other != algorithm) {
                assert!(PublicKey::parse(other, spki).is_err(), "{algorithm} as {other}");
            }
        }
    }

    #[test]
    fn a_key_that_was_not_asked_for_is_refused() {
        let p384 = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING).unwrap();
        let spki = p384.public_key().as_der().unwrap().as_ref().to_vec();
        for (algorithm, spki) in [(-7, spki.as_slice()), (-35, &spki), (-7, &[]), (0, &spki)] {
            assert!(PublicKey::parse(algorithm, spki).is_err());
        }
    }
}
