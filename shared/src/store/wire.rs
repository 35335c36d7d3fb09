//! A connection for much at a time: thousands of commands in one piece, and answers of hundreds of
//! kilobytes.
//!
//! The driver copies three times what it sends, and takes an answer apart in pieces of 8 KB, with
//! memory of its own for each text in it, which was a sixth of a worker's time. Here a command is
//! written once, where it is sent from, and the texts of an answer stay in the memory that they were
//! read into.
//!
//! Source of the form of commands and answers: RESP2, <https://redis.io/docs/latest/develop/reference/protocol-spec/>.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use redis::{Cmd, ErrorKind, RedisResult, Value};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use super::connect::{Dialled, Meter, Metered, on_its_way};
use super::door::Server;
use super::error::{Foreign, in_the_middle, is_foreign};
use super::work::PIECE_BYTES;
use super::{CONNECT_TIMEOUT, RESPONSE_TIMEOUT, Store, StoreError, timed};

/// Bytes for which there is room when answers are read, beyond what the last ones had.
const ROOM: usize = 32 * 1024;
/// Bytes of a request, and of answers, beyond which their memory is not kept for the next ones.
const KEPT: usize = 1024 * 1024;

/// A connection.
pub(super) struct Wire {
    /// Its number among all of the process's.
    id: u64,
    own: Own,
    store: Store,
    server: Server,
    purpose: Purpose,
}

/// What a connection is for.
pub(super) struct Purpose {
    /// Its name among the calls that are measured.
    pub(super) call: &'static str,
    /// What a user may not do who may not do that.
    pub(super) what: String,
}

/// Commands that go out together, as they are sent.
pub(super) struct Request {
    bytes: Vec<u8>,
    commands: usize,
}

impl Request {
    /// How many commands there are.
    pub(super) const fn len(&self) -> usize {
        self.commands
    }

    pub(super) fn add(&mut self, cmd: &Cmd) {
        self.commands += 1;
        cmd.write_packed_command(&mut self.bytes);
    }

    /// The same where the command is one of thousands, without anything made on the way.
    pub(super) fn add_words<const N: usize>(&mut self, words: [&[u8]; N]) {
        let bytes = &mut self.bytes;
        self.commands += 1;
        let size = |word: &&[u8]| word.len() + 16;
        bytes.reserve(16 + words.iter().map(size).sum::<usize>());
        head(bytes, b'*', N);
        for word in words {
            head(bytes, b'$', word.len());
            bytes.extend_from_slice(word);
            bytes.extend_from_slice(b"\r\n");
        }
    }
}

fn head(out: &mut Vec<u8>, kind: u8, number: usize) {
    out.push(kind);
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    out.extend_from_slice(b"\r\n");
}

impl Wire {
    /// Nothing to send as yet.
    pub(super) fn request(&mut self) -> Request {
        Request {
            bytes: std::mem::take(&mut self.own.sent),
            commands: 0,
        }
    }

    /// Sends commands, and reads so many answers behind those that are left unread.
    ///
    /// # Errors
    /// Every [`StoreError`] that a connection can meet; it is not to be used again. What the server
    /// refuses stands in the answers.
    pub(super) async fn ask(
        &mut self,
        request: Request,
        unread: usize,
        answers: usize,
    ) -> Result<Answers, StoreError> {
        let (before, begun) = (self.own.meter.bytes(), Instant::now());
        let call = async {
            let answers = self.own.ask(request.bytes, unread, answers).await?;
            Ok(Answers(answers))
        };
        let answers = tokio::select! {
            biased;
            () = self.server.gone() => return Err(self.store.given_up()),
            answers = timed(self.purpose.call, call) => answers,
        };
        let answers = answers.map_err(|error| {
            let volume = self.store.door.volume();
            let (bytes, asked) = (self.own.meter.bytes() - before, volume.bytes());
            if is_foreign(&error) || bytes == 0 {
                return error;
            }
            volume.lost(self.id);
            in_the_middle(&error, bytes, asked, begun.elapsed())
        });
        self.told(answers).await
    }

