//! Whether a call comes from the Bot Framework, for our bot, about the place that it says.

use countersign_model::{Seconds, Timestamp};
use http::{HeaderMap, header};
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use serde::Deserialize;

use super::{activity::Activity, keys::Keys};
use crate::channel::call::CallError;

/// Who signs calls from channels.
pub(super) const ISSUER: &str = "https://api.botframework.com";
/// The only channel that is listened to.
const CHANNEL: &str = "msteams";
/// How far clocks may be apart.
const SKEW: Seconds = Seconds::new(300);
/// The longest token that is looked at, in bytes.
const MAX_TOKEN: usize = 16 * 1024;

/// Why a call is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallerError {
    /// It has no token.
    #[error("the call carries no bearer token")]
    Missing,
    /// Its token is not one of the Bot Framework for this bot, or not now.
    #[error("the token is not valid: {0}")]
    Token(&'static str),
    /// It cannot be told, because the keys cannot be read.
    #[error("the Bot Framework's keys cannot be read: {0}")]
    Keys(#[from] CallError),
}

#[derive(Deserialize)]
struct Claims {
    exp: i64,
    nbf: Option<i64>,
    #[serde(rename = "serviceurl", alias = "serviceUrl")]
    service_url: Option<String>,
}

/// Checks callers of one bot.
pub(super) struct Callers {
    pub(super) app_id: String,
    pub(super) keys: Keys,
}

impl Callers {
    /// Checks the token of a call against what the call says of itself.
    pub(super) async fn check(
        &self,
        headers: &HeaderMap,
        activity: &Activity,
        now: Timestamp,
    ) -> Result<(), CallerError> {
        let token = bearer(headers).ok_or(CallerError::Missing)?;
        let head = decode_header(token).map_err(|_| CallerError::Token("it cannot be read"))?;
        if head.alg != Algorithm::RS256 {
            return Err(CallerError::Token("it is not signed with RS256"));
        }
        let name = head.kid.ok_or(CallerError::Token("it names no key"))?;
        let key = self.keys.get(&name, now).await?.ok_or(CallerError::Token("its key is not known"))?;
        let claims = decode::<Claims>(token, &key.verifies, &self.validation())
            .map_err(|_| CallerError::Token("its signature, issuer or audience is not right"))?
            .claims;
        is_current(&claims, now)?;
        if claims.service_url.as_deref() != Some(activity.service_url.as_str()) {
            return Err(CallerError::Token("it is for another service"));
        }
        if activity.channel_id != CHANNEL || !key.endorsements.iter().any(|one| one == CHANNEL) {
            return Err(CallerError::Token("its key may not speak for this channel"));
        }
        Ok(())
    }

    /// The times are checked by our own clock.
    fn validation(&self) -> Validation {
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[&self.app_id]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        (validation.validate_exp, validation.validate_nbf) = (false, false);
        validation
    }
}

fn is_current(claims: &Claims, now: Timestamp) -> Result<(), CallerError> {
    let (now, skew) = (now.as_seconds(), i64::from(SKEW.get()));
    if now.saturating_sub(skew) >= claims.exp {
        return Err(CallerError::Token("it has run out"));
    }
    if claims.nbf.is_some_and(|nbf| nbf > now.saturating_add(skew)) {
        return Err(CallerError::Token("it is not valid yet"));
    }
    Ok(())
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && token.len() <= MAX_TOKEN).then_some(token)
}
