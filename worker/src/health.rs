//! Whether this worker is well: the worker says so once a second in a small file, and
//! `scrapegoat-worker healthcheck` reads it.
//!
//! A file, because that costs Redis nothing however often it is asked, and because it tells the
//! two things apart that matter: a worker that waits out a Redis that is away is well, as starting
//! it again would help nobody; one whose file grows old hangs, or is gone.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bridge_shared::findings::Finding;
use bridge_shared::stats::WorkerInfo;
use bridge_shared::store::StoreError;
use bridge_shared::terminal::harmless;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// Time between two words in the file.
const EVERY: Duration = Duration::from_secs(1);
/// Age of the file after which the worker counts as hanging.
const FRESH: Duration = Duration::from_secs(10);
/// Time without a heartbeat, whether Redis answered it or not, after which the worker counts as
/// hanging: twice the longest that one waits for its answer.
const HEARTBEAT_OVERDUE: Duration = Duration::from_secs(20);
/// How long a failure counts that was not seen again: longer than any pause before another try.
const FAILURE_LASTS: Duration = Duration::from_secs(15);

/// How long an API may take to answer.
const SOON: Duration = Duration::from_secs(2);

/// How the worker stands with Redis.
#[derive(Debug, Clone)]
enum Standing {
    /// Registered under this name; its lease lives until then.
    Registered(String, Instant, Work),
    /// Redis cannot be reached, and why.
    Away(String),
    /// Redis answers and refuses, and why: somebody must change a setting.
    Refused(String),
}

/// What a worker does all the time besides its heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// Leads are taken.
    Fetch,
    /// Outcomes are recorded.
    Record,
    /// Due retries are moved.
    Retry,
}

impl Task {
    const ALL: [Self; 3] = [Self::Fetch, Self::Record, Self::Retry];

    const fn words(self) -> &'static str {
        match self {
            Self::Fetch => "cannot take leads",
            Self::Record => "cannot record outcomes",
            Self::Retry => "cannot move due retries",
        }
    }
}

/// What keeps a worker from its work though Redis answers.
#[derive(Debug, Default)]
struct Impediments {
    /// Whether there may be any failure, so that success costs nothing.
    any: AtomicBool,
    /// The last failure of each task.
    failures: Mutex<[Option<(String, Instant)>; Task::ALL.len()]>,
    /// What the last look at Redis found.
    findings: Mutex<Vec<Finding>>,
    /// What is said of an engine that does not answer.
    stall: Mutex<Option<String>>,
}

impl Impediments {
    fn failed(&self, task: Task, cause: String) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures[task as usize] = Some((cause, Instant::now()));
        self.any.store(true, Ordering::Relaxed);
    }

    fn succeeded(&self, task: Task) {
        if self.any.load(Ordering::Relaxed) {
            let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
            failures[task as usize] = None;
            self.any
                .store(failures.iter().any(Option::is_some), Ordering::Relaxed);
        }
    }

    /// What cannot be done, and why; empty if everything can.
    fn troubles(&self) -> String {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let of_tasks = Task::ALL.into_iter().zip(failures.iter());
        let mut troubles: Vec<String> = of_tasks
            .filter_map(|(task, failure)| {
                let (cause, at) = failure.as_ref()?;
                (at.elapsed() < FAILURE_LASTS).then(|| format!("{}: {cause}", task.words()))
            })
            .collect();
        drop(failures);
        let stall = self.stall.lock().unwrap_or_else(PoisonError::into_inner);
        troubles.extend(stall.clone());
        drop(stall);
        let findings = self.findings(Finding::stops_work);
        // A failure says the same with what it leads to.
        if troubles.is_empty() {
            troubles.extend(findings);
        }
        troubles.join("; ")
    }

    /// What is told of a worker that does its work all the same.
    fn warnings(&self) -> String {
        self.findings(|finding| !finding.stops_work()).join("; ")
    }

    fn findings(&self, which: impl Fn(&Finding) -> bool) -> Vec<String> {
        let findings = self.findings.lock().unwrap_or_else(PoisonError::into_inner);
        let told = findings.iter().filter(|finding| which(finding));
        told.map(|finding| format!("{}. {}", finding.text, finding.remedy))
            .collect()
    }
}

