//! Client data: what the browser itself says about where and for what a passkey was used (§5.8.1).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_model::{Digest, strict_json};
use serde::Deserialize;

use super::{RelyingParty, Unverified};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClientData {
    #[serde(rename = "type")]
    kind: String,
    challenge: String,
    origin: String,
    #[serde(default)]
    cross_origin: bool,
    top_origin: Option<String>,
}

/// The challenge of client data of that type, made on this console's own page.
pub(super) fn challenge(json: &[u8], kind: &str, party: &RelyingParty) -> Result<Digest, Unverified> {
    // Strictly, so that no member can be there twice and be read in two ways.
    let value = strict_json::parse(json).map_err(|_| Unverified::Malformed("client data"))?;
    let data: ClientData = serde_json::from_value(value).map_err(|_| Unverified::Malformed("client data"))?;
    if data.kind != kind {
        return Err(Unverified::Malformed("its type"));
    }
    if data.origin != party.origin() || data.cross_origin || data.top_origin.is_some() {
        return Err(Unverified::Origin);
    }
    let challenge = URL_SAFE_NO_PAD.decode(&data.challenge).ok();
    let challenge = challenge.and_then(|bytes| bytes.try_into().ok()).ok_or(Unverified::Challenge)?;
    Ok(Digest::from_bytes(challenge))
}
