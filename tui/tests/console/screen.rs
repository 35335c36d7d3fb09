//! The terminal: its size, its signals, its colours, and that it is always given back.

use super::bridge;
use super::redis::Redis;
use super::terminal::Terminal;

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
fn a_suspended_console_gives_the_terminal_back_and_takes_it_again() {
    let redis = Redis::with_dead(3);
    let mut shell = Terminal::shell(&redis.server.url(), "");
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
fn a_demo_goes_on_when_all_its_leads_are_pushed() {
    let mut demo = Terminal::run(
        env!("CARGO_BIN_EXE_bridge"),
        &["demo", "--leads", "4"],
        "",
        100,
        30,
        "xterm-256color",
    );
    demo.sees("live");
    for (key, seen) in [
        ("5", "in hand"),
        ("7", "nobody has changed anything"),
        ("4", "waiting 0"),
    ] {
        demo.press(key);
        demo.sees(seen);
    }
    demo.press("q");
    assert_eq!(demo.ends(), 0);
    demo.sees("pushed");
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
    let output = bridge(&redis.server.url())
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
        let output = bridge(&redis.server.url())
            .args(args)
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
        let output = bridge(&redis.server.url())
            .args(["--once", "svg", "--keys", "3"])
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