    /// Puts into words what went wrong, and takes note of it.
    pub(super) async fn told<T>(&self, answer: RedisResult<T>) -> Result<T, StoreError> {
        let told = self.store.told(answer, || self.purpose.what.clone()).await;
        if let Err(error) = &told {
            self.server.note(error);
        }
        told
    }
}

impl Store {
    /// A connection for much at a time.
    ///
    /// # Errors
    /// Every [`StoreError`] that comes with a connection.
    pub(super) async fn wire(&self, purpose: Purpose) -> Result<Wire, StoreError> {
        let server = self.door.server().await?;
        let own = async {
            let dialled = server.endpoint.dial().await?;
            let login = tokio::time::timeout(CONNECT_TIMEOUT, Own::log_in(dialled)).await;
            let login = login.unwrap_or_else(|late| Err(io::Error::from(late).into()));
            login.map_err(|error| self.error(&error))
        };
        let own = own.await.inspect_err(|error| server.note(error))?;
        Ok(Wire {
            id: self.door.next_id(),
            own,
            store: self.clone(),
            server,
            purpose,
        })
    }
}

/// A connection that is spoken here.
struct Own {
    stream: Metered,
    meter: Arc<Meter>,
    /// Room for what is sent next.
    sent: Vec<u8>,
    /// What came, and room for more.
    came: BytesMut,
    /// How much room the next answers will need, as far as the last ones tell.
    room: usize,
}

impl Own {
    /// Logs in.
    async fn log_in(dialled: Dialled) -> RedisResult<Self> {
        let Dialled {
            settings,
            stream,
            meter,
        } = dialled;
        let mut own = Self {
            stream,
            meter,
            sent: Vec::new(),
            came: BytesMut::new(),
            room: ROOM,
        };
        let mut login = Vec::new();
        if let Some(password) = settings.password() {
            let user = settings.username();
            login.push(redis::cmd("AUTH").arg(user).arg(password).clone());
        }
        // Needs no right, and is answered only where the server has a place for this connection.
        login.push(redis::cmd("HELLO").arg(2).clone());
        if settings.db() != 0 {
            login.push(redis::cmd("SELECT").arg(settings.db()).clone());
        }
        let bytes = login.iter().flat_map(Cmd::get_packed_command).collect();
        let mut answers = Answers(own.ask(bytes, 0, login.len()).await?);
        if settings.password().is_some() {
            // The server's own words may have the password in them.
            let refused = (
                ErrorKind::AuthenticationFailed,
                "Password authentication failed",
            );
            answers.value().map_err(|_| refused)?;
        }
        answers.value()?;
        if settings.db() != 0 {
            answers.value()?;
        }
        Ok(own)
    }

    async fn ask(
        &mut self,
        mut request: Vec<u8>,
        unread: usize,
        answers: usize,
    ) -> io::Result<Texts> {
        let mut rest = &request[..];
        let on_its_way = on_its_way(rest.len() as u64);
        while !rest.is_empty() {
            let sent = in_time(Duration::ZERO, self.stream.write(rest)).await?;
            if sent == 0 {
                return Err(ended());
            }
            rest = &rest[sent..];
        }
        request.clear();
        if request.capacity() <= KEPT {
            self.sent = request;
        }
        if self.came.is_empty() {
            // Room that earlier answers were in is used again, where nobody has them any more.
            self.came.reserve(self.room);
        }
        let mut ends = Vec::with_capacity(answers + 1);
        let mut reader = Reader::default();
        for n in 0..unread + answers {
            if n == unread {
                ends.push(reader.at);
            }
            while !reader.pass(&self.came)? {
                if self.came.capacity() == self.came.len() {
                    self.came.reserve(self.room.max(self.came.len()));
                }
                if in_time(on_its_way, self.stream.read_buf(&mut self.came)).await? == 0 {
                    return Err(ended());
                }
            }
            if n >= unread {
                ends.push(reader.at);
            }
        }
        if self.came.len() > reader.at {
            // Nobody asked for it, so it is not known which answer belongs to what.
            return Err(foreign());
        }
        let bytes = self.came.split_to(reader.at).freeze();
        self.room = bytes.len() + ROOM;
        if self.room > KEPT {
            self.room = ROOM;
            self.came = BytesMut::from(&*self.came);
        }
        Ok(Texts { bytes, ends, at: 0 })
    }
}

