//! Who is who: people, agents, trust domains and SPIFFE IDs.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A name that is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The text is empty, too long, or has characters that such a name cannot have.
    #[error("{text:?} is not {what}")]
    Malformed {
        /// The first characters of what was given.
        text: String,
        /// What it should have been.
        what: &'static str,
    },
}

fn malformed(text: &str, what: &'static str) -> IdentityError {
    IdentityError::Malformed { text: text.chars().take(64).collect(), what }
}

macro_rules! text_newtype {
    ($(#[$doc:meta])* $name:ident, $check:expr, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdentityError;

            fn from_str(text: &str) -> Result<Self, IdentityError> {
                let check: fn(&str) -> Option<String> = $check;
                check(text).map(Self).ok_or_else(|| malformed(text, $what))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(D::Error::custom)
            }
        }
    };
}

text_newtype!(
    /// The name of an agent within its trust domain: a DNS label, so that it fits a SPIFFE path
    /// segment, a file name and a certificate alike.
    AgentName,
    |text| is_dns_label(text).then(|| text.to_owned()),
    "an agent name: 1 to 63 lower-case letters, digits and hyphens, not starting or ending with a hyphen"
);

text_newtype!(
    /// A person, by the stable identifier that their identity provider vouches for (as a rule an e-mail
    /// address). Folded to lower case, so that one person is not counted twice (I4).
    PersonId,
    |text| {
        let folded = text.trim().to_lowercase();
        let fits = !folded.is_empty()
            && folded.len() <= 254
            && !folded.chars().any(|c| c.is_control() || c.is_whitespace());
        fits.then_some(folded)
    },
    "a person: an e-mail address or another identifier of at most 254 bytes without white space"
);

text_newtype!(
    /// A SPIFFE trust domain name (SPIFFE-ID §2.1).
    TrustDomain,
    |text| {
        let fits = !text.is_empty()
            && text.len() <= 255
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_'));
        fits.then(|| text.to_owned())
    },
    "a trust domain: 1 to 255 lower-case letters, digits, dots, hyphens and underscores"
);

fn is_dns_label(text: &str) -> bool {
    let inner = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    inner && !text.is_empty() && text.len() <= 63 && !text.starts_with('-') && !text.ends_with('-')
}

/// The SPIFFE ID of a workload: `spiffe://TRUST-DOMAIN/agent/NAME` for a sidecar,
/// `spiffe://TRUST-DOMAIN/control-plane` for the control plane (SPIFFE-ID §2).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    trust_domain: TrustDomain,
    workload: Workload,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Workload {
    ControlPlane,
    Agent(AgentName),
}

impl SpiffeId {
    /// The id of the control plane of a trust domain.
    #[must_use]
    pub fn control_plane(trust_domain: TrustDomain) -> Self {
        Self { trust_domain, workload: Workload::ControlPlane }
    }

    /// The id of an agent's sidecar.
    #[must_use]
    pub fn agent(trust_domain: TrustDomain, name: AgentName) -> Self {
        Self { trust_domain, workload: Workload::Agent(name) }
    }

    /// The trust domain part.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The agent's name; `None` for the control plane.
    #[must_use]
    pub fn agent_name(&self) -> Option<&AgentName> {
        match &self.workload {
            Workload::Agent(name) => Some(name),
            Workload::ControlPlane => None,
        }
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.workload {
            Workload::ControlPlane => write!(f, "spiffe://{}/control-plane", self.trust_domain),
            Workload::Agent(name) => write!(f, "spiffe://{}/agent/{name}", self.trust_domain),
        }
    }
}

impl FromStr for SpiffeId {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let error = || malformed(text, "a SPIFFE ID like spiffe://example.org/agent/NAME");
        let rest = text.strip_prefix("spiffe://").ok_or_else(error)?;
        let (domain, path) = rest.split_once('/').ok_or_else(error)?;
        let trust_domain = domain.parse().map_err(|_| error())?;
        if path == "control-plane" {
            return Ok(Self::control_plane(trust_domain));
        }
        let name = path.strip_prefix("agent/").ok_or_else(error)?;
        Ok(Self::agent(trust_domain, name.parse().map_err(|_| error())?))
    }
}

impl Serialize for SpiffeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SpiffeId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_one_person_however_the_name_is_written() {
        assert_eq!("Owner@Example.com".parse::<PersonId>(), " owner@example.com ".parse());
        assert!("two words".parse::<PersonId>().is_err());
        assert!("".parse::<PersonId>().is_err());
    }

    #[test]
    fn spiffe_ids_read_what_they_write_and_nothing_else() {
        for text in ["spiffe://example.org/control-plane", "spiffe://example.org/agent/deploy-bot"] {
            assert_eq!(text.parse::<SpiffeId>().unwrap().to_string(), text);
        }
        for text in [
            "spiffe://example.org",
            "spiffe://example.org/agent/",
            "spiffe://example.org/agent/a/b",
            "spiffe://example.org/agent/Upper",
            "spiffe://Example.org/agent/a",
            "https://example.org/agent/a",
        ] {
            assert!(text.parse::<SpiffeId>().is_err(), "{text}");
        }
    }
}