/// What a registered worker does.
#[derive(Debug, Clone)]
struct Work {
    /// The pipeline in force.
    pipeline: String,
    /// Whether it takes no more leads.
    draining: bool,
}

/// Hears how the worker is.
#[derive(Debug, Clone)]
pub(crate) struct Reader(watch::Receiver<Standing>, Arc<Impediments>);

impl Reader {
    /// The pipeline that is worked along, or why no work is done.
    pub(crate) fn standing(&self) -> Result<String, &'static str> {
        match &*self.0.borrow() {
            Standing::Registered(_, until, _) if Instant::now() >= *until => {
                Err("the lease of the worker has run out")
            }
            Standing::Registered(_, _, work) if work.draining => Err("the worker is stopping"),
            Standing::Registered(..) if !self.1.troubles().is_empty() => {
                Err("the worker cannot do its work; the log says why")
            }
            Standing::Registered(_, _, work) => Ok(work.pipeline.clone()),
            Standing::Away(_) | Standing::Refused(_) => Err("the worker is not registered"),
        }
    }

    /// Time until the lease of the worker ends.
    pub(crate) fn lease(&self) -> Duration {
        match &*self.0.borrow() {
            Standing::Registered(_, until, _) => until.saturating_duration_since(Instant::now()),
            Standing::Away(_) | Standing::Refused(_) => Duration::ZERO,
        }
    }
}

/// Tells how the worker is. The file is gone when this is.
#[derive(Debug)]
pub(crate) struct Health {
    standing: watch::Sender<Standing>,
    /// When a heartbeat last had an end, a good one or not.
    beat: Arc<Mutex<Instant>>,
    impediments: Arc<Impediments>,
    file: Option<PathBuf>,
    /// Whether the file may no longer be written; held while it is written.
    ended: Arc<Mutex<bool>>,
    _writer: Option<AbortOnDropHandle<()>>,
}

impl Health {
    /// Starts to tell, in `file` where there is one. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// One line that says why the file cannot be written.
    pub(crate) fn start(file: Option<PathBuf>) -> Result<Self, String> {
        let standing = watch::Sender::new(Standing::Away("it has not answered yet".into()));
        let (beat, impediments) = (Arc::new(Mutex::new(Instant::now())), Arc::default());
        let (mut writer, ended) = (None, Arc::default());
        if let Some(file) = &file {
            write(file, &line(&standing.borrow(), Duration::ZERO, &Impediments::default())).map_err(|error| {
                format!(
                    "cannot write the health file {}: {error}. Set HEALTH_FILE to a file in a folder that may be written.",
                    file.display()
                )
            })?;
            let impediments = Arc::clone(&impediments);
            let task = tell(
                file.clone(),
                standing.subscribe(),
                Arc::clone(&beat),
                impediments,
                Arc::clone(&ended),
            );
            writer = Some(AbortOnDropHandle::new(tokio::spawn(task)));
        }
        Ok(Self {
            standing,
            beat,
            impediments,
            file,
            ended,
            _writer: writer,
        })
    }

    /// Another one that hears how the worker is.
    pub(crate) fn reader(&self) -> Reader {
        Reader(self.standing.subscribe(), Arc::clone(&self.impediments))
    }

    /// A heartbeat came through.
    pub(crate) fn registered(&self, worker: &str, lease: Duration, info: &WorkerInfo) {
        let until = Instant::now() + lease;
        let work = Work {
            pipeline: info.pipeline.clone(),
            draining: info.draining,
        };
        self.beaten();
        self.standing
            .send_replace(Standing::Registered(worker.to_owned(), until, work));
    }

