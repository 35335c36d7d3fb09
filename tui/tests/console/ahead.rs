//! Keys typed ahead of what they are about: it is still on its way from Redis.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

use super::redis::Redis;
use super::terminal::Terminal;

/// A way to Redis that keeps the answers back while it is closed.
struct Gate {
    url: String,
    open: Arc<(Mutex<bool>, Condvar)>,
}

impl Gate {
    fn before(redis: &Redis) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let open = Arc::new((Mutex::new(true), Condvar::new()));
        let (server, gate) = (redis.server.port(), Arc::clone(&open));
        std::thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else {
                    return;
                };
                let pair = (client.try_clone(), server.try_clone());
                let (Ok(client_too), Ok(server_too)) = pair else {
                    return;
                };
                let always = Arc::new((Mutex::new(true), Condvar::new()));
                std::thread::spawn(move || pump(client, server, &always));
                let gate = Arc::clone(&gate);
                std::thread::spawn(move || pump(server_too, client_too, &gate));
            }
        });
        Self {
            url: format!("redis://127.0.0.1:{port}/0"),
            open,
        }
    }

    fn set(&self, open: bool) {
        *self.open.0.lock().expect("a gate") = open;
        self.open.1.notify_all();
    }
}

/// Passes on what comes, while the gate is open.
fn pump(mut from: TcpStream, mut to: TcpStream, open: &(Mutex<bool>, Condvar)) {
    let mut bytes = vec![0; 64 * 1_024];
    while let Ok(n @ 1..) = from.read(&mut bytes) {
        let is_open = open.0.lock().expect("a gate");
        let is_open = open.1.wait_while(is_open, |open| !*open);
        drop(is_open.expect("a gate"));
        if to.write_all(&bytes[..n]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

/// A console on its dead letters, 300 of them, through an open gate.
fn console(redis: &Redis) -> (Gate, Terminal) {
    let gate = Gate::before(redis);
    let mut console = Terminal::open(&gate.url, &[]);
    console.press("3");
    console.sees("Person299 Example");
    (gate, console)
}

#[test]
fn keys_typed_ahead_wait_for_the_row_they_are_about() {
    let mut redis = Redis::with_dead(300);
    let (gate, mut console) = console(&redis);
    // The oldest rows were never read.
    gate.set(false);
    console.press("G\r");
    console.sees("1 key typed ahead");
    console.press("/nam");
    console.sees("5 keys typed ahead");
    gate.set(true);
    console.sees("/nam");
    console.sees("1/1");
    console.sees("Dead letter id-0");
    console.press("\x1b\x1b\x1b");
    console.sees("300 dead letters");

    // A question too is about the row that was meant.
    console.press("g");
    console.sees("Person299 Example");
    gate.set(false);
    console.press("Gd");
    console.sees("1 key typed ahead");
    gate.set(true);
    console.sees("Throw dead letter id-0 into the trash?");
    console.press("n");
    redis.depths(0, 300);

    // Who does not want to wait lets the keys go.
    console.press("g");
    console.sees("Person299 Example");
    gate.set(false);
    console.press("G\rrd");
    console.sees("3 keys typed ahead");
    console.press("\x1b");
    console.until("no key waits", |text| !text.contains("typed ahead"));
    gate.set(true);
    console.sees("Person0 Example");
    assert!(!console.text().contains("Dead letter id-0"));
    console.press("\x03");
    assert_eq!(console.ends(), 0);
}

#[test]
fn keys_typed_ahead_wait_for_a_filter_for_groups_and_for_the_trash() {
    let mut redis = Redis::with_dead(300);
    let (gate, mut console) = console(&redis);
    gate.set(false);
    console.press("/error:503\rR");
    console.sees("1 key typed ahead");
    gate.set(true);
    console.sees("Put all 150 dead letters that match error:503 back to work?");
    console.press("n");
    console.until("no question", |text| !text.contains("back to work?"));
    console.press("\x1b");
    console.until("no filter", |text| !text.contains("filter error"));

    gate.set(false);
    console.press("f\r");
    console.sees("1 key typed ahead");
    gate.set(true);
    console.sees("150 of 300 dead letters");
    console.press("\x1b");
    console.sees("enter look into");
    console.press("\x1b");
    console.sees("enter open");

    console.press("d");
    console.sees("Throw dead letter id-299 into the trash?");
    console.press("y");
    redis.depths(0, 299);
    console.sees("1 dead letter in the trash");
    gate.set(false);
    console.press("Tu");
    console.sees("1 key typed ahead");
    gate.set(true);
    console.sees("Bring 1 dead letter back from the trash");
    console.press("y");
    redis.depths(0, 300);
    console.press("\x03");
    assert_eq!(console.ends(), 0);
}

#[test]
fn keys_typed_before_anything_was_read_are_about_what_is_read_then() {
    let redis = Redis::with_dead(20);
    let gate = Gate::before(&redis);
    gate.set(false);
    let mut console = Terminal::open(&gate.url, &[]);
    console.sees("connecting");
    console.press("3j\r/");
    console.sees("3 keys typed ahead");
    console.press("nam");
    gate.set(true);
    console.sees("Dead letter id-18");
    console.sees("/nam");
    console.press("\x03\x03");
    assert_eq!(console.ends(), 0);
}
