//! A client that sends what it is told, byte by byte.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

use serde_json::Value;

use crate::common::{Bridge, PATIENCE, Worker, command, eventually};

/// An API of its own process. Killed when dropped.
pub(crate) struct Api {
    pub(crate) process: Worker,
    pub(crate) address: String,
}

impl Api {
    pub(crate) fn start(bridge: &Bridge) -> Self {
        Self::with(bridge, &[], &[])
    }

    pub(crate) fn with(bridge: &Bridge, flags: &[&str], settings: &[(&str, &str)]) -> Self {
        let flags = [&["api", "--listen", "127.0.0.1:0"], flags].concat();
        Self::of(bridge, &flags, settings)
    }

    /// Any process that serves.
    pub(crate) fn of(bridge: &Bridge, flags: &[&str], settings: &[(&str, &str)]) -> Self {
        let log = bridge.log();
        let process = command(flags)
            .env("REDIS_URL", bridge.redis.url())
            .envs(settings.iter().copied())
            .stderr(std::fs::File::create(&log).expect("a log file"))
            .spawn()
            .expect("the worker starts");
        let mut process = Worker::of(process, log);
        let mut address = None;
        eventually("the API listens", || {
            assert!(!process.has_ended(), "{}", process.log());
            address = process.log().lines().find_map(|line| {
                let line: Value = serde_json::from_str(line).ok()?;
                Some(line["address"].as_str()?.to_owned())
            });
            address.is_some()
        });
        let address = address.expect("just seen");
        Self { process, address }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"")
    }

    pub(crate) fn post(&self, path: &str) -> Answer {
        self.send("POST", path, &[], b"")
    }

    pub(crate) fn push(&self, path: &str, kind: &str, body: &[u8]) -> Answer {
        self.send("POST", path, &[("Content-Type", kind)], body)
    }

    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let mut stream = self.connect();
        self.head(&mut stream, method, path, headers);
        write!(stream, "Content-Length: {}\r\n\r\n", body.len()).expect("sent");
        // Refused early, the rest may find nobody who reads it.
        let _ = stream.write_all(body);
        Answer::read(&mut BufReader::new(stream)).expect("an answer")
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).expect("a connection");
        let limit = Some(PATIENCE);
        stream.set_read_timeout(limit).expect("a limit");
        stream
    }

    /// Sends the head of a request but for the blank line after it.
    pub(crate) fn head(
        &self,
        stream: &mut TcpStream,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) {
        let host = if headers.iter().any(|(name, _)| *name == "Host") {
            String::new()
        } else {
            format!("Host: {}\r\n", self.address)
        };
        let headers: String = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\n{host}{headers}Connection: close\r\n"
        )
        .expect("sent");
    }

    /// Begins a request whose body comes in chunks.
    pub(crate) fn begin(&self, path: &str, kind: &str) -> Upload {
        let mut stream = self.connect();
        let headers = [("Content-Type", kind), ("Transfer-Encoding", "chunked")];
        self.head(&mut stream, "POST", path, &headers);
        stream.write_all(b"\r\n").expect("sent");
        Upload(stream)
    }

    /// Begins to read events.
    pub(crate) fn listen(&self) -> Events {
        let mut stream = self.connect();
        self.head(&mut stream, "GET", "/events", &[]);
        stream.write_all(b"\r\n").expect("sent");
        let mut reader = BufReader::new(stream);
        let (status, headers) = read_head(&mut reader).expect("a head");
        assert_eq!(status, 200, "{headers:?}");
        assert_eq!(headers["content-type"], "text/event-stream");
        let mut events = Events {
            body: Chunks { reader, left: 0 },
            text: String::new(),
        };
        assert_eq!(events.next_block().as_deref(), Some(": listening"));
        events
    }
}

/// A body under way.
pub(crate) struct Upload(TcpStream);

impl Upload {
    pub(crate) fn chunk(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        write!(self.0, "{:x}\r\n", bytes.len())?;
        self.0.write_all(bytes)?;
        self.0.write_all(b"\r\n")
    }

