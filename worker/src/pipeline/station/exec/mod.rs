//! `exec`: gives the lead to a program as JSON and brings its JSON answer to the lead.
//!
//! - `process`: a program that ends with everything it started
//! - `pool`: programs that stay
//!
//! An exit code of 65 (`EX_DATAERR` of `sysexits.h`: the lead is no good), 64, 77 or 78 is final,
//! and every other but 0, and a signal, are tried again; `final_exits` puts its own list in place
//! of this one. In both modes a program can also answer `{"_error": "what is wrong"}`, which is
//! tried again unless `"_final": true` stands beside it. No answer changes nothing.
//!
//! What it says on standard error goes into the log, twenty lines of it for each lead. When the
//! lead's time is up, the program is killed with everything it started, unless that left its
//! process group.

mod pool;
mod process;

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bridge_shared::envelope::ErrorKind;
use bridge_shared::json::on_one_line;
use bridge_shared::lead::Lead;
use futures::future::{BoxFuture, FutureExt as _, join4};
use tokio::io::AsyncWriteExt as _;
use toml::Spanned;

use super::answer::{Answer, LONGEST, excerpt};
use super::{Call, Contract, Failure, Keys, Outcome, Station};
use pool::Pool;
use process::{Process, Program, Said, read_all};

/// Time one call may take where the route does not say.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Exit codes that mean that another try is useless (`sysexits.h`): wrong use, bad data, not
/// allowed, wrong configuration.
const FINAL_EXITS: &[u64] = &[64, 65, 77, 78];
/// The exit code that means that the lead is at fault (`EX_DATAERR`).
const BAD_LEAD: i32 = 65;
/// Characters of what a program says that go into an error.
const EXCERPT: usize = 200;

/// The field by which a numbered lead and its answer are known to belong together.
const NUMBER: &str = "_request";

#[derive(Debug)]
struct Exec {
    mode: Mode,
    final_exits: Vec<u64>,
    answer: Answer,
}

#[derive(Debug)]
enum Mode {
    Once(Program),
    /// Where answers are told apart by numbers, with the one given last.
    Lines(Pool, Option<AtomicU64>),
}

pub(super) fn make(keys: &mut Keys<'_>) -> Option<Box<dyn Station>> {
    let processes_at = keys.place("processes");
    let lines = keys.one_of("mode", &[("once", false), ("lines", true)]);
    let lines = lines.unwrap_or(false);
    let processes = keys.integer("processes", 1..=1_000);
    if !lines && processes.is_some() {
        keys.wrong(
            &processes_at,
            "in once mode there is a process for each lead",
            "write mode = \"lines\", or limit it with concurrency",
        );
    }
    let numbered_at = keys.place("numbered");
    let numbered = keys.flag("numbered").unwrap_or(false);
    if !lines && numbered {
        keys.wrong(
            &numbered_at,
            "in once mode there is one answer only",
            "write mode = \"lines\", or take it out",
        );
    }
    let program = program(keys);
    let final_exits = keys.integers("final_exits", 1..=255);
    let answer = Answer::read(keys);
    let program = program?;
    let mode = if lines {
        let processes = usize::try_from(processes.unwrap_or(1)).expect("it was checked");
        let numbers = numbered.then(AtomicU64::default);
        Mode::Lines(Pool::new(program, processes), numbers)
    } else {
        Mode::Once(program)
    };
    Some(Box::new(Exec {
        mode,
        final_exits: final_exits.unwrap_or_else(|| FINAL_EXITS.to_vec()),
        answer: answer?,
    }))
}

