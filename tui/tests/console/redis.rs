//! A Redis of its own for each test.

use std::time::{Duration, Instant};

use bridge_shared::sandbox::Sandbox;
use redis::{Connection, FromRedisValue};

use super::PATIENCE;

pub(crate) struct Redis {
    pub(crate) server: Sandbox,
    pub(crate) connection: Connection,
}

impl Redis {
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    pub(crate) fn with(settings: &[&str]) -> Self {
        let server = Sandbox::start(settings).expect("a private Redis");
        let connection = redis::Client::open(server.url())
            .and_then(|client| client.get_connection())
            .expect("a connection");
        Self { server, connection }
    }

    /// With dead letters of two causes, number 0 the oldest.
    pub(crate) fn with_dead(n: usize) -> Self {
        let mut redis = Self::start();
        for i in 0..n {
            let error = if i % 2 == 0 {
                "HTTP 503 from enrich"
            } else {
                "nobody is known"
            };
            let entry = format!(
                r#"{{"envelope":1,"id":"id-{i}","lead":{{"name":"Person{i} Example"}},"error":"{error}","retry_count":3}}"#
            );
            let _: u64 = redis.ask(&["LPUSH", "failed_leads", &entry]);
        }
        redis
    }

    pub(crate) fn ask<T: FromRedisValue>(&mut self, parts: &[&str]) -> T {
        let mut cmd = redis::Cmd::new();
        for part in parts {
            cmd.arg(*part);
        }
        cmd.query(&mut self.connection).expect("Redis answers")
    }

    #[track_caller]
    pub(crate) fn depths(&mut self, waiting: u64, dead: u64) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found: (u64, u64) = (
                self.ask(&["LLEN", "leads_to_enrich"]),
                self.ask(&["LLEN", "failed_leads"]),
            );
            if found == (waiting, dead) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{found:?} waiting and dead, not {waiting} and {dead}"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
