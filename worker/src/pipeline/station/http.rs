//! `http`: posts the lead as JSON to a service and merges what it answers.

use std::time::Duration;

use bridge_shared::VERSION;
use bridge_shared::envelope::ErrorKind;
use bridge_shared::lead::Lead;
use futures::future::{BoxFuture, FutureExt as _};
use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url, redirect};

use super::{Call, Failure, Keys, Outcome, Station};

/// Time one call may take where the route does not say.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer after which it is no answer any more.
const ANSWER: usize = 8 * 1024 * 1024;
/// Characters of a refusal that go into the error.
const EXCERPT: usize = 200;

#[derive(Debug)]
struct Http {
    client: Client,
    url: Url,
    /// The URL as it may be shown: without user, password and query.
    shown: String,
}

pub(super) fn make(keys: &mut Keys<'_>) -> Option<Box<dyn Station>> {
    let at = keys.place("url");
    let text = keys.filled("url");
    let text = keys.need("url", text, "url = \"https://...\"");
    let headers = headers(keys);
    let url = Url::parse(text?.get_ref())
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if url.is_none() {
        keys.wrong(
            &at,
            "this is not an http or https URL",
            "write url = \"https://...\"",
        );
    }
    let url = url?;
    let client = Client::builder()
        .user_agent(format!("redis-bridge/{VERSION}"))
        .default_headers(headers)
        // A lead is not posted to where somebody else points.
        .redirect(redirect::Policy::none())
        .build()
        .map_err(|error| {
            keys.wrong(
                &at,
                format!("cannot make an HTTP client: {error}"),
                "look at this machine's certificates",
            );
        })
        .ok()?;
    let mut shown = url.clone();
    shown.set_query(None);
    shown.set_fragment(None);
    // Fails only for URLs that cannot carry them.
    let _ = shown
        .set_password(None)
        .and_then(|()| shown.set_username(""));
    Some(Box::new(Http {
        client,
        shown: shown.to_string(),
        url,
    }))
}

impl Http {
    async fn post(&self, id: &str, lead: &mut Lead) -> Result<Outcome, Failure> {
        let response = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("Idempotency-Key", id)
            .body(lead.to_json())
            .send()
            .await
            .map_err(|error| self.broken(&error))?;
        let status = response.status();
        if !status.is_success() {
            return Err(self.refused(status, response).await);
        }
        let body = self.body(response).await?;
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Outcome::Continue);
        }
        let answer = Lead::parse(&body).map_err(|error| {
            Failure::new(
                ErrorKind::Permanent,
                format!("{} broke its contract: the answer is {error}", self.shown),
            )
        })?;
        lead.merge(answer);
        Ok(Outcome::Continue)
    }

    async fn body(&self, mut response: Response) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| self.broken(&error))?
        {
            if body.len() + chunk.len() > ANSWER {
                return Err(Failure::new(
                    ErrorKind::Permanent,
                    format!(
                        "{} broke its contract: the answer is longer than {} MiB",
                        self.shown,
                        ANSWER >> 20
                    ),
                ));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// No answer, or only a part of one.
    fn broken(&self, error: &reqwest::Error) -> Failure {
        // The innermost cause is what the system said; the outer ones repeat the URL.
        let mut cause: &dyn std::error::Error = error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        Failure::new(
            ErrorKind::Transient,
            format!("cannot reach {}: {cause}", self.shown),
        )
    }

    /// An answer that is no success.
    async fn refused(&self, status: StatusCode, mut response: Response) -> Failure {
        let kind = match status.as_u16() {
            408 | 425 | 429 | 500..=599 => ErrorKind::Transient,
            _ => ErrorKind::Permanent,
        };
        let retry_after = retry_after(response.headers());
        let start = response.chunk().await.ok().flatten().unwrap_or_default();
        let said = excerpt(&String::from_utf8_lossy(&start));
        let error = format!("HTTP {} from {}", status.as_u16(), self.shown);
        Failure {
            retry_after,
            ..Failure::new(
                kind,
                if said.is_empty() {
                    error
                } else {
                    format!("{error}: {said}")
                },
            )
        }
    }
}

impl Station for Http {
    fn work<'a>(
        &'a self,
        call: &'a Call<'a>,
        lead: &'a mut Lead,
    ) -> BoxFuture<'a, Result<Outcome, Failure>> {
        self.post(call.id(), lead).boxed()
    }

    fn timeout(&self) -> Option<Duration> {
        Some(TIMEOUT)
    }
}

fn headers(keys: &mut Keys<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (key, text) in keys.filled_entries("headers").unwrap_or_default() {
        let Ok(name) = HeaderName::try_from(key.get_ref().as_str()) else {
            keys.wrong(
                &key.span(),
                format!("\"{}\" cannot be a header's name", key.get_ref()),
                "write letters, digits and dashes",
            );
            continue;
        };
        let Ok(mut value) = HeaderValue::try_from(text.get_ref().as_str()) else {
            keys.wrong(
                &text.span(),
                format!("header \"{name}\" has a value that cannot be sent"),
                "take line breaks and control characters out",
            );
            continue;
        };
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    headers
}

/// How long the service asks to be left alone: seconds, or a date, which is read against the
/// answer's own date, so that no clock of this machine counts (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = |text: &str| {
        jiff::fmt::rfc2822::parse(text)
            .ok()
            .map(|at| at.timestamp().as_second())
    };
    let until = date(text)?;
    let now = date(headers.get(DATE)?.to_str().ok()?)?;
    u64::try_from(until - now).ok().map(Duration::from_secs)
}

/// The beginning of what a service said, on one line.
fn excerpt(text: &str) -> String {
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect();
    words.join(" ").chars().take(EXCERPT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_as_seconds_or_as_a_date() {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_static("7"));
        assert_eq!(retry_after(&headers), Some(Duration::from_secs(7)));
        headers.insert(
            RETRY_AFTER,
            HeaderValue::from_static("Thu, 15 Jan 2026 10:30:30 GMT"),
        );
        assert_eq!(retry_after(&headers), None, "no date to read it against");
        headers.insert(
            DATE,
            HeaderValue::from_static("Thu, 15 Jan 2026 10:30:00 GMT"),
        );
        assert_eq!(retry_after(&headers), Some(Duration::from_secs(30)));
        headers.insert(RETRY_AFTER, HeaderValue::from_static("later"));
        assert_eq!(retry_after(&headers), None);
    }

    #[test]
    fn what_a_service_says_fits_on_a_line() {
        assert_eq!(excerpt(" a\r\n\x1b[31mb\0c "), "a [31mb c");
        assert_eq!(excerpt(&"x".repeat(500)).len(), EXCERPT);
    }
}
