//! Webhooks by the Standard Webhooks specification: programs are told as an event what an approval is like.
//!
//! A message keeps its identifier however often it is sent, so that a receiver can drop what it has seen. What
//! the receiver answers acknowledges the message, and nothing else: no answer decides anything.

mod signature;

use std::{
    net::IpAddr,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use countersign_approval::Phase;
use countersign_model::Digest;
use http::Uri;
use reqwest::{Client, StatusCode, header::CONTENT_TYPE};
use serde_json::{Value, json};

use self::signature::Secrets;
use super::{
    http::{Reach, client, reason, retry_after},
    port::{Channel, DeliveryError, Message, MessageRef},
    secret_file::read_secret_file,
};
use crate::clock::Clock;

/// A webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookConfig {
    /// The channel's name.
    pub name: String,
    /// Where events are POSTed to.
    pub url: Uri,
    /// The files that hold the secrets: the one in use, and while it is being replaced the next one.
    pub secret_files: Vec<PathBuf>,
    /// Whether the address may be one of a private network.
    pub allow_private: bool,
}

impl WebhookConfig {
    /// What is wrong with the address, if anything: it is checked before anything is sent.
    #[must_use]
    pub fn problem(&self) -> Option<&'static str> {
        let Some(host) = self.url.host().filter(|host| !host.is_empty()) else {
            return Some("write the whole address, from https:// on");
        };
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
        let is_loopback = host == "localhost" || address.is_some_and(|address| address.is_loopback());
        match self.url.scheme_str() {
            Some("https") => {}
            Some("http") if is_loopback => {}
            _ => return Some("must start with https://, since events would travel in the clear"),
        }
        if self.url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Some("must hold no password; events are signed");
        }
        let is_within = address.is_none_or(|address| is_loopback || self.reach().has(address));
        (!is_within)
            .then_some("is an address of a private network; set allow_private = true if that is meant")
    }

    fn reach(&self) -> Reach {
        let host = self.url.host().unwrap_or_default();
        if self.allow_private || host == "localhost" { Reach::Private } else { Reach::Public }
    }
}

/// A webhook that events can be sent to.
pub(crate) struct Webhook {
    name: String,
    url: String,
    client: Client,
    secrets: Secrets,
    clock: Clock,
    /// The receiver wants no more events (410).
    is_gone: AtomicBool,
}

impl Webhook {
    /// Reads the secrets.
    pub(crate) fn open(config: &WebhookConfig, clock: Clock) -> Result<Self, String> {
        let read = |file: &PathBuf| read_secret_file(file).map_err(|error| error.to_string());
        let texts = config.secret_files.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let files = || config.secret_files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>();
        let secrets = Secrets::new(&texts).map_err(|error| format!("{}: {error}", files().join(", ")))?;
        let client = client(config.reach()).map_err(|error| error.to_string())?;
        let (name, url) = (config.name.clone(), config.url.to_string());
        Ok(Self { name, url, client, secrets, clock, is_gone: AtomicBool::new(false) })
    }

    /// Sends an event. `about` is what its identifier follows from.
    async fn send(&self, kind: &str, about: &[&str], data: Value) -> Result<MessageRef, DeliveryError> {
        let now = self.clock.now();
        let id = message_id(&self.name, kind, about);
        let body = json!({"type": kind, "timestamp": now, "data": data}).to_string();
        let sent = self
            .client
            .post(&self.url)
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", &id)
            .header("webhook-timestamp", now.as_seconds())
            .header("webhook-signature", self.secrets.sign(&id, now.as_seconds(), &body))
            .body(body);
        // The answer's head says it all; its body is not read, however long it is.
        let answer = sent.send().await.map_err(|error| DeliveryError::later(reason(error)))?;
        self.judge(answer.status(), retry_after(&answer))?;
        Ok(MessageRef(id))
    }

    fn judge(&self, status: StatusCode, after: Option<std::time::Duration>) -> Result<(), DeliveryError> {
        if status.is_success() {
            self.is_gone.store(false, Ordering::Relaxed);
            return Ok(());
        }
        if status == StatusCode::GONE {
            self.is_gone.store(true, Ordering::Relaxed);
            return Err(gone());
        }
        Err(DeliveryError::Later { why: format!("the receiver answers {status}"), after })
    }

