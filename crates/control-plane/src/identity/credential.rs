//! What a request proves itself with, read from its headers.

use http::{HeaderMap, header};

use super::{
    cookie::SessionCookie,
    secret::{BearerToken, Secret},
};

/// What a request proves itself with.
#[derive(Debug, Clone)]
pub enum Credential {
    /// `Authorization: Bearer cs_…`.
    Token(BearerToken),
    /// The console's session cookie.
    Session(Secret),
}

impl Credential {
    /// The bearer token of a request. `Some(None)` when there is an `Authorization` header that holds none.
    fn bearer(headers: &HeaderMap) -> Option<Option<BearerToken>> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let value = values.next()?;
        if values.next().is_some() {
            return Some(None);
        }
        let read = || {
            let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().parse().ok())?
        };
        Some(read())
    }

    /// What an API request proves itself with. A cookie serves for reading only: a page elsewhere can
    /// make a browser send it, but cannot make it send an `Authorization` header.
    #[must_use]
    pub fn for_api(headers: &HeaderMap, reading: bool, cookie: SessionCookie) -> Option<Self> {
        match Self::bearer(headers) {
            Some(token) => token.map(Self::Token),
            None if reading => cookie.read(headers).map(Self::Session),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use countersign_model::{Timestamp, TokenId};
    use http::HeaderValue;

    use super::*;

    fn token() -> String {
        let id = TokenId::new(Timestamp::from_millis(1), [1; 10]);
        BearerToken { id, secret: Secret::new([2; 32]) }.expose()
    }

    fn headers(authorization: &[&str], cookie: bool) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in authorization {
            headers.append(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        if cookie {
            headers.insert(header::COOKIE, SessionCookie::new(false).set(&Secret::new([3; 32])).unwrap());
        }
        headers
    }

    fn read(headers: &HeaderMap, reading: bool) -> Option<Credential> {
        Credential::for_api(headers, reading, SessionCookie::new(false))
    }

    #[test]
    fn a_cookie_is_good_for_reading_only() {
        assert!(matches!(read(&headers(&[], true), true), Some(Credential::Session(_))));
        assert!(read(&headers(&[], true), false).is_none());
    }

    #[test]
    fn a_bad_token_is_not_made_good_by_a_cookie() {
        let bearer = format!("Bearer {}", token());
        assert!(matches!(read(&headers(&[&bearer], true), true), Some(Credential::Token(_))));
        assert!(read(&headers(&["Bearer cs_x"], true), true).is_none());
        assert!(read(&headers(&["Basic abc"], true), true).is_none());
        assert!(read(&headers(&[&bearer, &bearer], false), true).is_none());
    }
}
