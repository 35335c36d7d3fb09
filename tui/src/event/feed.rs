//! Readings of Redis, and commands carried out there. Nothing here waits for the screen, and the
//! screen waits for nothing here.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bridge_shared::cause::Cause;
use bridge_shared::stats::Snapshot;
use bridge_shared::store::condition::Role;
use bridge_shared::store::control::operator;
use bridge_shared::store::survey::Survey;
use bridge_shared::store::{Store, StoreError};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{listen, scan, work};
use crate::message::{Command, Level, Message};
use crate::panic;
use crate::screen::Screen;

/// Between two readings of the figures.
const INTERVAL: Duration = Duration::from_secs(1);
/// Between two readings of the running minute.
const MINUTES_INTERVAL: Duration = Duration::from_secs(5);
/// Minutes that a chart may go back.
const DAY: u16 = 1_441;
/// Dead letters that are looked at for the causes of late.
const RECENT: u64 = 200;
/// Messages that may wait for the screen.
const BACKLOG: usize = 64;

/// What speaks to Redis for the console. Everything under way ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Feed {
    store: Store,
    survey: Arc<Survey>,
    messages: mpsc::Sender<Message>,
    refresh: Arc<Notify>,
    minutes: Arc<Notify>,
    tasks: JoinSet<()>,
    scan: CancellationToken,
    listen: CancellationToken,
    work: CancellationToken,
}

impl Feed {
    /// Begins to read; the messages come out of the other half.
    ///
    /// With `read_only` nothing is written, not even to see whether that works.
    pub(crate) fn start(store: Store, read_only: bool) -> (Self, mpsc::Receiver<Message>) {
        let (messages, out) = mpsc::channel(BACKLOG);
        let mut feed = Self {
            survey: Arc::new(Survey::new(store.clone())),
            store,
            messages,
            refresh: Arc::default(),
            minutes: Arc::default(),
            tasks: JoinSet::new(),
            scan: CancellationToken::new(),
            listen: CancellationToken::new(),
            work: CancellationToken::new(),
        };
        let poller = Poller {
            store: feed.store.clone(),
            survey: Arc::clone(&feed.survey),
            messages: feed.messages.clone(),
            refresh: Arc::clone(&feed.refresh),
            minutes: Arc::clone(&feed.minutes),
            role: if read_only {
                Role::ReadOnly
            } else {
                Role::Operator
            },
            causes_of: None,
            checked: false,
        };
        feed.tasks.spawn(poller.run());
        let (survey, refresh) = (Arc::clone(&feed.survey), Arc::clone(&feed.refresh));
        feed.tasks
            .spawn(async move { survey.run(|| refresh.notify_one()).await });
        (feed, out)
    }

    /// Carries out what belongs to Redis; anything else is left alone.
    pub(crate) fn run(&mut self, command: Command) {
        let (store, messages) = (self.store.clone(), self.messages.clone());
        match command {
            Command::Refresh => self.refresh.notify_one(),
            Command::ReadMinutes => self.minutes.notify_one(),
            Command::Listen(on) => {
                let stop = renew(&mut self.listen);
                if on {
                    self.tasks.spawn(async move {
                        stop.run_until_cancelled(listen::run(&store, &messages))
                            .await;
                    });
                }
            }
            Command::Scan {
                search,
                filter,
                marked,
            } => {
                let stop = renew(&mut self.scan);
                self.tasks.spawn(async move {
                    let scan = scan::run(&store, search, &filter, &marked, &messages);
                    if let Some(Err(error)) = stop.run_until_cancelled(scan).await {
                        send(&messages, Screen::Dlq, Err(error)).await;
                    }
                });
            }
            Command::Do(work) => {
                let stop = renew(&mut self.work);
                self.tasks.spawn(async move {
                    let ended = work::run(&store, work, &stop, &messages).await;
                    send(&messages, Screen::Dlq, Ok(Message::Ended(ended))).await;
                });
            }
            Command::Try(dead) => {
                let stop = renew(&mut self.work);
                self.ask(Screen::Dlq, async move {
                    let tried = stop.run_until_cancelled(work::try_out(&store, &dead)).await;
                    let tried = tried.unwrap_or_else(|| Err("no longer waited for".into()));
                    Ok(Message::Tried(dead, tried))
                });
            }
            Command::Stop => self.work.cancel(),
            Command::Save(file, text) => {
                self.ask(Screen::Dlq, async move { Ok(save(&file, &text).await) });
            }
            Command::SetPaused(paused) => {
                let refresh = Arc::clone(&self.refresh);
                self.ask(Screen::Overview, async move {
                    let set = store.set_paused(paused, &operator()).await;
                    refresh.notify_one();
                    let changed = set.map_err(|error| error.to_string());
                    Ok(Message::Paused { paused, changed })
                });
            }
            command => self.read(command),
        }
    }

