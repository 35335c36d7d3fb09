//! `bridge push`: files to the waiting list.
//!
//! A reader thread turns files into leads and runs ahead of the sending by a bounded number of
//! them; the sender pushes numbered batches, so that one whose answer was lost is pushed once.

use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bridge_shared::arguments::whole_number;
use bridge_shared::known::Known;
use bridge_shared::producer::{Producer, next_or_send};
use bridge_shared::source::{Format, Options, Source};
use bridge_shared::store::produce::Durability;
use bridge_shared::store::{Store, StoreError};
use bytes::Bytes;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tokio::sync::mpsc;

use super::output::{CommandError, complain, error_line, json, line, summary};
use crate::text::{harmless, plural, thousands};

/// Items that the reader may be ahead.
const AHEAD: usize = 2_000;
/// How long a batch is sent again before giving up.
const PATIENCE: Duration = Duration::from_secs(60);

/// What `bridge push` takes.
#[derive(Debug, Clone, Args)]
#[command(allow_negative_numbers = true)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(crate) struct PushArgs {
    /// The files, or - for standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// What the files are written in [default: as their names or beginnings tell]
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,

    /// Read and check, but push nothing
    #[arg(long)]
    dry_run: bool,

    /// Stop at the first bad line; what was good before it is pushed
    #[arg(long)]
    strict: bool,

    /// List so many bad lines; the others are counted
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = whole_number::<u64>(0..=u64::MAX))]
    list_errors: u64,

    /// Skip leads whose LinkedIn URL is already waiting, in flight, in retry, dead, or enriched
    #[arg(long)]
    dedupe: bool,

    /// How many days back an enriched lead counts for --dedupe
    #[arg(long, value_name = "DAYS", default_value_t = 30, requires = "dedupe", value_parser = whole_number::<u32>(0..=u64::from(u32::MAX)))]
    dedupe_days: u32,

    /// Count a batch as pushed only when this many replicas have it. All of them, or a failover may
    /// still lose what was pushed in its last moments
    #[arg(long, value_name = "N", value_parser = whole_number::<u32>(1..=u64::from(u32::MAX)))]
    wait_replicas: Option<u32>,

    /// Count a batch as pushed only when it is on the disk of the primary, and of as many replicas as
    /// --wait-replicas says; needs Redis 7.2 with `appendonly yes`
    #[arg(long)]
    wait_fsync: bool,

    /// Leads a second at most
    #[arg(long, value_name = "N", value_parser = whole_number::<u32>(1..=u64::from(u32::MAX)))]
    rate: Option<u32>,

    /// Wait while this many leads are waiting
    #[arg(long, value_name = "N", value_parser = whole_number::<u64>(1..=u64::MAX))]
    max_depth: Option<u64>,
}

impl PushArgs {
    /// Whether it changes anything in Redis.
    pub(crate) const fn changes(&self) -> bool {
        !self.dry_run
    }
}

/// What came of it.
#[derive(Debug, Default, Serialize)]
struct Summary {
    pushed: u64,
    skipped: u64,
    invalid: u64,
    dry_run: bool,
}

/// What the reader hands over.
struct Read {
    file: usize,
    line: u64,
    result: Result<Bytes, String>,
}

