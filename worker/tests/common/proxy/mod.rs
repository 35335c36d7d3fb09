//! The network between a worker and Redis, with all that can happen to it: a proxy on the loopback.
//!
//! - `resp`: as much of the protocol as it needs to see where a command begins
//! - `scripts`: which script a command runs, and bugs planted in their place

pub mod resp;
pub mod scripts;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use scripts::Scripts;

/// Bytes that one connection sends through a narrow link before it is another one's turn.
const NARROW_PIECE: usize = 4 * 1024;

/// Where a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The command never arrives.
    Before,
    /// The command is carried out and only then the sender sees the connection cut: its answer
    /// does not come back.
    After,
    /// The sender sees the connection cut; the command arrives that much later.
    Late(Duration),
    /// The sender sees the connection cut; the command arrives right behind the next one that runs
    /// the same script on the same keys, and before whatever follows that.
    BehindNext,
}

/// A proxy on the loopback. Its threads end with the test's process.
pub struct Proxy {
    port: u16,
    net: Arc<Net>,
}

struct Net {
    to: u16,
    password: String,
    scripts: Arc<Scripts>,
    weather: Mutex<Weather>,
    /// Connections up to this one say nothing any more, and nobody tells.
    silent: AtomicU64,
    count: AtomicU64,
}

/// What carries a connection's answers.
struct Answers {
    /// Whether they are dropped.
    lost: Arc<AtomicBool>,
    carrier: JoinHandle<()>,
}

#[derive(Default)]
struct Weather {
    /// Nothing passes before this.
    held_until: Option<Instant>,
    /// Everything takes so much longer, each way, until then.
    slow: Option<(Duration, Instant)>,
    /// Answers come a few bytes at a time until then.
    dribble_until: Option<Instant>,
    /// Bytes a second that fit through, each way, for all connections together.
    rate: Option<u64>,
    /// When the next byte fits through: commands, and answers.
    next: [Option<Instant>; 2],
    /// The next command that runs this script meets this.
    trap: Option<(&'static str, Cut)>,
    /// A command that waits for the next one like it.
    stray: Option<Vec<u8>>,
    open: Vec<TcpStream>,
}

impl Proxy {
    /// Starts a proxy to a Redis on a port of the loopback, whose password is empty where it has
    /// none.
    pub fn start(to: u16, password: &str, scripts: Arc<Scripts>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let net = Arc::new(Net {
            to,
            password: password.to_owned(),
            scripts,
            weather: Mutex::default(),
            silent: AtomicU64::new(0),
            count: AtomicU64::new(0),
        });
        let own = Arc::clone(&net);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let net = Arc::clone(&own);
                std::thread::spawn(move || net.connect(&client));
            }
        });
        Self { port, net }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of what is behind it.
    pub fn url(&self) -> String {
        url(self.port, &self.net.password)
    }

    /// Cuts every connection there is.
    pub fn cut(&self) {
        for stream in self.net.weather().open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Makes every connection there is go silent, as when a cable is pulled. New ones work.
    pub fn pull_the_cable(&self) {
        let count = self.net.count.load(Ordering::SeqCst);
        self.net.silent.store(count, Ordering::SeqCst);
    }

    /// Lets nothing through for a while, and then all of it.
    pub fn hold(&self, time: Duration) {
        self.net.weather().held_until = Some(Instant::now() + time);
    }

    /// Makes everything late for a while.
    pub fn slow_down(&self, by: Duration, time: Duration) {
        self.net.weather().slow = Some((by, Instant::now() + time));
    }

    /// Lets answers through a few bytes at a time for a while.
    pub fn dribble(&self, time: Duration) {
        self.net.weather().dribble_until = Some(Instant::now() + time);
    }

    /// Lets only so many bytes a second through, each way, for all connections together.
    pub fn narrow(&self, bytes_a_second: u64) {
        self.net.weather().rate = Some(bytes_a_second);
    }

    /// Lets everything through as it comes again.
    pub fn widen(&self) {
        self.net.weather().rate = None;
    }

    /// Cuts the connection of the next command that runs a script.
    pub fn trap(&self, script: &'static str, cut: Cut) {
        self.net.weather().trap = Some((script, cut));
    }

    /// Whether a command that was cut off still waits for the next one like it.
    pub fn has_stray(&self) -> bool {
        self.net.weather().stray.is_some()
    }

    /// Takes a trap away; returns whether it was still set.
    pub fn untrap(&self) -> bool {
        self.net.weather().trap.take().is_some()
    }
}