    pub(crate) fn end(mut self) -> Answer {
        let _ = self.0.write_all(b"0\r\n\r\n");
        self.answer()
    }

    /// The status of an answer that comes while the body is under way.
    pub(crate) fn status(&mut self) -> u16 {
        let stream = self.0.try_clone().expect("a copy");
        read_head(&mut BufReader::new(stream)).expect("a head").0
    }

    /// The answer, without an end of the body.
    pub(crate) fn answer(self) -> Answer {
        Answer::read(&mut BufReader::new(self.0)).expect("an answer")
    }
}

/// Events as they come.
pub(crate) struct Events {
    body: Chunks,
    text: String,
}

impl Events {
    /// The next block of lines; `None` at the end.
    pub(crate) fn next_block(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let block = self.text[..end].to_owned();
                self.text.drain(..end + 2);
                return Some(block);
            }
            let mut bytes = [0; 16 << 10];
            let n = self.body.read(&mut bytes).expect("events");
            if n == 0 {
                return None;
            }
            self.text += std::str::from_utf8(&bytes[..n]).expect("text");
        }
    }

    /// The next event: its kind, and its data.
    pub(crate) fn next(&mut self) -> (String, Value) {
        loop {
            let block = self.next_block().expect("more events");
            if block.starts_with(':') {
                continue;
            }
            let line = |name: &str| {
                block
                    .lines()
                    .find_map(|line| line.strip_prefix(name))
                    .unwrap_or_else(|| panic!("no {name} in {block:?}"))
                    .trim()
                    .to_owned()
            };
            let data = serde_json::from_str(&line("data:")).expect("JSON");
            return (line("event:"), data);
        }
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn read(reader: &mut BufReader<TcpStream>) -> std::io::Result<Self> {
        let (status, headers) = read_head(reader)?;
        let mut body = Vec::new();
        if headers
            .get("transfer-encoding")
            .is_some_and(|coding| coding == "chunked")
        {
            loop {
                let mut line = String::new();
                reader.read_line(&mut line)?;
                let size = usize::from_str_radix(line.trim(), 16)
                    .map_err(|_| std::io::Error::other(format!("no size of a chunk: {line:?}")))?;
                let mut chunk = vec![0; size + 2];
                reader.read_exact(&mut chunk)?;
                body.extend_from_slice(&chunk[..size]);
                if size == 0 {
                    break;
                }
            }
        } else {
            reader.read_to_end(&mut body)?;
        }
        Ok(Self {
            status,
            headers,
            body,
        })
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A success with this body.
    #[track_caller]
    pub(crate) fn ok(&self) -> Value {
        assert!(
            (200..300).contains(&self.status),
            "{} {}",
            self.status,
            self.text()
        );
        assert_eq!(self.headers["content-type"], "application/json");
        self.json()
    }

    /// A problem of this status, as RFC 9457 wants it; returns its detail and all.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16) -> (String, Value) {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert!(!self.headers["x-request-id"].is_empty());
        let all = self.json();
        assert_eq!(all["status"], status);
        assert_eq!(all["type"], "about:blank");
        assert!(all["title"].is_string());
        (all["detail"].as_str().expect("a detail").to_owned(), all)
    }
}

fn read_head(reader: &mut BufReader<TcpStream>) -> std::io::Result<(u16, HashMap<String, String>)> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| std::io::Error::other(format!("no status: {line:?}")))?;
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.insert(name.to_ascii_lowercase(), value.to_owned()),
            None => return Ok((status, headers)),
        };
    }
}

/// A chunked body.
struct Chunks {
    reader: BufReader<TcpStream>,
    left: usize,
}

impl Chunks {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.left == 0 {
            let mut line = String::new();
            while line.trim().is_empty() {
                line.clear();
                if self.reader.read_line(&mut line)? == 0 {
                    return Ok(0);
                }
            }
            self.left = usize::from_str_radix(line.trim(), 16).map_err(std::io::Error::other)?;
            if self.left == 0 {
                return Ok(0);
            }
        }
        let most = into.len().min(self.left);
        let n = self.reader.read(&mut into[..most])?;
        self.left -= n;
        Ok(n)
    }
}
