//! A log writer that never blocks, fails or panics in the thread that logs.
//!
//! Lines go into a bounded buffer; a thread of the writer's own writes them. If the destination
//! blocks (a pipe that nobody reads) or fails (a full disk, a closed pipe), new lines are dropped
//! and counted once the buffer is full. The count is written as soon as the destination accepts
//! lines again.

use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

/// Bytes of log lines that wait to be written, at most.
const BUFFER_BYTES: usize = 1 << 20;
/// Pipes write up to 4,096 bytes at once or not at all (POSIX `PIPE_BUF`), so whole lines up to that
/// size are never mixed with those of another process.
const CHUNK_BYTES: usize = 4_096;
/// Time between two attempts to write to a destination that fails.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// Time between two attempts to write to a destination that is non-blocking and full.
const FULL_INTERVAL: Duration = Duration::from_millis(20);

/// Writes log lines through a thread of its own. Clones share the thread and the buffer.
#[derive(Debug, Clone)]
pub struct LogWriter(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    buffer: Vec<u8>,
    /// Lines that found the buffer full since the thread last looked.
    dropped: u64,
    /// The thread is writing, or still has a count of dropped lines to write.
    busy: bool,
    /// A flush waits: an attempt is made at once instead of after [`RETRY_INTERVAL`].
    hurry: bool,
    /// Attempts that failed so far.
    failures: u64,
}

