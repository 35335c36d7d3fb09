//! Every way out of the console, and back: the terminal is as it was, and the console never dies of
//! a terminal that is gone.

use std::io::Read as _;
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, ExitStatus, MasterPty, PtySize, native_pty_system};
use vt100::MouseProtocolMode;

use super::PATIENCE;
use super::redis::Redis;
use super::terminal::Terminal;

fn has_mouse(terminal: &Terminal) -> bool {
    let parser = terminal.screen.lock().expect("a screen");
    parser.screen().mouse_protocol_mode() != MouseProtocolMode::None
}

/// What `stty -a` says: whether the terminal is raw.
fn is_raw(shell: &mut Terminal, marker: &str) -> bool {
    shell.press(&format!(
        "\rstty -a | grep -o -e '-icanon'; echo {marker}=$?\r"
    ));
    shell.until("what stty says", |text| {
        text.contains(&format!("{marker}=0")) || text.contains(&format!("{marker}=1"))
    });
    shell.text().lines().any(|line| line.trim() == "-icanon")
}

#[test]
fn every_signal_that_ends_the_console_restores_the_terminal() {
    let redis = Redis::start();
    for signal in ["INT", "QUIT", "TERM", "HUP"] {
        let mut console = Terminal::open(&redis.server.url(), &["--mouse"]);
        console.sees("live");
        console.until("the mouse is taken", |_| has_mouse(&console));
        console.signal(signal);
        assert_eq!(console.ends(), 0, "{signal}");
        console.until("the terminal is restored", |_| {
            console.is_restored() && !has_mouse(&console)
        });
    }
}

#[test]
fn a_console_stopped_from_outside_gives_the_terminal_back_and_takes_it_again() {
    let redis = Redis::with_dead(3);
    let mut shell = Terminal::shell(&redis.server.url(), "--mouse");
    let pid = console_of(shell.child.process_id().expect("a shell"));
    for _ in 0..2 {
        shell.until("the mouse is taken", |_| has_mouse(&shell));
        send("TSTP", pid);
        shell.sees("Stopped");
        shell.until("the terminal is given back", |_| {
            shell.is_restored() && !has_mouse(&shell)
        });
        shell.press("clear; fg\r");
        shell.sees("live");
    }
    shell.press("q");
    shell.until("the shell is back", |_| shell.is_restored());
    assert!(!is_raw(&mut shell, "after"));
    shell.press("exit\r");
    assert_eq!(shell.ends(), 0);
}

/// A console in a terminal that the test reads, or does not.
struct Bare {
    master: Box<dyn MasterPty + Send>,
    child: Box<dyn Child + Send + Sync>,
}

const LARGE: PtySize = PtySize {
    rows: 60,
    cols: 250,
    pixel_width: 0,
    pixel_height: 0,
};

impl Bare {
    fn open(url: &str, flags: &[&str]) -> Self {
        let pair = native_pty_system().openpty(LARGE).expect("a terminal");
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_bridge"));
        command.args(flags);
        command.cwd(std::env::temp_dir());
        for (name, value) in [
            ("REDIS_URL", url),
            ("TERM", "xterm-256color"),
            ("HOME", "/dev/null"),
            ("LANG", "C.UTF-8"),
        ] {
            command.env(name, value);
        }
        let child = pair.slave.spawn_command(command).expect("it runs");
        Self {
            master: pair.master,
            child,
        }
    }

    /// Reads until a word is there.
    fn reads(&self, what: &str) {
        let mut reader = self.master.try_clone_reader().expect("a reader");
        let (mut text, mut bytes) = (String::new(), [0; 4_096]);
        while !text.contains(what) {
            let n = reader.read(&mut bytes).expect("it draws");
            text.push_str(&String::from_utf8_lossy(&bytes[..n]));
        }
    }

    fn pid(&self) -> u32 {
        self.child.process_id().expect("it runs")
    }
}

fn ends(child: &mut Box<dyn Child + Send + Sync>) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().expect("a status") {
            return status;
        }
        assert!(Instant::now() < deadline, "it does not end");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_console_whose_terminal_takes_nothing_more_ends_when_told() {
    let redis = Redis::start();
    let mut console = Bare::open(&redis.server.url(), &["--fps", "60"]);
    console.reads("live");
    // Nobody reads any more; every size draws all of it again, until the terminal takes no more.
    let deadline = Instant::now() + PATIENCE;
    let mut rows = 60;
    while !is_blocked_in_a_write(console.pid()) {
        assert!(Instant::now() < deadline, "it draws on and on");
        rows = if rows == 60 { 61 } else { 60 };
        let size = PtySize { rows, ..LARGE };
        console.master.resize(size).expect("resized");
        std::thread::sleep(Duration::from_millis(20));
    }
    send("TERM", console.pid());
    ends(&mut console.child);
}

#[test]
fn a_console_whose_terminal_has_gone_ends_quietly() {
    let redis = Redis::start();
    for flags in [&["--stats"][..], &[]] {
        for _ in 0..5 {
            let Bare { master, mut child } = {
                let console = Bare::open(&redis.server.url(), flags);
                console.reads("live");
                console
            };
            drop(master);
            let status = ends(&mut child);
            assert_eq!((status.exit_code(), status.signal()), (0, None));
        }
    }
}

/// The console that a shell runs.
fn console_of(shell: u32) -> u32 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let children = std::fs::read_to_string(format!("/proc/{shell}/task/{shell}/children"));
        let children = children.expect("Linux");
        if let Some(child) = children.split_whitespace().last() {
            return child.parse().expect("a number");
        }
        assert!(Instant::now() < deadline, "the shell runs nothing");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether a thread of a process waits for standard output to take what it writes.
fn is_blocked_in_a_write(pid: u32) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("Linux");
    tasks.flatten().any(|task| {
        let call = std::fs::read_to_string(task.path().join("syscall")).unwrap_or_default();
        // The number of `write` (x86-64, AArch64), and of the file.
        call.starts_with("1 0x1 ") || call.starts_with("64 0x1 ")
    })
}

fn send(signal: &str, pid: u32) {
    let sent = std::process::Command::new("kill")
        .args(["-s", signal, &pid.to_string()])
        .status();
    assert!(sent.expect("sent").success());
}