/// Pushes the files; the status is 1 where any line was bad.
///
/// # Errors
/// [`CommandError`].
pub(crate) async fn run(
    store: &Store,
    args: PushArgs,
    as_json: bool,
) -> Result<ExitCode, CommandError> {
    let names: Vec<String> = args
        .files
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    let readers = open(&args.files)?;
    if !args.dry_run || args.dedupe {
        store.check().await?;
    }
    let bar = progress(readers.iter().map(|(_, size)| *size).sum());
    let known = if args.dedupe {
        bar.set_message("looking at the leads that are there");
        let known = Known::scan(store, args.dedupe_days).await?;
        if let Some(gap) = known.gap() {
            bar.suspend(|| complain(gap));
        }
        Some(known)
    } else {
        None
    };
    let mut items = read(readers, &names, args.format, &bar);
    let mut push = Push {
        producer: Producer::new(store, known).waiting_for(Durability {
            replicas: args.wait_replicas.unwrap_or(0),
            fsync: args.wait_fsync,
        }),
        summary: Summary {
            dry_run: args.dry_run,
            ..Summary::default()
        },
        last: (0, 0),
        started: Instant::now(),
        bar,
        names,
        args,
    };
    let result = tokio::select! {
        result = push.all(&mut items) => result,
        _ = tokio::signal::ctrl_c() => Err(push.interrupted()),
    };
    push.bar.finish_and_clear();
    push.tell_unlisted();
    let told = summary(push.tell(as_json));
    result?;
    told?;
    Ok(if push.summary.invalid > 0 {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// A file to read, and its size where it has one.
type Reader = (Box<dyn BufRead + Send>, u64);

/// Opens every file before anything is pushed.
fn open(files: &[PathBuf]) -> Result<Vec<Reader>, CommandError> {
    files
        .iter()
        .map(|file| {
            if file.as_os_str() == "-" {
                return Ok((
                    Box::new(BufReader::new(std::io::stdin())) as Box<dyn BufRead + Send>,
                    0,
                ));
            }
            let failed = |error: std::io::Error| {
                CommandError::Said(format!("cannot read {}: {error}", file.display()))
            };
            let open = File::open(file).map_err(failed)?;
            let meta = open.metadata().map_err(failed)?;
            if meta.is_dir() {
                return Err(CommandError::Said(format!(
                    "cannot read {}: it is a folder",
                    file.display()
                )));
            }
            Ok((
                Box::new(BufReader::with_capacity(1 << 16, open)) as Box<dyn BufRead + Send>,
                meta.len(),
            ))
        })
        .collect()
}

/// A bar on a terminal, nothing elsewhere.
fn progress(size: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = if size > 0 {
        (
            ProgressBar::new(size),
            "{bar:30} {bytes}/{total_bytes}  {msg}  {eta} left",
        )
    } else {
        (ProgressBar::new_spinner(), "{spinner} {bytes}  {msg}")
    };
    bar.with_style(ProgressStyle::with_template(template).expect("the template is sound"))
}

/// Counts what is read for the progress bar.
struct Counted {
    inner: Box<dyn BufRead + Send>,
    read: Arc<AtomicU64>,
}

impl std::io::Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.read.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

impl BufRead for Counted {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, n: usize) {
        self.read.fetch_add(n as u64, Ordering::Relaxed);
        self.inner.consume(n);
    }
}

/// Starts the reader.
fn read(
    readers: Vec<Reader>,
    names: &[String],
    format: Option<Format>,
    bar: &ProgressBar,
) -> mpsc::Receiver<Read> {
    let (sender, items) = mpsc::channel(AHEAD);
    let (names, bar) = (names.to_vec(), bar.clone());
    std::thread::spawn(move || {
        let read = Arc::new(AtomicU64::new(0));
        for (file, (inner, _)) in readers.into_iter().enumerate() {
            let counted = Counted {
                inner,
                read: Arc::clone(&read),
            };
            let options = Options {
                format,
                ..Options::default()
            };
            for item in Source::new(counted, &names[file], &options) {
                let result = item.result.map_err(|error| match item.element {
                    Some(element) => format!("element {element} of the array: {error}"),
                    None => error.to_string(),
                });
                bar.set_position(read.load(Ordering::Relaxed));
                // The sender has ended: nobody wants the rest.
                if sender
                    .blocking_send(Read {
                        file,
                        line: item.line,
                        result,
                    })
                    .is_err()
                {
                    return;
                }
            }
        }
    });
    items
}

/// A push under way.
struct Push<'a> {
    producer: Producer<'a>,
    args: PushArgs,
    names: Vec<String>,
    summary: Summary,
    /// File and line of the last lead that was taken up.
    last: (usize, u64),
    started: Instant,
    bar: ProgressBar,
}

impl Push<'_> {
    async fn all(&mut self, items: &mut mpsc::Receiver<Read>) -> Result<(), CommandError> {
        loop {
            let item = next_or_send(items, async || self.send().await).await?;
            let Some(item) = item else {
                return self.send().await;
            };
            let place = (item.file, item.line);
            match item.result {
                Ok(lead) => self.take(lead, place).await?,
                Err(error) => self.complain(place, &error).await?,
            }
        }
    }

    async fn take(&mut self, lead: Bytes, place: (usize, u64)) -> Result<(), CommandError> {
        if self.producer.knows(&lead) {
            self.summary.skipped += 1;
            return Ok(());
        }
        if self.producer.is_full_for(&lead) {
            self.send().await?;
        }
        self.producer.add(lead);
        self.last = place;
        Ok(())
    }

    async fn complain(
        &mut self,
        (file, line): (usize, u64),
        error: &str,
    ) -> Result<(), CommandError> {
        self.summary.invalid += 1;
        if self.summary.invalid <= self.args.list_errors || self.args.strict {
            let said = format!(
                "{}:{line}: {}",
                harmless(&self.names[file]),
                harmless(error)
            );
            self.bar.suspend(|| error_line(&said));
        }
        if self.args.strict {
            self.send().await?;
            return Err(CommandError::Said(
                "stopped at the first bad line, as --strict says".into(),
            ));
        }
        Ok(())
    }

    /// Sends what is in hand, as fast as it may.
    async fn send(&mut self) -> Result<(), CommandError> {
        while self.producer.gathered() > 0 {
            self.summary.skipped += self.producer.leave_out_known().await? as u64;
            let n = self.producer.gathered().min(self.room().await?);
            let left_out = if self.args.dry_run || n == 0 {
                self.producer.drop_first(n);
                0
            } else {
                self.send_batch(n).await?
            };
            self.summary.skipped += left_out as u64;
            self.summary.pushed += (n - left_out) as u64;
            self.bar
                .set_message(format!("{} leads", thousands(self.summary.pushed)));
        }
        Ok(())
    }

    /// How many leads may go now; waits until it is at least one.
    async fn room(&self) -> Result<usize, CommandError> {
        if self.args.dry_run {
            return Ok(usize::MAX);
        }
        let mut room = usize::MAX;
        if let Some(rate) = self.args.rate {
            // A tenth of a second's worth at a time, so that a rate is smooth.
            room = (rate as usize / 10).max(1);
            #[allow(clippy::cast_precision_loss)]
            let due = self.summary.pushed as f64 / f64::from(rate);
            tokio::time::sleep(Duration::from_secs_f64(due).saturating_sub(self.started.elapsed()))
                .await;
        }
        if let Some(max) = self.args.max_depth {
            let free = self.producer.room(max, None).await?;
            room = room.min(free.unwrap_or(room));
        }
        Ok(room)
    }

    /// Sends a batch until it is in, or for as long as patience lasts; returns how many of it another
    /// run had pushed.
    async fn send_batch(&mut self, n: usize) -> Result<usize, CommandError> {
        let mut told = false;
        let again = |error: &StoreError| {
            if !std::mem::replace(&mut told, true) {
                let said = format!(
                    "trying again for a minute: {}",
                    harmless(&error.to_string())
                );
                self.bar.suspend(|| error_line(&said));
            }
        };
        let sent = self.producer.send(n, PATIENCE, again).await;
        sent.map(|pushed| pushed.left_out)
            .map_err(|error| self.gave_up(&error))
    }

    fn gave_up(&self, error: &StoreError) -> CommandError {
        let (file, line) = self.last;
        CommandError::Said(format!(
            "{error} {} leads are in; of the last batch, which ends at {}:{line}, it is not known",
            thousands(self.summary.pushed),
            harmless(&self.names[file]),
        ))
    }

    fn interrupted(&self) -> CommandError {
        CommandError::Said(format!(
            "interrupted: {} leads are in, and perhaps the batch under way; go on with --dedupe",
            thousands(self.summary.pushed)
        ))
    }

    /// Says how many bad lines were not listed.
    fn tell_unlisted(&self) {
        let invalid = self.summary.invalid;
        let unlisted = invalid.saturating_sub(self.args.list_errors);
        if unlisted > 0 && !self.args.strict {
            let all = format!("--list-errors {invalid} lists all");
            error_line(&format!("and {} more; {all}", plural(unlisted, "bad line")));
        }
    }

    fn tell(&self, as_json: bool) -> Result<(), CommandError> {
        let summary = &self.summary;
        if as_json {
            return json(summary);
        }
        line(&format!(
            "{} {}, skipped {}, invalid {}",
            if summary.dry_run {
                "would push"
            } else {
                "pushed"
            },
            thousands(summary.pushed),
            thousands(summary.skipped),
            thousands(summary.invalid),
        ))
    }
}