    fn beaten(&self) {
        *self.beat.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// A task failed. While Redis is away, the heartbeat says so.
    pub(crate) fn failed(&self, task: Task, error: &StoreError) {
        if !error.is_outage() {
            self.impediments.failed(task, error.to_string());
        }
    }

    /// A task succeeded.
    pub(crate) fn succeeded(&self, task: Task) {
        self.impediments.succeeded(task);
    }

    /// Redis was looked at.
    pub(crate) fn checked(&self, found: Vec<Finding>) {
        let findings = &self.impediments.findings;
        *findings.lock().unwrap_or_else(PoisonError::into_inner) = found;
    }

    /// The engine has not answered for so long that the worker is ill, or it answers again.
    pub(crate) fn stalled(&self, words: Option<String>) {
        let stall = &self.impediments.stall;
        *stall.lock().unwrap_or_else(PoisonError::into_inner) = words;
    }

    /// What the worker cannot do, and why; empty if it can do its work.
    pub(crate) fn troubles(&self) -> String {
        self.impediments.troubles()
    }

    /// Redis did not answer, or refused.
    pub(crate) fn trouble(&self, error: &StoreError) {
        self.beaten();
        self.standing.send_replace(if error.is_outage() {
            Standing::Away(error.to_string())
        } else {
            Standing::Refused(error.to_string())
        });
    }
}

impl Drop for Health {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
            // What stays behind grows old, and then says the same.
            let _ = std::fs::remove_file(file);
        }
    }
}

async fn tell(
    file: PathBuf,
    standing: watch::Receiver<Standing>,
    beat: Arc<Mutex<Instant>>,
    impediments: Arc<Impediments>,
    ended: Arc<Mutex<bool>>,
) {
    let mut told = false;
    loop {
        tokio::time::sleep(EVERY).await;
        let beat = beat
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .elapsed();
        let line = line(&standing.borrow(), beat, &impediments);
        let ended = ended.lock().unwrap_or_else(PoisonError::into_inner);
        if *ended {
            return;
        }
        // In memory or a page cache: shorter than handing it to another thread.
        if let Err(error) = write(&file, &line)
            && !std::mem::replace(&mut told, true)
        {
            tracing::warn!("cannot write the health file {}: {error}", file.display());
        }
    }
}

/// What is said of a worker whose last heartbeat ended so long ago.
fn line(standing: &Standing, beat: Duration, impediments: &Impediments) -> String {
    if beat >= HEARTBEAT_OVERDUE {
        return format!(
            "ill: no heartbeat for {} s: the worker hangs\n",
            beat.as_secs()
        );
    }
    let troubles = impediments.troubles();
    match standing {
        Standing::Registered(..) if !troubles.is_empty() => {
            format!("ill: {}\n", harmless(&troubles))
        }
        Standing::Registered(worker, until, _) if Instant::now() < *until => {
            match impediments.warnings() {
                none if none.is_empty() => format!("well: registered as {worker}\n"),
                told => format!("well: registered as {worker}; {}\n", harmless(&told)),
            }
        }
        Standing::Registered(worker, ..) => {
            format!("well: Redis has not answered {worker} for a whole lease; waiting for it\n")
        }
        Standing::Away(cause) => format!("well: waiting for Redis: {cause}\n"),
        Standing::Refused(cause) => format!("ill: {cause}\n"),
    }
}

/// Writes in one step, so that a reader never sees half a line.
fn write(file: &Path, line: &str) -> io::Result<()> {
    let mut new = file.as_os_str().to_owned();
    new.push(".new");
    std::fs::write(&new, line)?;
    std::fs::rename(&new, file)
}

/// Whether an API answers at an address: the image has no other program that could ask.
///
/// # Errors
/// Why it does not, in one line.
pub(crate) fn ask(address: &str) -> Result<String, String> {
    let answer = || -> io::Result<String> {
        let mut found = address.to_socket_addrs()?;
        let found = found.next().ok_or(io::ErrorKind::NotFound)?;
        let mut stream = TcpStream::connect_timeout(&found, SOON)?;
        stream.set_read_timeout(Some(SOON))?;
        stream.set_write_timeout(Some(SOON))?;
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.take(4_096).read_to_string(&mut answer)?;
        Ok(answer)
    };
    match answer() {
        Ok(answer) if answer.starts_with("HTTP/1.1 200 ") => {
            Ok(format!("the API answers at {address}"))
        }
        Ok(answer) => {
            let first = answer.lines().next().unwrap_or_default().escape_default();
            Err(format!("what answers at {address} is not the API: {first}"))
        }
        Err(error) => Err(format!("the API does not answer at {address}: {error}")),
    }
}

