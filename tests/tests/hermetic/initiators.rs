//! The initiating human, vouched for by an identity provider: who may confirm, and may not approve (I3).

use std::{
    fs,
    sync::{Arc, Mutex},
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{Json, Router, routing::get};
use countersign_tests::{Answer, Site, eventually, operation};
use jsonwebtoken::{
    Algorithm, EncodingKey, Header, encode,
    jwk::{Jwk, JwkSet},
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

const HEADER: &str = "countersign-initiator-token";

/// An identity provider: its discovery document, and the keys that it has now.
struct Issuer {
    url: String,
    keys: Arc<Mutex<Vec<u8>>>,
}

/// The Ed25519 key of a seed (PKCS #8, RFC 8410 §7).
fn key(seed: u8) -> EncodingKey {
    let mut document = vec![0x30, 0x2e, 0x02, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    document.extend([seed; 32]);
    EncodingKey::from_ed_der(&document)
}

fn jwks(seeds: &[u8]) -> JwkSet {
    let jwk = |seed: &u8| {
        let mut jwk = Jwk::from_encoding_key(&key(*seed), Algorithm::EdDSA).unwrap();
        jwk.common.key_id = Some(format!("key-{seed}"));
        jwk
    };
    JwkSet { keys: seeds.iter().map(jwk).collect() }
}

impl Issuer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let keys = Arc::new(Mutex::new(vec![1]));
        let (named, shown) = (url.clone(), Arc::clone(&keys));
        let discovery = json!({"issuer": named, "jwks_uri": format!("{named}/keys")});
        let routes = Router::new()
            .route("/.well-known/openid-configuration", get(|| async { Json(discovery) }))
            .route("/keys", get(move || async move { Json(jwks(&shown.lock().unwrap())) }));
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { url, keys }
    }

    fn claims(&self, person: &str) -> Value {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        json!({"iss": self.url, "aud": "agent-host", "sub": "1", "iat": now, "exp": now + 600, "email": person})
    }

    fn token(&self, seed: u8, claims: &Value) -> String {
        let header = Header { kid: Some(format!("key-{seed}")), ..Header::new(Algorithm::EdDSA) };
        encode(&header, claims, &key(seed)).unwrap()
    }

    fn settings(&self) -> Vec<String> {
        vec![format!("initiators.0.issuer={}", self.url), "initiators.0.audience.0=agent-host".to_owned()]
    }
}

async fn evaluate(site: &Site, action: &str, token: &str) -> Answer {
    let body = operation(action, &json!({}));
    site.check().post_with("/access/v1/evaluation", &[(HEADER, token)], &body).await
}

/// Asks people about an action on behalf of whoever the token is of. Returns the approval's id.
async fn request(site: &Site, action: &str, token: &str) -> String {
    let denial = evaluate(site, action, token).await.ok();
    let task = site.try_request(action, &denial).await.ok();
    task["task"]["id"].as_str().unwrap().to_owned()
}

/// Waits until the sidecar has this provider's keys: from then on a forged token is known for one.
async fn until_keys_are_known(site: &Site, issuer: &Issuer) {
    let header = Header { kid: Some("key-1".into()), ..Header::new(Algorithm::EdDSA) };
    let forged = encode(&header, &issuer.claims("reviewer-one@example.com"), &key(9)).unwrap();
    eventually("the provider's keys are known", || async {
        evaluate(site, "read", &forged).await.text.contains("signature is not valid").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_verified_initiator_confirms_and_does_not_approve() {
    let issuer = Issuer::start().await;
    let site = Site::with_settings(|_| {}, issuer.settings()).await;
    until_keys_are_known(&site, &issuer).await;
    let token = issuer.token(1, &issuer.claims("reviewer-one@example.com"));

    let deploy = request(&site, "deploy", &token).await;
    let refused = site.vote(&site.reviewer(0), &deploy, "approve").await;
    assert_eq!((refused.status, refused.json()["code"].as_str()), (403, Some("self_approval")));
    site.vote(&site.reviewer(1), &deploy, "approve").await.ok();
    let approval = site.until(&deploy, "approved").await;
    let initiator = &approval["provenance"]["initiator"];
    assert_eq!(*initiator, json!({"person": "reviewer-one@example.com", "verified": true}));

    // The word that is asked for is that person's, not the owner's any more.
    let tidy = request(&site, "tidy", &token).await;
    for stranger in [site.admin(), site.reviewer(1)] {
        assert_eq!(site.vote(&stranger, &tidy, "approve").await.status, 403);
    }
    site.vote(&site.reviewer(0), &tidy, "approve").await.ok();
    site.until(&tidy, "approved").await;

    // The token goes no further than the sidecar: neither its log nor the ledger has it.
    let log = fs::read_to_string(site.folder().join("sidecar.log")).unwrap();
    let exported = site.admin().get("/api/v1/audit/export").await.text;
    let (_, secret) = token.split_once('.').unwrap();
    assert!(!log.contains(secret) && !exported.contains(secret));
}

#[tokio::test]
async fn a_token_that_does_not_hold_denies() {
    let issuer = Issuer::start().await;
    let site = Site::with_settings(|_| {}, issuer.settings()).await;
    until_keys_are_known(&site, &issuer).await;
    let claims = issuer.claims("reviewer-one@example.com");
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        issuer.token(1, &claims)
    };
    let whole = issuer.token(1, &claims);
    let unsigned = format!("eyJhbGciOiJub25lIn0.{}.", whole.split('.').nth(1).unwrap());
    for (token, why) in [
        (with("exp", json!(1_000)), "has expired"),
        (with("aud", json!("another-app")), "another audience"),
        (with("iss", json!("http://127.0.0.1:9")), "not among the issuers"),
        (unsigned, "not signed with an algorithm"),
        ("x".to_owned(), "not one JWT"),
    ] {
        // Even what policy lets everybody do.
        let answer = evaluate(&site, "read", &token).await;
        assert_eq!(answer.status, 400, "{why}: {}", answer.text);
        assert!(answer.text.contains(why), "{why}: {}", answer.text);
    }
    assert_eq!(evaluate(&site, "read", &issuer.token(1, &claims)).await.ok()["decision"], true);
    // Naming somebody else beside the token is no way out of I3.
    let other = json!({"provenance": {"initiator": "reviewer-two@example.com"}});
    let token = issuer.token(1, &claims);
    let body = operation("deploy", &other);
    let answer = site.check().post_with("/access/v1/evaluation", &[(HEADER, &token)], &body).await;
    assert_eq!(answer.status, 400, "{}", answer.text);
}

#[tokio::test]
async fn keys_are_rotated() {
    let issuer = Issuer::start().await;
    let site = Site::with_settings(|_| {}, issuer.settings()).await;
    until_keys_are_known(&site, &issuer).await;
    *issuer.keys.lock().unwrap() = vec![2];
    let claims = issuer.claims("reviewer-one@example.com");
    let (old, new) = (issuer.token(1, &claims), issuer.token(2, &claims));
    // The first token with the new key is refused, and has the keys fetched.
    eventually("the new key is known", || async {
        let answer = evaluate(&site, "read", &new).await;
        assert!(answer.status == 200 || answer.text.contains("not known yet"), "{}", answer.text);
        (answer.status == 200).then_some(())
    })
    .await;
    assert!(evaluate(&site, "read", &old).await.text.contains("not known yet"));
}

#[tokio::test]
async fn a_command_hands_over_the_token_in_a_file() {
    let issuer = Issuer::start().await;
    let site = Site::with_settings(|_| {}, issuer.settings()).await;
    until_keys_are_known(&site, &issuer).await;
    let file = site.folder().join("initiator-token");
    let run = || {
        let mut command = std::process::Command::new(countersign_tests::binary("countersign"));
        command.args(["exec", "--", "true"]).env("COUNTERSIGN_SOCKET", site.socket());
        command.env("COUNTERSIGN_INITIATOR_TOKEN_FILE", &file);
        let output = command.output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(run().contains("cannot be read"));
    let mut claims = issuer.claims("reviewer-one@example.com");
    fs::write(&file, issuer.token(1, &claims)).unwrap();
    // With a token that holds, it is policy that says no.
    let said = run();
    assert!(!said.contains("initiator") && !said.is_empty(), "{said}");
    claims["exp"] = json!(1_000);
    fs::write(&file, issuer.token(1, &claims)).unwrap();
    let said = run();
    assert!(said.contains("has expired") && !said.contains("eyJ"), "{said}");
}