fn program(keys: &mut Keys<'_>) -> Option<Program> {
    let at = keys.place("command");
    let station = keys.owner().to_owned();
    let command = keys.texts("command");
    let command = keys.need("command", command, "command = [\"python3\", \"enrich.py\"]");
    let environment = keys.filled_entries("environment").unwrap_or_default();
    let directory = keys.path("directory").map(Spanned::into_inner);
    let memory = memory(keys);

    for (name, _) in &environment {
        if name.get_ref().is_empty() || name.get_ref().contains(['=', '\0']) {
            keys.wrong(
                &name.span(),
                format!("\"{}\" cannot be a variable", name.get_ref().escape_debug()),
                "write letters, digits and underscores",
            );
        }
    }
    let mut environment: Vec<(String, String)> = environment
        .into_iter()
        .map(|(name, value)| (name.into_inner(), value.into_inner()))
        .collect();
    if !environment.iter().any(|(name, _)| name == "PATH") {
        environment.extend(std::env::var("PATH").map(|path| ("PATH".to_owned(), path)));
    }
    let path = environment
        .iter()
        .find(|(name, _)| name == "PATH")
        .map(|(_, path)| path.as_str());
    let mut command: Vec<String> = command?.into_iter().map(Spanned::into_inner).collect();
    let Some(found) = command
        .first()
        .and_then(|program| find(&keys.resolve(program), program, path))
    else {
        let program = command.first().map_or("", String::as_str);
        keys.wrong(
            &at,
            format!("there is no program \"{program}\""),
            "name one of the PATH's, or a file with its path",
        );
        return None;
    };
    let name = std::mem::replace(&mut command[0], found);
    if let Some(bytes) = memory {
        let script = "ulimit -v \"$1\" && shift && exec \"$@\"";
        let limit = (bytes / 1024).to_string();
        let shell = ["/bin/sh", "-c", script, "sh", &limit].map(ToOwned::to_owned);
        command.splice(0..0, shell);
    }
    let directory = directory.unwrap_or_else(|| keys.resolve(""));
    Some(Program {
        station,
        name,
        command,
        environment,
        directory: (!directory.as_os_str().is_empty()).then_some(directory),
    })
}

/// Where a program is; `resolved` is its name as a path from the route file on.
fn find(resolved: &Path, program: &str, path: Option<&str>) -> Option<String> {
    let file = if program.contains('/') {
        Some(resolved.to_owned())
    } else {
        std::env::split_paths(path.unwrap_or_default())
            .map(|folder| folder.join(program))
            .find(|file| file.is_file())
    };
    // Absolute, for it is started elsewhere.
    let file: PathBuf = std::path::absolute(file.filter(|file| file.is_file())?).ok()?;
    file.to_str().map(ToOwned::to_owned)
}

fn memory(keys: &mut Keys<'_>) -> Option<u64> {
    let text = keys.text("memory")?;
    let bytes = bytes(text.get_ref());
    if bytes.is_none() {
        keys.wrong(
            &text.span(),
            format!("\"{}\" is no amount of memory", text.get_ref()),
            "write memory = \"512MiB\" or \"2GiB\"",
        );
    }
    bytes
}

fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic())?);
    let unit: u64 = match unit {
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    let number: u64 = number.trim().parse().ok()?;
    number.checked_mul(unit).filter(|bytes| *bytes > 0)
}

impl Exec {
    async fn ask(&self, call: &Call<'_>, lead: &mut Lead) -> Result<Outcome, Failure> {
        match &self.mode {
            Mode::Once(program) => {
                let answer = self.once(program, call.id(), lead).await?;
                self.bring(program, &answer, lead)?;
            }
            Mode::Lines(pool, numbers) => {
                let number = numbers
                    .as_ref()
                    .map(|last| last.fetch_add(1, Ordering::Relaxed) + 1);
                self.exchange(pool, number, lead).await?;
            }
        }
        Ok(Outcome::Continue)
    }

    async fn exchange(
        &self,
        pool: &Pool,
        number: Option<u64>,
        lead: &mut Lead,
    ) -> Result<(), Failure> {
        let program = pool.program();
        let ended = |status: ExitStatus, last: &str| self.ended(program, status, last);
        let line = match number {
            None => line(lead),
            Some(number) => {
                let mut numbered = lead.clone();
                numbered.set(NUMBER, &number);
                line(&numbered)
            }
        };
        let (mut answer, worker) = pool.exchange(&line, ended).await?;
        if let Some(number) = number {
            answer = check(program, number, &answer)?;
        }
        let brought = self.bring(program, &answer, lead);
        // One whose answer was none may still be about to answer: it is not asked again.
        if !matches!(brought, Err(Trouble::Contract(_))) {
            pool.put_back(worker);
        }
        Ok(brought?)
    }

    async fn once(&self, program: &Program, id: &str, lead: &Lead) -> Result<Vec<u8>, Failure> {
        let Process {
            mut stdin,
            mut stdout,
            stderr,
            mut group,
        } = program
            .start(Some(id))
            .map_err(|error| cannot_start(program, &error))?;
        let (said, lead) = (Said::default(), lead.to_json());
        // Each of these lets go of its end when it is done, so that the program does not wait for
        // anybody.
        let write = async move {
            // A program need not read its lead.
            let _ = stdin.write_all(&lead).await;
        };
        let read = async move { read_all(&mut stdout, LONGEST).await };
        let listen = said.listen(program, stderr);
        let ((), answer, status, ()) = join4(write, read, group.end(), listen).await;
        let last = said.turn(&program.station);
        let broken = |error: &std::io::Error| {
            Failure::new(
                ErrorKind::Transient,
                format!("{} cannot be talked to: {error}", program.name()),
            )
        };
        let Some(answer) = answer.map_err(|error| broken(&error))? else {
            return Err(too_long(program));
        };
        let status = status.map_err(|error| broken(&error))?;
        if status.success() {
            Ok(answer)
        } else {
            Err(self.ended(program, status, &last))
        }
    }

