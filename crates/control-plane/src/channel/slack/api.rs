//! Slack's Web API, as far as it is used here.

use http::{HeaderValue, StatusCode, header};
use reqwest::{Client, RequestBuilder, Url};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::member::Member;
use crate::channel::{
    call::{self, CallError},
    http::{Reach, client},
    json::with,
};

/// The longest code of an error that is told on.
const MAX_CODE: usize = 64;

/// Why a call to Slack came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SlackError {
    /// Slack cannot be talked to now.
    #[error("Slack: {0}")]
    Call(#[from] CallError),
    /// Slack says no.
    #[error("Slack refuses {method} ({code}){}", hint(code))]
    Refused {
        /// What was asked.
        method: &'static str,
        /// Slack's word for why.
        code: String,
    },
}

/// What to do about a refusal, where that is known.
fn hint(code: &str) -> &'static str {
    match code {
        "channel_not_found" | "not_in_channel" => {
            ": invite the app to the channel, and check the channel's id"
        }
        "is_archived" => ": the channel is archived",
        "invalid_auth" | "not_authed" | "token_revoked" | "token_expired" | "account_inactive" => {
            ": the token is not valid, or no longer; install the app again and replace the token's file"
        }
        "missing_scope" | "not_allowed_token_type" => {
            ": give the app the scopes of the manifest and install it again"
        }
        "message_not_found" | "cant_update_message" => ": the message is gone, or another app's",
        "duplicate_message_not_found" => ": the message was there, and somebody removed it",
        "ratelimited" | "rate_limited" => ": too many calls",
        "user_not_found" | "user_not_visible" => ": there is no such user in this workspace",
        "expired_trigger_id" => ": it took longer than three seconds",
        _ => "",
    }
}

/// A token, which is never printed.
struct Bearer(HeaderValue);

impl Bearer {
    fn new(token: &str) -> Result<Self, http::header::InvalidHeaderValue> {
        let mut value = HeaderValue::from_str(&format!("Bearer {token}"))?;
        value.set_sensitive(true);
        Ok(Self(value))
    }
}

/// A message, in blocks, and in words for notifications and screen readers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Message {
    pub(super) text: String,
    pub(super) blocks: Vec<Value>,
}

/// Where a message is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// The conversation's id.
    pub(super) channel: String,
    /// The message's timestamp, which identifies it there.
    pub(super) ts: String,
}

/// What a bot token is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Own {
    /// The workspace that it was installed in.
    pub(super) team_id: String,
    /// The bot's own user.
    pub(super) user_id: String,
}

/// Speaks to Slack with the app's tokens.
pub(crate) struct WebApi {
    http: Client,
    base: Url,
    bot: Bearer,
    app: Option<Bearer>,
}

