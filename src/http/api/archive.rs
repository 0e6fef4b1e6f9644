//! The archive: everything that was sent, to whom, when, with what outcome. A page as JSON, or all of it as JSON lines or CSV.

use std::collections::VecDeque;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{Method, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use futures::stream;
use utoipa::OpenApi;

use super::asked;
use super::notifications::SentQuery;
use crate::control::Problem;
use crate::http::Door;
use crate::http::auth::Caller;
use crate::http::table::{Access, Endpoint, on};
use crate::model::Right;
use crate::queue::{ArchiveRow, CSV_HEAD, Page, SentFilter, StoreError, csv_line};

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![on(Method::GET, "/api/v1/archive", Access::Scope(Right::Read), search)]
}

/// This resource's part of the document.
#[derive(OpenApi)]
#[openapi(paths(search))]
pub(super) struct Written;

/// Rows that are read at a time for an export.
const AT_A_TIME: usize = 500;

#[derive(Clone, Copy)]
enum Lines {
    Json,
    Csv,
}

/// Everything that was sent, or was to be sent, oldest first.
///
/// As JSON a page; as JSON lines or CSV all of it, in which formulas are made harmless. A token of some groups sees what came by way
/// of one of these.
#[utoipa::path(get, path = "/api/v1/archive", tag = "notifications", operation_id = "search_archive", params(SentQuery),
    responses(
        (status = 200, description = "A page, or an export", content(
            (Page<ArchiveRow> = "application/json"),
            (String = "application/jsonl"),
            (String = "text/csv"),
        ), headers(("Content-Disposition" = Option<String>, description = "Of an export: the name of a file"))),
        (status = 400, description = "A query parameter is not understood"),
    ))]
async fn search(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<SentQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let query = asked::query(query)?;
    let lines = match query.format.as_deref() {
        None | Some("json") => None,
        Some("jsonl") => Some(Lines::Json),
        Some("csv") => Some(Lines::Csv),
        Some(_) => return Err(Problem::bad("write json, jsonl or csv").of("format")),
    };
    let filter = query.filter(&caller)?;
    let Some(lines) = lines else {
        return Ok(Json(page(&door, &caller, &filter).await?).into_response());
    };
    let common = crate::queue::Common { limit: AT_A_TIME, ..filter.common };
    let filter = SentFilter { common, ..filter };
    let (kind, head) = match lines {
        Lines::Json => ("application/jsonl; charset=utf-8", String::new()),
        Lines::Csv => ("text/csv; charset=utf-8; header=present", CSV_HEAD.to_owned()),
    };
    let export = Export { door, caller, filter, lines, ready: VecDeque::from([head]), ended: false };
    let body = stream::try_unfold(export, Export::next);
    let headers = [
        (header::CONTENT_TYPE, kind),
        // To be kept, not to be shown.
        (header::CONTENT_DISPOSITION, if matches!(lines, Lines::Csv) { CSV_FILE } else { JSON_FILE }),
    ];
    Ok((headers, Body::from_stream(body)).into_response())
}

const CSV_FILE: &str = "attachment; filename=\"archive.csv\"";
const JSON_FILE: &str = "attachment; filename=\"archive.jsonl\"";

/// As the caller may see it.
async fn page(door: &Door, caller: &Caller, filter: &SentFilter) -> Result<Page<ArchiveRow>, StoreError> {
    let mut page = door.search.archive(filter).await?;
    page.items.iter_mut().for_each(|row| caller.only_seen(&mut row.groups));
    Ok(page)
}

/// An export under way: a page is read when the one before has been taken.
struct Export {
    door: Door,
    caller: Caller,
    filter: SentFilter,
    lines: Lines,
    ready: VecDeque<String>,
    ended: bool,
}

impl Export {
    async fn next(mut self) -> Result<Option<(String, Self)>, StoreError> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                if piece.is_empty() {
                    continue;
                }
                return Ok(Some((piece, self)));
            }
            if self.ended || self.door.ending.is_cancelled() {
                // Whoever takes it sees that it broke off.
                let cut = !self.ended;
                return if cut { Err(broken_off()) } else { Ok(None) };
            }
            let page = page(&self.door, &self.caller, &self.filter).await?;
            self.ready.push_back(page.items.iter().map(|row| self.line(row)).collect());
            self.filter.common.after = page.next.and_then(|next| next.parse().ok());
            self.ended = self.filter.common.after.is_none();
        }
    }

    fn line(&self, row: &ArchiveRow) -> String {
        match self.lines {
            Lines::Csv => csv_line(row),
            Lines::Json => serde_json::to_string(row).unwrap_or_default() + "\n",
        }
    }
}

fn broken_off() -> StoreError {
    StoreError { what: "the service ends".into(), fault: crate::queue::StoreFault::Refused }
}
