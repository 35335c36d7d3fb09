//! Passwords on a command line. Everybody on a machine can read the command lines of its programs
//! (`ps`), but not their environment.

use std::ffi::OsString;

/// The flag that takes a URL.
const FLAG: &str = "--redis-url";

/// Takes the passwords out of `--redis-url`: the program starts anew, as the same process, with the
/// URL's passwords in its environment instead. Returns where there is nothing to take out; call it
/// before anything else.
///
/// # Errors
/// What is wrong and what to do: this system does not let the program start anew.
pub fn hide_passwords() -> Result<(), String> {
    let mut args = std::env::args_os();
    let Some(name) = args.next() else {
        return Ok(());
    };
    let Some((rest, passwords)) = without_passwords(args) else {
        return Ok(());
    };
    Err(format!(
        "a password in {FLAG} can be read by everybody on this machine, and cannot be hidden here: {}. Put it into REDIS_URL, REDIS_PASSWORD or REDIS_PASSWORD_FILE.",
        start_anew(&name, rest, passwords)
    ))
}

#[cfg(unix)]
fn start_anew(name: &OsString, rest: Vec<OsString>, passwords: Passwords) -> std::io::Error {
    use std::os::unix::process::CommandExt as _;
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return error,
    };
    let mut command = std::process::Command::new(program);
    command.arg0(name).args(rest);
    // The one of the URL counts, as it does where it stands there.
    if passwords.server.is_some() {
        command.env_remove("REDIS_PASSWORD_FILE");
    }
    command.envs(passwords.server.map(|value| ("REDIS_PASSWORD", value)));
    command.envs(
        passwords
            .sentinel
            .map(|value| ("REDIS_SENTINEL_PASSWORD", value)),
    );
    command.exec()
}

#[cfg(not(unix))]
fn start_anew(_: &OsString, _: Vec<OsString>, _: Passwords) -> std::io::Error {
    std::io::ErrorKind::Unsupported.into()
}

/// What was taken out.
#[derive(Debug, Default, PartialEq, Eq)]
struct Passwords {
    server: Option<String>,
    sentinel: Option<String>,
}

/// The arguments without passwords, and those; `None` where there are none.
fn without_passwords(args: impl Iterator<Item = OsString>) -> Option<(Vec<OsString>, Passwords)> {
    let mut passwords = Passwords::default();
    let mut rest: Vec<OsString> = Vec::new();
    for arg in args {
        let after_flag = rest.last().is_some_and(|last| last == FLAG);
        let cleaned = arg.to_str().and_then(|text| {
            if after_flag {
                return Some(cleaned(text, &mut passwords).into());
            }
            let url = text.strip_prefix(FLAG)?.strip_prefix('=')?;
            Some(format!("{FLAG}={}", cleaned(url, &mut passwords)).into())
        });
        rest.push(cleaned.unwrap_or(arg));
    }
    (passwords != Passwords::default()).then_some((rest, passwords))
}

/// The URL without its passwords. It need not be a good one: a password may stand in any.
fn cleaned(url: &str, passwords: &mut Passwords) -> String {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), url),
    };
    let (rest, query) = rest.split_at(query(&scheme, rest).unwrap_or(rest.len()));
    // In doubt it is still a part of the password.
    let (login, hosts) = rest.split_at(rest.rfind('@').map_or(0, |at| at + 1));
    let login = match login.split_once(':') {
        Some((user, password)) => {
            let password = password.strip_suffix('@').unwrap_or(password);
            passwords.server = Some(decoded(password)).filter(|text| !text.is_empty());
            if user.is_empty() {
                String::new()
            } else {
                format!("{user}@")
            }
        }
        None => login.to_owned(),
    };
    let kept: Vec<&str> = query
        .trim_start_matches('?')
        .split('&')
        .filter(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let place = match name {
                "sentinel_password" => &mut passwords.sentinel,
                "pass" => &mut passwords.server,
                _ => return !part.is_empty(),
            };
            *place = Some(decoded(&value.replace('+', " ")));
            false
        })
        .collect();
    let query = if kept.is_empty() {
        String::new()
    } else {
        format!("?{}", kept.join("&"))
    };
    format!("{scheme}{login}{hosts}{query}")
}

/// Where the query of a URL begins: at the first `?`, or at the first one behind the login, where
/// an `@` follows that is in no password of the query.
fn query(scheme: &str, rest: &str) -> Option<usize> {
    let first = rest.find('?')?;
    let name = if scheme == "unix://" {
        "pass="
    } else {
        "sentinel_password="
    };
    match rest.rfind('@') {
        Some(at) if at > first && !rest[first..at].contains(name) => {
            rest[at..].find('?').map(|behind| at + behind)
        }
        _ => Some(first),
    }
}

/// A text with its `%xx` read.
fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text)
        .decode_utf8_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_taken_out_and_kept_apart() {
        for (args, rest, server, sentinel) in [
            (
                &["--redis-url", "redis://ada:p%40ss@a:1/0", "status"][..],
                &["--redis-url", "redis://ada@a:1/0", "status"][..],
                Some("p@ss"),
                None,
            ),
            (
                &["--redis-url=rediss://:pass@a"],
                &["--redis-url=rediss://a"],
                Some("pass"),
                None,
            ),
            (
                &[
                    "--redis-url",
                    "redis+sentinel://ada:x:y@z@a:1,b/main?sentinel_username=g&sentinel_password=q%26",
                ],
                &[
                    "--redis-url",
                    "redis+sentinel://ada@a:1,b/main?sentinel_username=g",
                ],
                Some("x:y@z"),
                Some("q&"),
            ),
            (
                &["--redis-url", "unix:///tmp/x?user=ada&pass=word"],
                &["--redis-url", "unix:///tmp/x?user=ada"],
                Some("word"),
                None,
            ),
            (
                &["--redis-url", "ada:word@host"],
                &["--redis-url", "ada@host"],
                Some("word"),
                None,
            ),
            // What would be a query or a fragment to a URL's reader is a part of the password.
            (
                &["--redis-url", "redis://ada:a?b#c?pass=d@host/0"],
                &["--redis-url", "redis://ada@host/0"],
                Some("a?b#c?pass=d"),
                None,
            ),
            (
                &["--redis-url", "unix:///tmp/x?user=ada&pass=w@rd"],
                &["--redis-url", "unix:///tmp/x?user=ada"],
                Some("w@rd"),
                None,
            ),
            (
                &[
                    "--redis-url",
                    "redis+sentinel://ada:x@a/main?sentinel_password=q@r",
                ],
                &["--redis-url", "redis+sentinel://ada@a/main"],
                Some("x"),
                Some("q@r"),
            ),
        ] {
            let given = args.iter().map(OsString::from);
            let expected = rest.iter().map(OsString::from).collect();
            let passwords = Passwords {
                server: server.map(str::to_owned),
                sentinel: sentinel.map(str::to_owned),
            };
            assert_eq!(
                without_passwords(given),
                Some((expected, passwords)),
                "{args:?}"
            );
        }
    }

    #[test]
    fn what_has_no_password_stays_as_it_is() {
        for args in [
            &["status"][..],
            &["--redis-url", "redis://ada@a:1/0"],
            &["--redis-url=redis://a?protocol=resp3"],
            &["push", "redis://ada:pass@a"],
            &["--redis-url"],
        ] {
            assert_eq!(
                without_passwords(args.iter().map(OsString::from)),
                None,
                "{args:?}"
            );
        }
    }
}
