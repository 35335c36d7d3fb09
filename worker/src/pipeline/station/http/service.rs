//! A call of a service: its answer, or in what way it failed.

use std::time::Duration;

use bridge_shared::VERSION;
use bridge_shared::envelope::ErrorKind;
use bridge_shared::money::Money;
use futures::FutureExt as _;
use futures::future::select_ok;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, Request, Response, StatusCode, Url, redirect};

use super::super::answer::{LONGEST, excerpt};
use super::super::{Call, Failure, Keys, Outcome};
use super::address::{NotPublic, PublicOnly};
use super::breaker::Breaker;

/// Characters of a refusal that go into the error.
const EXCERPT: usize = 200;

/// Failures in a row that open a breaker where the route does not say.
const FAILURES: u64 = 5;
/// Time for which an open breaker leaves a service alone where the route does not say.
const COOLDOWN: Duration = Duration::from_secs(30);

/// How one kind of request goes out.
#[derive(Debug)]
pub(in super::super) struct Service {
    client: Client,
    care: Care,
}

/// What is done about a service that is slow or down.
#[derive(Debug)]
pub(in super::super) struct Care {
    /// Time after which the same request goes out a second time; the first answer counts.
    hedge: Option<Duration>,
    breaker: Option<Breaker>,
    /// Whether leads come back later, instead of failing, while it is open.
    postpone: bool,
}

impl Care {
    /// Reads `hedge` and `breaker`.
    pub(in super::super) fn read(keys: &mut Keys<'_>) -> Self {
        let hedge = keys.duration("hedge");
        let (breaker, postpone) = breaker(keys).unzip();
        Self {
            hedge,
            breaker,
            postpone: postpone.unwrap_or(false),
        }
    }
}

/// A call that brought no answer.
#[derive(Debug)]
pub(in crate::pipeline) struct Refusal {
    /// The status, where there was an answer at all.
    pub(in crate::pipeline) status: Option<StatusCode>,
    pub(in crate::pipeline) failure: Failure,
    /// Whether the lead only has to come back later.
    postpone: bool,
}

impl Refusal {
    fn new(status: Option<StatusCode>, failure: Failure) -> Self {
        Self {
            status,
            failure,
            postpone: false,
        }
    }

    /// What it means for the lead.
    ///
    /// # Errors
    /// [`Failure`], unless the lead only has to come back later.
    pub(in super::super) fn end(self) -> Result<Outcome, Failure> {
        match self.failure.retry_after {
            Some(wait) if self.postpone => Ok(Outcome::Postpone {
                wait,
                reason: self.failure.error,
            }),
            _ => Err(self.failure),
        }
    }

    /// Whether the service cannot do its work at present, whatever it is asked.
    fn is_outage(&self) -> bool {
        match self.status {
            Some(status) => status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT,
            None => self.failure.kind.is_transient() && !self.failure.is_shortage,
        }
    }
}

impl Service {
    /// Makes one; `public_only` where leads choose the host.
    pub(in super::super) fn new(keys: &Keys<'_>, care: Care, public_only: bool) -> Option<Self> {
        let mut client = Client::builder()
            .user_agent(format!("redis-bridge/{VERSION}"))
            // A lead is not sent to where somebody else points.
            .redirect(redirect::Policy::none());
        if public_only {
            // A proxy would resolve the name anew, and by its own lights.
            client = client.no_proxy().dns_resolver(PublicOnly);
        }
        match client.build() {
            Ok(client) => Some(Self { client, care }),
            Err(error) => {
                keys.wrong(
                    &keys.span(),
                    format!("cannot make an HTTP client: {error}"),
                    "look at this machine's certificates",
                );
                None
            }
        }
    }

    /// What requests are made with.
    pub(in super::super) fn client(&self) -> &Client {
        &self.client
    }

    /// Sends a request and reads the whole answer.
    pub(in super::super) async fn call(
        &self,
        call: &Call<'_>,
        request: Request,
    ) -> Result<Vec<u8>, Refusal> {
        let shown = shown(request.url());
        let leave = match &self.care.breaker {
            Some(breaker) => Some(breaker.ask().await.map_err(|left| {
                call.spend(Money::ZERO);
                Refusal {
                    postpone: self.care.postpone,
                    ..Refusal::left_alone(&shown, left)
                }
            })?),
            None => None,
        };
        let answer = self.answer(call, &shown, request).await;
        if let Some(leave) = leave
            && !answer.as_ref().is_err_and(Refusal::is_outage)
        {
            leave.worked();
        }
        answer
    }

    async fn answer(
        &self,
        call: &Call<'_>,
        shown: &str,
        request: Request,
    ) -> Result<Vec<u8>, Refusal> {
        let response = self.send(request).await.map_err(|error| {
            if error.is_connect() {
                call.spend(Money::ZERO);
            }
            Refusal::broken(shown, &error)
        })?;
        if response.status().is_success() {
            body(shown, response).await
        } else {
            Err(Refusal::refused(shown, response).await)
        }
    }

