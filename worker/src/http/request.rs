//! What is known of every request: its id, its time, its end.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use bridge_shared::store::dead_letters::token;
use tracing::Instrument as _;

use super::problem::Problem;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest id of a caller that is kept, in bytes.
const LONGEST_ID: usize = 128;

/// Gives a request its id, times it, and tells the log of its end. Neither headers nor the query
/// are told: they may hold a secret, or a person.
pub(super) async fn observe(request: Request, next: Next) -> Response {
    let id = request
        .headers()
        .get(REQUEST_ID)
        .filter(|id| is_plain(id))
        .cloned()
        .unwrap_or_else(|| token().parse().expect("letters and digits"));
    let method = request.method().clone();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("none", MatchedPath::as_str)
        .to_owned();
    let span = tracing::info_span!("request", id = id.to_str().unwrap_or_default());
    let begun = Instant::now();
    let mut response = next.run(request).instrument(span.clone()).await;
    let status = response.status();
    let seconds = begun.elapsed().as_secs_f64();
    span.in_scope(|| {
        let (method, status) = (method.as_str(), status.as_u16());
        if status >= 500 {
            tracing::warn!(method, route, status, seconds, "a request failed");
        } else {
            tracing::debug!(method, route, status, seconds, "a request");
        }
    });
    let method = known(&method);
    metrics::counter!("bridge_http_requests_total", "method" => method, "route" => route.clone(), "status" => status.as_u16().to_string())
        .increment(1);
    metrics::histogram!("bridge_http_request_seconds", "method" => method, "route" => route)
        .record(seconds);
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// A caller may invent methods; figures have only those there are.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

/// Whether a caller's id may be told and sent back.
fn is_plain(id: &HeaderValue) -> bool {
    let id = id.as_bytes();
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/".contains(byte);
    (1..=LONGEST_ID).contains(&id.len()) && id.iter().all(plain)
}

/// Errors that something on the way made in words of its own, as problems.
pub(super) async fn as_problem(response: Response) -> Response {
    let plain = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_none_or(|kind| kind.as_bytes().starts_with(b"text/plain"));
    match response.status() {
        StatusCode::PAYLOAD_TOO_LARGE if plain => Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the body is too large: nothing but /leads needs one",
        )
        .into_response(),
        _ => response,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_kept_where_it_can_do_no_harm() {
        let plain = |id: &str| is_plain(&HeaderValue::from_str(id).expect("a value"));
        assert!(plain("7c1f-a.b_c:1/2"));
        for id in ["", "two words", "\"quoted\"", "x".repeat(129).as_str()] {
            assert!(!plain(id), "{id}");
        }
    }
}