    async fn send_unless_gone(&self, kind: &str, message: &Message) -> Result<MessageRef, DeliveryError> {
        if self.is_gone.load(Ordering::Relaxed) {
            return Err(gone());
        }
        let approval = &message.approval;
        let (id, version) = (approval.request.id.to_string(), approval.version.to_string());
        self.send(kind, &[&id, &version], data(message)).await
    }
}

#[async_trait]
impl Channel for Webhook {
    fn kind(&self) -> &'static str {
        "webhook"
    }

    async fn post(&self, _room: &str, message: &Message) -> Result<MessageRef, DeliveryError> {
        let kind = match message.approval.phase() {
            Phase::Pending => "approval.requested".to_owned(),
            phase => format!("approval.{phase}"),
        };
        self.send_unless_gone(&kind, message).await
    }

    async fn update(
        &self,
        _room: &str,
        _posted: &MessageRef,
        message: &Message,
    ) -> Result<(), DeliveryError> {
        let kind = match message.approval.phase() {
            Phase::Pending => "approval.updated".to_owned(),
            phase => format!("approval.{phase}"),
        };
        self.send_unless_gone(&kind, message).await.map(drop)
    }

    async fn remind(
        &self,
        _room: &str,
        _posted: &MessageRef,
        message: &Message,
    ) -> Result<(), DeliveryError> {
        self.send_unless_gone("approval.reminded", message).await.map(drop)
    }

    async fn test(&self, _room: &str, asked_by: &str) -> Result<(), DeliveryError> {
        let now = self.clock.now().to_string();
        self.send("channel.tested", &[&now], json!({"asked_by": asked_by})).await.map(drop)
    }

    fn tells_every_ending(&self) -> bool {
        true
    }
}

fn gone() -> DeliveryError {
    let why = "the receiver answered 410 Gone: it wants no more events; take its routes away, or test the channel \
               when it wants them again";
    DeliveryError::Configuration(why.to_owned())
}

/// The identifier of an event: the same whenever the same is told again.
fn message_id(channel: &str, kind: &str, about: &[&str]) -> String {
    let parts: Vec<&str> = [channel, kind].into_iter().chain(about.iter().copied()).collect();
    let digest = Digest::of(json!(parts).to_string().as_bytes()).to_string();
    let hex = digest.rsplit(':').next().unwrap_or_default();
    format!("msg_{}", hex.chars().take(32).collect::<String>())
}

/// What an event says about an approval.
fn data(message: &Message) -> Value {
    let approval = &message.approval;
    let request = &approval.request;
    json!({
        "id": request.id,
        "version": approval.version,
        "state": approval.phase(),
        "agent": request.agent_name,
        "owner": request.owner,
        "requirements": approval.progress(),
        "digest": request.submission.digest,
        "submitted_at": request.submitted_at,
        "decide_by": request.decide_by(),
        "url": message.link,
        "review": message.review,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(url: &str, allow_private: bool) -> Option<&'static str> {
        let url = url.parse().unwrap();
        WebhookConfig { name: "hook".to_owned(), url, secret_files: Vec::new(), allow_private }.problem()
    }

    #[test]
    fn only_addresses_that_keep_events_private_and_lead_outside_are_taken() {
        for good in
            ["https://hooks.example.com/x", "http://127.0.0.1:9/", "http://[::1]:9/", "http://localhost:9/"]
        {
            assert_eq!(problem(good, false), None, "{good}");
        }
        for bad in [
            "http://hooks.example.com/",
            "ftp://hooks.example.com/",
            "/path",
            "https://10.0.0.1/",
            "https://[fd00::1]/",
            "https://169.254.169.254/latest",
            "https://user:word@hooks.example.com/",
            "https://[::ffff:10.0.0.1]/",
        ] {
            assert!(problem(bad, false).is_some(), "{bad}");
        }
        assert_eq!(problem("https://10.0.0.1/", true), None);
        assert!(problem("https://169.254.169.254/", true).is_some(), "credentials of clouds are there");
    }

    #[test]
    fn an_identifier_is_the_same_for_the_same_and_for_nothing_else() {
        let id = message_id("hook", "approval.updated", &["a", "2"]);
        assert_eq!(id, message_id("hook", "approval.updated", &["a", "2"]));
        assert_eq!(id.len(), 36);
        for other in [
            message_id("other", "approval.updated", &["a", "2"]),
            message_id("hook", "approval.updated", &["a", "3"]),
            message_id("hook", "approval.updated", &["a2"]),
        ] {
            assert_ne!(id, other);
        }
    }
}
