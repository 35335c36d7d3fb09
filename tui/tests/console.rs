//! The console, driven through a pseudo-terminal as its user drives it.

use std::io::{Read as _, Write as _};
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bridge_shared::sandbox::Sandbox;
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use redis::{Connection, FromRedisValue};
use vt100::{MouseProtocolEncoding, MouseProtocolMode};

/// The longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(30);

struct Terminal {
    master: Box<dyn MasterPty + Send>,
    keys: Box<dyn std::io::Write + Send>,
    child: Box<dyn Child + Send + Sync>,
    screen: Arc<Mutex<vt100::Parser>>,
}

fn rows_of(n: u16) -> NonZeroU16 {
    NonZeroU16::new(n).expect("more than none")
}

impl Terminal {
    /// Runs a program in a terminal of its own.
    fn run(program: &str, args: &[&str], url: &str, columns: u16, rows: u16, term: &str) -> Self {
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
            ("HOME", "/nonexistent"),
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

    fn open(url: &str, args: &[&str]) -> Self {
        Self::run(
            env!("CARGO_BIN_EXE_bridge"),
            args,
            url,
            100,
            30,
            "xterm-256color",
        )
    }

    fn text(&self) -> String {
        self.screen.lock().expect("a screen").screen().contents()
    }

    fn is_restored(&self) -> bool {
        let parser = self.screen.lock().expect("a screen");
        let screen = parser.screen();
        !screen.alternate_screen() && !screen.hide_cursor()
    }

    #[track_caller]
    fn sees(&self, what: &str) {
        self.until(&format!("{what:?} on the screen"), |text| {
            text.contains(what)
        });
    }

    /// Waits for words wherever their lines break.
    #[track_caller]
    fn says(&self, what: &str) {
        self.until(&format!("{what:?} in words"), |text| {
            let words: Vec<&str> = text.split_whitespace().collect();
            words.join(" ").contains(what)
        });
    }

    #[track_caller]
    fn until(&self, what: &str, is: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is(&self.text()) {
            assert!(Instant::now() < deadline, "never: {what}\n{}", self.text());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("typed");
        self.keys.flush().expect("typed");
    }

    fn resize(&mut self, columns: u16, rows: u16) {
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
    fn ends(&mut self) -> u32 {
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

    fn signal(&self, name: &str) {
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

struct Redis {
    server: Sandbox,
    connection: Connection,
}

impl Redis {
    fn start() -> Self {
        Self::with(&[])
    }

    fn with(settings: &[&str]) -> Self {
        let server = Sandbox::start(settings).expect("a private Redis");
        let connection = redis::Client::open(server.url())
            .and_then(|client| client.get_connection())
            .expect("a connection");
        Self { server, connection }
    }

    /// With dead letters of two causes, number 0 the oldest.
    fn with_dead(n: usize) -> Self {
        let mut redis = Self::start();
        for i in 0..n {
            let error = if i % 2 == 0 {
                "HTTP 503 from enrich"
            } else {
                "nobody is known"
            };
            let entry = format!(
                r#"{{"envelope":1,"id":"id-{i}","lead":{{"name":"Person{i} Example"}},"error":"{error}","retry_count":3}}"#
            );
            let _: u64 = redis.ask(&["LPUSH", "failed_leads", &entry]);
        }
        redis
    }

    fn ask<T: FromRedisValue>(&mut self, parts: &[&str]) -> T {
        let mut cmd = redis::Cmd::new();
        for part in parts {
            cmd.arg(*part);
        }
        cmd.query(&mut self.connection).expect("Redis answers")
    }

    #[track_caller]
    fn depths(&mut self, waiting: u64, dead: u64) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found: (u64, u64) = (
                self.ask(&["LLEN", "leads_to_enrich"]),
                self.ask(&["LLEN", "failed_leads"]),
            );
            if found == (waiting, dead) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{found:?} waiting and dead, not {waiting} and {dead}"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn an_operator_filters_marks_retries_drops_and_brings_back() {
    let mut redis = Redis::with_dead(20);
    let mut console = Terminal::open(&redis.server.url(), &[]);
    console.sees("live");
    console.sees("DLQ 20");
    console.press("3");
    console.sees("Person19 Example");

    console.press("/error:503\r");
    console.sees("10 of 20 dead letters");
    console.press("  r");
    console.sees("Put 2 marked dead letters back to work?");
    console.press("y");
    console.sees("2 dead letters back to work");
    redis.depths(2, 18);
    let back: Vec<String> = redis.ask(&["LRANGE", "leads_to_enrich", "0", "-1"]);
    assert!(
        back.iter()
            .all(|lead| lead.contains("Person18") || lead.contains("Person16")),
        "{back:?}"
    );

    console.sees("8 of 18 dead letters");
    console.press("d");
    console.sees("1 dead letter in the trash");
    redis.depths(2, 17);
    console.press("\x1b");
    console.until("no filter", |text| !text.contains("filter error"));
    console.press("C");
    console.sees("Throw all 17 dead letters into the trash?");
    console.press("y");
    // One thing at a time: the next key counts when the console knows of the end of the last.
    console.sees("17 dead letters in the trash");
    redis.depths(2, 0);
    console.press("u");
    console.sees("17 dead letters brought back");
    redis.depths(2, 17);
    console.press("u");
    console.sees("1 dead letter brought back");
    redis.depths(2, 18);
    console.sees("Person14 Example");

    console.press("f");
    console.sees("nobody is known");
    console.press("R");
    console.press("q");
    console.press("q");
    assert_eq!(console.ends(), 0);
    // What it wrote last may be read only after its end.
    console.until("the terminal is restored", |_| console.is_restored());
    let audit: u64 = redis.ask(&["XLEN", "leads_to_enrich:audit"]);
    assert_eq!(
        audit, 5,
        "retried, dropped, cleared, and brought back twice"
    );
}

#[test]
fn an_operator_edits_a_lead_and_takes_a_retry_back() {
    let mut redis = Redis::with_dead(2);
    let folder = tempfile::TempDir::with_prefix("bridge-test-").expect("a folder");
    let editor = folder.path().join("editor");
    // Breaks the lead the first time it is asked for, and puts it right the second time.
    let script = format!(
        "#!/bin/sh\nif [ -e {0}/once ]; then echo '{{\"name\":\"Right Example\"}}' > \"$1\"; else touch {0}/once; echo '{{' > \"$1\"; fi\n",
        folder.path().display()
    );
    std::fs::write(&editor, script).expect("written");
    let made = std::process::Command::new("chmod")
        .arg("+x")
        .arg(&editor)
        .status();
    assert!(made.expect("run").success());
    let run = format!(
        "EDITOR={} exec {}\r",
        editor.display(),
        env!("CARGO_BIN_EXE_bridge")
    );
    let mut console = Terminal::run(
        "bash",
        &["--norc"],
        &redis.server.url(),
        100,
        30,
        "xterm-256color",
    );
    console.press(&run);
    console.sees("DLQ 2");
    console.press("3");
    console.sees("Person1 Example");
    console.press("e");
    console.sees("edit it again");
    console.press("e");
    console.sees("back to work with the lead as edited?");
    console.press("y");
    redis.depths(1, 1);
    let back: Vec<String> = redis.ask(&["LRANGE", "leads_to_enrich", "0", "-1"]);
    assert!(
        back[0].contains(r#""lead":{"name":"Right Example"}"#) && back[0].contains("id-1"),
        "{back:?}"
    );
    console.sees("u undoes");
    console.press("u");
    redis.depths(0, 2);
    console.sees("Person1 Example");
    console.press("q");
    assert_eq!(console.ends(), 0);
}

#[test]
fn redis_goes_away_and_comes_back() {
    let mut redis = Redis::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let entry = r#"{"lead":{"name":"Ada Example"},"error":"boom"}"#;
    let _: u64 = redis.ask(&["LPUSH", "failed_leads", entry]);
    let mut console = Terminal::open(&redis.server.url(), &[]);
    console.press("3");
    console.sees("Ada Example");
    redis.server.kill();
    console.sees("connection refused. Is it running?");
    console.sees("lost, figures");
    console.sees("Ada Example");
    redis.server.restart().expect("restarted");
    console.sees("live");
    console.sees("Redis answers again");
    console.press("q");
    assert_eq!(console.ends(), 0);
}

#[test]
fn a_console_opens_without_a_redis_and_finds_it_later() {
    let mut redis = Redis::start();
    redis.server.kill();
    let mut console = Terminal::open(&redis.server.url(), &[]);
    console.sees("no Redis");
    redis.server.restart().expect("restarted");
    console.sees("live");
    console.press("\x03");
    assert_eq!(console.ends(), 0);
}

#[test]
fn a_refused_login_is_told_in_words_and_without_the_password() {
    let redis = Sandbox::start(&["--requirepass", "correct"]).expect("a private Redis");
    let url = format!("redis://:hunter2@127.0.0.1:{}/0", redis.port());
    let mut console = Terminal::open(&url, &[]);
    console.sees("refuses the login");
    assert!(!console.text().contains("hunter2"));
    console.press("q");
    assert_eq!(console.ends(), 0);
}

#[test]
fn the_screen_follows_the_size_of_the_terminal() {
    let redis = Redis::with_dead(3);
    let mut console = Terminal::open(&redis.server.url(), &[]);
    console.press("3");
    console.sees("Person2 Example");
    assert!(!console.text().contains("enter opens"));
    console.resize(160, 40);
    console.sees("enter opens");
    console.resize(50, 10);
    console.sees("too small");
    console.resize(80, 24);
    console.sees("Person2 Example");
    console.press("q");
    assert_eq!(console.ends(), 0);
}

#[test]
fn a_signal_gives_the_terminal_back() {
    let redis = Redis::start();
    for signal in ["TERM", "HUP"] {
        let mut console = Terminal::open(&redis.server.url(), &[]);
        console.sees("live");
        assert!(!console.is_restored());
        console.signal(signal);
        assert_eq!(console.ends(), 0);
        console.until("the terminal is restored", |_| console.is_restored());
    }
}

#[test]
fn a_suspended_console_gives_the_terminal_back_and_takes_it_again() {
    let redis = Redis::with_dead(3);
    let mut shell = Terminal::run(
        "bash",
        &["--norc", "-i"],
        &redis.server.url(),
        100,
        30,
        "xterm-256color",
    );
    shell.sees("shell>");
    shell.press(&format!("{}\r", env!("CARGO_BIN_EXE_bridge")));
    shell.sees("live");
    shell.press("\x1a");
    shell.sees("Stopped");
    assert!(shell.is_restored());
    shell.press("fg\r");
    shell.sees("live");
    shell.press("3");
    shell.sees("Person2 Example");
    shell.press("q");
    shell.until("the shell is back", |text| {
        text.matches("shell>").count() >= 2 && !text.contains("Person2")
    });
    shell.press("exit\r");
    assert_eq!(shell.ends(), 0);
}

#[test]
fn a_terminal_that_cannot_show_it_is_told_what_to_use_instead() {
    let redis = Redis::start();
    let mut dumb = Terminal::run(
        env!("CARGO_BIN_EXE_bridge"),
        &[],
        &redis.server.url(),
        100,
        30,
        "dumb",
    );
    assert_eq!(dumb.ends(), 1);
    dumb.sees("bridge status --watch");
    // With no folder for the log yet.
    let state = tempfile::TempDir::with_prefix("bridge-test-").expect("a folder");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_bridge"))
        .env("REDIS_URL", redis.server.url())
        .env("XDG_STATE_HOME", state.path())
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.contains("needs a terminal") && said.lines().count() == 1,
        "{said}"
    );
}

#[test]
fn what_is_in_a_lead_stays_in_the_console() {
    let mut redis = Redis::start();
    let evil = "{\"name\":\"evil \\u001b]0;title\\u0007\\u001b[2J\\u009b31m\",\"x\":1}";
    let _: u64 = redis.ask(&["LPUSH", "failed_leads", evil]);
    let _: u64 = redis.ask(&["LPUSH", "failed_leads", "\x1b[2J\x1b]52;c;aGk=\x07 rubbish"]);
    let mut console = Terminal::open(&redis.server.url(), &[]);
    console.press("3");
    console.sees("\\u{1b}[2J");
    console.press("G");
    console.press("\r");
    console.sees("evil \\u{1b}]0;title\\u{7}");
    console.press("qq");
    assert_eq!(console.ends(), 0);
}

#[test]
fn one_frame_is_printed_without_a_terminal() {
    let redis = Redis::with_dead(3);
    let print = |args: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_bridge"))
            .args(args)
            .env("REDIS_URL", redis.server.url())
            .env("LC_ALL", "C.UTF-8")
            .output()
            .expect("it runs");
        assert!(output.status.success());
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let text = print(&["--once", "--size", "80x24", "--keys", "3 j enter"]);
    assert!(
        text.contains("id         id-1") && text.contains("HTTP 503") == text.contains("id-0"),
        "{text}"
    );
    assert!(print(&["--once", "svg", "--keys", "3"]).starts_with("<svg "));
}

#[test]
fn the_mouse_is_used_only_where_it_is_wanted() {
    let redis = Redis::with_dead(20);
    let modes = |console: &Terminal| {
        let parser = console.screen.lock().expect("a screen");
        let screen = parser.screen();
        (
            screen.mouse_protocol_mode(),
            screen.mouse_protocol_encoding(),
        )
    };
    let none = (MouseProtocolMode::None, MouseProtocolEncoding::Default);
    let mut console = Terminal::open(&redis.server.url(), &[]);
    console.sees("DLQ 20");
    assert_eq!(modes(&console), none);
    console.press("q");
    assert_eq!(console.ends(), 0);

    let mut console = Terminal::open(&redis.server.url(), &["--mouse"]);
    console.sees("DLQ 20");
    assert_eq!(
        modes(&console),
        (MouseProtocolMode::PressRelease, MouseProtocolEncoding::Sgr)
    );
    // The tab of the dead letters, a row twice, and the wheel; columns and rows count from 1.
    console.press("\x1b[<0;25;2M\x1b[<0;25;2m");
    console.sees("Person19 Example");
    console.press("\x1b[<0;10;7M\x1b[<0;10;7m\x1b[<0;10;7M\x1b[<0;10;7m");
    console.sees("Dead letter id-17");
    console.press("\x1b");
    console.sees("Person19 Example");
    console.press("\x1b[<65;10;7M\r");
    console.sees("Dead letter id-14");
    // The last key of the footer here.
    console.press("q");
    console.sees("Person19 Example");
    console.press("q");
    assert_eq!(console.ends(), 0);
    console.until("the mouse is given back", |_| modes(&console) == none);
}

#[test]
fn the_mouse_is_given_back_while_the_console_is_suspended() {
    let redis = Redis::with_dead(3);
    let mut shell = Terminal::run(
        "bash",
        &["--norc", "-i"],
        &redis.server.url(),
        100,
        30,
        "xterm-256color",
    );
    let on = |shell: &Terminal| {
        let parser = shell.screen.lock().expect("a screen");
        parser.screen().mouse_protocol_mode() != MouseProtocolMode::None
    };
    shell.sees("shell>");
    shell.press(&format!("{} --mouse\r", env!("CARGO_BIN_EXE_bridge")));
    shell.sees("live");
    assert!(on(&shell));
    shell.press("\x1a");
    shell.sees("Stopped");
    assert!(!on(&shell));
    shell.press("fg\r");
    shell.sees("live");
    shell.until("the mouse is taken again", |_| on(&shell));
    shell.press("q");
    shell.until("the mouse is given back", |_| !on(&shell));
    shell.press("exit\r");
    assert_eq!(shell.ends(), 0);
}

#[test]
fn an_operator_finds_words_loosely_completes_and_searches_a_lead() {
    let mut redis = Redis::with_dead(20);
    let mut console = Terminal::open(&redis.server.url(), &[]);
    console.press("3");
    console.sees("Person19 Example");
    console.press("/nobdy\r");
    console.sees("10 of 20 dead letters");
    console.press("R");
    console.sees("10 of them only have a word");
    console.press("n/");
    console.press("\x15'nobdy\r");
    console.sees("0 of 20 dead letters");
    console.press("/\x15err\t\t");
    console.sees("filter: error:");
    console.press("\r");
    console.sees("10 of 20 dead letters");
    console.press("\r/nam");
    console.sees("/nam");
    console.sees("1/1");
    console.press("\x1b\x1b[D");
    redis.depths(0, 20);
    console.press("\x03");
    assert_eq!(console.ends(), 0);
}

#[test]
fn an_export_goes_below_the_home_it_names_and_is_told_in_full() {
    let redis = Redis::with_dead(3);
    let home = tempfile::TempDir::with_prefix("bridge-test-").expect("a folder");
    let home = home.path().display();
    let script = format!("HOME='{home}' exec '{}'", env!("CARGO_BIN_EXE_bridge"));
    let args = ["-c", &script];
    let mut console = Terminal::run("sh", &args, &redis.server.url(), 100, 30, "xterm-256color");
    console.press("3");
    console.sees("Person2 Example");
    console.press("x\x15~/dead.jsonl\r");
    console.says(&format!("3 dead letters written to {home}/dead.jsonl"));
    let written = std::fs::read_to_string(format!("{home}/dead.jsonl")).expect("a file");
    assert_eq!(written.lines().count(), 3);
    console.press("x\x15~/dead.jsonl\r");
    console.says(&format!("cannot write {home}/dead.jsonl: File exists"));
    console.press("\x03");
    assert_eq!(console.ends(), 0);
}

#[test]
fn a_theme_of_ones_own_is_used_and_its_mistakes_are_named() {
    let redis = Redis::with_dead(1);
    let folder = tempfile::TempDir::with_prefix("bridge-test-").expect("a folder");
    let themes = folder.path().join("redis-bridge/themes");
    std::fs::create_dir_all(&themes).expect("made");
    let write = |name: &str, text: &str| {
        std::fs::write(folder.path().join("redis-bridge").join(name), text).expect("written");
    };
    write("config.toml", "theme = \"night\"\n");
    let draw = || {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_bridge"))
            .args(["--once", "svg", "--keys", "3"])
            .env("REDIS_URL", redis.server.url())
            .env("XDG_CONFIG_HOME", folder.path())
            .env("LC_ALL", "C.UTF-8")
            .env_remove("BRIDGE_THEME")
            .output()
            .expect("it runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        (text(output.stdout), text(output.stderr))
    };
    write(
        "themes/night.toml",
        "base = \"light\"\ntext = \"#123456\"\n",
    );
    let (drawn, said) = draw();
    assert!(drawn.contains("#123456"), "{said}");
    write(
        "themes/night.toml",
        "base = \"light\"\ntxet = \"#123456\"\n",
    );
    let (drawn, said) = draw();
    assert!(drawn.is_empty());
    assert!(
        said.contains("night.toml:2: a theme has no \"txet\"; did you mean \"text\"?")
            && said.lines().count() == 1,
        "{said}"
    );
}

#[test]
fn a_panic_gives_the_terminal_back_and_tells_what_it_was_and_where_it_is_written() {
    let redis = Redis::with_dead(1);
    let state = tempfile::TempDir::with_prefix("bridge-test-").expect("a folder");
    for place in ["draw", "task"] {
        // Only what runs in the terminal can tell whether it is in its own mode again.
        let mut shell = Terminal::run(
            "bash",
            &["--norc", "-i"],
            &redis.server.url(),
            100,
            40,
            "xterm-256color",
        );
        shell.sees("shell>");
        shell.press(&format!(
            "RUST_BACKTRACE=0 BRIDGE_TEST_PANIC={place} XDG_STATE_HOME={} {}; echo ended=$?; \
             echo $(stty -a | tr ' ' '\\n' | grep -x -e icanon -e echo)\r",
            state.path().display(),
            env!("CARGO_BIN_EXE_bridge"),
        ));
        shell.sees("ended=101");
        shell.sees("icanon echo\n");
        assert!(shell.is_restored());
        let text = shell.text().replace('\n', "");
        assert!(
            text.contains(&format!("asked for by BRIDGE_TEST_PANIC={place}")),
            "{text}"
        );
        assert!(text.contains("This is a bug in the bridge."), "{text}");
        let folder = state.path().join("redis-bridge");
        assert!(text.contains(&folder.display().to_string()), "{text}");
        let written: String = std::fs::read_dir(&folder)
            .expect("a log")
            .map(|file| std::fs::read_to_string(file.expect("a file").path()).expect("text"))
            .collect();
        assert!(
            written.contains(&format!("BRIDGE_TEST_PANIC={place}")),
            "{written}"
        );
        shell.press("exit\r");
        assert_eq!(shell.ends(), 0);
    }
}

/// The number that stands before some words on the screen.
fn number_before(text: &str, words: &str) -> u64 {
    let at = text
        .find(words)
        .unwrap_or_else(|| panic!("no {words:?}\n{text}"));
    let digits: Vec<char> = text[..at]
        .chars()
        .rev()
        .take_while(|c| c.is_ascii_digit() || *c == ',')
        .filter(char::is_ascii_digit)
        .collect();
    let digits: String = digits.into_iter().rev().collect();
    digits.parse().expect("a number")
}

/// Lets two consoles retry at the same moment; returns what each says it did, and what it found gone.
fn both_retry(
    redis: &mut Redis,
    consoles: &mut [Terminal; 2],
    key: &str,
    ends: &str,
) -> [(u64, u64); 2] {
    for console in consoles.iter_mut() {
        console.press(key);
    }
    consoles.each_ref().map(|console| {
        console.sees(ends);
        let text = console.text();
        let gone = ["were already gone", "was already gone"]
            .iter()
            .find(|words| text.contains(**words));
        let moved = if text.contains("1 dead letter back") {
            1
        } else {
            number_before(&text, " dead letters back to work")
        };
        let gone = gone.map_or(0, |words| number_before(&text, &format!(" {words}")));
        let _: u64 = redis.ask(&["LLEN", "leads_to_enrich"]);
        (moved, gone)
    })
}

fn waiting_ids(redis: &mut Redis) -> Vec<String> {
    let waiting: Vec<String> = redis.ask(&["LRANGE", "leads_to_enrich", "0", "-1"]);
    let id = |lead: &String| {
        lead.split(r#""id":""#)
            .nth(1)?
            .split('"')
            .next()
            .map(Into::into)
    };
    let mut ids: Vec<String> = waiting.iter().filter_map(id).collect();
    ids.sort();
    ids
}

#[test]
fn an_undone_retry_leaves_the_dead_letters_in_their_order() {
    let mut redis = Redis::with_dead(5);
    let before: Vec<String> = redis.ask(&["LRANGE", "failed_leads", "0", "-1"]);
    let mut console = Terminal::open(&redis.server.url(), &[]);
    console.press("3");
    console.sees("Person4 Example");
    console.press("R");
    console.sees("Put all 5 dead letters back to work?");
    // Meant for what was there before the question, it is no answer.
    console.press("\ry");
    console.sees("5 dead letters back to work");
    redis.depths(5, 0);
    console.press("u");
    redis.depths(0, 5);
    let after: Vec<String> = redis.ask(&["LRANGE", "failed_leads", "0", "-1"]);
    assert_eq!(after, before);
}

#[test]
fn two_consoles_with_overlapping_marks_retry_every_lead_once_and_say_what_each_did() {
    let mut redis = Redis::with_dead(40);
    let url = redis.server.url();
    let mut consoles = [Terminal::open(&url, &[]), Terminal::open(&url, &[])];
    // The newest 25, and the oldest 25: ten of them are marked twice.
    for (console, keys) in consoles.iter_mut().zip(["v", "Gv"]) {
        console.press("3");
        console.sees("Person39 Example");
        console.press(keys);
        console.sees("range: v marks");
        let step = if keys == "v" { "j" } else { "k" };
        console.press(&step.repeat(24));
        console.press("v");
        console.sees("25 marked");
        console.press("r");
        console.sees("Put 25 marked dead letters back to work?");
    }
    let told = both_retry(&mut redis, &mut consoles, "y", "back to work; ");
    redis.depths(40, 0);
    let mut expected: Vec<String> = (0..40).map(|n| format!("id-{n}")).collect();
    expected.sort();
    assert_eq!(waiting_ids(&mut redis), expected);
    for (moved, gone) in told {
        assert_eq!(moved + gone, 25, "{told:?}");
    }
    assert_eq!(told[0].0 + told[1].0, 40, "{told:?}");
    assert_eq!(told[0].1 + told[1].1, 10, "{told:?}");
}

#[test]
fn two_consoles_that_retry_all_retry_every_lead_once_and_say_what_each_did() {
    let mut redis = Redis::with_dead(1_500);
    let url = redis.server.url();
    let mut consoles = [Terminal::open(&url, &[]), Terminal::open(&url, &[])];
    for console in &mut consoles {
        console.press("3");
        console.sees("Person1499 Example");
        console.press("R");
        console.sees("Put all 1,500 dead letters back to work?");
        console.press("1500");
        console.sees("press enter: 1500");
    }
    let told = both_retry(&mut redis, &mut consoles, "\r", "back to work; ");
    redis.depths(1_500, 0);
    let mut ids = waiting_ids(&mut redis);
    ids.dedup();
    assert_eq!(ids.len(), 1_500);
    for (moved, gone) in told {
        assert_eq!(moved + gone, 1_500, "{told:?}");
    }
    assert_eq!(told[0].0 + told[1].0, 1_500, "{told:?}");
}

#[test]
fn an_operator_finds_the_trash_of_a_session_before_and_brings_it_back() {
    let mut redis = Redis::with_dead(5);
    let url = redis.server.url();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_bridge"))
        .args(["dlq", "drop", "id-1", "id-3"])
        .env("REDIS_URL", &url)
        .env("USER", "ada")
        .output();
    assert!(output.expect("it runs").status.success());
    let mut console = Terminal::open(&url, &[]);
    console.press("3");
    console.sees("Person4 Example");
    console.press("T");
    console.sees("2 dead letters in the trash");
    console.sees("ada@");
    console.press("\r");
    console.sees("Person3 Example");
    redis.depths(0, 3);
    console.press("u");
    console.sees("Bring 2 dead letters back");
    console.press("y");
    console.sees("2 dead letters brought back");
    redis.depths(0, 5);
    console.sees("nothing is left in it");
    console.press("\x1b");
    console.sees("nothing was thrown away");
    console.press("qq");
    assert_eq!(console.ends(), 0);
}

#[test]
fn a_console_lives_through_all_that_redis_refuses_and_says_what_to_do() {
    let mut redis = Redis::with_dead(5);
    let allow = |redis: &mut Redis, rules: &[&str]| {
        let _: () = redis.ask(&[&["ACL", "SETUSER", "ops"], rules].concat());
    };
    let all = ["on", ">hunter2", "allkeys", "allchannels", "+@all"];
    allow(&mut redis, &all);
    let url = format!("redis://ops:hunter2@127.0.0.1:{}/0", redis.server.port());
    let mut console = Terminal::open(&url, &[]);
    console.sees("live");
    console.press("3");
    console.sees("Person4 Example");

    // Another program's value where the waiting list should be.
    let _: () = redis.ask(&["SET", "leads_to_enrich", "x"]);
    console.says("the key leads_to_enrich is a string, and the bridge keeps a list there");
    console.sees("wrong type, figures");
    let _: () = redis.ask(&["DEL", "leads_to_enrich"]);
    console.sees("Redis answers again");

    let _: () = redis.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    console.press("r");
    console.says("It is out of memory: raise its maxmemory");
    console.sees("live");
    let _: () = redis.ask(&["CONFIG", "SET", "maxmemory", "0"]);

    // A replica, first one that still answers, then one that does not.
    let _: () = redis.ask(&["REPLICAOF", "127.0.0.1", "1"]);
    console.press("r");
    console.says("is a read-only replica. Set --redis-url to the primary");
    let _: () = redis.ask(&["CONFIG", "SET", "replica-serve-stale-data", "no"]);
    console.says("a replica that has lost its primary");
    let _: () = redis.ask(&["REPLICAOF", "NO", "ONE"]);
    console.sees("Redis answers again");
    redis.depths(0, 5);

    // Reading goes on for a user who may only read; writing is told.
    allow(&mut redis, &["resetkeys", "%R~*"]);
    let entry = r#"{"envelope":1,"id":"late","lead":{"name":"Late Example"},"error":"boom"}"#;
    let _: u64 = redis.ask(&["LPUSH", "failed_leads", entry]);
    console.sees("Late Example");
    console.press("gr");
    console.says("the Redis user ops may not");
    allow(
        &mut redis,
        &["resetkeys", "~leads_to_enrich*", "~enriched_leads"],
    );
    console.says("It has no access to failed_leads.");
    console.sees("not allowed, figures");
    allow(&mut redis, &["resetkeys", "~*"]);
    console.sees("Redis answers again");
    // What only one screen needs takes nothing from the others.
    allow(&mut redis, &["-xrevrange"]);
    console.press("7");
    console.says("What belongs here cannot be read");
    console.sees("live");
    console.press("1");
    console.until("the overview", |text| !text.contains("What belongs here"));

    let _: u64 = redis.ask(&["ACL", "DELUSER", "ops"]);
    console.says("refuses the login");
    console.sees("login refused, figures");
    assert!(!console.text().contains("hunter2"));
    allow(&mut redis, &all);
    console.sees("Redis answers again");
    redis.depths(0, 6);
    console.press("q");
    assert_eq!(console.ends(), 0);
}
