//! The mouse, in the console only where it is wanted, and given back.

use vt100::{MouseProtocolEncoding, MouseProtocolMode};

use super::redis::Redis;
use super::terminal::Terminal;

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
    let mut shell = Terminal::shell(&redis.server.url(), "--mouse");
    let on = |shell: &Terminal| {
        let parser = shell.screen.lock().expect("a screen");
        parser.screen().mouse_protocol_mode() != MouseProtocolMode::None
    };
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
