//! The demo's own enrichment service. It stands for the paid services of a real route and makes
//! their trouble: it answers, answers late, and refuses, in set shares.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The service. Ends when dropped.
#[derive(Debug)]
pub(super) struct DemoService {
    port: u16,
    server: JoinHandle<()>,
}

/// How often each lead has come, by its idempotency key.
type Calls = Arc<Mutex<HashMap<String, u32>>>;

impl DemoService {
    /// Starts it on a free port of the loopback.
    ///
    /// # Errors
    /// Where no port can be had.
    pub(super) async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let app = Router::new()
            .route("/enrich", post(enrich))
            .with_state(Calls::default());
        let server = tokio::spawn(async move {
            // Ends only with the task.
            let _ = axum::serve(listener, app).await;
        });
        Ok(Self { port, server })
    }

    /// Its host and port; leads are posted to `/enrich`.
    pub(super) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for DemoService {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// What a lead meets here, decided by its key: the same lead meets the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Answered,
    /// After this many milliseconds.
    Late(u64),
    /// Told to come back in a second, the first time.
    Limited,
    /// HTTP 500 the first few times.
    Shaky(u32),
    /// HTTP 500 every time.
    Broken,
    /// HTTP 404.
    NotFound,
}

impl Fate {
    /// Of a hundred: 70 answered, 10 late, 6 limited, 8 shaky, 3 broken, 3 not found.
    fn of(key: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let hash = hasher.finish();
        let detail = hash / 100;
        match hash % 100 {
            0..70 => Self::Answered,
            70..80 => Self::Late(200 + detail % 600),
            80..86 => Self::Limited,
            86..94 => Self::Shaky(1 + u32::from(detail.is_multiple_of(2))),
            94..97 => Self::Broken,
            _ => Self::NotFound,
        }
    }
}

async fn enrich(
    State(calls): State<Calls>,
    headers: HeaderMap,
    Json(lead): Json<Value>,
) -> Response {
    let key = headers
        .get("idempotency-key")
        .and_then(|key| key.to_str().ok())
        .unwrap_or_default();
    let call = {
        let mut calls = calls.lock().unwrap_or_else(PoisonError::into_inner);
        let call = calls.entry(key.to_owned()).or_insert(0);
        *call += 1;
        *call
    };
    let mut response = match Fate::of(key) {
        Fate::Limited if call == 1 => (
            StatusCode::TOO_MANY_REQUESTS,
            [(header::RETRY_AFTER, "1")],
            "slow down",
        )
            .into_response(),
        Fate::Shaky(times) if call <= times => {
            (StatusCode::INTERNAL_SERVER_ERROR, "try again").into_response()
        }
        Fate::Broken => (StatusCode::INTERNAL_SERVER_ERROR, "this one never works").into_response(),
        Fate::NotFound => (StatusCode::NOT_FOUND, "nobody is known by that name").into_response(),
        fate => {
            if let Fate::Late(ms) = fate {
                tokio::time::sleep(Duration::from_millis(ms)).await;
            }
            Json(found(key, &lead)).into_response()
        }
    };
    let name = header::HeaderValue::from_static("redis-bridge-demo-enrichment");
    response.headers_mut().insert(header::SERVER, name);
    response
}

/// Made-up facts: an address at example.com and a number that belongs to nobody.
fn found(key: &str, lead: &Value) -> Value {
    let number = key.bytes().fold(0_u32, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(u32::from(byte))
    });
    let name = lead["firstName"]
        .as_str()
        .unwrap_or("someone")
        .to_lowercase();
    let name: String = name.chars().filter(char::is_ascii_alphabetic).collect();
    json!({
        "email": format!("{name}.{}@example.com", number % 10_000),
        "phone": format!("+1 512 555-01{:02}", number % 100),
        "companySize": 10 * (1 + number % 500),
        "enrichedBy": "demo",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_are_about_what_they_should_be() {
        let fates: Vec<Fate> = (0..10_000).map(|n| Fate::of(&format!("key-{n}"))).collect();
        let share = |is: fn(&Fate) -> bool| fates.iter().filter(|fate| is(fate)).count() / 100;
        assert!((65..75).contains(&share(|fate| *fate == Fate::Answered)));
        assert!((7..13).contains(&share(|fate| matches!(fate, Fate::Late(200..800)))));
        assert!((5..12).contains(&share(|fate| matches!(fate, Fate::Shaky(1 | 2)))));
        assert!((1..6).contains(&share(|fate| *fate == Fate::NotFound)));
        assert_eq!(Fate::of("key-1"), Fate::of("key-1"));
    }
}
