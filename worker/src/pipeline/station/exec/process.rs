//! A program as a process that ends with everything it started.

use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::runtime::Handle;

use super::super::answer::excerpt;
use crate::{guardian, limits};

/// Lines of a program's standard error that go into the log for each lead.
const LINES: u32 = 20;
/// Characters of such a line.
const LINE: usize = 500;
/// Bytes of it that are looked at.
const READ: usize = 4_096;
/// Bytes below which a value of the environment is too common to be hidden.
const SECRET: usize = 4;

/// What to start, and in which surroundings.
#[derive(Clone)]
pub(super) struct Program {
    /// The station's name, for the log.
    pub(super) station: String,
    /// The program as the route names it.
    pub(super) name: String,
    /// The program and its arguments.
    pub(super) command: Vec<String>,
    /// All of its environment.
    pub(super) environment: Vec<(String, String)>,
    /// Where it runs.
    pub(super) directory: Option<PathBuf>,
}

impl std::fmt::Debug for Program {
    /// Without the environment, which holds secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program")
            .field("command", &self.command)
            .finish_non_exhaustive()
    }
}

/// A running program.
#[derive(Debug)]
pub(super) struct Process {
    /// Where it reads leads from.
    pub(super) stdin: ChildStdin,
    /// Where it answers.
    pub(super) stdout: BufReader<ChildStdout>,
    /// Where it talks.
    pub(super) stderr: ChildStderr,
    /// Itself.
    pub(super) group: Group,
}

/// A process and everything it started, as long as that stays in its process group. Killed when
/// dropped.
#[derive(Debug)]
pub(super) struct Group {
    /// Until it was waited for.
    child: Option<Child>,
    number: Option<u32>,
    /// Until it was killed.
    pid: Option<u32>,
}

impl Program {
    /// What it is called.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// A text without the values that only the program was given to know.
    fn hide(&self, text: String) -> String {
        let secret = |(name, value): &&(String, String)| name != "PATH" && value.len() >= SECRET;
        let secrets = self.environment.iter().filter(secret);
        secrets.fold(text, |text, (name, value)| {
            text.replace(value, &format!("${{{name}}}"))
        })
    }

