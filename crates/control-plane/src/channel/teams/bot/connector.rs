//! The Bot Framework's connector: messages out. The bot's token goes there, and nowhere that a call names.

use countersign_model::{Seconds, Timestamp};
use http::{Method, StatusCode};
use reqwest::{Client, Url};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;

use super::member::Member;
use crate::{
    channel::{
        DeliveryError,
        call::{self, Answer},
    },
    clock::Clock,
};

/// What a token is asked for.
const SCOPE: &str = "https://api.botframework.com/.default";
/// How long before its end a token is replaced.
const MARGIN: Seconds = Seconds::new(300);

/// A token, and when to replace it.
struct Token {
    text: String,
    until: Timestamp,
}

/// Sends messages as the bot.
pub(super) struct Connector {
    pub(super) http: Client,
    pub(super) clock: Clock,
    pub(super) app_id: String,
    pub(super) client_secret: String,
    pub(super) authority: Url,
    pub(super) service: Url,
    token: Mutex<Option<Token>>,
}

impl Connector {
    pub(super) fn new(
        http: Client,
        clock: Clock,
        app_id: String,
        client_secret: String,
        authority: Url,
        service: Url,
    ) -> Self {
        Self { http, clock, app_id, client_secret, authority, service, token: Mutex::default() }
    }

    /// Sends an activity to a conversation. Answers its id.
    pub(super) async fn send(&self, conversation: &str, activity: &Value) -> Result<String, DeliveryError> {
        #[derive(Deserialize)]
        struct Sent {
            id: String,
        }
        let path = ["v3", "conversations", conversation, "activities"];
        let sent: Sent = self.call(Method::POST, &path, Some(activity)).await?.json()?;
        Ok(sent.id)
    }

    /// Sends an activity as the answer to another: in its thread, where there are threads.
    pub(super) async fn reply(
        &self,
        conversation: &str,
        to: &str,
        activity: &Value,
    ) -> Result<(), DeliveryError> {
        if has_threads(conversation) {
            return self.send(&format!("{conversation};messageid={to}"), activity).await.map(drop);
        }
        let path = ["v3", "conversations", conversation, "activities", to];
        self.call(Method::POST, &path, Some(activity)).await.map(drop)
    }

    /// Somebody in a conversation, as they are there now.
    pub(super) async fn member(&self, conversation: &str, user: &str) -> Result<Member, DeliveryError> {
        let path = ["v3", "conversations", conversation, "members", user];
        Ok(self.call(Method::GET, &path, None).await?.json()?)
    }

    /// Puts another activity in the place of one.
    pub(super) async fn update(
        &self,
        conversation: &str,
        id: &str,
        activity: &Value,
    ) -> Result<(), DeliveryError> {
        let path = ["v3", "conversations", conversation, "activities", id];
        self.call(Method::PUT, &path, Some(activity)).await.map(drop)
    }

    async fn call(
        &self,
        method: Method,
        path: &[&str],
        body: Option<&Value>,
    ) -> Result<Answer, DeliveryError> {
        let mut request = self.http.request(method, below(&self.service, path));
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = call::call(request.bearer_auth(self.token().await?)).await?;
        match answer.status {
            status if status.is_success() => Ok(answer),
            StatusCode::UNAUTHORIZED => {
                // The next try asks for another token.
                *self.token.lock().await = None;
                Err(DeliveryError::later("Microsoft Teams does not take the bot's token"))
            }
            StatusCode::FORBIDDEN => Err(DeliveryError::Permanent(
                "Microsoft Teams refuses: add the bot's app to this team or chat".to_owned(),
            )),
            StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST => Err(DeliveryError::Permanent(
                "Microsoft Teams knows no such conversation, message or member: check the room's id"
                    .to_owned(),
            )),
            status => Err(DeliveryError::later(format!("Microsoft Teams answers {status}"))),
        }
    }

    /// The bot's token, a new one when it is about to run out.
    async fn token(&self) -> Result<String, DeliveryError> {
        let mut token = self.token.lock().await;
        let now = self.clock.now();
        if let Some(token) = token.as_ref().filter(|token| now < token.until) {
            return Ok(token.text.clone());
        }
        let (fresh, lifetime) = self.fetch_token().await?;
        let lasting = Seconds::new(lifetime.saturating_sub(MARGIN.get()));
        *token = Some(Token { text: fresh.clone(), until: now.plus(lasting) });
        Ok(fresh)
    }

    async fn fetch_token(&self) -> Result<(String, u32), DeliveryError> {
        #[derive(Deserialize)]
        struct Granted {
            access_token: String,
            expires_in: u32,
        }
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_id", &self.app_id)
            .append_pair("client_secret", &self.client_secret)
            .append_pair("scope", SCOPE)
            .finish();
        let url = below(&self.authority, &["oauth2", "v2.0", "token"]);
        let request = self.http.post(url).body(form);
        let request = request.header(http::header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let answer = call::call(request).await?;
        match answer.status {
            StatusCode::OK => {
                let granted: Granted = answer.json()?;
                Ok((granted.access_token, granted.expires_in))
            }
            StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED => Err(DeliveryError::Configuration(
                "Microsoft Entra refuses the bot's client secret: make another, and replace its file"
                    .to_owned(),
            )),
            status => Err(DeliveryError::later(format!("Microsoft Entra answers {status}"))),
        }
    }
}

/// Whether messages there can be answered below them: in a team's channels, and in no chat.
pub(super) fn has_threads(conversation: &str) -> bool {
    conversation.ends_with("@thread.tacv2") || conversation.ends_with("@thread.skype")
}

/// An address below another one, each part of its path encoded.
fn below(base: &Url, path: &[&str]) -> Url {
    let mut url = base.clone();
    // The base was checked to be an address that has a path.
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_a_conversation_cannot_lead_elsewhere() {
        let base: Url = "https://smba.example/teams/".parse().unwrap();
        let url = below(&base, &["v3", "conversations", "19:a@thread.tacv2;messageid=1", "activities"]);
        assert_eq!(url.path(), "/teams/v3/conversations/19:a@thread.tacv2;messageid=1/activities");
        let url = below(&base, &["v3", "../..", "a/b?c#d"]);
        assert_eq!((url.query(), url.fragment()), (None, None));
        assert!(url.path().starts_with("/teams/v3/") && url.path().ends_with("a%2Fb%3Fc%23d"), "{url}");
    }
}
