//! A proxy on the loopback whose connections can go silent, as when a cable is pulled: nothing comes
//! through any more, and nothing says so. New connections work.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The proxy. Its threads end with the test's process.
pub struct Proxy {
    port: u16,
    /// How often the cable was pulled: connections from before are silent.
    pulled: Arc<AtomicU32>,
}

impl Proxy {
    /// Starts a proxy to a port of the loopback.
    pub fn start(to: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let pulled = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&pulled);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)) else {
                    continue;
                };
                let now = count.load(Ordering::SeqCst);
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to) = (
                        from.try_clone().expect("a copy"),
                        to.try_clone().expect("a copy"),
                    );
                    let count = Arc::clone(&count);
                    std::thread::spawn(move || {
                        pass(from, to, || count.load(Ordering::SeqCst) == now);
                    });
                }
            }
        });
        Self { port, pulled }
    }

    /// The URL of what is behind it.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// Makes all connections there are go silent.
    pub fn pull_the_cable(&self) {
        self.pulled.fetch_add(1, Ordering::SeqCst);
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, is_whole: impl Fn() -> bool) {
    let mut bytes = [0; 16 * 1024];
    while let Ok(n @ 1..) = from.read(&mut bytes) {
        if !is_whole() {
            // Neither end hears of it.
            loop {
                std::thread::sleep(Duration::from_secs(3_600));
            }
        }
        if to.write_all(&bytes[..n]).is_err() {
            return;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}
