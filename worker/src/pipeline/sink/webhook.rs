//! `webhook`: posts each lead as JSON to an HTTP service, signed as the Standard Webhooks
//! specification says (<https://www.standardwebhooks.com>), so that any of its libraries can check
//! it: `webhook-id` is the lead's id, `webhook-timestamp` the time in seconds, `webhook-signature`
//! is `v1,` and the base64 of the HMAC-SHA256 of `id.timestamp.body`.
//!
//! The id also goes out as `Idempotency-Key`. A lead can come more than once, always with the same
//! id.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bridge_shared::VERSION;
use futures::StreamExt as _;
use futures::future::{BoxFuture, FutureExt as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Response, Url, redirect};
use sha2::Sha256;

use super::super::keys::Keys;
use super::{Enriched, Made, Sink, Verdict};

/// Time one call may take where the route does not say.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Calls under way at once in a batch where the route does not say.
const CONCURRENCY: u64 = 16;
/// Bytes of a success that are read; a connection with more is given up instead.
const DRAIN: usize = 64 * 1024;

struct Webhook {
    client: Client,
    url: Url,
    /// The URL as it may be shown: without user, password and query.
    shown: String,
    key: Hmac<Sha256>,
    concurrency: usize,
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook")
            .field("url", &self.shown)
            .finish_non_exhaustive()
    }
}

pub(super) fn make(keys: &mut Keys<'_>) -> Option<Made> {
    let (url_at, secret_at) = (keys.place("url"), keys.place("secret"));
    let text = keys.filled("url");
    let text = keys.need("url", text, "url = \"https://...\"");
    let secret = keys.filled("secret");
    let secret = keys.need("secret", secret, "secret = \"${WEBHOOK_SECRET}\"");
    let timeout = keys.duration("timeout").unwrap_or(TIMEOUT);
    let concurrency = keys.integer("concurrency", 1..=256).unwrap_or(CONCURRENCY);
    let headers = headers(keys);
    let url = text.and_then(|text| {
        let url = Url::parse(text.get_ref())
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if url.is_none() {
            keys.wrong(
                &url_at,
                "this is not an http or https URL",
                "write url = \"https://...\"",
            );
        }
        url
    });
    let key = secret.and_then(|secret| {
        let key = key(secret.get_ref());
        if key.is_none() {
            keys.wrong(
                &secret_at,
                "the secret is empty, or not base64 after whsec_",
                "give a long random text",
            );
        }
        key
    });
    let client = Client::builder()
        .user_agent(format!("redis-bridge/{VERSION}"))
        .default_headers(headers)
        .timeout(timeout)
        // A lead is not posted to where somebody else points.
        .redirect(redirect::Policy::none())
        .build()
        .map_err(|error| {
            keys.wrong(
                &url_at,
                format!("cannot make an HTTP client: {}", innermost(&error)),
                "look at this machine's certificates",
            );
        });
    let url = url?;
    Some(Made::Other(Box::new(Webhook {
        client: client.ok()?,
        shown: shown(&url),
        url,
        key: key?,
        concurrency: usize::try_from(concurrency).unwrap_or(1),
    })))
}

/// A secret as the specification writes it, `whsec_` and base64, or any other text as it stands.
fn key(secret: &str) -> Option<Hmac<Sha256>> {
    let bytes = match secret.strip_prefix("whsec_") {
        Some(text) => STANDARD.decode(text).ok()?,
        None => secret.as_bytes().to_vec(),
    };
    if bytes.is_empty() {
        return None;
    }
    Hmac::new_from_slice(&bytes).ok()
}

fn shown(url: &Url) -> String {
    let mut shown = url.clone();
    shown.set_query(None);
    shown.set_fragment(None);
    // Fails only for URLs that cannot carry them.
    let _ = shown
        .set_password(None)
        .and_then(|()| shown.set_username(""));
    shown.to_string()
}

