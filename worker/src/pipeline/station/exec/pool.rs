//! Programs that stay: each reads a lead a line and answers it with a line.

use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bridge_shared::envelope::ErrorKind;
use rustix::io::ioctl_fionread;
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use super::super::Failure;
use super::super::answer::LONGEST;
use super::process::{Group, Line, Process, Program, Said, read_line};
use super::{cannot_start, too_long};

/// Time that a program that gave no answer gets to end, so that its exit code can be told.
const END: Duration = Duration::from_secs(1);

/// Some processes of one program. They are started when they are needed.
#[derive(Debug)]
pub(super) struct Pool {
    program: Arc<Program>,
    /// How many at most.
    pub(super) processes: usize,
    places: Arc<Semaphore>,
    idle: Mutex<Vec<Worker>>,
}

/// A process between two leads, or with one.
#[derive(Debug)]
pub(super) struct Worker {
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    group: Group,
    said: Arc<Said>,
    listener: JoinHandle<()>,
}

/// A process with its place in the pool. Killed when dropped.
#[derive(Debug)]
pub(super) struct Held {
    worker: Worker,
    _place: OwnedSemaphorePermit,
}

impl Worker {
    /// Whether nothing waits to be read. Asks the operating system: the runtime learns later of
    /// what came a moment ago.
    fn is_silent(&self) -> bool {
        self.stdout.buffer().is_empty()
            && ioctl_fionread(self.stdout.get_ref()).is_ok_and(|bytes| bytes == 0)
    }
}

impl Pool {
    pub(super) fn new(program: Program, processes: usize) -> Self {
        Self {
            program: Arc::new(program),
            processes,
            places: Arc::new(Semaphore::new(processes)),
            idle: Mutex::default(),
        }
    }

    pub(super) fn program(&self) -> &Program {
        &self.program
    }

    /// Gives a line to a process and waits for its answer, which comes with the process.
    ///
    /// # Errors
    /// [`Failure`]; what `ended` makes of the way it ended, and of its last words, where it did.
    pub(super) async fn exchange(
        &self,
        line: &[u8],
        ended: impl Fn(ExitStatus, &str) -> Failure,
    ) -> Result<(Vec<u8>, Held), Failure> {
        let place = Arc::clone(&self.places)
            .acquire_owned()
            .await
            .expect("it is never closed");
        let mut worker = self.take()?;
        let mut answer = Vec::new();
        let read = match worker.stdin.write_all(line).await {
            Ok(()) => read_line(&mut worker.stdout, &mut answer, LONGEST).await,
            Err(error) => Err(error),
        };
        match read {
            Ok(Line::Whole) => {
                worker.said.turn(&self.program.station);
                let held = Held {
                    worker,
                    _place: place,
                };
                Ok((answer, held))
            }
            Ok(Line::TooLong) => Err(too_long(&self.program)),
            Ok(Line::End) | Err(_) => Err(self.gone(worker, ended).await),
        }
    }

    /// A process is free again.
    pub(super) fn put_back(&self, held: Held) {
        self.idle().push(held.worker);
    }

    /// A process that is idle and well, else a new one.
    fn take(&self) -> Result<Worker, Failure> {
        loop {
            let Some(mut worker) = self.idle().pop() else {
                return self.start();
            };
            if worker.group.ended().is_some() {
                continue;
            }
            // What it said unasked would be taken for the next answer.
            if worker.is_silent() {
                return Ok(worker);
            }
            tracing::warn!(
                station = self.program.station,
                "the program said more than its answer, and is started anew; one line for each \
                 lead goes to standard output, all else to standard error",
            );
        }
    }

    fn start(&self) -> Result<Worker, Failure> {
        let started = self.program.start(None);
        let Process {
            stdin,
            stdout,
            stderr,
            group,
        } = started.map_err(|error| cannot_start(&self.program, &error))?;
        let said = Arc::new(Said::default());
        let (listening, program) = (Arc::clone(&said), Arc::clone(&self.program));
        // Ends with the program.
        let listener = tokio::spawn(async move { listening.listen(&program, stderr).await });
        Ok(Worker {
            stdin,
            stdout,
            group,
            said,
            listener,
        })
    }

    /// Why a program gave no answer.
    async fn gone(
        &self,
        mut worker: Worker,
        ended: impl Fn(ExitStatus, &str) -> Failure,
    ) -> Failure {
        let end = async {
            let status = worker.group.end().await;
            // Nobody can say anything any more; its last words may still be on the way.
            let _ = (&mut worker.listener).await;
            status
        };
        let status = tokio::time::timeout(END, end).await;
        let last = worker.said.turn(&self.program.station);
        match status {
            Ok(Ok(status)) => ended(status, &last),
            _ => Failure::new(
                ErrorKind::Transient,
                format!(
                    "{} closed its output without an answer",
                    self.program.name()
                ),
            ),
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Worker>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
