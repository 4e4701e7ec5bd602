//! Requests to the outside: no redirects, no proxies of the environment, bounded in time, and only to
//! addresses that the operator means.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use reqwest::{
    Client, Response,
    dns::{Addrs, Name, Resolve, Resolving},
    header::RETRY_AFTER,
    redirect,
};

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Which addresses requests may go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Addresses of the internet alone: a name that leads into our own network leads nowhere.
    Public,
    /// Private and loopback addresses, too.
    Private,
}

impl Reach {
    /// Whether an address is within reach. Link-local ones never are: clouds serve their credentials there.
    pub(crate) fn has(self, address: IpAddr) -> bool {
        let address = unwrapped(address);
        let is_never = match address {
            IpAddr::V4(v4) => {
                v4.is_link_local() || v4.is_multicast() || v4.is_broadcast() || v4.is_unspecified()
            }
            IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.is_multicast() || v6.is_unspecified(),
        };
        !is_never && (self == Self::Private || is_public(address))
    }
}

/// A client for one channel.
///
/// # Errors
/// When TLS cannot be set up.
pub(crate) fn client(reach: Reach) -> Result<Client, reqwest::Error> {
    Client::builder()
        .user_agent(concat!("Countersign/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(TIMEOUT)
        // A redirect could lead a message, and what proves it, elsewhere.
        .redirect(redirect::Policy::none())
        // A proxy would resolve names itself, past the resolver below.
        .no_proxy()
        .dns_resolver(Arc::new(Guard(reach)))
        .build()
}

/// Resolves names, and lets through what is within reach: whatever is checked here is what is connected to.
struct Guard(Reach);

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let within: Vec<SocketAddr> = found.filter(|address| reach.has(address.ip())).collect();
            if within.is_empty() {
                let why = "its name leads to no address that this channel may reach (allow_private)";
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, why).into());
            }
            let addresses: Addrs = Box::new(within.into_iter());
            Ok(addresses)
        })
    }
}

/// How long the other side wants to be left alone.
pub(crate) fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// What went wrong, from the inside out, without the address: it can hold a secret.
pub(crate) fn reason(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    if error.is_timeout() { "it took too long".to_owned() } else { cause.to_string() }
}

/// The IPv4 address within an IPv6 address that stands for one.
fn unwrapped(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match v6.segments() {
        // Mapped, NAT64, and 6to4.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        [0x2002, high, low, ..] => embedded(high, low),
        _ => address,
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let is_special = match address.octets() {
        // This network, and providers' own.
        [0, ..] | [100, 64..=127, ..] => true,
        // Protocol assignments, and benchmarks.
        [192, 0, 0, _] | [198, 18 | 19, ..] => true,
        // Reserved.
        [240..=255, ..] => true,
        _ => false,
    };
    !(is_special || address.is_private() || address.is_loopback() || address.is_documentation())
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    // Only global unicast; of it, not what is for documentation.
    let [first, second, ..] = address.segments();
    (0x2000..0x4000).contains(&first) && (first, second) != (0x2001, 0xdb8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_our_own_network_are_out_of_reach() {
        for address in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "0.0.0.0",
            "0.1.2.3",
            "192.0.0.8",
            "198.18.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "169.254.169.254",
            "224.0.0.1",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a00:1",
            "2002:a00:1::",
            "2001:db8::1",
            "64:ff9b:1::1",
        ] {
            assert!(!Reach::Public.has(address.parse().unwrap()), "{address}");
        }
        for address in ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "::ffff:8.8.8.8"] {
            assert!(Reach::Public.has(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn where_clouds_serve_credentials_is_never_within_reach() {
        for address in ["169.254.169.254", "::ffff:169.254.169.254", "fe80::1", "64:ff9b::a9fe:a9fe"] {
            assert!(!Reach::Private.has(address.parse().unwrap()), "{address}");
        }
        assert!(Reach::Private.has("10.0.0.1".parse().unwrap()));
    }

    /// A name of the outside that leads inside does not get there: what is resolved is what is checked.
    #[tokio::test]
    async fn a_name_that_leads_to_this_machine_leads_nowhere() {
        let client = client(Reach::Public).unwrap();
        let error = client.get("http://localhost:9/").send().await.unwrap_err();
        assert!(reason(error).contains("may reach"));
    }
}