    /// Reads what a command asks for.
    fn read(&mut self, command: Command) {
        let store = self.store.clone();
        match command {
            Command::ReadWindow { start, count } => self.ask(Screen::Dlq, async move {
                let (total, letters) = store.dead_window(start, count).await?;
                Ok(Message::Letters { letters, total })
            }),
            Command::ReadLetters(places) => self.ask(Screen::Dlq, async move {
                let total = store.dead_count().await?;
                let letters = store.dead_at(&places).await?;
                Ok(Message::Letters { letters, total })
            }),
            Command::Look {
                stage,
                start,
                count,
            } => {
                let unregistered = self.survey.workers();
                self.ask(Screen::Queue, async move {
                    let look = store.look(stage, start, count, &unregistered);
                    let (total, entries) = look.await?;
                    Ok(Message::Looked {
                        stage,
                        start,
                        total,
                        entries,
                    })
                });
            }
            Command::ReadAudit(count) => self.ask(Screen::Audit, async move {
                let (total, entries) = store.audit(count).await?;
                Ok(Message::Audit(total, entries))
            }),
            Command::ReadStations(hours) => {
                self.ask(Screen::Pipeline, async move {
                    Ok(Message::Stations(hours, store.stations(hours).await?))
                });
            }
            Command::ReadTrashes => self.ask(Screen::Dlq, async move {
                Ok(Message::Trashes(store.trashes().await?))
            }),
            Command::LookInTrash { name, start, count } => self.ask(Screen::Dlq, async move {
                let (total, letters) = store.trash_window(&name, start, count).await?;
                Ok(Message::InTrash {
                    name,
                    start,
                    total,
                    letters,
                })
            }),
            // The terminal's.
            _ => {}
        }
    }

    /// Returns when a task has panicked, and goes on with that here, where it ends the console; or
    /// never. The hook has told of it, and given the terminal back, already.
    pub(crate) async fn panicked(&mut self) {
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended
                && let Ok(panic) = error.try_into_panic()
            {
                std::panic::resume_unwind(panic);
            }
        }
        std::future::pending::<()>().await;
    }

    /// Passes on what comes of a screen's question.
    fn ask(
        &mut self,
        screen: Screen,
        question: impl Future<Output = Result<Message, StoreError>> + Send + 'static,
    ) {
        let messages = self.messages.clone();
        self.tasks.spawn(async move {
            send(&messages, screen, question.await).await;
        });
    }
}

/// Stops what was under way and returns the way to stop what comes next.
fn renew(token: &mut CancellationToken) -> CancellationToken {
    token.cancel();
    *token = CancellationToken::new();
    token.clone()
}

/// Passes a message on, or that Redis gave none. It fails only when the console has ended.
async fn send(
    messages: &mpsc::Sender<Message>,
    screen: Screen,
    message: Result<Message, StoreError>,
) {
    let message = message.unwrap_or_else(|error| match error {
        StoreError::Answer(_) | StoreError::WriteRefused { .. } => Message::Refused(screen, error),
        error if error.is_transient() => Message::Trouble(error),
        error => Message::Refused(screen, error),
    });
    let _ = messages.send(message).await;
}

