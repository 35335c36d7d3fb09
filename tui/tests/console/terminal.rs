//! A terminal with a program in it, driven as its user drives it.

use std::io::{Read as _, Write as _};
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

use super::PATIENCE;

pub(crate) struct Terminal {
    pub(crate) master: Box<dyn MasterPty + Send>,
    pub(crate) keys: Box<dyn std::io::Write + Send>,
    pub(crate) child: Box<dyn Child + Send + Sync>,
    pub(crate) screen: Arc<Mutex<vt100::Parser>>,
}

fn rows_of(n: u16) -> NonZeroU16 {
    NonZeroU16::new(n).expect("more than none")
}

impl Terminal {
    /// Runs a shell, with a console in it that has these flags.
    pub(crate) fn shell(url: &str, flags: &str) -> Self {
        let mut shell = Self::run("bash", &["--norc", "-i"], url, 100, 30, "xterm-256color");
        shell.sees("shell>");
        shell.press(&format!("{} {flags}\r", env!("CARGO_BIN_EXE_bridge")));
        shell.sees("live");
        shell
    }

    /// Runs a program in a terminal of its own.
    pub(crate) fn run(
        program: &str,
        args: &[&str],
        url: &str,
        columns: u16,
        rows: u16,
        term: &str,
    ) -> Self {
        let size = PtySize {
            rows,
            cols: columns,
            ..PtySize::default()
        };
        let pair = native_pty_system().openpty(size).expect("a terminal");
        let mut command = CommandBuilder::new(program);
        command.args(args);
        command.cwd(std::env::temp_dir());
        for (name, value) in [
            ("REDIS_URL", url),
            ("TERM", term),
            ("LANG", "C.UTF-8"),
            ("LC_ALL", "C.UTF-8"),
            ("XDG_STATE_HOME", "relative, so no log is written"),
            ("HOME", "/dev/null"),
            ("PS1", "shell> "),
        ] {
            command.env(name, value);
        }
        for name in [
            "APP_REDIS_URL",
            "QUEUE_NAME",
            "FAILED_QUEUE_NAME",
            "NO_COLOR",
            "BRIDGE_THEME",
        ] {
            command.env_remove(name);
        }
        let child = pair.slave.spawn_command(command).expect("it runs");
        drop(pair.slave);
        let screen = Arc::new(Mutex::new(vt100::Parser::new(
            rows_of(rows),
            rows_of(columns),
            0,
        )));
        let mut output = pair.master.try_clone_reader().expect("a reader");
        let shown = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut bytes = [0; 4_096];
            while let Ok(n @ 1..) = output.read(&mut bytes) {
                shown.lock().expect("a screen").process(&bytes[..n]);
            }
        });
        Self {
            keys: pair.master.take_writer().expect("a writer"),
            master: pair.master,
            child,
            screen,
        }
    }

    pub(crate) fn open(url: &str, args: &[&str]) -> Self {
        Self::run(
            env!("CARGO_BIN_EXE_bridge"),
            args,
            url,
            100,
            30,
            "xterm-256color",
        )
    }

    pub(crate) fn text(&self) -> String {
        self.screen.lock().expect("a screen").screen().contents()
    }

    pub(crate) fn is_restored(&self) -> bool {
        let parser = self.screen.lock().expect("a screen");
        let screen = parser.screen();
        !screen.alternate_screen() && !screen.hide_cursor()
    }

    #[track_caller]
    pub(crate) fn sees(&self, what: &str) {
        self.until(&format!("{what:?} on the screen"), |text| {
            text.contains(what)
        });
    }

    /// Waits for words wherever their lines break.
    #[track_caller]
    pub(crate) fn says(&self, what: &str) {
        self.until(&format!("{what:?} in words"), |text| {
            let words: Vec<&str> = text.split_whitespace().collect();
            words.join(" ").contains(what)
        });
    }

    #[track_caller]
    pub(crate) fn until(&self, what: &str, is: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is(&self.text()) {
            assert!(Instant::now() < deadline, "never: {what}\n{}", self.text());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("typed");
        self.keys.flush().expect("typed");
    }

    pub(crate) fn resize(&mut self, columns: u16, rows: u16) {
        self.screen
            .lock()
            .expect("a screen")
            .set_size(rows_of(rows), rows_of(columns));
        let size = PtySize {
            rows,
            cols: columns,
            ..PtySize::default()
        };
        self.master.resize(size).expect("resized");
    }

    /// Waits for the end; returns the exit code.
    #[track_caller]
    pub(crate) fn ends(&mut self) -> u32 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a status") {
                return status.exit_code();
            }
            assert!(
                Instant::now() < deadline,
                "it does not end\n{}",
                self.text()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.process_id().expect("it runs").to_string();
        let sent = std::process::Command::new("kill")
            .args(["-s", name, &pid])
            .status();
        assert!(sent.expect("sent").success());
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