    async fn send(&self, request: Request) -> reqwest::Result<Response> {
        // Only a body that is read as it goes could not be sent twice; there are none here.
        let (Some(wait), Some(again)) = (self.care.hedge, request.try_clone()) else {
            return self.client.execute(request).await;
        };
        let mut first = self.client.execute(request).boxed();
        match tokio::time::timeout(wait, &mut first).await {
            Ok(answer) => answer,
            // The one that loses is dropped.
            Err(_) => select_ok([first, self.client.execute(again).boxed()])
                .await
                .map(|(answer, _)| answer),
        }
    }
}

impl Refusal {
    /// Not even asked.
    fn left_alone(shown: &str, left: Duration) -> Self {
        let failure = Failure {
            retry_after: Some(left),
            ..Failure::new(
                ErrorKind::Transient,
                format!(
                    "{shown} has failed too often and is left alone for {} s more",
                    left.as_secs_f64().ceil()
                ),
            )
        };
        Self::new(None, failure)
    }

    /// No answer, or only a part of one.
    pub(in crate::pipeline) fn broken(shown: &str, error: &reqwest::Error) -> Self {
        // The innermost cause is what the system said; the outer ones repeat the URL.
        let mut cause: &dyn std::error::Error = error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        let failure = match cause.downcast_ref::<NotPublic>() {
            Some(refused) => Failure::new(ErrorKind::Invalid, refused.to_string()),
            None => Failure::because_of(
                ErrorKind::Transient,
                format!("cannot reach {shown}: {cause}"),
                error,
            ),
        };
        Self::new(None, failure)
    }

    /// An answer that is no success.
    pub(in crate::pipeline) async fn refused(shown: &str, mut response: Response) -> Self {
        let status = response.status();
        let kind = match status.as_u16() {
            408 | 425 | 429 | 500..=599 => ErrorKind::Transient,
            _ => ErrorKind::Permanent,
        };
        let retry_after = retry_after(response.headers());
        let start = response.chunk().await.ok().flatten().unwrap_or_default();
        let said = excerpt(&String::from_utf8_lossy(&start), EXCERPT);
        let mut error = format!("HTTP {} from {shown}", status.as_u16());
        if !said.is_empty() {
            error = format!("{error}: {said}");
        }
        let failure = Failure {
            retry_after,
            ..Failure::new(kind, error)
        };
        Self::new(Some(status), failure)
    }
}

/// The breaker, and whether leads are postponed while it is open.
fn breaker(keys: &mut Keys<'_>) -> Option<(Breaker, bool)> {
    let owner = keys.owner().to_owned();
    let mut keys = keys.table("breaker")?;
    let failures = keys.integer("failures", 1..=1_000).unwrap_or(FAILURES);
    let cooldown = keys.duration("cooldown").unwrap_or(COOLDOWN);
    let postpone = keys.one_of("then", &[("fail", false), ("postpone", true)]);
    keys.finish();
    let failures = u32::try_from(failures).expect("it was checked");
    Some((
        Breaker::new(owner, failures, cooldown),
        postpone.unwrap_or(false),
    ))
}

async fn body(shown: &str, mut response: Response) -> Result<Vec<u8>, Refusal> {
    let mut body = Vec::new();
    loop {
        let chunk = response.chunk().await;
        let Some(chunk) = chunk.map_err(|error| Refusal::broken(shown, &error))? else {
            return Ok(body);
        };
        if body.len() + chunk.len() > LONGEST {
            let how = format!("the answer is longer than {} MiB", LONGEST >> 20);
            let failure = broke_contract(shown, &how);
            return Err(Refusal::new(Some(response.status()), failure));
        }
        body.extend_from_slice(&chunk);
    }
}

/// A success that is none: another try would bring the same.
pub(in super::super) fn broke_contract(shown: &str, how: &str) -> Failure {
    Failure::new(
        ErrorKind::Permanent,
        format!("{shown} broke its contract: {how}"),
    )
}

/// A URL as it may be shown: without user, password, query and fragment.
pub(in crate::pipeline) fn shown(url: &Url) -> String {
    let mut shown = url.clone();
    shown.set_query(None);
    shown.set_fragment(None);
    // Fails only for URLs that cannot carry them.
    let _ = shown
        .set_password(None)
        .and_then(|()| shown.set_username(""));
    shown.into()
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

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

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
    fn a_url_is_shown_without_its_secrets() {
        let url = Url::parse("https://user:pass@example.com/a?key=1#x").expect("a URL");
        assert_eq!(shown(&url), "https://example.com/a");
    }
}