    /// Starts it, in a process group of its own, which ends with the worker: a ctrl-C in the terminal is for the worker, which
    /// finishes its leads first.
    pub(super) fn start(&self, lead: Option<&str>) -> io::Result<Process> {
        let (program, arguments) = self.command.split_first().expect("checked at load");
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .envs(lead.map(|id| ("LEAD_ID", id)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        let mut child = guardian::spawn(&mut command)?;
        let pid = child.id();
        limits::restore(pid);
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        Ok(Process {
            group: Group {
                child: Some(child),
                number: pid,
                pid,
            },
            stdin: stdin.expect("it is piped"),
            stdout: BufReader::new(stdout.expect("it is piped")),
            stderr: stderr.expect("it is piped"),
        })
    }
}

impl Group {
    /// Waits for the end of the program, and then ends what it left behind.
    pub(super) async fn end(&mut self) -> io::Result<ExitStatus> {
        let Some(child) = &mut self.child else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let status = child.wait().await;
        self.kill();
        self.reaped();
        status
    }

    /// How it ended, where it has.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().ok().flatten()?;
        self.kill();
        self.reaped();
        Some(status)
    }

    fn reaped(&mut self) {
        self.child = None;
        if let Some(number) = self.number.take() {
            guardian::reaped(number);
        }
    }

    fn kill(&mut self) {
        // Fails where nobody is left in the group. The number is taken: once that is so, it may
        // become another's.
        if let Some(pid) = self.pid.take() {
            let group = i32::try_from(pid).ok().and_then(Pid::from_raw);
            let _ = group.map(|group| kill_process_group(group, Signal::KILL));
            guardian::killed(pid);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
        let (child, number) = (self.child.take(), self.number.take());
        if let (Some(mut child), Ok(runtime)) = (child, Handle::try_current()) {
            runtime.spawn(async move {
                let _ = child.wait().await;
                if let Some(number) = number {
                    guardian::reaped(number);
                }
            });
        }
    }
}

/// What a program says on its standard error: into the log, so much of it for each lead, and its
/// last line into the error of a lead that fails.
#[derive(Debug, Default)]
pub(super) struct Said(Mutex<Words>);

#[derive(Debug, Default)]
struct Words {
    last: String,
    shown: u32,
    left_out: u32,
}

impl Said {
    /// Reads to the end.
    pub(super) async fn listen(&self, program: &Program, stderr: ChildStderr) {
        let mut stderr = BufReader::new(stderr);
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = read_line(&mut stderr, &mut line, READ).await;
            // Hidden first, so that no part of a secret stands at the end of what is kept.
            let text = program.hide(String::from_utf8_lossy(&line).into_owned());
            let text = excerpt(&text, LINE);
            if !text.is_empty() {
                self.note(&program.station, text);
            }
            if !matches!(read, Ok(Line::Whole | Line::TooLong)) {
                return;
            }
        }
    }

    fn note(&self, station: &str, text: String) {
        let mut words = self.words();
        if words.shown < LINES {
            words.shown += 1;
            tracing::info!(station, "the program says: {text}");
        } else {
            words.left_out += 1;
        }
        words.last = text;
    }

    /// A lead is done with: the next one's lines count anew. Returns the last line.
    pub(super) fn turn(&self, station: &str) -> String {
        let words = std::mem::take(&mut *self.words());
        if words.left_out > 0 {
            tracing::info!(station, "the program says {} lines more", words.left_out);
        }
        words.last
    }

    fn words(&self) -> std::sync::MutexGuard<'_, Words> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How the reading of a line ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    /// With the line's end, which is taken off.
    Whole,
    /// With the line's end, but its beginning only was kept.
    TooLong,
    /// There is no more; what was there of the last line was kept.
    End,
}

/// Reads a line into `out` and keeps at most `limit` bytes of it.
pub(super) async fn read_line(
    reader: &mut (impl AsyncBufRead + Unpin),
    out: &mut Vec<u8>,
    limit: usize,
) -> io::Result<Line> {
    let mut ended = Line::Whole;
    loop {
        let there = reader.fill_buf().await?;
        if there.is_empty() {
            return Ok(Line::End);
        }
        let newline = there.iter().position(|byte| *byte == b'\n');
        let piece = &there[..newline.unwrap_or(there.len())];
        let room = limit - out.len();
        if piece.len() > room {
            ended = Line::TooLong;
        }
        out.extend_from_slice(&piece[..piece.len().min(room)]);
        let used = newline.map_or(there.len(), |at| at + 1);
        reader.consume(used);
        if newline.is_some() {
            return Ok(ended);
        }
    }
}

/// Reads to the end, or until there is more than `limit` bytes: then `None`.
pub(super) async fn read_all(
    reader: &mut (impl AsyncRead + Unpin),
    limit: usize,
) -> io::Result<Option<Vec<u8>>> {
    use tokio::io::AsyncReadExt as _;
    let mut out = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX - 1) + 1;
    reader.take(most).read_to_end(&mut out).await?;
    Ok((out.len() <= limit).then_some(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_is_kept_up_to_its_limit_and_read_to_its_end() {
        let mut reader = BufReader::with_capacity(4, &b"short\na long line\n\nrest"[..]);
        let mut lines = Vec::new();
        loop {
            let mut line = Vec::new();
            let read = read_line(&mut reader, &mut line, 6).await.expect("read");
            lines.push((String::from_utf8(line).expect("UTF-8"), read));
            if read == Line::End {
                break;
            }
        }
        let expected = [
            ("short", Line::Whole),
            ("a long", Line::TooLong),
            ("", Line::Whole),
            ("rest", Line::End),
        ];
        assert_eq!(lines, expected.map(|(text, read)| (text.to_owned(), read)));
    }

    #[tokio::test]
    async fn what_is_longer_than_the_limit_is_not_read() {
        assert_eq!(
            read_all(&mut &b"1234"[..], 4).await.expect("read"),
            Some(b"1234".to_vec())
        );
        assert_eq!(read_all(&mut &b"12345"[..], 4).await.expect("read"), None);
    }
}
