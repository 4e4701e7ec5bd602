//! The console's cookies: the session's, and that of a sign-in on its way to an identity provider.

use countersign_model::Seconds;
use http::{HeaderMap, HeaderValue, header};

use super::secret::Secret;

/// The name over HTTPS: `__Host-` binds the cookie to exactly this host (RFC 6265bis §4.1.3.2).
const SECURE_NAME: &str = "__Host-countersign";
/// The name on plain-HTTP loopback, where a browser would not take a `__Host-` cookie.
const PLAIN_NAME: &str = "countersign";
/// The names of the cookie of a sign-in on its way, likewise.
const SECURE_FLOW: &str = "__Host-countersign-sign-in";
const PLAIN_FLOW: &str = "countersign-sign-in";

/// How the cookie is written, by the way the console is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionCookie {
    secure: bool,
}

impl SessionCookie {
    /// The cookie of a console that is reached over HTTPS (`secure`) or on plain-HTTP loopback.
    #[must_use]
    pub const fn new(secure: bool) -> Self {
        Self { secure }
    }

    /// Whether the console is reached over HTTPS.
    #[must_use]
    pub const fn is_secure(self) -> bool {
        self.secure
    }

    /// The cookie's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        if self.secure { SECURE_NAME } else { PLAIN_NAME }
    }

    /// The session secret that a request came with. Two cookies of that name are none: somebody else
    /// may have set one of them.
    #[must_use]
    pub fn read(self, headers: &HeaderMap) -> Option<Secret> {
        read(headers, self.name())?.parse().ok()
    }

    /// `Set-Cookie` for a new session. It ends with the browser; the server ends it sooner.
    #[must_use]
    pub fn set(self, secret: &Secret) -> Option<HeaderValue> {
        write(self.name(), &secret.expose(), self.secure, "")
    }

    /// `Set-Cookie` that takes the cookie away.
    #[must_use]
    pub fn clear(self) -> Option<HeaderValue> {
        write(self.name(), "", self.secure, "; Max-Age=0")
    }
}

/// The cookie of a sign-in on its way to an identity provider and back.
#[derive(Debug, Clone, Copy)]
pub(super) struct FlowCookie {
    secure: bool,
}

impl FlowCookie {
    pub(super) const fn new(secure: bool) -> Self {
        Self { secure }
    }

    const fn name(self) -> &'static str {
        if self.secure { SECURE_FLOW } else { PLAIN_FLOW }
    }

    /// What a request came with.
    pub(super) fn read(self, headers: &HeaderMap) -> Option<String> {
        read(headers, self.name()).map(ToOwned::to_owned)
    }

    /// `Set-Cookie` for a sign-in that may take so long.
    pub(super) fn set(self, value: &str, lifetime: Seconds) -> Option<HeaderValue> {
        write(self.name(), value, self.secure, &format!("; Max-Age={}", lifetime.get()))
    }

    /// `Set-Cookie` that takes the cookie away.
    pub(super) fn clear(self) -> Option<HeaderValue> {
        write(self.name(), "", self.secure, "; Max-Age=0")
    }
}

/// The one cookie of that name.
fn read<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut found = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|cookies| cookies.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='))
        .filter(|(found, _)| *found == name);
    let (_, value) = found.next()?;
    found.next().is_none().then_some(value)
}

fn write(name: &str, value: &str, secure: bool, more: &str) -> Option<HeaderValue> {
    let secure = if secure { "; Secure" } else { "" };
    HeaderValue::from_str(&format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict{secure}{more}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> Secret {
        Secret::new([9; 32])
    }

    fn request(cookies: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_str(cookies).unwrap())])
    }

    #[test]
    fn the_cookie_cannot_be_read_by_script_or_sent_from_elsewhere() {
        let secure = SessionCookie::new(true).set(&secret()).unwrap();
        let secure = secure.to_str().unwrap();
        assert!(secure.starts_with("__Host-countersign="), "{secure}");
        assert!(secure.ends_with("; Path=/; HttpOnly; SameSite=Strict; Secure"), "{secure}");
        let plain = SessionCookie::new(false).set(&secret()).unwrap();
        assert!(plain.to_str().unwrap().ends_with("; Path=/; HttpOnly; SameSite=Strict"));
    }

    #[test]
    fn a_cookie_is_read_back_and_an_ambiguous_one_is_not() {
        let cookie = SessionCookie::new(false);
        let pair = format!("countersign={}", secret().expose());
        assert!(cookie.read(&request(&format!("theme=dark; {pair}"))).is_some());
        assert!(cookie.read(&request(&format!("{pair}; {pair}"))).is_none());
        assert!(cookie.read(&request("countersign=short")).is_none());
        assert!(SessionCookie::new(true).read(&request(&pair)).is_none());
        assert!(cookie.read(&HeaderMap::new()).is_none());
    }
}
