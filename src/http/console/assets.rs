//! The style sheet, the script and the icon: compiled in, and known by what is in them.

use std::sync::LazyLock;

use axum::extract::{Path, RawQuery};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::control::Problem;
use crate::http::auth::digest;
use crate::http::table::{Access, Endpoint, on};

/// A file of the console.
struct Asset {
    name: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
    /// The beginning of its SHA-256.
    hash: String,
}

static ASSETS: LazyLock<[Asset; 3]> = LazyLock::new(|| {
    let asset =
        |name, kind, bytes: &'static [u8]| Asset { name, kind, bytes, hash: digest(bytes).chars().take(16).collect() };
    [
        asset("style.css", "text/css; charset=utf-8", include_bytes!("assets/style.css")),
        asset("live.js", "text/javascript; charset=utf-8", include_bytes!("assets/live.js")),
        asset("icon.svg", "image/svg+xml", include_bytes!("assets/icon.svg")),
    ]
});

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![on(Method::GET, "/console/assets/{file}", Access::Open, serve)]
}

/// Where a page gets it from: another version has another address.
pub(super) fn href(name: &str) -> String {
    let hash = ASSETS.iter().find(|asset| asset.name == name).map_or("", |asset| &asset.hash);
    format!("/console/assets/{name}?v={hash}")
}

async fn serve(Path(file): Path<String>, RawQuery(query): RawQuery, headers: HeaderMap) -> Result<Response, Problem> {
    let Some(asset) = ASSETS.iter().find(|asset| asset.name == file) else {
        return Err(Problem::missing("there is nothing at this path"));
    };
    let tag = format!("\"{}\"", asset.hash);
    // An address that names another version gets this one, and asks again next time.
    let is_this = query.is_some_and(|query| query == format!("v={}", asset.hash));
    let keep = if is_this { "public, max-age=31536000, immutable" } else { "no-cache" };
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|line| line.to_str().ok());
    let head = [(header::ETAG, tag.clone()), (header::CACHE_CONTROL, keep.to_owned())];
    // RFC 9110 §13.1.2: weak comparison, of each in the list.
    let mut tags = known.flat_map(|line| line.split(',')).map(|one| one.trim().trim_start_matches("W/"));
    if tags.any(|one| one == tag || one == "*") {
        return Ok((StatusCode::NOT_MODIFIED, head).into_response());
    }
    Ok((head, [(header::CONTENT_TYPE, asset.kind)], asset.bytes).into_response())
}