    fn ended(&self, program: &Program, status: ExitStatus, last: &str) -> Failure {
        let is_final =
            |code: i32| u64::try_from(code).is_ok_and(|code| self.final_exits.contains(&code));
        let kind = match status.code().filter(|code| is_final(*code)) {
            Some(BAD_LEAD) => ErrorKind::Invalid,
            Some(_) => ErrorKind::Permanent,
            None => ErrorKind::Transient,
        };
        // `exit status: 1`, or `signal: 9 (SIGKILL)`.
        let mut error = format!("{} ended without an answer: {status}", program.name());
        if !last.is_empty() {
            error = format!("{error}: {}", excerpt(last, EXCERPT));
        }
        Failure::new(kind, error)
    }

    fn bring(&self, program: &Program, answer: &[u8], lead: &mut Lead) -> Result<(), Trouble> {
        if let Some(failure) = refusal(program, answer) {
            return Err(Trouble::Refusal(failure));
        }
        self.answer.apply(answer, lead).map_err(|how| {
            Trouble::Contract(Failure::new(
                ErrorKind::Permanent,
                format!("{} broke its contract: {how}", program.name()),
            ))
        })
    }
}

/// Why an answer brought nothing.
enum Trouble {
    /// The program says that it cannot.
    Refusal(Failure),
    /// It is no answer.
    Contract(Failure),
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Refusal(failure) | Trouble::Contract(failure) => failure,
        }
    }
}

/// What a program answers where it cannot do its work.
fn refusal(program: &Program, answer: &[u8]) -> Option<Failure> {
    // Most answers are none, and need not be read twice.
    let name = b"\"_error\"";
    if !answer.windows(name.len()).any(|window| window == name) {
        return None;
    }
    let answer = Lead::parse(answer).ok()?;
    let said = answer.text("_error")?;
    let kind = if answer.get("_final") == Some("true") {
        ErrorKind::Permanent
    } else {
        ErrorKind::Transient
    };
    let said = excerpt(&said, EXCERPT);
    Some(Failure::new(
        kind,
        format!("{} says: {said}", program.name()),
    ))
}

/// Takes its number off an answer.
///
/// # Errors
/// [`Failure`] where it has another or none. It may be what the program said to an earlier lead,
/// which is not this one's fault: another try, with another process, can help.
fn check(program: &Program, number: u64, answer: &[u8]) -> Result<Vec<u8>, Failure> {
    let answer = Lead::parse(answer).ok().and_then(|mut answer| {
        let given = answer.remove_at(NUMBER)?;
        (given.get() == number.to_string()).then(|| answer.to_json())
    });
    answer.ok_or_else(|| {
        Failure::new(
            ErrorKind::Transient,
            format!(
                "{} broke its contract: the answer does not have the \"{NUMBER}\":{number} of its \
                 lead",
                program.name()
            ),
        )
    })
}

fn cannot_start(program: &Program, error: &std::io::Error) -> Failure {
    Failure::because_of(
        ErrorKind::Transient,
        format!("cannot start {}: {error}", program.name()),
        error,
    )
}

fn too_long(program: &Program) -> Failure {
    let mib = LONGEST >> 20;
    Failure::new(
        ErrorKind::Permanent,
        format!(
            "{} broke its contract: the answer is longer than {mib} MiB",
            program.name()
        ),
    )
}

/// A lead as one line. A line's end can only stand between the parts of JSON, never in a text.
fn line(lead: &Lead) -> Vec<u8> {
    let mut line = lead.to_json();
    for byte in &mut line {
        *byte = on_one_line(*byte);
    }
    line.push(b'\n');
    line
}

impl Station for Exec {
    fn work<'a>(
        &'a self,
        call: &'a Call<'a>,
        lead: &'a mut Lead,
    ) -> BoxFuture<'a, Result<Outcome, Failure>> {
        self.ask(call, lead).boxed()
    }

    fn contract(&self) -> Contract {
        Contract {
            produces: self.answer.produces(),
            ..Contract::default()
        }
    }

    fn timeout(&self) -> Option<Duration> {
        Some(TIMEOUT)
    }

    fn places(&self) -> Option<usize> {
        match &self.mode {
            Mode::Once(_) => None,
            Mode::Lines(pool, _) => Some(pool.processes),
        }
    }
}

#[cfg(test)]
mod tests;
