//! One identity provider: what it says of itself, its keys, and the calls of a sign-in.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use countersign_model::{PersonId, Seconds, Timestamp};
use reqwest::{
    RequestBuilder, Url,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::{
    claims,
    config::ProviderConfig,
    flow::Flow,
    http::{CallError, Http, json},
    keys::{Document, Keys, TokenProblem, Unverified},
    token::{Claims, Expected, Logout, check_id_token, check_logout_token, id, text},
};
use crate::identity::{OidcError, oidc::Answer};

/// How long what a provider says of itself, and its keys, are gone by.
const FRESH: Seconds = Seconds::new(60 * 60);
/// How long nothing is asked again after a failure, or about a key that is not there.
const PAUSE: Seconds = Seconds::new(15);
/// The longest ID token that goes into an address as a hint.
const MAX_HINT: usize = 4 * 1024;

/// Who somebody is, by a provider's word.
#[derive(Debug, Clone)]
pub(in crate::identity) struct Vouched {
    /// Its own name for them, which never changes.
    pub(in crate::identity) subject: String,
    /// Their e-mail address.
    pub(in crate::identity) email: PersonId,
    /// Their groups, in its words.
    pub(in crate::identity) groups: Vec<String>,
    /// Its own session.
    pub(in crate::identity) sid: Option<String>,
    /// The token, which it recognises again when they sign out.
    pub(in crate::identity) id_token: String,
}

/// What a provider says of itself (OpenID Connect Discovery §3).
#[derive(Debug, Clone, Deserialize)]
struct Metadata {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    userinfo_endpoint: Option<String>,
    end_session_endpoint: Option<String>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

impl Metadata {
    /// Whether a client's secret goes into the form, and not into the header, which is taken where nothing is
    /// said (Discovery §3). Of the two, the one that the provider names first is the one that it surely takes.
    fn wants_secret_in_form(&self) -> bool {
        let methods = self.token_endpoint_auth_methods_supported.iter().flatten().map(String::as_str);
        methods.into_iter().find(|method| ["client_secret_basic", "client_secret_post"].contains(method))
            == Some("client_secret_post")
    }
}

#[derive(Deserialize)]
struct Tokens {
    id_token: String,
    access_token: Option<String>,
}

#[derive(Debug, Default)]
struct Cache {
    metadata: Option<(Timestamp, Arc<Metadata>)>,
    keys: Option<(Timestamp, Keys)>,
    failed: Option<Timestamp>,
}

/// One identity provider.
#[derive(Debug)]
pub(in crate::identity) struct Provider {
    pub(in crate::identity) config: ProviderConfig,
    secret: Option<ClientSecret>,
    http: Http,
    /// Held while it is asked, so that a crowd asks once.
    cache: Mutex<Cache>,
}

/// A client's secret. It is not printed.
pub(super) struct ClientSecret(pub(super) String);

impl std::fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientSecret(…)")
    }
}

impl Provider {
    pub(super) fn new(config: ProviderConfig, secret: Option<ClientSecret>) -> Result<Self, reqwest::Error> {
        let http = Http::new(config.is_loopback())?;
        Ok(Self { config, secret, http, cache: Mutex::default() })
    }

