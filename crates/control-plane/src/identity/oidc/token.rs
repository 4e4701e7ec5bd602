//! What an ID token and a logout token must say to be believed (OpenID Connect Core §3.1.3.7,
//! Back-Channel Logout §2.6).

use aws_lc_rs::digest::{SHA256, SHA512, digest};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_model::{Digest, Seconds, Timestamp};
use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};

use super::{super::same, keys::TokenProblem};

/// How far a provider's clock may be off.
const SKEW: Seconds = Seconds::new(60);
/// How old a token may be when it arrives: it was made for this moment.
const MAX_AGE: Seconds = Seconds::new(10 * 60);
/// The event that a logout token is about.
const LOGOUT_EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// The longest identifier that a provider may use.
const MAX_ID: usize = 255;

/// A token's claims.
pub(super) type Claims = Map<String, Value>;

/// What a token is held against.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    pub(super) now: Timestamp,
}

/// A verified logout token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::identity) struct Logout {
    /// Whose sign-ins end.
    pub(in crate::identity) subject: Option<String>,
    /// The provider's session that ended; all of the subject's when there is none.
    pub(in crate::identity) sid: Option<String>,
    /// The token's own id, which is good once.
    pub(in crate::identity) jti: String,
    /// From when on it would be refused as too old.
    pub(in crate::identity) until: Timestamp,
}

fn ensure(holds: bool, claim: &'static str) -> Result<(), TokenProblem> {
    if holds { Ok(()) } else { Err(TokenProblem::Claim(claim)) }
}

/// A text that must be there.
pub(super) fn text<'a>(claims: &'a Claims, name: &'static str) -> Result<&'a str, TokenProblem> {
    claims.get(name).and_then(Value::as_str).ok_or(TokenProblem::Claim(name))
}

/// An identifier that may be there.
pub(super) fn id(claims: &Claims, name: &'static str) -> Result<Option<String>, TokenProblem> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let text = value.as_str().ok_or(TokenProblem::Claim(name))?;
    ensure((1..=MAX_ID).contains(&text.len()) && !text.contains(char::is_control), name)?;
    Ok(Some(text.to_owned()))
}

fn time(claims: &Claims, name: &'static str) -> Result<Option<Timestamp>, TokenProblem> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    // NumericDate may have a fraction (RFC 7519 §2); whole seconds are enough here.
    let seconds = value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds as i64));
    let millis = seconds.and_then(|seconds| seconds.checked_mul(1000)).ok_or(TokenProblem::Claim(name))?;
    Ok(Some(Timestamp::from_millis(millis)))
}

/// What both kinds of token must say: from this provider, for this client, now. Returns when it is too old.
fn common(claims: &Claims, expected: &Expected<'_>) -> Result<Timestamp, TokenProblem> {
    ensure(text(claims, "iss")? == expected.issuer, "iss")?;
    audience(claims, expected.client_id)?;
    let now = expected.now;
    let expires = time(claims, "exp")?.ok_or(TokenProblem::Claim("exp"))?;
    ensure(now < expires.plus(SKEW), "exp")?;
    let issued = time(claims, "iat")?.ok_or(TokenProblem::Claim("iat"))?;
    let too_old = issued.plus(MAX_AGE).plus(SKEW);
    ensure(issued <= now.plus(SKEW) && now < too_old, "iat")?;
    ensure(time(claims, "nbf")?.is_none_or(|from| from <= now.plus(SKEW)), "nbf")?;
    Ok(expires.plus(SKEW).min(too_old))
}

/// The token is for this client; one that is for others as well must say that this one asked for it.
fn audience(claims: &Claims, client_id: &str) -> Result<(), TokenProblem> {
    let (mine, several) = match claims.get("aud") {
        Some(Value::String(one)) => (one == client_id, false),
        Some(Value::Array(all)) => (all.iter().any(|one| one == client_id), all.len() > 1),
        _ => (false, false),
    };
    ensure(mine, "aud")?;
    match claims.get("azp") {
        Some(party) => ensure(party == client_id, "azp"),
        None => ensure(!several, "azp"),
    }
}

/// Checks an ID token's claims. `access_token` is what came with it.
pub(super) fn check_id_token(
    claims: &Claims,
    algorithm: Algorithm,
    expected: &Expected<'_>,
    nonce: &str,
    access_token: Option<&str>,
) -> Result<(), TokenProblem> {
    common(claims, expected)?;
    let digest = |text: &str| Digest::of(text.as_bytes());
    ensure(same(&digest(text(claims, "nonce")?), &digest(nonce)), "nonce")?;
    ensure(id(claims, "sub")?.is_some(), "sub")?;
    match (claims.get("at_hash"), access_token) {
        (Some(hash), Some(token)) => ensure(*hash == *half_hash(token, algorithm), "at_hash"),
        _ => Ok(()),
    }
}

/// The left half of the hash of an access token, by the hash of the token's algorithm (Core §3.1.3.6).
fn half_hash(access_token: &str, algorithm: Algorithm) -> String {
    let hash = if algorithm == Algorithm::EdDSA { &SHA512 } else { &SHA256 };
    let digest = digest(hash, access_token.as_bytes());
    let (half, _) = digest.as_ref().split_at(digest.as_ref().len() / 2);
    URL_SAFE_NO_PAD.encode(half)
}

