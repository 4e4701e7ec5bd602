//! The console's style, script and icon, compiled in. Their names carry a digest of their content, so
//! they can be cached for ever and never be stale.

use std::sync::LazyLock;

use axum::{
    extract::Path,
    response::{IntoResponse, Response},
};
use countersign_model::Digest;
use http::{HeaderValue, header};

use super::error::PageError;

const STYLE: &str = include_str!("assets/console.css");
const SCRIPT: &str = include_str!("assets/console.js");
const PASSKEY: &str = include_str!("assets/passkey.js");
const ICON: &str = include_str!("assets/mark.svg");

/// Where each asset is served.
pub(crate) struct Paths {
    /// The style sheet.
    pub(crate) style: String,
    /// The script.
    pub(crate) script: String,
    /// The script of forms that a passkey confirms.
    pub(crate) passkey: String,
    /// The icon.
    pub(crate) icon: String,
}

/// Where each asset is served.
pub(crate) static PATHS: LazyLock<Paths> = LazyLock::new(|| Paths {
    style: named("console", STYLE, "css"),
    script: named("console", SCRIPT, "js"),
    passkey: named("passkey", PASSKEY, "js"),
    icon: named("mark", ICON, "svg"),
});

fn named(name: &str, content: &str, extension: &str) -> String {
    format!("/assets/{name}.{}.{extension}", Digest::of(content.as_bytes()).short())
}

/// Serves an asset by its exact name.
pub(crate) async fn serve(Path(name): Path<String>) -> Result<Response, PageError> {
    let path = format!("/assets/{name}");
    let (content, kind) = if path == PATHS.style {
        (STYLE, "text/css; charset=utf-8")
    } else if path == PATHS.script {
        (SCRIPT, "text/javascript; charset=utf-8")
    } else if path == PATHS.passkey {
        (PASSKEY, "text/javascript; charset=utf-8")
    } else if path == PATHS.icon {
        (ICON, "image/svg+xml")
    } else {
        return Err(PageError::NotFound);
    };
    let mut response = content.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    Ok(response)
}