    /// Where a browser goes to sign in.
    pub(in crate::identity) async fn departure(
        &self,
        flow: &Flow,
        redirect: &str,
        now: Timestamp,
    ) -> Result<String, OidcError> {
        let metadata = self.metadata(now).await?;
        let mut url = self.endpoint(&metadata.authorization_endpoint)?;
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.config.client_id)
            .append_pair("redirect_uri", redirect)
            .append_pair("scope", &self.config.scopes.join(" "))
            .append_pair("state", &flow.state())
            .append_pair("nonce", &flow.nonce())
            .append_pair("code_challenge", &flow.challenge())
            .append_pair("code_challenge_method", "S256");
        if let Some(domain) = &self.config.hosted_domain {
            url.query_pairs_mut().append_pair("hd", domain);
        }
        Ok(url.into())
    }

    /// Redeems an answer that is one to this flow, and says who it is.
    pub(in crate::identity) async fn arrival(
        &self,
        flow: &Flow,
        answer: &Answer,
        redirect: &str,
        now: Timestamp,
    ) -> Result<Vouched, OidcError> {
        let metadata = self.metadata(now).await?;
        // Another provider's answer must not be redeemed here (RFC 9207 §2.4).
        let own = answer.iss.as_deref().map(|iss| iss == metadata.issuer);
        if !own.unwrap_or(!metadata.authorization_response_iss_parameter_supported) {
            return Err(OidcError::Mixed);
        }
        let code = answer.code.as_deref().filter(|_| answer.error.is_none()).ok_or(OidcError::Declined)?;
        let tokens = self.redeem(&metadata, code, &flow.verifier(), redirect).await?;
        let unverified = Unverified::parse(&tokens.id_token)?;
        let id_token = self.verified(&unverified, now).await?;
        let access = tokens.access_token.as_deref();
        check_id_token(&id_token, unverified.algorithm, &self.expected(now), &flow.nonce(), access)?;
        let subject = text(&id_token, "sub")?.to_owned();
        let more = self.user_info(&metadata, &id_token, &subject, access).await?;
        let email = claims::email(&self.config, &id_token, &more)
            .map_err(|why| OidcError::NotVouched { provider: self.config.name.clone(), why })?;
        Ok(Vouched {
            email,
            groups: claims::groups(&self.config, &id_token, &more),
            sid: id(&id_token, "sid")?,
            subject,
            id_token: tokens.id_token,
        })
    }

    /// Checks a logout token.
    pub(in crate::identity) async fn logout(&self, token: &str, now: Timestamp) -> Result<Logout, OidcError> {
        let unverified = Unverified::parse(token)?;
        let claims = self.verified(&unverified, now).await?;
        Ok(check_logout_token(&claims, unverified.typ.as_deref(), &self.expected(now))?)
    }

    /// Where a browser goes to end the provider's own session, if the provider offers that.
    pub(in crate::identity) async fn farewell(
        &self,
        id_token: Option<&str>,
        back: &str,
        now: Timestamp,
    ) -> Option<String> {
        let metadata = self.metadata(now).await.ok()?;
        let mut url = self.endpoint(metadata.end_session_endpoint.as_deref()?).ok()?;
        url.query_pairs_mut()
            .append_pair("client_id", &self.config.client_id)
            .append_pair("post_logout_redirect_uri", back);
        if let Some(hint) = id_token.filter(|token| token.len() <= MAX_HINT) {
            url.query_pairs_mut().append_pair("id_token_hint", hint);
        }
        Some(url.into())
    }

    fn expected(&self, now: Timestamp) -> Expected<'_> {
        Expected { issuer: &self.config.issuer, client_id: &self.config.client_id, now }
    }

    fn endpoint(&self, text: &str) -> Result<Url, OidcError> {
        self.http.endpoint(text).map_err(|error| self.unreachable(&error))
    }

    fn unreachable(&self, error: &CallError) -> OidcError {
        tracing::warn!(provider = self.config.id, %error, "an identity provider could not be asked");
        OidcError::Unreachable(self.config.name.clone())
    }

    async fn metadata(&self, now: Timestamp) -> Result<Arc<Metadata>, OidcError> {
        let mut cache = self.cache.lock().await;
        if let Some((_, metadata)) = cache.metadata.as_ref().filter(|(at, _)| is_recent(*at, FRESH, now)) {
            return Ok(Arc::clone(metadata));
        }
        if cache.failed.is_some_and(|at| is_recent(at, PAUSE, now)) {
            return Err(OidcError::Unreachable(self.config.name.clone()));
        }
        match self.discover().await {
            Ok(metadata) => {
                let metadata = Arc::new(metadata);
                *cache = Cache { metadata: Some((now, Arc::clone(&metadata))), ..Cache::default() };
                Ok(metadata)
            }
            Err(error) => {
                cache.failed = Some(now);
                Err(self.unreachable(&error))
            }
        }
    }

    async fn discover(&self) -> Result<Metadata, CallError> {
        let base = self.config.issuer.trim_end_matches('/');
        let url = self.http.endpoint(&format!("{base}/.well-known/openid-configuration"))?;
        let metadata: Metadata = json(self.http.get(url)).await?;
        if metadata.issuer != self.config.issuer {
            return Err(CallError::Unreachable(format!(
                "it calls itself {:?}; set issuer to exactly that if it is the right one",
                metadata.issuer.chars().take(200).collect::<String>()
            )));
        }
        Ok(metadata)
    }

    async fn redeem(
        &self,
        metadata: &Metadata,
        code: &str,
        verifier: &str,
        redirect: &str,
    ) -> Result<Tokens, OidcError> {
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", redirect),
            ("code_verifier", verifier),
        ];
        let request = self.http.post(self.endpoint(&metadata.token_endpoint)?);
        match json(self.prove(metadata, request, &form)).await {
            Ok(tokens) => Ok(tokens),
            Err(CallError::Refused(status)) if (400..500).contains(&status) => {
                tracing::warn!(provider = self.config.id, status, "an identity provider refused a code");
                Err(OidcError::Declined)
            }
            Err(error) => Err(self.unreachable(&error)),
        }
    }

    /// Says who asks: by the client's secret in the way that the provider takes it, or by name alone.
    fn prove(&self, metadata: &Metadata, request: RequestBuilder, form: &[(&str, &str)]) -> RequestBuilder {
        let mut form = form.to_vec();
        let Some(ClientSecret(secret)) = &self.secret else {
            form.push(("client_id", &self.config.client_id));
            return with_form(request, &form);
        };
        if metadata.wants_secret_in_form() {
            form.extend([("client_id", self.config.client_id.as_str()), ("client_secret", secret)]);
            return with_form(request, &form);
        }
        with_form(request.header(AUTHORIZATION, basic(&self.config.client_id, secret)), &form)
    }

    /// What the user-info endpoint tells about what the ID token leaves open (Core §5.3).
    async fn user_info(
        &self,
        metadata: &Metadata,
        id_token: &Claims,
        subject: &str,
        access_token: Option<&str>,
    ) -> Result<Claims, OidcError> {
        let (Some(endpoint), Some(token)) = (&metadata.userinfo_endpoint, access_token) else {
            return Ok(Claims::new());
        };
        if !claims::is_incomplete(&self.config, id_token) {
            return Ok(Claims::new());
        }
        let request = self.http.get(self.endpoint(endpoint)?).bearer_auth(token);
        let more: Claims = json(request).await.map_err(|error| self.unreachable(&error))?;
        // Somebody else's claims could have been put there (Core §5.3.2).
        if text(&more, "sub")? != subject {
            return Err(TokenProblem::Claim("sub").into());
        }
        Ok(more)
    }

    /// The claims of a token that is signed with one of the provider's keys.
    async fn verified(&self, token: &Unverified<'_>, now: Timestamp) -> Result<Claims, OidcError> {
        let metadata = self.metadata(now).await?;
        let mut cache = self.cache.lock().await;
        let find = |keys: &Keys| keys.find(token.kid.as_deref(), token.algorithm);
        if let Some((at, keys)) = cache.keys.as_ref().filter(|(at, _)| is_recent(*at, FRESH, now)) {
            match find(keys) {
                Some(key) => return Ok(token.verify(&key)?),
                // It may be a new one. Whoever makes keys up does not make us ask each time.
                None if is_recent(*at, PAUSE, now) => return Err(TokenProblem::UnknownKey.into()),
                None => {}
            }
        }
        let document: Result<Document, _> = match self.http.endpoint(&metadata.jwks_uri) {
            Ok(url) => json(self.http.get(url)).await,
            Err(error) => Err(error),
        };
        let keys = Keys::from(document.map_err(|error| self.unreachable(&error))?);
        let key = find(&keys);
        cache.keys = Some((now, keys));
        drop(cache);
        Ok(token.verify(&key.ok_or(TokenProblem::UnknownKey)?)?)
    }
}