/// Checks a logout token's claims. `typ` is its header's.
pub(super) fn check_logout_token(
    claims: &Claims,
    typ: Option<&str>,
    expected: &Expected<'_>,
) -> Result<Logout, TokenProblem> {
    let kind = typ.map(str::to_ascii_lowercase);
    ensure(matches!(kind.as_deref(), None | Some("jwt" | "logout+jwt" | "application/logout+jwt")), "typ")?;
    let until = common(claims, expected)?;
    // With a nonce it would be an ID token, which somebody took for another purpose.
    ensure(!claims.contains_key("nonce"), "nonce")?;
    let event = claims.get("events").and_then(|events| events.get(LOGOUT_EVENT));
    ensure(event.is_some_and(Value::is_object), "events")?;
    let (subject, sid) = (id(claims, "sub")?, id(claims, "sid")?);
    ensure(subject.is_some() || sid.is_some(), "sub")?;
    let jti = id(claims, "jti")?.ok_or(TokenProblem::Claim("jti"))?;
    Ok(Logout { subject, sid, jti, until })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn expected() -> Expected<'static> {
        Expected { issuer: "https://idp.example.com", client_id: "me", now: NOW }
    }

    fn good() -> Value {
        json!({"iss": "https://idp.example.com", "aud": "me", "sub": "s1", "nonce": "n1",
               "iat": 1_800_000_000, "exp": 1_800_000_300})
    }

    /// The claims with some of them changed; `null` takes one away.
    fn with(base: Value, changes: &Value) -> Claims {
        let mut claims: Claims = serde_json::from_value(base).unwrap();
        for (name, value) in changes.as_object().unwrap() {
            claims.insert(name.clone(), value.clone());
        }
        claims.retain(|_, value| !value.is_null());
        claims
    }

    fn id_token(changes: &Value) -> Result<(), TokenProblem> {
        check_id_token(&with(good(), changes), Algorithm::ES256, &expected(), "n1", Some("access"))
    }

    #[test]
    fn an_id_token_that_is_right_is_believed() {
        for changes in [
            json!({}),
            json!({"aud": ["me"]}),
            json!({"aud": ["me", "other"], "azp": "me"}),
            json!({"iat": 1_800_000_060}),
            json!({"exp": 1_799_999_941, "iat": 1_799_999_900}),
            json!({"iat": 1_800_000_000.5, "nbf": 1_800_000_060}),
            json!({"at_hash": half_hash("access", Algorithm::ES256)}),
        ] {
            assert_eq!(id_token(&changes), Ok(()), "{changes}");
        }
    }

    #[test]
    fn an_id_token_with_anything_wrong_is_refused_by_what_is_wrong() {
        for (claim, changes) in [
            ("iss", json!({"iss": "https://idp.example.com/"})),
            ("iss", json!({"iss": null})),
            ("aud", json!({"aud": "other"})),
            ("aud", json!({"aud": null})),
            ("aud", json!({"aud": {"me": true}})),
            ("azp", json!({"aud": ["me", "other"]})),
            ("azp", json!({"aud": ["me", "other"], "azp": "other"})),
            ("azp", json!({"azp": "other"})),
            ("exp", json!({"exp": 1_799_999_940})),
            ("exp", json!({"exp": null})),
            ("exp", json!({"exp": "1800000300"})),
            ("iat", json!({"iat": 1_800_000_061})),
            ("iat", json!({"iat": 1_799_999_340})),
            ("iat", json!({"iat": null})),
            ("nbf", json!({"nbf": 1_800_000_061})),
            ("nonce", json!({"nonce": "n2"})),
            ("nonce", json!({"nonce": null})),
            ("sub", json!({"sub": null})),
            ("sub", json!({"sub": ""})),
            ("sub", json!({"sub": 7})),
            ("sub", json!({"sub": "s".repeat(256)})),
            ("at_hash", json!({"at_hash": half_hash("another", Algorithm::ES256)})),
            ("at_hash", json!({"at_hash": half_hash("access", Algorithm::EdDSA)})),
        ] {
            assert_eq!(id_token(&changes), Err(TokenProblem::Claim(claim)), "{changes}");
        }
    }

    fn logout(typ: Option<&str>, changes: &Value) -> Result<Logout, TokenProblem> {
        let base = json!({"iss": "https://idp.example.com", "aud": "me", "sub": "s1", "sid": "x", "jti": "j1",
            "iat": 1_800_000_000, "exp": 1_800_000_120, "events": {LOGOUT_EVENT: {}}});
        check_logout_token(&with(base, changes), typ, &expected())
    }

    #[test]
    fn a_logout_token_is_none_without_its_event_with_a_nonce_or_for_others() {
        let token = logout(Some("logout+jwt"), &json!({})).unwrap();
        assert_eq!((token.subject.as_deref(), token.sid.as_deref()), (Some("s1"), Some("x")));
        assert_eq!(token.until, NOW.plus(Seconds::new(180)));
        logout(None, &json!({"sid": null})).unwrap();
        logout(None, &json!({"sub": null})).unwrap();
        for (claim, typ, changes) in [
            ("typ", Some("at+jwt"), json!({})),
            ("nonce", None, json!({"nonce": "n1"})),
            ("nonce", None, json!({"nonce": ""})),
            ("events", None, json!({"events": null})),
            ("events", None, json!({"events": {"other": {}}})),
            ("events", None, json!({"events": {LOGOUT_EVENT: true}})),
            ("events", None, json!({"events": [LOGOUT_EVENT]})),
            ("sub", None, json!({"sub": null, "sid": null})),
            ("jti", None, json!({"jti": null})),
            ("exp", None, json!({"exp": null})),
            ("aud", None, json!({"aud": "other"})),
            ("iss", None, json!({"iss": "https://evil.example"})),
        ] {
            assert_eq!(logout(typ, &changes), Err(TokenProblem::Claim(claim)), "{changes}");
        }
    }
}