impl Shared {
    /// The lock is held only to move bytes, so a panic in between leaves the state usable.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogWriter {
    /// Starts the thread. `notice` makes the line, without its line feed, that tells how many lines
    /// were dropped.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub fn start(
        out: impl Write + Send + 'static,
        notice: impl Fn(u64) -> String + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let thread = Drain {
            shared: Arc::clone(&shared),
            out,
            notice,
            lost: 0,
            is_torn: false,
        };
        std::thread::Builder::new()
            .name("log".into())
            .spawn(move || thread.run())?;
        Ok(Self(shared))
    }

    /// Waits until everything is written, but not longer than `limit`, and not for a destination
    /// that fails. Returns whether everything is written.
    #[must_use]
    pub fn flush_within(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        let mut state = self.0.lock();
        let failures = state.failures;
        state.hurry = true;
        self.0.changed.notify_all();
        loop {
            if state.buffer.is_empty() && state.dropped == 0 && !state.busy {
                return true;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || state.failures > failures {
                return false;
            }
            let waited = self.0.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Takes a whole line, or several, at a time.
impl Write for LogWriter {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let mut state = self.0.lock();
        if state.buffer.len() + lines.len() <= BUFFER_BYTES {
            state.buffer.extend_from_slice(lines);
        } else {
            state.dropped += count(lines);
        }
        drop(state);
        self.0.changed.notify_all();
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Flushes a log when dropped, for up to a second: the way out of a program.
#[derive(Debug)]
pub struct FlushOnDrop(pub LogWriter);

impl Drop for FlushOnDrop {
    fn drop(&mut self) {
        let _ = self.0.flush_within(Duration::from_secs(1));
    }
}

/// Lines in a piece of a log.
fn count(lines: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', lines).count() as u64
}

/// The writer's thread.
struct Drain<W, N> {
    shared: Arc<Shared>,
    out: W,
    notice: N,
    /// Dropped lines that the log does not tell of yet.
    lost: u64,
    /// A write failed in the middle of a line.
    is_torn: bool,
}

impl<W: Write, N: Fn(u64) -> String> Drain<W, N> {
    fn run(mut self) {
        let mut failed = false;
        let mut lines = Vec::new();
        loop {
            let dropped = self.wait(failed, &mut lines);
            failed = !self.write(&lines, dropped);
            lines.clear();
            if failed {
                self.shared.lock().failures += 1;
                self.shared.changed.notify_all();
            }
        }
    }

    /// Waits for something to write; returns how many lines were dropped after these.
    fn wait(&mut self, failed: bool, lines: &mut Vec<u8>) -> u64 {
        let retry_at = Instant::now() + RETRY_INTERVAL;
        let changed = &self.shared.changed;
        let mut state = self.shared.lock();
        state.busy = self.lost > 0;
        if !state.busy {
            changed.notify_all();
        }
        loop {
            let has_work = self.lost > 0 || state.dropped > 0 || !state.buffer.is_empty();
            let wait = if failed && !state.hurry {
                retry_at.saturating_duration_since(Instant::now())
            } else {
                Duration::ZERO
            };
            if has_work && wait.is_zero() {
                break;
            }
            state = if has_work {
                let waited = changed.wait_timeout(state, wait);
                waited.unwrap_or_else(PoisonError::into_inner).0
            } else {
                let waited = changed.wait(state);
                waited.unwrap_or_else(PoisonError::into_inner)
            };
        }
        state.hurry = false;
        state.busy = true;
        std::mem::swap(&mut state.buffer, lines);
        std::mem::take(&mut state.dropped)
    }

    /// Writes lines; returns whether that worked. Lines that could not be written, and those that
    /// were dropped behind them, count as lost.
    fn write(&mut self, lines: &[u8], dropped: u64) -> bool {
        if self.lost > 0 {
            let notice = (self.notice)(self.lost);
            if self.send(format!("{notice}\n").as_bytes()).is_err() {
                self.lost += count(lines) + dropped;
                return false;
            }
            self.lost = 0;
        }
        let mut rest = lines;
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(chunk_len(rest));
            if self.send(chunk).is_err() {
                self.lost += count(rest) + dropped;
                return false;
            }
            rest = after;
        }
        self.lost += dropped;
        true
    }

    /// Writes one piece of whole lines.
    fn send(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.is_torn {
            self.send_bytes(b"\n")?;
            self.is_torn = false;
        }
        self.send_bytes(lines)
    }

    fn send_bytes(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let whole = bytes.len();
        while !bytes.is_empty() {
            match self.out.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => bytes = &bytes[n..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Somebody made the shared pipe or terminal non-blocking.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    std::thread::sleep(FULL_INTERVAL);
                }
                Err(error) => {
                    self.is_torn |= bytes.len() < whole;
                    return Err(error);
                }
            }
        }
        self.out.flush()
    }
}

/// How many bytes of these lines are written at once: as many whole lines as a pipe takes without
/// mixing them with others, or one line that is longer.
fn chunk_len(lines: &[u8]) -> usize {
    let start = &lines[..lines.len().min(CHUNK_BYTES)];
    match memchr::memrchr(b'\n', start) {
        Some(end) => end + 1,
        None => memchr::memchr(b'\n', lines).map_or(lines.len(), |end| end + 1),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc;

    use super::*;

    const SOON: Duration = Duration::from_secs(30);

    /// A destination that does what a test says.
    #[derive(Clone, Default)]
    struct Destination {
        text: Arc<Mutex<Vec<u8>>>,
        is_full: Arc<AtomicBool>,
    }

    impl Destination {
        fn text(&self) -> String {
            let text = self.text.lock().expect("no panic").clone();
            String::from_utf8(text).expect("text")
        }
    }

    impl Write for Destination {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.is_full.load(Ordering::SeqCst) {
                return Err(ErrorKind::StorageFull.into());
            }
            self.text.lock().expect("no panic").extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn notice(lines: u64) -> String {
        format!("dropped {lines}")
    }

    #[test]
    fn lines_are_written_in_order_and_flushed() {
        let out = Destination::default();
        let mut log = LogWriter::start(out.clone(), notice).expect("a thread");
        let lines: String = (0..2_000).map(|n| format!("line {n}\n")).collect();
        for line in lines.split_inclusive('\n') {
            log.write_all(line.as_bytes()).expect("it never fails");
        }
        assert!(log.flush_within(SOON));
        assert_eq!(out.text(), lines);
    }

    #[test]
    fn a_full_disk_drops_lines_and_their_number_is_told_afterwards() {
        let out = Destination::default();
        let mut log = LogWriter::start(out.clone(), notice).expect("a thread");
        out.is_full.store(true, Ordering::SeqCst);
        for _ in 0..3 {
            log.write_all(b"lost\n").expect("it never fails");
        }
        let begun = Instant::now();
        assert!(!log.flush_within(SOON));
        assert!(begun.elapsed() < SOON / 2, "it waited for a full disk");
        out.is_full.store(false, Ordering::SeqCst);
        log.write_all(b"here\n").expect("it never fails");
        assert!(log.flush_within(SOON));
        let text = out.text();
        let lost: usize = text
            .lines()
            .filter_map(|line| line.strip_prefix("dropped "))
            .map(|n| n.parse::<usize>().expect("a number"))
            .sum();
        let kept = text.lines().filter(|line| *line == "lost").count();
        assert_eq!(lost + kept, 3, "{text}");
        assert!(lost > 0 && text.ends_with("here\n"), "{text}");
    }

    #[test]
    fn a_destination_that_blocks_holds_nobody_up() {
        struct Blocked(mpsc::Receiver<()>, Destination);
        impl Write for Blocked {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                // An error means that the test let go.
                let _ = self.0.recv();
                self.1.write(bytes)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (hold, let_go) = mpsc::channel();
        let out = Destination::default();
        let mut log = LogWriter::start(Blocked(let_go, out.clone()), notice).expect("a thread");
        let line = format!("{}\n", "x".repeat(999));
        let lines = 5 * BUFFER_BYTES / line.len();
        for _ in 0..lines {
            log.write_all(line.as_bytes()).expect("it never fails");
        }
        assert!(!log.flush_within(Duration::from_millis(50)));
        drop(hold);
        assert!(log.flush_within(SOON));
        let text = out.text();
        let (told, kept): (Vec<_>, Vec<_>) =
            text.lines().partition(|line| line.starts_with("dropped"));
        let lost: usize = told
            .iter()
            .map(|line| line["dropped ".len()..].parse::<usize>().expect("a number"))
            .sum();
        assert_eq!(kept.len() + lost, lines);
        assert!(kept.len() <= 2 * BUFFER_BYTES / line.len() && lost > 0);
    }

    #[test]
    fn lines_are_written_in_pieces_that_a_pipe_keeps_together() {
        let long = format!("{}\n", "x".repeat(9_000));
        assert_eq!(chunk_len(b"a\nb\n"), 4);
        assert_eq!(chunk_len(long.as_bytes()), 9_001);
        assert_eq!(chunk_len(format!("ab\n{long}").as_bytes()), 3);
        let short = "y".repeat(99) + "\n";
        assert_eq!(chunk_len(short.repeat(60).as_bytes()), 4_000);
    }
}
