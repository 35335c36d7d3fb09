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
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Response, Url, redirect};
use sha2::Sha256;

use super::super::keys::Keys;
use super::super::station::http::service::{Refusal, shown};
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
                format!("cannot make an HTTP client: {error}"),
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
            Err(error) => not_now(
                Refusal::broken(&self.shown, &error),
                // A service can be slow over one lead; a way that is cut is cut for all.
                error.is_timeout() && !error.is_connect(),
            ),
        }
    }

    /// An answer that is no success.
    async fn refused(&self, response: Response) -> Verdict {
        let refusal = Refusal::refused(&self.shown, response).await;
        match refusal.status.map_or(0, |status| status.as_u16()) {
            // These speak of the service's load, not of a lead.
            408 | 425 | 429 | 503 => not_now(refusal, false),
            // These speak of the receiver, its address or the way in, unless others get through.
            300..=399 | 401 | 403 | 404 | 405 | 407 | 410 | 500..=599 => not_now(refusal, true),
            _ => Verdict::Refused(refusal.failure.error),
        }
    }
}

fn not_now(refusal: Refusal, suspect: bool) -> Verdict {
    Verdict::NotNow {
        error: refusal.failure.error,
        suspect,
        after: refusal.failure.retry_after,
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
    fn a_secret_is_base64_or_any_text() {
        assert!(key("some long text").is_some());
        for secret in ["", "whsec_", "whsec_***"] {
            assert!(key(secret).is_none(), "{secret}");
        }
    }
}