impl Net {
    fn weather(&self) -> MutexGuard<'_, Weather> {
        self.weather.lock().expect("nobody panics with it")
    }

    fn connect(self: &Arc<Self>, client: &TcpStream) {
        // Nobody there: the client sees its connection end.
        let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.to)) else {
            return;
        };
        let _ = client.set_nodelay(true);
        let _ = server.set_nodelay(true);
        let number = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        let copy = |stream: &TcpStream| stream.try_clone().expect("a copy");
        self.weather().open.extend([copy(client), copy(&server)]);
        let (net, from, to) = (Arc::clone(self), copy(&server), copy(client));
        let lost = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&lost);
        let carrier = std::thread::spawn(move || net.answers(number, from, to, &told));
        self.commands(number, copy(client), server, Answers { lost, carrier });
        let _ = client.shutdown(Shutdown::Both);
    }

    /// Waits as long as the weather says.
    fn travel(&self, number: u64) {
        while number <= self.silent.load(Ordering::SeqCst) {
            // Neither end hears of it.
            std::thread::sleep(Duration::from_secs(3_600));
        }
        let now = Instant::now();
        if let Some((by, until)) = self.weather().slow
            && now < until
        {
            std::thread::sleep(by);
        }
        loop {
            let held = self.weather().held_until;
            match held.map(|until| until.saturating_duration_since(Instant::now())) {
                Some(left) if !left.is_zero() => std::thread::sleep(left),
                _ => return,
            }
        }
    }

    /// Waits until so many bytes have passed a narrow link, one way (0 commands, 1 answers).
    fn squeeze(&self, way: usize, bytes: usize) {
        let until = {
            let mut weather = self.weather();
            let Some(rate) = weather.rate else { return };
            let now = Instant::now();
            let free = weather.next[way].map_or(now, |next| next.max(now));
            let micros = bytes as u64 * 1_000_000 / rate;
            let until = free + Duration::from_micros(micros);
            weather.next[way] = Some(until);
            until
        };
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
    }

    fn commands(
        &self,
        number: u64,
        mut client: TcpStream,
        mut server: TcpStream,
        answers: Answers,
    ) {
        let (mut waiting, mut chunk) = (Vec::new(), vec![0; 64 * 1024]);
        while let Ok(n @ 1..) = client.read(&mut chunk) {
            waiting.extend_from_slice(&chunk[..n]);
            self.travel(number);
            self.squeeze(0, n);
            let mut done = 0;
            while let Some((length, words)) = resp::command(&waiting[done..]) {
                let whole = &waiting[done..done + length];
                let mut words: Vec<&[u8]> = words.into_iter().map(|word| &whole[word]).collect();
                let cut = self.trapped(&words);
                self.scripts.plant(&mut words);
                let bytes = resp::encode(&words);
                if let Some(cut) = cut {
                    return self.cut_at(cut, &client, server, answers, &bytes, &words);
                }
                if server.write_all(&bytes).is_err() {
                    return;
                }
                if let Some(stray) = self.stray_behind(&words) {
                    // Nobody waits for its answer.
                    let unheard = resp::encode(&[b"CLIENT", b"REPLY", b"SKIP"]);
                    if server.write_all(&[unheard, stray].concat()).is_err() {
                        return;
                    }
                }
                done += length;
            }
            waiting.drain(..done);
        }
        let _ = server.shutdown(Shutdown::Write);
    }

    fn trapped(&self, words: &[&[u8]]) -> Option<Cut> {
        let name = self.scripts.name(words)?;
        let mut weather = self.weather();
        let (script, cut) = weather.trap?;
        (script == name).then(|| {
            weather.trap = None;
            cut
        })
    }

    /// A stray that arrives now, behind a command like it.
    fn stray_behind(&self, words: &[&[u8]]) -> Option<Vec<u8>> {
        let mut weather = self.weather();
        let stray = weather.stray.as_ref()?;
        let (_, places) = resp::command(stray)?;
        // EVALSHA, hash, how many keys, and those.
        let keys: usize = std::str::from_utf8(words.get(2)?).ok()?.parse().ok()?;
        let like = places.into_iter().map(|place| &stray[place]).take(3 + keys);
        like.eq(words.iter().copied().take(3 + keys))
            .then(|| weather.stray.take())?
    }

    fn cut_at(
        &self,
        cut: Cut,
        client: &TcpStream,
        mut server: TcpStream,
        answers: Answers,
        bytes: &[u8],
        words: &[&[u8]],
    ) {
        answers.lost.store(true, Ordering::SeqCst);
        match cut {
            Cut::Before => return,
            Cut::After => {}
            Cut::BehindNext => {
                self.weather().stray = Some(bytes.to_vec());
                return;
            }
            Cut::Late(by) => {
                let _ = client.shutdown(Shutdown::Both);
                std::thread::sleep(by);
            }
        }
        // A server does first what it was sent, and then sees the end.
        let _ = server.write_all(bytes);
        let _ = server.shutdown(Shutdown::Write);
        let _ = answers.carrier.join();
        if self.scripts.forgets_fetches && self.scripts.name(words) == Some("fetch") {
            self.forget(words);
        }
    }

    /// Takes away what a fetch brought, as if it had been in its answer only.
    fn forget(&self, words: &[&[u8]]) {
        let number = |word: &[u8]| -> u64 {
            let text = std::str::from_utf8(word).expect("a number");
            text.parse().expect("a number")
        };
        // EVALSHA hash 5 queue active workers paused stats worker count first ...
        let (active, count, first) = (words[4], number(words[9]), number(words[10]));
        let numbers: Vec<String> = (first..first + count).map(|n| n.to_string()).collect();
        let mut forget: Vec<&[u8]> = vec![b"HDEL", active];
        forget.extend(numbers.iter().map(String::as_bytes));
        if let Ok(mut server) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.to)) {
            let login = resp::encode(&[b"AUTH", self.password.as_bytes()]);
            let _ = server.write_all(&[login, resp::encode(&forget)].concat());
            let _ = server.shutdown(Shutdown::Write);
            let _ = std::io::copy(&mut server, &mut std::io::sink());
        }
    }

    fn answers(
        &self,
        number: u64,
        mut server: TcpStream,
        mut client: TcpStream,
        lost: &AtomicBool,
    ) {
        let mut chunk = vec![0; 64 * 1024];
        while let Ok(n @ 1..) = server.read(&mut chunk) {
            self.travel(number);
            if lost.load(Ordering::SeqCst) {
                continue;
            }
            let (dribble, is_narrow) = {
                let weather = self.weather();
                (weather.dribble_until, weather.rate.is_some())
            };
            let dribbles = dribble.is_some_and(|until| Instant::now() < until);
            let piece = match (dribbles, is_narrow) {
                (true, _) => (n / 20).max(3),
                // Connections take turns.
                (false, true) => NARROW_PIECE,
                (false, false) => n,
            };
            for piece in chunk[..n].chunks(piece) {
                self.squeeze(1, piece.len());
                if client.write_all(piece).is_err() {
                    return;
                }
                if dribbles {
                    std::thread::sleep(Duration::from_millis(3));
                }
            }
        }
        let _ = client.shutdown(Shutdown::Both);
    }
}

/// The URL of a Redis on the loopback.
pub fn url(port: u16, password: &str) -> String {
    let login = if password.is_empty() {
        String::new()
    } else {
        format!(":{password}@")
    };
    format!("redis://{login}127.0.0.1:{port}/0")
}