/// Writes to a new file.
async fn save(file: &str, text: &str) -> Message {
    use tokio::io::AsyncWriteExt as _;
    let file = crate::path::whole(file);
    let written = async {
        let mut out = tokio::fs::File::from_std(crate::export::create(&file)?);
        out.write_all(text.as_bytes()).await?;
        out.flush().await
    };
    match written.await {
        Ok(()) => Message::Told(Level::Good, format!("written to {file}")),
        Err(error) => Message::Told(Level::Bad, format!("cannot write {file}: {error}")),
    }
}

/// Reads the figures again and again.
struct Poller {
    store: Store,
    survey: Arc<Survey>,
    messages: mpsc::Sender<Message>,
    refresh: Arc<Notify>,
    minutes: Arc<Notify>,
    role: Role,
    /// What the causes were read for last: dead, and moved by hands.
    causes_of: Option<(u64, u64)>,
    /// Whether the server was found fit.
    checked: bool,
}

impl Poller {
    async fn run(mut self) {
        let mut next_minutes = Instant::now();
        let mut all = true;
        loop {
            let next = Instant::now() + INTERVAL;
            let read = self.read().await;
            let alive = read.is_ok();
            match read {
                Ok(figures) => {
                    self.tell(Message::Reading(Box::new(figures))).await;
                    panic::if_asked_for("task");
                }
                Err(error) => {
                    // Whatever comes back may be another one.
                    (self.checked, all, next_minutes) = (false, true, Instant::now());
                    tracing::warn!(%error, "no reading");
                    self.tell(Message::Trouble(error)).await;
                }
            }
            if alive && Instant::now() >= next_minutes {
                let count = if all { DAY } else { 2 };
                match self.store.history(count).await {
                    Ok(minutes) => {
                        self.tell(Message::Minutes(minutes)).await;
                        all = false;
                    }
                    Err(error) => send(&self.messages, Screen::Overview, Err(error)).await,
                }
                next_minutes = Instant::now() + MINUTES_INTERVAL;
            }
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                () = self.refresh.notified() => {}
                () = self.minutes.notified() => (all, next_minutes) = (true, Instant::now()),
            }
        }
    }

    async fn read(&mut self) -> Result<Snapshot, StoreError> {
        if !self.checked {
            self.store.check().await?;
            self.checked = true;
        }
        let begun = Instant::now();
        // Side by side: on a slow link each way there counts.
        let (figures, condition) =
            tokio::try_join!(self.survey.snapshot(), self.store.condition(self.role))?;
        self.tell(Message::Took(begun.elapsed())).await;
        self.tell(Message::Condition(Box::new(condition))).await;
        let totals = &figures.totals;
        let of = (
            figures.dead,
            totals.redriven + totals.dropped + totals.restored,
        );
        if self.causes_of != Some(of) {
            let recent = match self.store.dead_window(0, RECENT).await {
                Ok((_, recent)) => recent,
                Err(error) if error.is_transient() => return Err(error),
                Err(error) => {
                    self.tell(Message::Refused(Screen::Dlq, error)).await;
                    return Ok(figures);
                }
            };
            let mut causes: HashMap<Cause, u64> = HashMap::new();
            for letter in &recent {
                *causes.entry(Cause::of(&letter.envelope)).or_default() += 1;
            }
            let mut causes: Vec<_> = causes.into_iter().collect();
            causes.sort_by(|(a, n), (b, m)| m.cmp(n).then_with(|| a.cmp(b)));
            self.tell(Message::Causes(recent.len() as u64, causes))
                .await;
            self.causes_of = Some(of);
        }
        Ok(figures)
    }

    async fn tell(&self, message: Message) {
        // Fails only when the console has ended, and this task with it.
        let _ = self.messages.send(message).await;
    }
}