fn headers(keys: &mut Keys<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (key, text) in keys.filled_entries("headers").unwrap_or_default() {
        let name = HeaderName::try_from(key.get_ref().as_str());
        let value = HeaderValue::try_from(text.get_ref().as_str());
        let (Ok(name), Ok(mut value)) = (name, value) else {
            keys.wrong(
                &key.span(),
                format!("\"{}\" cannot be sent as a header", key.get_ref()),
                "write letters, digits and dashes, and a value without line breaks",
            );
            continue;
        };
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    headers
}

impl Webhook {
    async fn post(&self, Enriched { id, lead }: &Enriched) -> Verdict {
        let Ok(id) = HeaderValue::try_from(id) else {
            return Verdict::Refused("the lead's id cannot be sent as a header".into());
        };
        let timestamp = seconds();
        let signature = signature(&self.key, id.as_bytes(), timestamp, lead);
        let sent = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("Idempotency-Key", &id)
            .header("webhook-id", &id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(lead.clone())
            .send()
            .await;
        match sent {
            Ok(response) if response.status().is_success() => {
                drain(response).await;
                Verdict::Durable
            }
            Ok(response) => self.refused(response).await,
            Err(error) => Verdict::NotNow {
                error: format!("cannot reach {}: {}", self.shown, innermost(&error)),
                // A service can be slow over one lead; a way that is cut is cut for all.
                suspect: error.is_timeout() && !error.is_connect(),
                after: None,
            },
        }
    }

    /// An answer that is no success.
    async fn refused(&self, mut response: Response) -> Verdict {
        let status = response.status().as_u16();
        let after = retry_after(response.headers());
        let start = response.chunk().await.ok().flatten().unwrap_or_default();
        let said = String::from_utf8_lossy(&start);
        let mut error = format!("HTTP {status} from {}", self.shown);
        if !said.trim().is_empty() {
            error = format!("{error}: {said}");
        }
        match status {
            // These speak of the service's load, not of a lead.
            408 | 425 | 429 | 503 => Verdict::NotNow {
                error,
                suspect: false,
                after,
            },
            500..=599 => Verdict::NotNow {
                error,
                suspect: true,
                after,
            },
            _ => Verdict::Refused(error),
        }
    }
}

impl Sink for Webhook {
    fn write<'a>(&'a self, leads: &'a [Enriched]) -> BoxFuture<'a, Vec<Verdict>> {
        futures::stream::iter(leads)
            .map(|lead| self.post(lead))
            .buffered(self.concurrency)
            .collect()
            .boxed()
    }
}

/// Reads what nobody needs, so that the connection can be used again.
async fn drain(mut response: Response) {
    let mut left = DRAIN;
    while let Ok(Some(chunk)) = response.chunk().await
        && chunk.len() < left
    {
        left -= chunk.len();
    }
}

fn signature(key: &Hmac<Sha256>, id: &[u8], timestamp: u64, body: &[u8]) -> String {
    let mut hmac = key.clone();
    hmac.update(id);
    hmac.update(format!(".{timestamp}.").as_bytes());
    hmac.update(body);
    format!("v1,{}", STANDARD.encode(hmac.finalize().into_bytes()))
}

/// The wall clock's time: the receiver compares it with its own.
fn seconds() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// What the system said; the outer errors repeat the URL.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// How long the service asks to be left alone: seconds, or a date, which is read against the
/// answer's own date (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok().map(str::trim);
    let date = |text: &str| {
        jiff::fmt::rfc2822::parse(text)
            .ok()
            .map(|at| at.timestamp().as_second())
    };
    let asked = text(RETRY_AFTER)?;
    if let Ok(seconds) = asked.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let span = date(asked)? - date(text(DATE)?)?;
    u64::try_from(span).ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_the_specifications() {
        // The example of the specification's own test suites.
        let key = key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("a key");
        assert_eq!(
            signature(
                &key,
                b"msg_p5jXN8AQM9LWM0D4loKWxJek",
                1_614_265_330,
                br#"{"test": 2432232314}"#
            ),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn a_url_is_shown_without_what_may_be_secret() {
        let url = Url::parse("http://u:p@127.0.0.1/x?y").expect("a URL");
        assert_eq!(shown(&url), "http://127.0.0.1/x");
    }

    #[test]
    fn a_secret_is_base64_or_any_text() {
        assert!(key("some long text").is_some());
        for secret in ["", "whsec_", "whsec_***"] {
            assert!(key(secret).is_none(), "{secret}");
        }
    }
}
