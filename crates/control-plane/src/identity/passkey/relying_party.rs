//! Who asks for passkeys: this console, by its host name and its one origin.

use std::net::{IpAddr, SocketAddr};

use countersign_model::Digest;
use http::Uri;

use crate::config::ApiConfig;

/// This console, as authenticators and browsers know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelyingParty {
    id: String,
    origin: String,
}

impl RelyingParty {
    /// The relying party of a console that is reached as configured, or on `bound`. `None` where browsers
    /// would not use passkeys: they take a name, not an address, and HTTPS unless it is `localhost`.
    #[must_use]
    pub fn of(api: &ApiConfig, bound: SocketAddr) -> Option<Self> {
        match &api.public_url {
            Some(url) => Self::at(url),
            None if api.behind_tls_proxy => None,
            None => Some(Self::local(Some(bound.port()))),
        }
    }

    fn at(url: &str) -> Option<Self> {
        let url: Uri = url.parse().ok()?;
        let host = url.host()?.to_ascii_lowercase();
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
        if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
            return (url.scheme_str() == Some("http")).then(|| Self::local(url.port_u16()));
        }
        if address.is_some() || url.scheme_str() != Some("https") {
            return None;
        }
        let port = url.port_u16().filter(|port| *port != 443);
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        Some(Self { origin: format!("https://{host}{port}"), id: host })
    }

    fn local(port: Option<u16>) -> Self {
        let port = port.filter(|port| *port != 80).map(|port| format!(":{port}")).unwrap_or_default();
        Self { id: "localhost".to_owned(), origin: format!("http://localhost{port}") }
    }

    /// The relying party's id: the host.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The one origin whose pages may ask.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// What authenticator data says of it.
    #[must_use]
    pub fn id_hash(&self) -> Digest {
        Digest::of(self.id.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_console_has_one_origin_and_a_name() {
        let bound = SocketAddr::from(([127, 0, 0, 1], 7700));
        let of = |url: Option<&str>, behind_tls_proxy| {
            let public_url = url.map(ToOwned::to_owned);
            let party = RelyingParty::of(&ApiConfig { listen: bound, public_url, behind_tls_proxy }, bound);
            party.map(|party| (party.id().to_owned(), party.origin().to_owned()))
        };
        let party = |id: &str, origin: &str| Some((id.to_owned(), origin.to_owned()));
        let local = party("localhost", "http://localhost:7700");
        assert_eq!(of(None, false), local);
        assert_eq!(of(Some("http://127.0.0.1:7700/"), false), local);
        assert_eq!(of(Some("http://[::1]:7700"), false), local);
        let named = party("countersign.example.org", "https://countersign.example.org");
        assert_eq!(of(Some("https://Countersign.example.org/console"), true), named);
        assert_eq!(of(Some("https://countersign.example.org:443"), true), named);
        let other_port = party("countersign.example.org", "https://countersign.example.org:8443");
        assert_eq!(of(Some("https://countersign.example.org:8443"), true), other_port);
        for nameless in ["https://192.0.2.7", "http://countersign.example.org", "https://127.0.0.1"] {
            assert_eq!(of(Some(nameless), false), None, "{nameless}");
        }
        assert_eq!(of(None, true), None);
    }
}
