//! `http`: posts the lead as JSON to a service and merges what it answers.

use std::time::Duration;

use bridge_shared::VERSION;
use bridge_shared::envelope::ErrorKind;
use bridge_shared::lead::Lead;
use futures::future::{BoxFuture, FutureExt as _};
use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url, redirect};
use toml::Spanned;
use toml::de::DeValue;

use super::super::route::Wrong;
use super::{Common, Failure, Keys, Station};

/// Time one call may take where the route does not say.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer after which it is no answer any more.
const ANSWER: usize = 8 * 1024 * 1024;
/// Characters of a refusal that go into the error.
const EXCERPT: usize = 200;

#[derive(Debug)]
pub(super) struct Http {
    common: Common,
    client: Client,
    url: Url,
    /// The URL as it may be shown: without user, password and query.
    shown: String,
    timeout: Duration,
}

impl Http {
    pub(super) fn new(common: Common, keys: &mut Keys<'_>) -> Result<Self, Wrong> {
        let Some(text) = keys.text("url")? else {
            return Err(keys.needs("a url"));
        };
        let url = Url::parse(&filled(&text)?)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| {
                Wrong::at(
                    &text,
                    format!("\"{}\" is not an http or https URL", text.get_ref()),
                )
            })?;
        let timeout = keys.duration("timeout")?.unwrap_or(TIMEOUT);
        let client = Client::builder()
            .user_agent(format!("redis-bridge/{VERSION}"))
            .default_headers(headers(keys)?)
            // A lead is not posted to where somebody else points.
            .redirect(redirect::Policy::none())
            .build()
            .map_err(|error| Wrong::at(&text, format!("cannot make an HTTP client: {error}")))?;
        let mut shown = url.clone();
        shown.set_query(None);
        shown.set_fragment(None);
        // Fails only for URLs that cannot carry them.
        let _ = shown
            .set_password(None)
            .and_then(|()| shown.set_username(""));
        Ok(Self {
            common,
            client,
            shown: shown.to_string(),
            url,
            timeout,
        })
    }

    async fn call(&self, id: &str, lead: &mut Lead) -> Result<(), Failure> {
        let response = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("Idempotency-Key", id)
            .timeout(self.timeout)
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
            return Ok(());
        }
        let answer = Lead::parse(&body).map_err(|error| {
            Failure::new(
                ErrorKind::Permanent,
                format!("{} broke its contract: the answer is {error}", self.shown),
            )
        })?;
        lead.merge(answer);
        Ok(())
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
        if error.is_timeout() {
            let seconds = self.timeout.as_secs_f64();
            return Failure::new(
                ErrorKind::Timeout,
                format!("no answer from {} within {seconds} s", self.shown),
            );
        }
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
    fn name(&self) -> &str {
        &self.common.name
    }

    fn cost(&self) -> f64 {
        self.common.cost
    }

    fn work<'a>(&'a self, id: &'a str, lead: &'a mut Lead) -> BoxFuture<'a, Result<(), Failure>> {
        self.call(id, lead).boxed()
    }
}

fn headers(keys: &mut Keys<'_>) -> Result<HeaderMap, Wrong> {
    let mut headers = HeaderMap::new();
    let Some(table) = keys.table("headers")? else {
        return Ok(headers);
    };
    for (key, value) in table.into_inner() {
        let name = HeaderName::try_from(key.get_ref().as_ref()).map_err(|_| {
            Wrong::at(
                &key,
                format!("\"{}\" cannot be a header's name", key.get_ref()),
            )
        })?;
        let span = value.span();
        let DeValue::String(text) = value.into_inner() else {
            return Err(Wrong {
                span,
                what: format!("header \"{name}\" must be a text in quotes"),
            });
        };
        let text = Spanned::new(span, text.into_owned());
        let mut value = HeaderValue::try_from(filled(&text)?).map_err(|_| {
            Wrong::at(
                &text,
                format!("header \"{name}\" has a value that cannot be sent"),
            )
        })?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

/// A text with every `${NAME}` replaced from the environment.
fn filled(text: &Spanned<String>) -> Result<String, Wrong> {
    let mut out = String::new();
    let mut rest = text.get_ref().as_str();
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) = after
            .split_once('}')
            .ok_or_else(|| Wrong::at(text, "a ${ without its }"))?;
        let value = std::env::var(name)
            .map_err(|_| Wrong::at(text, format!("the environment variable {name} is not set")))?;
        out.push_str(before);
        out.push_str(&value);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
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
