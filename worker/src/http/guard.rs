//! Who may ask: the token, and what a browser may be made to send.

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use sha2::{Digest as _, Sha256};
use std::net::IpAddr;
use std::sync::Arc;
use subtle::ConstantTimeEq as _;
use tower_http::csrf::ProtectionError;

use super::problem::Problem;

/// Names that no stranger can own, besides those without a dot. Source: RFC 6761, and the
/// reservation of `internal` by ICANN. `local` is none: on its own network anybody may answer to it.
const PRIVATE: [&str; 2] = ["localhost", "internal"];

/// What a request must bring.
#[derive(Debug)]
pub(crate) struct Guard {
    token: Option<Token>,
    public_read: bool,
    /// Names by which the API may be called without a token, besides those that are safe anyway.
    hosts: Vec<String>,
}

/// The token's digest: all that is needed to know it again.
struct Token([u8; 32]);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(***)")
    }
}

impl Token {
    fn new(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }

    /// Compares in a time that tells nothing of either, not even the length.
    fn is(&self, text: &str) -> bool {
        self.0.ct_eq(&Self::new(text).0).into()
    }
}

impl Guard {
    /// # Errors
    /// One line, where the token cannot be sent in a header.
    pub(crate) fn new(
        token: Option<&str>,
        public_read: bool,
        hosts: &[String],
    ) -> Result<Self, String> {
        if token.is_some_and(|token| !token.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(
                "BRIDGE_API_TOKEN has a character that cannot be sent: take letters, digits and signs without spaces, such as `openssl rand -hex 32` makes".into(),
            );
        }
        Ok(Self {
            token: token.map(Token::new),
            public_read,
            hosts: hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
        })
    }

    /// Whether a token is needed for anything.
    pub(crate) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Whether requests that only read are answered without the token.
    pub(crate) fn has_public_read(&self) -> bool {
        self.has_token() && self.public_read
    }

    /// Whether a request shows that its connection is no stranger's: it may be made, and not by everybody
    /// as those of health.
    pub(super) fn knows<B>(&self, request: &axum::http::Request<B>) -> bool {
        let (method, uri, headers) = (request.method(), request.uri(), request.headers());
        !is_of_health(uri) && self.admit(method, uri, headers).is_ok()
    }

    fn admit(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
        if is_of_health(uri) {
            return Ok(());
        }
        if let Some(token) = &self.token {
            let given = bearer(headers);
            if given.is_some_and(|given| token.is(given)) {
                return Ok(());
            }
            let reading = matches!(*method, Method::GET | Method::HEAD);
            if given.is_some() || !(self.public_read && reading) {
                return Err(Problem::new(
                    StatusCode::UNAUTHORIZED,
                    if given.is_some() {
                        "that is not the token; it is the value of BRIDGE_API_TOKEN"
                    } else {
                        "a token is needed: Authorization: Bearer and the value of BRIDGE_API_TOKEN"
                    },
                ));
            }
        }
        self.know_host(uri, headers)
    }

    /// Without a token the one thing that keeps a stranger's web page out of a loopback is the name
    /// it called: a page can make its own name lead here (DNS rebinding), and no other.
    fn know_host(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
        let named = match (uri.authority(), headers.get(header::HOST)) {
            (Some(authority), _) => Some(authority.clone()),
            (None, Some(host)) => Authority::try_from(host.as_bytes()).ok(),
            // A browser always says it.
            (None, None) => return Ok(()),
        };
        if named.is_some_and(|named| self.is_known(named.host())) {
            return Ok(());
        }
        Err(Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "the API does not answer to that host name without a token; name it with --allow-host or BRIDGE_API_HOSTS",
        ))
    }

    fn is_known(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let address = host.trim_start_matches('[').trim_end_matches(']');
        let last = host.rsplit('.').next().unwrap_or_default();
        address.parse::<IpAddr>().is_ok()
            || !host.contains('.')
            || PRIVATE.contains(&last)
            || self.hosts.contains(&host)
    }
}

fn is_of_health(uri: &Uri) -> bool {
    matches!(uri.path(), "/healthz" | "/readyz")
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim_matches(' '))
}

/// Lets a request through, or says what it lacks.
pub(super) async fn check(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response {
    match guard.admit(request.method(), request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// What a browser hears that was made to send a request by the page of another site.
pub(super) fn cross_site(_: ProtectionError) -> Response {
    Problem::new(
        StatusCode::FORBIDDEN,
        "a web page of another site may not change anything here",
    )
    .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(guard: &Guard, method: &Method, path: &str, headers: &[(&str, &str)]) -> u16 {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: header::HeaderName = name.parse().expect("a name");
            map.insert(name, value.parse().expect("a value"));
        }
        let uri = path.parse().expect("a path");
        match guard.admit(method, &uri, &map) {
            Ok(()) => 200,
            Err(problem) => problem.into_response().status().as_u16(),
        }
    }

    #[test]
    fn a_token_is_needed_for_everything_but_health() {
        let guard = Guard::new(Some("s3cret"), false, &[]).expect("a token");
        let right = ("authorization", "bearer s3cret");
        for (path, headers, status) in [
            ("/status", &[][..], 401),
            ("/status", &[right], 200),
            ("/status", &[("authorization", "Bearer s3cre")], 401),
            ("/status", &[("authorization", "Bearer s3cret2")], 401),
            ("/status", &[("authorization", "Basic s3cret")], 401),
            ("/status", &[right, ("host", "bridge.example.com")], 200),
            ("/healthz", &[], 200),
            ("/readyz", &[("host", "evil.example")], 200),
        ] {
            let said = admits(&guard, &Method::GET, path, headers);
            assert_eq!(said, status, "{path} {headers:?}");
        }
        assert!(!format!("{guard:?}").contains("s3cret"));
        assert!(Guard::new(Some("two words"), false, &[]).is_err());
    }

    #[test]
    fn public_read_opens_reading_and_not_with_a_wrong_token() {
        let guard = Guard::new(Some("s3cret"), true, &[]).expect("a token");
        assert_eq!(admits(&guard, &Method::GET, "/status", &[]), 200);
        assert_eq!(admits(&guard, &Method::HEAD, "/status", &[]), 200);
        assert_eq!(admits(&guard, &Method::POST, "/dlq/retry-all", &[]), 401);
        let wrong = [("authorization", "Bearer wrong")];
        assert_eq!(admits(&guard, &Method::GET, "/status", &wrong), 401);
    }

    #[test]
    fn without_a_token_only_names_that_no_stranger_owns_are_answered() {
        let guard = Guard::new(None, false, &["Bridge.Example.com".into()]).expect("none");
        for (host, status) in [
            ("localhost:8000", 200),
            ("127.0.0.1:8000", 200),
            ("[::1]:8000", 200),
            ("scrapegoat:8000", 200),
            ("LOCALHOST.", 200),
            ("api.bridge.internal", 200),
            ("bridge.example.com", 200),
            ("evil.example", 421),
            ("evil.local", 421),
            ("localhost.evil.example:8000", 421),
            ("127.0.0.1.evil.example", 421),
            ("not a host", 421),
        ] {
            let said = admits(&guard, &Method::GET, "/status", &[("host", host)]);
            assert_eq!(said, status, "{host}");
        }
    }
}