/// Waits for the connection to take or bring anything. Each time anew: whoever asks may be busy
/// with something else meanwhile, and what came then is in time.
async fn in_time<T>(longer: Duration, wait: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(RESPONSE_TIMEOUT + longer, wait).await?
}

fn ended() -> io::Error {
    let kind = io::ErrorKind::UnexpectedEof;
    io::Error::new(kind, "the server ended the connection")
}

fn foreign() -> io::Error {
    foreign_like(b"")
}

/// What is no answer, by its beginning.
fn foreign_like(line: &[u8]) -> io::Error {
    let said = String::from_utf8_lossy(line).into_owned();
    io::Error::new(io::ErrorKind::InvalidData, Foreign(said))
}

/// Passes over answers without reading them.
#[derive(Default)]
struct Reader {
    /// Where it is.
    at: usize,
    /// How many values belong to the answer it is in; none between answers.
    open: usize,
}

impl Reader {
    /// Goes on to the end of the answer, or as far as there is any of it; says whether that is the
    /// end.
    fn pass(&mut self, bytes: &[u8]) -> io::Result<bool> {
        if self.open == 0 {
            self.open = 1;
        }
        while self.open > 0 {
            let Some((line, end)) = line(bytes, self.at) else {
                return Ok(false);
            };
            self.at = match line {
                // Of what is not there the length is -1.
                [b'+' | b'-' | b':', ..] | b"$-1" | b"*-1" => end,
                [b'$', digits @ ..] => {
                    let length = length(digits).and_then(|length| length.checked_add(2));
                    let end = length.and_then(|length| end.checked_add(length));
                    let end = end.ok_or_else(foreign)?;
                    if end > bytes.len() {
                        return Ok(false);
                    }
                    end
                }
                [b'*', digits @ ..] => {
                    let open = length(digits).and_then(|more| self.open.checked_add(more));
                    self.open = open.ok_or_else(foreign)?;
                    end
                }
                line => return Err(foreign_like(line)),
            };
            self.open -= 1;
        }
        Ok(true)
    }
}

/// How many bytes, or values, follow a line.
fn length(digits: &[u8]) -> Option<usize> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The line that begins here, and where the next one does.
fn line(bytes: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let rest = bytes.get(at..)?;
    let end = rest.iter().position(|byte| *byte == b'\r')?;
    (end + 1 < rest.len()).then(|| (&rest[..end], at + end + 2))
}

/// Answers, to be taken one after the other.
pub(super) struct Answers(Texts);

/// Answers as they came.
struct Texts {
    bytes: Bytes,
    /// Where the first begins, and each ends.
    ends: Vec<usize>,
    at: usize,
}

impl Texts {
    fn next(&mut self) -> Option<Bytes> {
        let (from, to) = (*self.ends.get(self.at)?, *self.ends.get(self.at + 1)?);
        self.at += 1;
        Some(self.bytes.slice(from..to))
    }

    /// The texts of a list, where the answer is one of nothing else. They share its memory where that
    /// is not much: one of them may be kept long after the others.
    fn list(answer: &Bytes) -> Option<Vec<Bytes>> {
        let (head, mut at) = line(answer, 0)?;
        let many = length(head.strip_prefix(b"*")?)?;
        let mut texts = Vec::with_capacity(many.min(answer.len()));
        for _ in 0..many {
            let (head, from) = line(answer, at)?;
            let to = from + length(head.strip_prefix(b"$")?)?;
            texts.push(if answer.len() > PIECE_BYTES {
                Bytes::copy_from_slice(&answer[from..to])
            } else {
                answer.slice(from..to)
            });
            at = to + 2;
        }
        Some(texts)
    }
}

