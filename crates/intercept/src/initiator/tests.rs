//! Tokens: whose word counts, and every other's that must not.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use countersign_model::Seconds;
use http::HeaderValue;
use jsonwebtoken::{
    Algorithm, EncodingKey, Header, encode,
    jwk::{Jwk, JwkSet},
};
use serde_json::json;

use super::{keys::Keys, *};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const ISSUER: &str = "https://login.example.com";

/// An Ed25519 key (PKCS #8, RFC 8410 §7), and its id.
fn key(seed: u8) -> (EncodingKey, String) {
    let mut document = vec![0x30, 0x2e, 0x02, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    document.extend([seed; 32]);
    (EncodingKey::from_ed_der(&document), format!("key-{seed}"))
}

fn jwk(seed: u8) -> Jwk {
    let (key, id) = key(seed);
    let mut jwk = Jwk::from_encoding_key(&key, Algorithm::EdDSA).unwrap();
    jwk.common.key_id = Some(id);
    jwk
}

fn settings() -> IssuerSettings {
    IssuerSettings {
        issuer: ISSUER.into(),
        audience: vec!["agent-host".into()],
        algorithms: vec!["EdDSA".into(), "RS256".into()],
        person_claim: "email".into(),
        domains: vec!["example.com".into()],
    }
}

/// An issuer whose keys of these seeds are known.
fn initiators(seeds: &[u8]) -> Initiators {
    let initiators = Initiators::new(vec![settings()]);
    initiators.0[0].adopt(Keys::new(JwkSet { keys: seeds.iter().map(|seed| jwk(*seed)).collect() }, NOW));
    initiators
}

fn claims() -> Value {
    let now = NOW.as_millis() / 1_000;
    json!({"iss": ISSUER, "aud": "agent-host", "exp": now + 300, "iat": now, "email": "Dev@Example.com",
        "email_verified": true, "sub": "123"})
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn token(seed: u8, claims: &Value) -> String {
    let (key, id) = key(seed);
    encode(&Header { kid: Some(id), ..Header::new(Algorithm::EdDSA) }, claims, &key).unwrap()
}

fn verify(initiators: &Initiators, token: &str) -> Result<(String, bool), Refused> {
    let headers = HeaderMap::from_iter([(HEADER, HeaderValue::from_str(token).unwrap())]);
    let found = initiators.of(&headers, NOW)?.unwrap();
    Ok((found.person.to_string(), found.verified))
}

fn dev(verified: bool) -> Result<(String, bool), Refused> {
    Ok(("dev@example.com".to_owned(), verified))
}

#[test]
fn a_token_that_holds_verifies_its_person() {
    assert_eq!(verify(&initiators(&[1]), &token(1, &claims())), dev(true));
    let several = with("aud", json!(["another", "agent-host"]));
    assert_eq!(verify(&initiators(&[1, 2]), &token(2, &several)), dev(true));
    // Clocks differ a little.
    let now = NOW.as_millis() / 1_000;
    for (name, value) in [("exp", now - 59), ("nbf", now + 59)] {
        assert_eq!(verify(&initiators(&[1]), &token(1, &with(name, json!(value)))), dev(true));
    }
    assert_eq!(initiators(&[1]).of(&HeaderMap::new(), NOW), Ok(None));
}

#[test]
fn what_does_not_hold_is_refused() {
    let now = NOW.as_millis() / 1_000;
    for (claims, refused) in [
        (with("iss", json!("https://evil.example")), Refused::Issuer("https://evil.example".into())),
        (with("iss", json!(null)), Refused::Malformed),
        (with("aud", json!("another-app")), Refused::Audience),
        (with("aud", json!(["another-app"])), Refused::Audience),
        (with("aud", json!(null)), Refused::Audience),
        (with("exp", json!(now - 60)), Refused::Expired),
        (with("exp", json!(null)), Refused::Malformed),
        (with("exp", json!("soon")), Refused::Malformed),
        (with("nbf", json!(now + 61)), Refused::NotYet),
        (with("nbf", json!("later")), Refused::Malformed),
        (with("email", json!(null)), Refused::Nobody),
        (with("email", json!("a b@example.com")), Refused::Nobody),
        (with("email_verified", json!(false)), Refused::Nobody),
        (with("email_verified", json!("true")), Refused::Nobody),
        (with("email", json!("dev@evil.example")), Refused::Domain),
        (with("email", json!("dev@example.com.evil.example")), Refused::Domain),
    ] {
        assert_eq!(verify(&initiators(&[1]), &token(1, &claims)), Err(refused), "{claims}");
    }
}

#[test]
fn nobody_but_the_issuer_signs_for_it() {
    let known = initiators(&[1]);
    // Another key under the known key's id, and under its own.
    let (other, _) = key(2);
    let header = Header { kid: Some("key-1".into()), ..Header::new(Algorithm::EdDSA) };
    assert_eq!(verify(&known, &encode(&header, &claims(), &other).unwrap()), Err(Refused::Signature));
    assert_eq!(verify(&known, &token(2, &claims())), Err(Refused::UnknownKey));
    // The public key taken for a secret one.
    let public = serde_json::to_value(jwk(1)).unwrap()["x"].as_str().unwrap().to_owned();
    let public = BASE64_URL_SAFE_NO_PAD.decode(public).unwrap();
    let header = Header { kid: Some("key-1".into()), ..Header::new(Algorithm::HS256) };
    let confused = encode(&header, &claims(), &EncodingKey::from_secret(&public)).unwrap();
    assert_eq!(verify(&known, &confused), Err(Refused::Algorithm));
    // No signature at all, in every spelling, and a signature that is cut off or altered.
    let whole = token(1, &claims());
    let (signed, signature) = whole.rsplit_once('.').unwrap();
    let (_, body) = signed.split_once('.').unwrap();
    for algorithm in ["none", "None", "NONE"] {
        let header = BASE64_URL_SAFE_NO_PAD.encode(json!({"alg": algorithm, "kid": "key-1"}).to_string());
        for unsigned in [format!("{header}.{body}."), format!("{header}.{body}.{signature}")] {
            assert_eq!(verify(&known, &unsigned), Err(Refused::Algorithm));
        }
    }
    for altered in [format!("{signed}."), format!("{signed}.{}", signature.replace(&signature[..4], "AAAA"))]
    {
        assert_eq!(verify(&known, &altered), Err(Refused::Signature));
    }
    // An algorithm that is not allowed here, though the key is known.
    let strict = Initiators::new(vec![IssuerSettings { algorithms: vec!["RS256".into()], ..settings() }]);
    strict.0[0].adopt(Keys::new(JwkSet { keys: vec![jwk(1)] }, NOW));
    assert_eq!(verify(&strict, &whole), Err(Refused::Algorithm));
}

#[test]
fn what_is_no_token_is_refused() {
    let known = initiators(&[1]);
    let twice = r#"{"iss":"https://login.example.com","iss":"https://evil.example"}"#;
    let twice = format!("e30.{}.x", BASE64_URL_SAFE_NO_PAD.encode(twice));
    for text in ["", "x", "a.b", "a.b.c", "a.b.c.d", &twice, &"x".repeat(MAX_TOKEN + 1)] {
        assert_eq!(verify(&known, text), Err(Refused::Malformed), "{text:?}");
    }
    let valid = token(1, &claims());
    let value = HeaderValue::from_str(&valid).unwrap();
    let mut both = HeaderMap::from_iter([(HEADER, value.clone())]);
    both.append(HEADER, value);
    assert_eq!(known.of(&both, NOW), Err(Refused::Malformed));
    assert_eq!(verify(&Initiators::default(), &valid), Err(Refused::NotConfigured));
}

/// Without keys that are fresh enough nobody is vouched for; what is said then only takes rights away.
#[test]
fn without_fresh_keys_a_token_is_its_bearers_own_word() {
    let none = Initiators::new(vec![settings()]);
    assert_eq!(verify(&none, &token(1, &claims())), dev(false));
    assert_eq!(verify(&none, &token(1, &with("aud", json!("another-app")))), Err(Refused::Audience));
    let stale = initiators(&[]);
    let fetched_at = NOW.minus(Seconds::new(24 * 60 * 60));
    stale.0[0].adopt(Keys::new(JwkSet { keys: vec![jwk(1)] }, fetched_at));
    assert_eq!(verify(&stale, &token(1, &claims())), dev(false));
}

#[test]
fn without_a_key_id_the_only_key_is_meant() {
    let (one, _) = key(1);
    let anonymous = encode(&Header::new(Algorithm::EdDSA), &claims(), &one).unwrap();
    assert_eq!(verify(&initiators(&[1]), &anonymous), dev(true));
    assert_eq!(verify(&initiators(&[1, 2]), &anonymous), Err(Refused::UnknownKey));
}

#[test]
fn somebody_else_beside_the_token_is_an_error() {
    let initiator = |name: &str, verified| Initiator { person: name.parse().unwrap(), verified };
    let vouched = initiator("dev@example.com", true);
    assert_eq!(settled(Some(&vouched), None), Ok(Some(vouched.clone())));
    assert_eq!(settled(Some(&vouched), Some(initiator("DEV@example.com", false))), Ok(Some(vouched.clone())));
    assert_eq!(
        settled(Some(&vouched), Some(initiator("other@example.com", true))),
        Err(Refused::OtherPerson)
    );
    assert_eq!(
        settled(None, Some(initiator("x@example.com", true))),
        Ok(Some(initiator("x@example.com", false)))
    );
}
