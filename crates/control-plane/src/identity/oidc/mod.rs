//! Signing in by OpenID Connect: authorization code with PKCE, at several identity providers at once.
//!
//! A provider's word counts as far as its configuration says: who has which role, and for whose e-mail
//! addresses it is authoritative. What travels through the browser proves nothing by itself.

mod claims;
mod config;
mod flow;
mod http;
mod keys;
mod provider;
mod token;

use std::sync::Arc;

use serde::Deserialize;

use self::provider::ClientSecret;
pub use self::{
    claims::NotVouched,
    config::{ProviderConfig, ProviderKind},
    keys::TokenProblem,
};
pub(super) use self::{
    config::read,
    flow::{FLOW_LIFETIME, Flow},
    provider::{Provider, Vouched},
};
use crate::channel::secret_file::{SecretFileError, read_secret_file};

/// The parameters that a provider sends a browser back with.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Answer {
    pub(super) code: Option<String>,
    pub(super) state: Option<String>,
    /// The issuer that answers (RFC 9207).
    pub(super) iss: Option<String>,
    pub(super) error: Option<String>,
}

/// Why somebody was not signed in by an identity provider. Each is said to them; what exactly was wrong
/// with a token is for the log.
#[derive(Debug, thiserror::Error)]
pub enum OidcError {
    /// There is no such provider.
    #[error("there is no such identity provider here")]
    Unknown,
    /// It does not answer.
    #[error("{0} cannot be reached now; try again, or sign in another way")]
    Unreachable(String),
    /// The answer is none to what this browser asked.
    #[error("this sign-in was not started in this browser, or took too long; start it again")]
    NotAsked,
    /// The answer is another provider's.
    #[error("the answer came from another identity provider than the one that was asked; start again")]
    Mixed,
    /// The provider did not sign them in, or does not stand by its answer.
    #[error("the identity provider did not confirm the sign-in; start it again")]
    Declined,
    /// The provider's token does not hold.
    #[error("the identity provider's answer could not be verified; an admin finds the reason in the log")]
    Unproven(TokenProblem),
    /// Its word is not enough.
    #[error("{provider} {why}")]
    NotVouched {
        /// The provider's name.
        provider: String,
        /// What is missing.
        why: NotVouched,
    },
    /// None of their groups has a role.
    #[error(
        "you are signed in at {provider}, but neither you nor a group of yours has a role here; ask an admin"
    )]
    NoRole {
        /// The provider's name.
        provider: String,
    },
    /// The account or the address is taken.
    #[error("{0}; an admin can unlink the account that stands in the way (countersign people accounts)")]
    Conflict(countersign_store::VouchRefusal),
    /// The account's name cannot become another one of whoever is signed in.
    #[error("{0}")]
    Names(countersign_store::NameRefusal),
}

impl From<TokenProblem> for OidcError {
    fn from(problem: TokenProblem) -> Self {
        Self::Unproven(problem)
    }
}

/// Why the identity providers of a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProvidersError {
    /// A client's secret.
    #[error(transparent)]
    Secret(#[from] SecretFileError),
    /// The client for calls, as a rule for want of the system's root certificates.
    #[error("the client for identity providers: {0}")]
    Client(#[from] reqwest::Error),
}

/// The identity providers of this installation.
#[derive(Debug, Clone, Default)]
pub struct Providers {
    all: Arc<[Provider]>,
    /// How browsers reach the console.
    base: String,
}

impl Providers {
    /// The providers of a configuration, with their clients' secrets; `base` is how browsers reach the console.
    ///
    /// # Errors
    /// When a secret cannot be read, or others can read it.
    pub fn open(configs: &[ProviderConfig], base: &str) -> Result<Self, ProvidersError> {
        let open = |config: &ProviderConfig| {
            let secret = config.client_secret_file.as_deref().map(read_secret_file).transpose()?;
            Ok(Provider::new(config.clone(), secret.map(ClientSecret))?)
        };
        let all: Result<Vec<Provider>, ProvidersError> = configs.iter().map(open).collect();
        Ok(Self { all: all?.into(), base: base.trim_end_matches('/').to_owned() })
    }

    /// How browsers reach the console.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// Every provider.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Provider> {
        self.all.iter()
    }

    /// The provider of that name.
    pub(super) fn named(&self, id: &str) -> Result<&Provider, OidcError> {
        self.iter().find(|provider| provider.config.id == id).ok_or(OidcError::Unknown)
    }

    /// The provider with that issuer.
    pub(super) fn of_issuer(&self, issuer: &str) -> Option<&Provider> {
        self.iter().find(|provider| provider.config.issuer == issuer)
    }

    /// The issuers that are authoritative for a domain.
    pub(super) fn authorities(&self, domain: &str) -> Vec<String> {
        let authoritative = |provider: &&Provider| provider.config.is_authoritative_for(domain);
        self.iter().filter(authoritative).map(|provider| provider.config.issuer.clone()).collect()
    }

    /// Where a provider sends a browser back to. Each has its own, so that answers are not mixed up.
    pub(super) fn redirect(&self, provider: &Provider) -> String {
        format!("{}/sign-in/oidc/{}/callback", self.base, provider.config.id)
    }

    /// Where a browser comes back to after signing out at a provider.
    pub(super) fn after_logout(&self) -> String {
        format!("{}/sign-in", self.base)
    }
}