/// Whether something of then is recent enough now. A clock that was set back makes nothing recent.
fn is_recent(then: Timestamp, span: Seconds, now: Timestamp) -> bool {
    (0..span.as_millis()).contains(&now.millis_since(then))
}

/// HTTP Basic, with both halves encoded as a form would (RFC 6749 §2.3.1).
fn basic(id: &str, secret: &str) -> String {
    let encode = |text: &str| form_encoded(&[("", text)]).trim_start_matches('=').to_owned();
    format!("Basic {}", STANDARD.encode([id, secret].map(encode).join(":")))
}

/// A request with a form as its body.
fn with_form(request: RequestBuilder, form: &[(&str, &str)]) -> RequestBuilder {
    request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form_encoded(form))
}

/// A form, which is written as an address's query is.
fn form_encoded(form: &[(&str, &str)]) -> String {
    let Ok(mut url) = Url::parse("form:") else { return String::new() };
    url.query_pairs_mut().extend_pairs(form);
    url.query().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_name_and_secret_are_encoded_before_they_are_joined() {
        let header = basic("a:b", "c d%");
        let pair = STANDARD.decode(header.strip_prefix("Basic ").unwrap()).unwrap();
        assert_eq!(String::from_utf8(pair).unwrap(), "a%3Ab:c+d%25");
    }

    #[test]
    fn the_secret_goes_where_the_provider_first_says() {
        let in_form = |methods: serde_json::Value| {
            let metadata = serde_json::json!({
                "issuer": "https://idp.example", "authorization_endpoint": "", "token_endpoint": "", "jwks_uri": "",
                "token_endpoint_auth_methods_supported": methods,
            });
            serde_json::from_value::<Metadata>(metadata).unwrap().wants_secret_in_form()
        };
        assert!(!in_form(serde_json::Value::Null));
        assert!(!in_form(serde_json::json!(["private_key_jwt"])));
        assert!(!in_form(serde_json::json!(["client_secret_basic", "client_secret_post"])));
        assert!(in_form(serde_json::json!(["private_key_jwt", "client_secret_post", "client_secret_basic"])));
    }

    #[test]
    fn a_secret_does_not_print_itself() {
        assert_eq!(format!("{:?}", ClientSecret("s".to_owned())), "ClientSecret(…)");
    }
}