/// Why the tokens or the address cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiSetupError {
    /// The token has characters that no token has.
    #[error("a Slack token holds characters that no token has")]
    Token(#[from] http::header::InvalidHeaderValue),
    /// The platform's certificates cannot be used.
    #[error("no HTTPS client can be made: {0}")]
    Client(#[from] reqwest::Error),
}

impl WebApi {
    /// A client at `base`, which ends with a slash.
    pub(super) fn new(base: Url, bot: &str, app: Option<&str>) -> Result<Self, ApiSetupError> {
        let app = app.map(Bearer::new).transpose()?;
        Ok(Self { http: client(Reach::Public)?, base, bot: Bearer::new(bot)?, app })
    }

    /// The client that sockets are opened with.
    pub(super) fn http(&self) -> &Client {
        &self.http
    }

    /// Whether clicks come over sockets.
    pub(super) fn has_sockets(&self) -> bool {
        self.app.is_some()
    }

    /// Whose token it is.
    pub(super) async fn own(&self) -> Result<Own, SlackError> {
        self.json("auth.test", &json!({})).await
    }

    /// Posts a message, below another one when that is given, and `once` when it has such a name.
    pub(super) async fn post(
        &self,
        channel: &str,
        below: Option<&str>,
        message: &Message,
        once: Option<&str>,
    ) -> Result<Place, SlackError> {
        let thread = below.map_or(Value::Null, |thread| json!({"thread_ts": thread}));
        let name = once.map_or(Value::Null, |name| json!({"client_msg_id": name}));
        let body = with(with(with(body(message), json!({"channel": channel})), thread), name);
        self.json("chat.postMessage", &body).await
    }

    /// Posts below a message, and shows it in the conversation as well.
    pub(super) async fn broadcast(&self, place: &Place, message: &Message) -> Result<Place, SlackError> {
        let more = json!({"channel": place.channel, "thread_ts": place.ts, "reply_broadcast": true});
        let body = with(body(message), more);
        self.json("chat.postMessage", &body).await
    }

    /// Puts another message in the place of one.
    pub(super) async fn update(&self, place: &Place, message: &Message) -> Result<(), SlackError> {
        let body = with(body(message), json!({"channel": place.channel, "ts": place.ts}));
        self.json::<Value>("chat.update", &body).await.map(drop)
    }

    /// Says something in a conversation that only one person sees.
    pub(super) async fn whisper(
        &self,
        channel: &str,
        user: &str,
        message: &Message,
    ) -> Result<(), SlackError> {
        let body = with(body(message), json!({"channel": channel, "user": user}));
        self.json::<Value>("chat.postEphemeral", &body).await.map(drop)
    }

    /// Opens a modal for whoever has just clicked.
    pub(super) async fn open_view(&self, trigger: &str, view: &Value) -> Result<(), SlackError> {
        self.json::<Value>("views.open", &json!({"trigger_id": trigger, "view": view})).await.map(drop)
    }

    /// What Slack knows of a user now.
    pub(super) async fn member(&self, user: &str) -> Result<Member, SlackError> {
        #[derive(Deserialize)]
        struct Found {
            user: Member,
        }
        let form = form_urlencoded::Serializer::new(String::new()).append_pair("user", user).finish();
        let request = self.request("users.info", &self.bot);
        let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(form);
        let found: Found = self.read("users.info", request).await?;
        Ok(found.user)
    }

    /// The address of a new socket. It holds a ticket, so it is never logged.
    pub(super) async fn open_socket(&self) -> Result<Url, SlackError> {
        #[derive(Deserialize)]
        struct Opened {
            url: String,
        }
        const METHOD: &str = "apps.connections.open";
        let Some(app) = &self.app else {
            return Err(SlackError::Refused {
                method: METHOD,
                code: "no app token is configured".to_owned(),
            });
        };
        let opened: Opened = self.read(METHOD, self.request(METHOD, app)).await?;
        let url = opened.url.parse().ok().filter(call::is_private);
        url.ok_or_else(|| CallError::Malformed("the socket's address is not wss://".to_owned()).into())
    }

    async fn json<T: DeserializeOwned>(&self, method: &'static str, body: &Value) -> Result<T, SlackError> {
        self.read(method, self.request(method, &self.bot).json(body)).await
    }

    fn request(&self, method: &str, token: &Bearer) -> RequestBuilder {
        // The base was checked to be an address that paths can be joined to.
        let url = self.base.join(method).unwrap_or_else(|_| self.base.clone());
        self.http.post(url).header(header::AUTHORIZATION, token.0.clone())
    }

    async fn read<T: DeserializeOwned>(
        &self,
        method: &'static str,
        request: RequestBuilder,
    ) -> Result<T, SlackError> {
        #[derive(Deserialize)]
        struct Envelope {
            ok: bool,
            #[serde(default)]
            error: String,
        }
        let answer = call::call(request).await?;
        if answer.status != StatusCode::OK {
            return Err(CallError::Unreachable(format!("{method} answered {}", answer.status)).into());
        }
        let envelope: Envelope = answer.json()?;
        if envelope.ok {
            return Ok(answer.json()?);
        }
        let plain = |c: &char| c.is_ascii_alphanumeric() || "_-".contains(*c);
        let code = envelope.error.chars().filter(plain).take(MAX_CODE).collect();
        Err(SlackError::Refused { method, code })
    }
}

/// A message as Slack takes it. What it says is ours: no previews of addresses are fetched for it.
fn body(message: &Message) -> Value {
    json!({
        "text": message.text,
        "blocks": message.blocks,
        "unfurl_links": false,
        "unfurl_media": false,
    })
}
