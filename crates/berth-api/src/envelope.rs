//! The form of every answer: `{success, errors, messages, result}`, always JSON, never empty: the
//! containers part of wrangler fails on 204.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode, Uri};
use serde::Serialize;
use serde_json::{Value, json};

use crate::failure::Failure;

/// What a handler answers.
pub(crate) type Answer = Result<Response, Failure>;

/// A result.
pub(crate) fn result(result: impl Serialize) -> Answer {
    let result = serde_json::to_value(result).map_err(Failure::internal)?;
    Ok(
        Json(json!({"success": true, "errors": [], "messages": [], "result": result}))
            .into_response(),
    )
}

/// A list, which is all there is.
pub(crate) fn list(items: Vec<Value>) -> Answer {
    let count = items.len();
    let info = json!({
        "page": 1, "per_page": count.max(1), "count": count, "total_count": count, "total_pages": 1,
    });
    let body = json!({
        "success": true, "errors": [], "messages": [], "result": items, "result_info": info,
    });
    Ok(Json(body).into_response())
}

/// Most items of one page.
const LARGEST_PAGE: usize = 1000;

/// One page of a list, of as many as it is if nothing is said of pages.
pub(crate) fn paged(items: Vec<Value>, page: Option<usize>, per_page: Option<usize>) -> Answer {
    let total = items.len();
    let per_page = per_page.unwrap_or(LARGEST_PAGE).clamp(1, LARGEST_PAGE);
    let page = page.unwrap_or(1).max(1);
    let before = (page - 1).saturating_mul(per_page);
    let items: Vec<Value> = items.into_iter().skip(before).take(per_page).collect();
    let info = json!({
        "page": page, "per_page": per_page, "count": items.len(), "total_count": total,
        "total_pages": total.div_ceil(per_page),
    });
    let body = json!({
        "success": true, "errors": [], "messages": [], "result": items, "result_info": info,
    });
    Ok(Json(body).into_response())
}

/// A page that is past the last one when it is not the first.
pub(crate) fn page(items: Vec<Value>, page: Option<u64>) -> Answer {
    match page {
        Some(page) if page > 1 => list(Vec::new()),
        _ => list(items),
    }
}

pub(crate) async fn no_route(method: Method, uri: Uri) -> Response {
    let text = format!("No route for that URI: {method} {}", uri.path());
    Failure::new(StatusCode::NOT_FOUND, 7000, text).into_response()
}

/// Bytes that the framework says at most.
const OWN_WORDS: usize = 64 << 10;

/// What the framework itself refuses (a method, a form, a length) is text: it becomes an answer like
/// every other.
pub(crate) async fn wrapped(response: Response) -> Response {
    let status = response.status();
    let is_json = response
        .headers()
        .get(http::header::CONTENT_TYPE)
        .is_some_and(|kind| kind == "application/json");
    if is_json || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let body = axum::body::to_bytes(response.into_body(), OWN_WORDS).await;
    let text = String::from_utf8_lossy(&body.unwrap_or_default()).into_owned();
    let text = if text.is_empty() {
        status.canonical_reason().unwrap_or("refused").to_owned()
    } else {
        text
    };
    Failure::new(status, 10001, text).into_response()
}
