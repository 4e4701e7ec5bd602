//! Who sends a form or asks for a page, checked before anything is read from it.

use std::net::SocketAddr;

use axum::{
    Form,
    extract::{ConnectInfo, FromRef, FromRequest, FromRequestParts, Query, Request},
    http::request::Parts,
    response::{IntoResponse, Redirect, Response},
};
use countersign_model::Timestamp;
use http::{HeaderMap, Method, StatusCode, Uri};
use maud::html;
use serde::de::DeserializeOwned;

use super::{ConsoleState, PageError, layout::Frame};
use crate::identity::{Address, AuthError, Session, is_cross_site, is_same_origin};

/// Somebody who is signed in.
pub(crate) struct SignedIn(pub(crate) Session);

impl FromRequestParts<ConsoleState> for SignedIn {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &ConsoleState) -> Result<Self, Response> {
        match session(&parts.headers, state).await {
            Ok(Some(session)) => Ok(Self(session)),
            Ok(None) if parts.method == Method::GET && is_cross_site(&parts.headers) => {
                Err(step_inside(state.identity.now(), &parts.uri))
            }
            Ok(None) => Err(Redirect::to(&sign_in_path(&parts.method, &parts.uri)).into_response()),
            Err(error) => Err(error.into_response()),
        }
    }
}

/// The session of a request; `None` when there is none, or no longer.
pub(crate) async fn session(headers: &HeaderMap, state: &ConsoleState) -> Result<Option<Session>, PageError> {
    let Some(secret) = state.identity.cookie().read(headers) else { return Ok(None) };
    match state.identity.session(&secret).await {
        Ok(session) => Ok(Some(session)),
        Err(AuthError::Refused | AuthError::Unlinked | AuthError::SignInAgain) => Ok(None),
        Err(error) => Err(PageError::Unavailable(error.to_string())),
    }
}

/// A link from elsewhere (a chat, a mail) comes without the cookie, because that is `SameSite=Strict`.
/// This page asks for the same address again, now from here, and the cookie comes along.
pub(crate) fn step_inside(now: Timestamp, uri: &Uri) -> Response {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    if !is_local(path) {
        return PageError::NotFound.into_response();
    }
    let frame = Frame { title: "Opening", session: None, now, live: false };
    let content = html! {
        meta http-equiv="refresh" content={ "0; url=" (path) };
        p { a href=(path) { "Continue to Countersign" } }
    };
    (StatusCode::OK, frame.page(&content)).into_response()
}

fn sign_in_path(method: &Method, uri: &Uri) -> String {
    match uri.path_and_query().map(|path| path.as_str()) {
        Some(path) if *method == Method::GET && path != "/" => {
            let next: String = form_encoded(path);
            format!("/sign-in?next={next}")
        }
        _ => "/sign-in".to_owned(),
    }
}

/// A text as it stands in an address's query.
pub(crate) fn form_encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// A path on this console, and nothing that a browser could take for another host.
pub(crate) fn local_path(text: &str) -> Option<&str> {
    (is_local(text) && text.len() <= 2_048).then_some(text)
}

fn is_local(text: &str) -> bool {
    text.starts_with('/')
        && !text.starts_with("//")
        && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
}

/// A form that a page of our own sent, from somebody who is signed in.
pub(crate) struct SignedForm<T> {
    /// Who sent it.
    pub(crate) session: Session,
    /// What is in it.
    pub(crate) form: T,
}

/// A form's fields with the token that proves whose it is.
#[derive(serde::Deserialize)]
struct WithToken<T> {
    csrf: String,
    #[serde(flatten)]
    form: T,
}

impl<T: DeserializeOwned> FromRequest<ConsoleState> for SignedForm<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &ConsoleState) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let SignedIn(session) = SignedIn::from_request_parts(&mut parts, state).await?;
        let OwnForm(form) =
            OwnForm::<WithToken<T>>::from_request(Request::from_parts(parts, body), state).await?;
        if !session.owns_form(&form.csrf) {
            return Err(PageError::Forged.into_response());
        }
        Ok(Self { session, form: form.form })
    }
}

/// A form that a page of our own sent, whoever is signed in.
pub(crate) struct OwnForm<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for OwnForm<T>
where
    ConsoleState: FromRef<S>,
{
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        if !is_same_origin(request.headers()) {
            return Err(PageError::Forged.into_response());
        }
        match Form::from_request(request, state).await {
            Ok(Form(form)) => Ok(Self(form)),
            Err(error) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                Err(PageError::TooLarge.into_response())
            }
            Err(error) => Err(PageError::BadForm(error.to_string()).into_response()),
        }
    }
}

/// The start of a day, in UTC; none when the field is empty.
pub(crate) fn day(text: &str) -> Result<Option<Timestamp>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let start = format!("{text}T00:00:00Z").parse();
    start.map(Some).map_err(|_| "A date is written like 2026-03-31.".to_owned())
}

/// The query of an address, as far as it makes sense; a page is shown without it otherwise.
pub(crate) struct Params<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequestParts<S> for Params<T> {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(Query::try_from_uri(&parts.uri).map(|Query(params)| params).unwrap_or_default()))
    }
}

/// The address that a request came from, as far as it is known.
pub(crate) struct From(pub(crate) Address);

impl FromRequestParts<ConsoleState> for From {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &ConsoleState) -> Result<Self, Self::Rejection> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
        // HTTPS means that a proxy stands in front: the last address in the list is the one it saw.
        let behind_proxy = state.identity.cookie().is_secure();
        let forwarded = behind_proxy.then(|| last_forwarded(&parts.headers)).flatten();
        Ok(Self(forwarded.or(peer)))
    }
}

fn last_forwarded(headers: &HeaderMap) -> Address {
    let list = headers.get_all("x-forwarded-for").iter().next_back()?.to_str().ok()?;
    list.rsplit(',').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_on_this_console() {
        for path in ["/", "/approvals/x", "/approvals/x?y=z"] {
            assert_eq!(local_path(path), Some(path));
        }
        for path in ["", "x", "//evil.example", "/\\evil.example", "https://evil.example", "/a b", "/a\n"] {
            assert_eq!(local_path(path), None, "{path:?}");
        }
    }

    #[test]
    fn of_forwarded_addresses_the_nearest_proxys_counts() {
        let headers = |lists: &[&'static str]| {
            let header = |list: &&'static str| {
                ("x-forwarded-for".parse().unwrap(), http::HeaderValue::from_static(list))
            };
            let mut map = HeaderMap::new();
            lists.iter().map(header).for_each(|(name, value): (http::HeaderName, _)| {
                map.append(name, value);
            });
            map
        };
        let seen = "192.0.2.7".parse().ok();
        assert_eq!(last_forwarded(&headers(&["203.0.113.1, 192.0.2.7"])), seen);
        assert_eq!(last_forwarded(&headers(&["192.0.2.9", "203.0.113.1,192.0.2.7"])), seen);
        assert_eq!(last_forwarded(&headers(&["unknown"])), None);
        assert_eq!(last_forwarded(&headers(&[])), None);
    }

    #[test]
    fn the_way_back_survives_the_sign_in() {
        let uri: Uri = "/approvals/x?y=z&a=b".parse().unwrap();
        assert_eq!(sign_in_path(&Method::GET, &uri), "/sign-in?next=/approvals/x%3Fy%3Dz%26a%3Db");
        assert_eq!(sign_in_path(&Method::POST, &uri), "/sign-in");
    }
}
