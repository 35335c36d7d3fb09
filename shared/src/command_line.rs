//! Passwords on a command line. Everybody on a machine can read the command lines of its programs
//! (`ps`), but not their environment.

use std::ffi::OsString;

use crate::store::redact;

/// The flag that takes a URL.
const FLAG: &str = "--redis-url";

/// What holds the URL of the flag, with its passwords, while the command line shows it without.
const GIVEN: &str = "BRIDGE_REDIS_URL_GIVEN";

/// Takes the passwords out of `--redis-url`: the program starts anew, as the same process, with the
/// URL as it may be shown. Returns where there is nothing to take out; call it before anything else.
///
/// # Errors
/// What is wrong and what to do: this system does not let the program start anew.
pub fn hide_passwords() -> Result<(), String> {
    let mut args = std::env::args_os();
    let Some(name) = args.next() else {
        return Ok(());
    };
    let Some((args, url)) = without_passwords(args) else {
        return Ok(());
    };
    Err(format!(
        "a password in {FLAG} can be read by everybody on this machine, and cannot be hidden here: {}. Put it into REDIS_URL, REDIS_PASSWORD or REDIS_PASSWORD_FILE.",
        start_anew(&name, args, url)
    ))
}

/// The URL that was given, where this one stands for it on the command line.
pub(crate) fn given(shown: &str) -> Option<String> {
    let url = std::env::var(GIVEN).ok()?;
    (redact(&url) == shown).then_some(url)
}

#[cfg(unix)]
fn start_anew(name: &OsString, args: Vec<OsString>, url: String) -> std::io::Error {
    use std::os::unix::process::CommandExt as _;
    match std::env::current_exe() {
        Ok(program) => std::process::Command::new(program)
            .arg0(name)
            .args(args)
            .env(GIVEN, url)
            .exec(),
        Err(error) => error,
    }
}

#[cfg(not(unix))]
fn start_anew(_: &OsString, _: Vec<OsString>, _: String) -> std::io::Error {
    std::io::ErrorKind::Unsupported.into()
}

/// The arguments without passwords, and the last URL that had one; `None` where none had.
fn without_passwords(args: impl Iterator<Item = OsString>) -> Option<(Vec<OsString>, String)> {
    let mut hidden = None;
    let mut shown: Vec<OsString> = Vec::new();
    for arg in args {
        let after_flag = shown.last().is_some_and(|last| last == FLAG);
        let joined = || arg.to_str()?.strip_prefix(FLAG)?.strip_prefix('=');
        let url = if after_flag { arg.to_str() } else { joined() };
        let Some((url, redacted)) = url
            .map(|url| (url, redact(url)))
            .filter(|(url, redacted)| url != redacted)
        else {
            shown.push(arg);
            continue;
        };
        hidden = Some(url.to_owned());
        shown.push(if after_flag {
            redacted.into()
        } else {
            format!("{FLAG}={redacted}").into()
        });
    }
    hidden.map(|url| (shown, url))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(args: &[&str]) -> Option<(Vec<OsString>, String)> {
        without_passwords(args.iter().map(OsString::from))
    }

    #[test]
    fn passwords_are_taken_out_and_the_url_is_kept() {
        for (args, shown, url) in [
            (
                &["--redis-url", "redis://ada:p%40ss@a:1/0", "status"][..],
                &["--redis-url", "redis://ada:***@a:1/0", "status"][..],
                "redis://ada:p%40ss@a:1/0",
            ),
            (
                &["status", "--redis-url=rediss://:pass@a"],
                &["status", "--redis-url=rediss://:***@a"],
                "rediss://:pass@a",
            ),
            (
                &[
                    "--redis-url=redis://:one@a",
                    "--redis-url",
                    "redis://:two@b",
                ],
                &[
                    "--redis-url=redis://:***@a",
                    "--redis-url",
                    "redis://:***@b",
                ],
                "redis://:two@b",
            ),
        ] {
            let shown: Vec<OsString> = shown.iter().map(OsString::from).collect();
            assert_eq!(
                split(args),
                Some((shown.clone(), url.to_owned())),
                "{args:?}"
            );
            // Started anew it starts no more.
            assert_eq!(without_passwords(shown.into_iter()), None);
        }
    }

    #[test]
    fn nothing_of_a_password_stays_in_whatever_url_it_is() {
        for (url, parts) in [
            (
                "redis+sentinel://ada:x:y@z@a:1,b/main?sentinel_username=g&sentinel_password=q%26",
                &["x:y", "y@z", "q%26"][..],
            ),
            ("unix:///tmp/x?user=ada&pass=word", &["word"]),
            ("unix:///tmp/x?user=ada&pass=w@rd", &["w@", "rd"]),
            ("ada:word@host", &["word"]),
            ("redis://word@a:1/0", &["word"]),
            ("redis://ada:a?b#c?pass=d@host/0", &["a?b", "b#c", "=d"]),
            (
                "redis+sentinel://ada:x@a/main?sentinel_password=q@r",
                &[":x", "q@", "@r"],
            ),
        ] {
            let (shown, kept) = split(&["--redis-url", url]).expect(url);
            let shown = shown[1].to_str().expect("a text");
            for part in parts {
                assert!(!shown.contains(part), "{url}: {shown}");
            }
            assert_eq!(kept, url);
        }
    }

    #[test]
    fn what_has_no_password_stays_as_it_is() {
        for args in [
            &["status"][..],
            &["--redis-url=redis://a?protocol=resp3"],
            &["push", "redis://ada:pass@a"],
            &["--redis-url"],
        ] {
            assert_eq!(split(args), None, "{args:?}");
        }
    }
}
