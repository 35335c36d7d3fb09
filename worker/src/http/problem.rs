//! Errors as RFC 9457 tells them: `application/problem+json`.

use std::any::Any;

use axum::Json;
use axum::extract::path::ErrorKind;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bridge_shared::boolean;
use bridge_shared::filter::FilterError;
use bridge_shared::store::StoreError;
use bridge_shared::terminal::harmless_json;
use serde::de::Error as _;
use serde::{Deserialize as _, Deserializer, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa::openapi::{Content, Ref, ResponseBuilder};

/// Something that did not work, for whoever asked for it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    /// What kind of problem it is; `about:blank`: what the status says.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status in words.
    title: &'static str,
    #[serde(serialize_with = "as_number")]
    #[schema(value_type = u16)]
    status: StatusCode,
    /// What happened, and what to do.
    detail: String,
    /// What else there is to say, such as how many leads were accepted.
    #[serde(flatten)]
    #[schema(ignore)]
    more: Box<Map<String, Value>>,
    #[serde(skip)]
    retry_after: Option<u32>,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "the shape that serde asks for"
)]
fn as_number<S: serde::Serializer>(status: &StatusCode, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u16(status.as_u16())
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status,
            detail: detail.into(),
            more: Box::default(),
            retry_after: None,
        }
    }

    /// Says one thing more.
    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// Says after how many seconds it is worth trying again.
    pub(super) fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let json = serde_json::to_string(&self).expect("a problem is always JSON");
        let mut response = (self.status, harmless_json(json)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string());
        if error.is_transient() {
            problem.retry_after(1)
        } else {
            problem
        }
    }
}

impl From<FilterError> for Problem {
    fn from(error: FilterError) -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("the filter is wrong: {error}"),
        )
    }
}

/// Reads a number out of a query, and says of what is none which ones there are.
pub(super) fn whole_number<'de, D: Deserializer<'de>>(from: D, most: u64) -> Result<u64, D::Error> {
    let text = String::deserialize(from)?;
    let number = text.parse().ok().filter(|number| *number <= most);
    number.ok_or_else(|| {
        D::Error::custom(format!(
            "must be a whole number from 0 to {most}, not {text:?}"
        ))
    })
}

/// Reads a boolean out of a query; the name of the parameter alone means yes.
pub(super) fn yes_or_no<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    let text = String::deserialize(from)?;
    if text.is_empty() {
        return Ok(true);
    }
    boolean::read(&text)
        .ok_or_else(|| D::Error::custom(format!("must be {}, not {text:?}", boolean::WORDS)))
}

/// What is wrong with a query, without the words of the library that reads it.
fn query_words(text: &str) -> String {
    let text = text
        .rsplit_once("query string: ")
        .map_or(text, |(_, text)| text);
    if let Some(name) = text.strip_prefix("duplicate field ") {
        return format!("{name} stands there more than once");
    }
    let unknown = text.split_once("unknown field ");
    match unknown.and_then(|(_, text)| text.split_once(", ")) {
        Some((name, "there are no fields")) => {
            format!("there is no parameter {name}, nor any other")
        }
        Some((name, others)) => {
            let others = others
                .trim_start_matches("expected ")
                .trim_start_matches("one of ");
            format!("there is no parameter {name}; there is {others}")
        }
        // Ours, behind the name of the parameter.
        None => text.replacen(": must be ", " must be ", 1),
    }
}

impl From<QueryRejection> for Problem {
    fn from(error: QueryRejection) -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("the query is wrong: {}", query_words(&error.body_text())),
        )
    }
}

/// What is wrong with a path, in the same way. Its only number is an index.
fn path_words(error: &ErrorKind) -> String {
    match error {
        ErrorKind::ParseError { value, .. } | ErrorKind::ParseErrorAtKey { value, .. } => format!(
            "the index must be a whole number from 0 to {}, not {value:?}",
            u64::MAX
        ),
        ErrorKind::InvalidUtf8InPathParam { key } => {
            format!("`{key}` is not UTF-8 behind its percent signs")
        }
        other => other.to_string(),
    }
}

impl From<PathRejection> for Problem {
    fn from(error: PathRejection) -> Self {
        let detail = match &error {
            PathRejection::FailedToDeserializePathParams(error) => path_words(error.kind()),
            other => other.body_text(),
        };
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("the path is wrong: {detail}"),
        )
    }
}

/// What stands in the query, or a problem.
#[derive(FromRequestParts)]
#[from_request(via(Query), rejection(Problem))]
pub(super) struct Asked<T>(pub(super) T);

/// What stands in the path, or a problem.
#[derive(FromRequestParts)]
#[from_request(via(Path), rejection(Problem))]
pub(super) struct Named<T>(pub(super) T);

/// An answer that says the same to a program and gives a terminal no orders.
pub(super) struct Answer<T>(pub(super) T);

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        match serde_json::to_string(&self.0) {
            Ok(json) => (
                [(header::CONTENT_TYPE, "application/json")],
                harmless_json(json),
            )
                .into_response(),
            // Nothing here has a key that is no text; axum says the rest.
            Err(_) => Json(self.0).into_response(),
        }
    }
}

/// Any problem, as the description of the API has it.
pub(super) fn described() -> utoipa::openapi::Response {
    ResponseBuilder::new()
        .description("What did not work, and what to do")
        .content(
            "application/problem+json",
            Content::new(Some(Ref::from_schema_name("Problem"))),
        )
        .build()
}

pub(super) async fn no_such_path() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "there is nothing here; /openapi.json lists what there is",
    )
}

pub(super) async fn wrong_method() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "this path does not know that method; the header Allow lists those it knows",
    )
}

/// What a caller hears of a panic; where it was stands in the log.
pub(super) fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "a fault of the bridge; its log says where",
    )
    .into_response()
}
