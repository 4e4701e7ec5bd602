//! Whether a browser says that a request that changes something was made by our own page.
//!
//! This stands beside the token in each form and the `SameSite=Strict` cookie; any one of the three
//! would do. Fetch Metadata is used where the browser sends it, `Origin` otherwise; a request that
//! has neither is not from a browser's form and is refused.

use http::{HeaderMap, HeaderName, header};

/// Whether the request was made by a page of the same origin.
#[must_use]
pub fn is_same_origin(headers: &HeaderMap) -> bool {
    match text(headers, &HeaderName::from_static("sec-fetch-site")) {
        Some(site) => site == "same-origin",
        None => origin_is_host(headers),
    }
}

/// Whether a page elsewhere caused the request, so that a `SameSite=Strict` cookie was left out.
#[must_use]
pub fn is_cross_site(headers: &HeaderMap) -> bool {
    matches!(text(headers, &HeaderName::from_static("sec-fetch-site")), Some("cross-site" | "same-site"))
}

fn origin_is_host(headers: &HeaderMap) -> bool {
    let origin = text(headers, &header::ORIGIN).and_then(|origin| origin.split_once("://"));
    match (origin, text(headers, &header::HOST)) {
        (Some((_, origin)), Some(host)) => origin.eq_ignore_ascii_case(host),
        _ => false,
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn only_our_own_pages_may_change_something() {
        assert!(is_same_origin(&headers(&[("sec-fetch-site", "same-origin")])));
        assert!(is_same_origin(&headers(&[("origin", "http://127.0.0.1:7700"), ("host", "127.0.0.1:7700")])));
        for refused in [
            &[][..],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "none")],
            &[("sec-fetch-site", "cross-site"), ("origin", "http://a"), ("host", "a")],
            &[("origin", "null"), ("host", "a")],
            &[("origin", "http://evil.example"), ("host", "a")],
            &[("origin", "http://127.0.0.1:7701"), ("host", "127.0.0.1:7700")],
        ] {
            assert!(!is_same_origin(&headers(refused)), "{refused:?}");
        }
    }
}
