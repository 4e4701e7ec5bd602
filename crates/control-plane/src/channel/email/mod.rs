//! E-mail by SMTP: reviewers are told by mail, and decide in the console.
//!
//! A mail cannot be changed. What an approval has become is told by a reply in the same thread, and only once it
//! has become something: a vote more is no reason for a mail.

mod letter;
#[cfg(test)]
mod tests;

use std::{fs, path::PathBuf, time::Duration};

use async_trait::async_trait;
use countersign_approval::Phase;
use countersign_model::{ApprovalId, Digest};
use lettre::{
    Address, AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor,
    message::{Mailbox, MultiPart, header},
    transport::smtp::{
        authentication::Credentials,
        client::{Certificate, Tls, TlsParameters},
    },
};

use self::letter::{Letter, Occasion};
use super::{
    port::{Channel, DeliveryError, Message, MessageRef},
    secret_file::read_secret_file,
};
use crate::clock::Clock;

/// How long each step with the server may take.
const TIMEOUT: Duration = Duration::from_secs(15);

/// How the connection to the server is kept private.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// It begins in the clear, and goes no further without TLS.
    StartTls,
    /// It is TLS from the first byte.
    Tls,
    /// Not at all: on this machine only.
    None,
}

/// A mail server that takes our mails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmailConfig {
    /// The channel's name.
    pub name: String,
    /// The server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is kept private.
    pub security: Security,
    /// The authorities that vouch for the server, PEM; the machine's when not set.
    pub ca_file: Option<PathBuf>,
    /// Who we are to the server, and the file that holds the password.
    pub credentials: Option<(String, PathBuf)>,
    /// Whom mails are from.
    pub from: Mailbox,
}

/// A server that mails can be handed to.
pub(crate) struct Email {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    clock: Clock,
}

impl Email {
    /// Reads the password.
    pub(crate) fn open(config: &EmailConfig, clock: Clock) -> Result<Self, String> {
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&config.host)
            .port(config.port)
            .timeout(Some(TIMEOUT))
            .tls(tls(config)?);
        if let Some((name, file)) = &config.credentials {
            let password = read_secret_file(file).map_err(|error| error.to_string())?;
            transport = transport.credentials(Credentials::new(name.clone(), password));
        }
        Ok(Self { transport: transport.build(), from: config.from.clone(), clock })
    }

    /// Sends a mail, as a reply to another one if that is given.
    async fn send(
        &self,
        room: &str,
        id: &str,
        reply_to: Option<&str>,
        letter: Letter,
    ) -> Result<(), DeliveryError> {
        let permanent = |why: String| DeliveryError::Permanent(why);
        let to: Address =
            room.parse().map_err(|error| permanent(format!("{room:?} is no address: {error}")))?;
        let mut mail = lettre::Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .message_id(Some(id.to_owned()))
            .header(AutoSubmitted)
            .subject(letter.subject);
        if let Some(first) = reply_to {
            mail = mail.in_reply_to(first.to_owned()).references(first.to_owned());
        }
        let parts = MultiPart::alternative_plain_html(letter.text, letter.html);
        let mail = mail.multipart(parts).map_err(|error| permanent(error.to_string()))?;
        self.transport.send(mail).await.map(drop).map_err(|error| judge(&error))
    }

    async fn reply(
        &self,
        room: &str,
        posted: &MessageRef,
        message: &Message,
        occasion: Occasion,
    ) -> Result<(), DeliveryError> {
        let letter = Letter::of(message, occasion, self.clock.now());
        let id = self.id(message, room, &format!("{occasion:?}-{}", message.approval.version));
        self.send(room, &id, Some(&posted.0), letter).await
    }

    /// The `Message-ID`: the same whenever the same is told again, so that it shows only once.
    fn id(&self, message: &Message, room: &str, what: &str) -> String {
        message_id(message.approval.request.id, room, what, self.from.email.domain())
    }
}

#[async_trait]
impl Channel for Email {
    fn kind(&self) -> &'static str {
        "email"
    }

    async fn post(&self, room: &str, message: &Message) -> Result<MessageRef, DeliveryError> {
        let occasion =
            if message.approval.phase() == Phase::Pending { Occasion::Asked } else { Occasion::Changed };
        let id = self.id(message, room, "first");
        self.send(room, &id, None, Letter::of(message, occasion, self.clock.now())).await?;
        Ok(MessageRef(id))
    }

    async fn update(&self, room: &str, posted: &MessageRef, message: &Message) -> Result<(), DeliveryError> {
        if matches!(message.approval.phase(), Phase::Pending | Phase::Claimed) {
            return Ok(());
        }
        self.reply(room, posted, message, Occasion::Changed).await
    }

    async fn remind(&self, room: &str, posted: &MessageRef, message: &Message) -> Result<(), DeliveryError> {
        self.reply(room, posted, message, Occasion::Reminded).await
    }

    async fn test(&self, room: &str, asked_by: &str) -> Result<(), DeliveryError> {
        let now = self.clock.now().to_string();
        let id = format!("<test.{}@{}>", short_digest(&now), self.from.email.domain());
        self.send(room, &id, None, Letter::test(asked_by)).await
    }
}

/// `Auto-Submitted: auto-generated` (RFC 3834), so that nobody's holiday notice answers.
#[derive(Debug, Clone)]
struct AutoSubmitted;

impl header::Header for AutoSubmitted {
    fn name() -> header::HeaderName {
        header::HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> header::HeaderValue {
        header::HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

fn tls(config: &EmailConfig) -> Result<Tls, String> {
    if config.security == Security::None {
        return Ok(Tls::None);
    }
    let mut parameters = TlsParameters::builder(config.host.clone());
    if let Some(file) = &config.ca_file {
        let pem = fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let certificate =
            Certificate::from_pem(&pem).map_err(|error| format!("{}: {error}", file.display()))?;
        parameters = parameters.add_root_certificate(certificate);
    }
    let parameters = parameters.build().map_err(|error| error.to_string())?;
    Ok(if config.security == Security::Tls { Tls::Wrapper(parameters) } else { Tls::Required(parameters) })
}

/// What a server's answer means. Which code is for what: RFC 5321 §4.2.3, RFC 4954 §6.
fn judge(error: &lettre::transport::smtp::Error) -> DeliveryError {
    let why = {
        let mut cause: &dyn std::error::Error = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        format!("{error}: {cause}")
    };
    match error.status().map(u16::from) {
        Some(530 | 534 | 535 | 538) => DeliveryError::Configuration(why),
        Some(550..=553) => DeliveryError::Permanent(why),
        _ => DeliveryError::later(why),
    }
}

fn message_id(approval: ApprovalId, room: &str, what: &str, domain: &str) -> String {
    format!("<{approval}.{}@{domain}>", short_digest(&format!("{}:{room}:{what}", room.len())))
}

fn short_digest(text: &str) -> String {
    let digest = Digest::of(text.as_bytes()).to_string();
    digest.rsplit(':').next().unwrap_or_default().chars().take(16).collect()
}
