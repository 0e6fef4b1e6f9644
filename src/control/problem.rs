//! Problem details (RFC 9457).

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use crate::queue::{StoreError, StoreFault};

/// What went wrong. `type` is absent, which means `about:blank`: the title is the status's.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Problem {
    pub title: String,
    pub status: u16,
    pub detail: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Error").to_owned();
        Self { title, status: status.as_u16(), detail: detail.into() }
    }
}

impl From<StoreError> for Problem {
    fn from(err: StoreError) -> Self {
        let status = match err.fault {
            StoreFault::Refused => StatusCode::CONFLICT,
            StoreFault::Full => StatusCode::INSUFFICIENT_STORAGE,
            StoreFault::Broken => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, err.what)
    }
}

impl From<Problem> for StoreError {
    fn from(problem: Problem) -> Self {
        let fault = match problem.status {
            400..=499 => StoreFault::Refused,
            507 => StoreFault::Full,
            _ => StoreFault::Broken,
        };
        Self { what: problem.detail, fault }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self)).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}