/// What the file says of the worker that writes it.
///
/// # Errors
/// Why the worker is not well, in one line.
pub(crate) fn check(file: Option<&Path>) -> Result<String, String> {
    let file = file.filter(|file| !file.as_os_str().is_empty()).ok_or(
        "set HEALTH_FILE (or --health-file) to the file that the worker was told to write, for both of them",
    )?;
    let read = || -> io::Result<(String, SystemTime)> {
        Ok((
            std::fs::read_to_string(file)?,
            std::fs::metadata(file)?.modified()?,
        ))
    };
    let (line, written) = read().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => format!("no worker runs here: there is no {}", file.display()),
        _ => format!("cannot read {}: {error}", file.display()),
    })?;
    // A clock that was set back makes the file look new, not old.
    let age = written.elapsed().unwrap_or_default();
    if age > FRESH {
        let seconds = age.as_secs();
        return Err(format!(
            "the worker hangs or is gone: its last sign of life is {seconds} s old"
        ));
    }
    match line.lines().next().unwrap_or_default().split_once(": ") {
        Some(("well", words)) => Ok(words.to_owned()),
        Some(("ill", words)) => Err(words.to_owned()),
        _ => Err(format!("{} is not a worker's health file", file.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("health");
        (folder, file)
    }

    #[tokio::test]
    async fn a_worker_is_well_while_it_waits_and_ill_where_waiting_does_not_help() {
        let (_folder, file) = file();
        let said = |standing| {
            let line = line(&standing, Duration::ZERO, &Impediments::default());
            write(&file, &line).expect("written");
            check(Some(&file))
        };
        let later = Instant::now() + Duration::from_secs(60);
        let work = || Work {
            pipeline: "main".into(),
            draining: false,
        };
        assert_eq!(
            said(Standing::Registered("w".into(), later, work())),
            Ok("registered as w".into())
        );
        assert!(said(Standing::Registered("w".into(), Instant::now(), work())).is_ok());
        assert!(said(Standing::Away("refused".into())).is_ok());
        assert_eq!(said(Standing::Refused("no".into())), Err("no".into()));
    }

    #[test]
    fn a_worker_that_hangs_or_cannot_do_its_work_is_ill_though_it_is_registered() {
        let later = Instant::now() + Duration::from_secs(60);
        let work = Work {
            pipeline: "main".into(),
            draining: false,
        };
        let standing = Standing::Registered("w".into(), later, work);
        let impediments = Impediments::default();
        let said = |beat| line(&standing, Duration::from_secs(beat), &impediments);
        assert_eq!(said(19), "well: registered as w\n");
        assert_eq!(said(20), "ill: no heartbeat for 20 s: the worker hangs\n");
        impediments.failed(Task::Record, "no\nroom".into());
        assert_eq!(said(0), "ill: cannot record outcomes: no\\nroom\n");
        impediments.succeeded(Task::Fetch);
        assert!(said(0).starts_with("ill"));
        impediments.succeeded(Task::Record);
        assert!(said(0).starts_with("well"));
    }

    #[tokio::test]
    async fn an_old_file_and_none_and_another_are_not_well() {
        let (_folder, file) = file();
        assert!(check(None).expect_err("no file").contains("HEALTH_FILE"));
        let said = check(Some(&file)).expect_err("none yet");
        assert!(said.contains("no worker runs here"), "{said}");
        let health = Health::start(Some(file.clone())).expect("written");
        assert!(check(Some(&file)).is_ok());
        let old = SystemTime::now() - FRESH - Duration::from_secs(5);
        std::fs::File::options()
            .write(true)
            .open(&file)
            .and_then(|file| file.set_modified(old))
            .expect("older");
        let said = check(Some(&file)).expect_err("old");
        assert!(said.contains("hangs or is gone"), "{said}");
        std::fs::write(&file, "hello").expect("written");
        assert!(check(Some(&file)).is_err());
        drop(health);
        assert!(!file.exists());
    }
}
