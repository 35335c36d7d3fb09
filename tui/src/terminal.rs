//! The terminal: taken over at the start, given back on every way out.

use std::fmt;
use std::io::{self, Stdout, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossterm::Command;
use crossterm::cursor::{Hide, Show};
use crossterm::event::{DisableBracketedPaste, EnableBracketedPaste};
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen};
use crossterm::{execute, terminal};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;

/// Whether the terminal is ours right now; a panic must know.
static TAKEN: AtomicBool = AtomicBool::new(false);
/// Whether it ever was.
static EVER_TAKEN: AtomicBool = AtomicBool::new(false);
/// Whether the mouse is ours too; only then is the terminal told anything of it.
static MOUSE: AtomicBool = AtomicBool::new(false);
/// Bytes sent to the terminal so far.
static BYTES: AtomicU64 = AtomicU64::new(0);

/// Bytes sent to the terminal so far.
pub(crate) fn bytes_sent() -> u64 {
    BYTES.load(Ordering::Relaxed)
}

/// Whether the terminal is ours right now.
pub(crate) fn is_taken() -> bool {
    TAKEN.load(Ordering::Relaxed)
}

/// Whether the terminal is or was ours.
pub(crate) fn was_taken() -> bool {
    EVER_TAKEN.load(Ordering::Relaxed)
}

/// Bytes of a frame, sent in one go, so that a slow link shows whole frames.
#[derive(Debug)]
pub(crate) struct FrameWriter {
    frame: Vec<u8>,
    out: Stdout,
}

impl Write for FrameWriter {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        self.frame.extend_from_slice(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.frame.is_empty() {
            return Ok(());
        }
        let mut out = self.out.lock();
        // After a panic elsewhere the terminal is no longer ours: what is on it now is the report.
        if !is_taken() {
            self.frame.clear();
            return Ok(());
        }
        out.write_all(&self.frame)?;
        out.flush()?;
        BYTES.fetch_add(self.frame.len() as u64, Ordering::Relaxed);
        self.frame.clear();
        Ok(())
    }
}

/// The terminal, taken over.
pub(crate) type Screen = Terminal<CrosstermBackend<FrameWriter>>;

/// Clicks and the wheel, in numbers that go beyond 223 columns. Not the pointer's every move, which
/// crossterm's own command asks for as well and which a slow link would feel. Source: xterm,
/// "Mouse Tracking": 1000 and 1006.
struct Mouse(bool);

impl Command for Mouse {
    fn write_ansi(&self, f: &mut impl fmt::Write) -> fmt::Result {
        f.write_str(if self.0 {
            "\x1b[?1000h\x1b[?1006h"
        } else {
            "\x1b[?1006l\x1b[?1000l"
        })
    }
}

/// Takes the terminal over, and the mouse where that is wanted.
///
/// # Errors
/// Where standard output is no terminal.
pub(crate) fn take(mouse: bool) -> io::Result<Screen> {
    MOUSE.store(mouse, Ordering::Relaxed);
    enter()?;
    let writer = FrameWriter {
        frame: Vec::with_capacity(16 * 1024),
        out: io::stdout(),
    };
    Terminal::new(CrosstermBackend::new(writer)).inspect_err(|_| give_back())
}

/// Makes the terminal ours, at the start and after a suspension.
///
/// # Errors
/// Where standard output is no terminal.
pub(crate) fn enter() -> io::Result<()> {
    terminal::enable_raw_mode()?;
    TAKEN.store(true, Ordering::Relaxed);
    EVER_TAKEN.store(true, Ordering::Relaxed);
    execute!(
        io::stdout(),
        EnterAlternateScreen,
        EnableBracketedPaste,
        Hide
    )
    .and_then(|()| {
        if MOUSE.load(Ordering::Relaxed) {
            execute!(io::stdout(), Mouse(true))?;
        }
        Ok(())
    })
    .inspect_err(|_| give_back())
}

/// Gives the terminal back as it was; does nothing where it is not ours. A terminal that has gone
/// cannot be helped, so nothing is said of failing.
pub(crate) fn give_back() {
    if TAKEN.swap(false, Ordering::Relaxed) {
        // First, as it cannot block.
        let _ = terminal::disable_raw_mode();
        if MOUSE.load(Ordering::Relaxed) {
            let _ = execute!(io::stdout(), Mouse(false));
        }
        let _ = execute!(
            io::stdout(),
            DisableBracketedPaste,
            LeaveAlternateScreen,
            Show
        );
    }
}

/// Restores the mode of a terminal that takes no more bytes; does nothing if it is not ours.
pub(crate) fn abandon() {
    let _ = terminal::disable_raw_mode();
}

/// Whether an error says that the terminal is gone: its window was closed, its connection was cut.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    let gone = [rustix::io::Errno::IO, rustix::io::Errno::NXIO];
    error.kind() == io::ErrorKind::BrokenPipe
        || gone
            .iter()
            .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Whether the locale can show more than ASCII.
pub(crate) fn speaks_unicode(env: impl Fn(&str) -> Option<String>) -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| env(name).filter(|value| !value.is_empty()));
    locale.is_some_and(|locale| {
        let locale = locale.to_ascii_uppercase();
        locale.contains("UTF-8") || locale.contains("UTF8")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_locale_says_what_can_be_shown() {
        for (vars, expected) in [
            (&[("LANG", "en_US.UTF-8")][..], true),
            (&[("LC_ALL", "C"), ("LANG", "en_US.UTF-8")], false),
            (&[("LC_ALL", ""), ("LANG", "C.utf8")], true),
            (&[], false),
        ] {
            let env = |name: &str| {
                let found = vars.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            assert_eq!(speaks_unicode(env), expected, "{vars:?}");
        }
    }
}