impl Answers {
    /// The next answer.
    ///
    /// # Errors
    /// What the server refused.
    pub(super) fn value(&mut self) -> RedisResult<Value> {
        match self.0.next() {
            Some(answer) => redis::parse_redis_value(&answer)?.extract_error(),
            None => Ok(Value::Nil),
        }
    }

    /// The next answer, a list of texts; none where it is anything else.
    ///
    /// # Errors
    /// What the server refused.
    pub(super) fn texts(&mut self) -> RedisResult<Option<Vec<Bytes>>> {
        let text = |value| match value {
            Value::BulkString(text) => Some(Bytes::from(text)),
            _ => None,
        };
        let answer = self.0.next().unwrap_or_default();
        if let Some(list) = Texts::list(&answer) {
            return Ok(Some(list));
        }
        match redis::parse_redis_value(&answer)?.extract_error()? {
            Value::Array(values) => Ok(values.into_iter().map(text).collect()),
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::DuplexStream;

    use super::*;
    use crate::config::RedisArgs;

    /// A connection, and the server's end of it.
    fn both_ends() -> (Wire, DuplexStream) {
        let (here, there) = tokio::io::duplex(1 << 20);
        let (stream, meter) = Metered::new(Box::new(here));
        let own = Own {
            stream,
            meter,
            sent: Vec::new(),
            came: BytesMut::new(),
            room: ROOM,
        };
        let args = RedisArgs::of("redis://127.0.0.1:1", ["q", "f", "e"]);
        let store = Store::new(&args).expect("a store");
        let wire = Wire {
            id: 1,
            own,
            server: store.door.server_of_nothing(),
            store,
            purpose: Purpose {
                call: "test",
                what: "be tested".into(),
            },
        };
        (wire, there)
    }

    /// Asks once, where this is what comes back, in pieces of so many bytes.
    async fn ask(
        came: &[u8],
        piece: usize,
        unread: usize,
        answers: usize,
    ) -> Result<Answers, StoreError> {
        let (mut wire, mut there) = both_ends();
        let request = wire.request();
        let asked = wire.ask(request, unread, answers);
        let server = async move {
            for piece in came.chunks(piece) {
                there.write_all(piece).await.expect("somebody reads");
                tokio::task::yield_now().await;
            }
        };
        tokio::join!(asked, server).0
    }

    #[tokio::test]
    async fn answers_are_read_whatever_pieces_they_come_in() {
        let came = b"+QUEUED\r\n*2\r\n:1\r\n*1\r\n$1\r\na\r\n:7\r\n*3\r\n$2\r\n\r\n\r\n$0\r\n\r\n$5\r\n$1\r\na\r\n*0\r\n*-1\r\n$-1\r\n-NOPERM no\r\n*1\r\n$-1\r\n$2\r\nok\r\n";
        for piece in 1..=came.len() {
            let mut answers = ask(came, piece, 2, 8).await.expect("answers");
            assert_eq!(answers.value(), Ok(Value::Int(7)));
            let texts = answers.texts().expect("a list").expect("of texts");
            assert_eq!(texts, ["\r\n", "", "$1\r\na"]);
            assert_eq!(answers.texts(), Ok(Some(Vec::new())));
            assert_eq!(answers.texts(), Ok(None));
            assert_eq!(answers.value(), Ok(Value::Nil));
            let refused = answers.texts().expect_err("an error");
            assert_eq!(refused.code(), Some("NOPERM"));
            assert_eq!(answers.texts(), Ok(None));
            assert_eq!(answers.value(), Ok(Value::BulkString(b"ok".to_vec())));
        }
    }

    #[tokio::test]
    async fn what_is_no_answer_and_what_breaks_off_ends_the_connection() {
        for wrong in ["", "+O", "$3\r\nab", "*2\r\n:1\r\n", "$5\r\nhello"] {
            let error = ask(wrong.as_bytes(), 3, 0, 1).await.err();
            assert!(
                error.is_some_and(|error| error.is_unreachable()),
                "{wrong:?}"
            );
        }
        let huge = format!("${}\r\n", usize::MAX);
        // Of two answers one is not asked for.
        let two = "+OK\r\n:1\r\n";
        for wrong in ["\r\n", "?\r\n", "$x\r\n", "$-2\r\n", "*\r\n", &huge, two] {
            let error = ask(wrong.as_bytes(), 99, 0, 1).await.err();
            let error = error.expect(wrong).to_string();
            assert!(error.contains("is not Redis"), "{wrong:?}: {error}");
        }
    }

    #[tokio::test]
    async fn a_command_is_the_same_by_its_words() {
        let (mut wire, _there) = both_ends();
        let long = vec![b'x'; 12_345];
        let mut request = wire.request();
        request.add_words([b"XADD", b"", b"\r\n", &long]);
        let mut cmd = redis::cmd("XADD");
        cmd.arg("").arg("\r\n").arg(&long);
        request.add(&cmd);
        assert_eq!(request.len(), 2);
        let bytes = request.bytes;
        let (first, second) = bytes.split_at(bytes.len() / 2);
        assert!(first == second);
    }

    #[test]
    fn texts_of_much_have_memory_of_their_own() {
        for (size, shares) in [(100, true), (PIECE_BYTES, false)] {
            let answer = format!("*2\r\n$1\r\na\r\n${size}\r\n{}\r\n", "x".repeat(size));
            let answer = Bytes::from(answer);
            let texts = Texts::list(&answer).expect("a list");
            assert_eq!((&texts[0][..], texts[1].len()), (&b"a"[..], size));
            let place = answer.as_ptr_range();
            assert!(
                texts
                    .iter()
                    .all(|text| place.contains(&text.as_ptr()) == shares)
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_while_nobody_asked_is_in_time_and_silence_is_not() {
        let (mut wire, mut there) = both_ends();
        let request = wire.request();
        let mut asked = Box::pin(wire.ask(request, 0, 1));
        assert!(futures::poll!(&mut asked).is_pending());
        there.write_all(b"$2\r\n").await.expect("somebody reads");
        tokio::time::advance(RESPONSE_TIMEOUT * 3).await;
        let rest = async {
            tokio::time::sleep(RESPONSE_TIMEOUT / 2).await;
            there.write_all(b"ok\r\n").await.expect("somebody reads");
        };
        let (answers, ()) = tokio::join!(asked, rest);
        assert_eq!(
            answers.expect("it is there").value(),
            Ok(Value::BulkString(b"ok".to_vec()))
        );

        let request = wire.request();
        let error = wire.ask(request, 0, 1).await.err();
        let error = error.expect("nothing came").to_string();
        assert!(error.contains("no answer in time"), "{error}");
    }

    #[tokio::test]
    async fn no_password_is_in_what_the_server_says_to_it() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let url = format!("redis://ada:hunter2@127.0.0.1:{port}/0");
        let store = Store::new(&RedisArgs::of(url, ["q", "f", "e"])).expect("a store");
        let server = async {
            let (mut stream, _) = listener.accept().await.expect("somebody comes");
            for said in [
                "-ERR unknown command 'AUTH', with args beginning with: 'ada' 'hunter2'\r\n",
                "-NOAUTH HELLO must be called with the client already authenticated\r\n",
            ] {
                let said = stream.write_all(said.as_bytes()).await;
                said.expect("somebody reads");
            }
            stream
        };
        let purpose = Purpose {
            call: "test",
            what: "be tested".into(),
        };
        let (wire, _stream) = tokio::join!(store.wire(purpose), server);
        let error = wire.err().expect("refused");
        assert!(matches!(error, StoreError::Login { .. }), "{error:?}");
        assert!(
            !format!("{error:?} {error}").contains("hunter2"),
            "{error:?}"
        );
    }
}
