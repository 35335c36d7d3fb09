//! `bridge dlq`: dead letters for scripts.

use std::io::{BufWriter, IsTerminal as _, Write};
use std::path::PathBuf;

use bridge_shared::arguments::whole_number;
use bridge_shared::clock::{human_duration, rfc3339};
use bridge_shared::filter::Filter;
use bridge_shared::json::indented;
use bridge_shared::store::control::operator;
use bridge_shared::store::dead_letters::{DeadLetter, Destination, Looked, token};
use bridge_shared::store::{Store, StoreError};
use clap::{ArgGroup, Args, Subcommand};
use serde::Serialize;

use super::output::{CommandError, json, line, summary};
use crate::export::{Export, Format, create};
use crate::groups::Groups;
use crate::text::{age, harmless, plural, thousands};
use bridge_shared::row::{Row, error_or_unknown};
use bridge_shared::triage::{Matching, Move, Report, SCAN_WINDOW, WINDOW};

/// What `bridge dlq` does.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum DlqCommand {
    /// Print how many dead letters there are
    Count,
    /// List dead letters, the newest first
    List(ListArgs),
    /// Group dead letters by what they died of, the most frequent first
    Groups {
        /// Only those that match, as in `list`
        #[arg(long, value_name = "EXPR", value_parser = Filter::parse, default_value = "", hide_default_value = true)]
        filter: Filter,
    },
    /// Show one dead letter with its history
    Show {
        /// Its id, as `list` shows it
        id: String,
    },
    /// Put dead letters back to work
    Retry(RetryArgs),
    /// Throw dead letters into the trash, where they stay for a day
    Drop {
        /// Their ids, as `list` shows them
        #[arg(required = true)]
        id: Vec<String>,
    },
    /// List the trashes there are: how much is in each, since when, until when and by whom
    Trash,
    /// Bring back what is in a trash, as `drop` and `clear` name it
    Restore {
        /// The trash
        trash: String,
    },
    /// Throw all dead letters into the trash, where they stay for a day
    Clear {
        /// Do it; without this nothing happens
        #[arg(long)]
        yes: bool,
    },
    /// Write dead letters to a file, one JSON object a line or as a table
    Export {
        /// The file, or - for standard output
        file: PathBuf,
        /// How; without this a file whose name ends in .csv is a table, and any other is lines
        ///
        /// A table is for spreadsheets: a cell that begins like a formula (= + - @) gets a ' before
        /// it. What keeps every byte are lines.
        #[arg(long, value_enum)]
        format: Option<Format>,
        /// Only those that match, as in `list`
        #[arg(long, value_name = "EXPR", value_parser = Filter::parse, default_value = "", hide_default_value = true)]
        filter: Filter,
    },
}

impl DlqCommand {
    /// Whether it changes anything in Redis.
    pub(crate) const fn changes(&self) -> bool {
        match self {
            Self::Retry(_) | Self::Drop { .. } | Self::Restore { .. } | Self::Clear { .. } => true,
            Self::Count
            | Self::List(_)
            | Self::Groups { .. }
            | Self::Trash
            | Self::Show { .. }
            | Self::Export { .. } => false,
        }
    }
}

/// What `bridge dlq list` takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct ListArgs {
    /// How many at most; the last line says how many there are
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = whole_number::<usize>(0..=u64::MAX))]
    limit: usize,
    /// Only those that match: words (found also where only a word is like them; a ' before one
    /// takes it exactly), and error: kind: station: worker: cause: id: name: url: lead:
    /// attempts:>2 retries:0 age:>1h, each turned round by a ! before it
    #[arg(long, value_name = "EXPR", value_parser = Filter::parse, default_value = "", hide_default_value = true)]
    filter: Filter,
}

/// What `bridge dlq retry` takes.
#[derive(Debug, Clone, Args)]
#[command(group = ArgGroup::new("which").required(true).multiple(false).args(["id", "all"]))]
pub(crate) struct RetryArgs {
    /// Their ids, as `list` shows them
    id: Vec<String>,
    /// All of them, but those that cannot be a lead, which stay
    #[arg(long)]
    all: bool,
    /// With --all: only those that match, as in `list`
    #[arg(long, value_name = "EXPR", value_parser = Filter::parse, requires = "all", default_value = "", hide_default_value = true)]
    filter: Filter,
    /// Put back even what cannot be a lead
    #[arg(long)]
    force: bool,
    /// Put even those that came from another queue into this one; without this they stay
    #[arg(long)]
    into_this_queue: bool,
}

/// Does it; returns whether all that was asked for was done.
///
/// # Errors
/// [`CommandError`].
pub(crate) async fn run(
    store: &Store,
    command: DlqCommand,
    as_json: bool,
) -> Result<bool, CommandError> {
    match command {
        DlqCommand::Count => {
            let count = store.dead_count().await?;
            if as_json {
                json(&serde_json::json!({ "count": count }))?;
            } else {
                line(&count.to_string())?;
            }
            Ok(true)
        }
        DlqCommand::List(args) => list(store, &args, as_json).await.map(|()| true),
        DlqCommand::Groups { filter } => groups(store, &filter, as_json).await.map(|()| true),
        DlqCommand::Show { id } => show(store, &id, as_json).await.map(|()| true),
        DlqCommand::Retry(args) => retry(store, &args, as_json).await,
        DlqCommand::Drop { id } => throw_away(store, &id, as_json).await,
        DlqCommand::Trash => trashes(store, as_json).await.map(|()| true),
        DlqCommand::Restore { trash } => restore(store, &trash, as_json).await,
        DlqCommand::Clear { yes } => clear(store, yes, as_json).await.map(|()| true),
        DlqCommand::Export {
            file,
            format,
            filter,
        } => {
            let format = format.unwrap_or_else(|| Format::of(&file));
            export(store, &file, format, &filter, as_json).await
        }
    }
}

/// Dead letters for scripts. The leads in it stay the text they are: as values in memory, numbers would
/// be written in another way, and leads that are nested deep or hold half a surrogate pair refused.
#[derive(Serialize)]
struct Listed<'a> {
    items: Vec<Row<'a>>,
    total: u64,
    #[serde(skip_serializing_if = "is_zero")]
    too_large: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

async fn list(store: &Store, args: &ListArgs, as_json: bool) -> Result<(), CommandError> {
    let now = store.observe_time().await?;
    let mut found = Vec::new();
    let mut too_large = 0;
    let mut walk = store.walk_dead(WINDOW);
    while found.len() < args.limit
        && let Some(window) = walk.next().await?
    {
        for letter in window {
            if found.len() == args.limit {
                break;
            }
            match store.look_into(&args.filter, &letter, now).await? {
                Looked::Fits(_) => found.push(letter),
                Looked::TooLarge => too_large += 1,
                Looked::Not | Looked::Gone => {}
            }
        }
    }
    let total = store.dead_count().await?;
    if as_json {
        let items: Vec<Row<'_>> = found.iter().map(Row::new).collect();
        return json(&Listed {
            items,
            total,
            too_large,
        });
    }
    for letter in &found {
        line(&list_line(letter, now))?;
    }
    let shown = thousands(found.len() as u64);
    let matching = if args.filter.is_empty() {
        ""
    } else {
        " that match"
    };
    line(&format!(
        "{shown}{matching} of {}{}",
        plural(total, "dead letter"),
        too_large_too(too_large)
    ))
}

/// What is said of large ones that a filter could not be asked of.
fn too_large_too(too_large: u64) -> String {
    if too_large == 0 {
        String::new()
    } else {
        format!("; {} too large to be looked into", thousands(too_large))
    }
}

/// The same for scripts.
fn with_too_large(mut answer: serde_json::Value, too_large: u64) -> serde_json::Value {
    if too_large > 0 {
        answer["too_large"] = too_large.into();
    }
    answer
}

fn list_line(letter: &DeadLetter, now: i64) -> String {
    let envelope = &letter.envelope;
    let age = envelope.failed_at.map_or_else(
        || "Unknown".into(),
        |at| format!("{} ago", human_duration(now - at)),
    );
    let name = envelope
        .parse_lead()
        .ok()
        .and_then(|lead| lead.full_name().or_else(|| lead.linkedin_url()))
        .unwrap_or_else(|| {
            String::from_utf8_lossy(&envelope.lead)
                .chars()
                .take(40)
                .collect()
        });
    format!(
        "{:>5}  {}  {age}  retries {}  {}  {}",
        letter.index,
        harmless(letter.id()),
        envelope.retry_count,
        harmless(&name),
        harmless(&error_or_unknown(letter)),
    )
}

async fn groups(store: &Store, filter: &Filter, as_json: bool) -> Result<(), CommandError> {
    let now = store.observe_time().await?;
    let mut groups = Groups::default();
    let mut walk = store.walk_dead(SCAN_WINDOW);
    let (mut total, mut too_large) = (0_u64, 0);
    while let Some(window) = walk.next().await? {
        for letter in &window {
            match store.look_into(filter, letter, now).await? {
                Looked::Fits(fit) => {
                    groups.add(letter, fit);
                    total += 1;
                }
                Looked::TooLarge => too_large += 1,
                Looked::Not | Looked::Gone => {}
            }
        }
    }
    let groups = groups.sorted();
    if as_json {
        let time = |at: Option<i64>| at.map_or_else(|| "Unknown".into(), rfc3339);
        let groups: Vec<_> = groups
            .iter()
            .map(|group| {
                serde_json::json!({
                    "cause": group.cause.id,
                    "count": group.count,
                    "error": group.cause.text,
                    "error_kind": group.kind,
                    "station": group.station,
                    "first_failed_at": time(group.first),
                    "last_failed_at": time(group.last),
                })
            })
            .collect();
        let answer = serde_json::json!({ "groups": groups, "total": total });
        return json(&with_too_large(answer, too_large));
    }
    for group in &groups {
        line(&format!(
            "{:>9}  cause:{}  last {}  {}  {}",
            thousands(group.count),
            group.cause.id,
            age(now, group.last),
            harmless(&group.station),
            harmless(&group.cause.text),
        ))?;
    }
    line(&format!(
        "{} in {}{}",
        plural(total, "dead letter"),
        plural(groups.len() as u64, "group"),
        too_large_too(too_large)
    ))
}

async fn show(store: &Store, id: &str, as_json: bool) -> Result<(), CommandError> {
    let found = store.find_dead(&[id.to_owned()]).await?;
    let Some(letter) = found.first() else {
        return Err(CommandError::Said(format!(
            "no dead letter has the id {}; `bridge dlq list` shows those there are",
            harmless(id)
        )));
    };
    if as_json {
        return json(&Row::new(letter));
    }
    let row = Row::new(letter);
    let mut lines = vec![
        format!("id          {}", harmless(row.id)),
        format!("error       {}", harmless(&row.error)),
        format!("kind        {}", row.error_kind),
        format!("station     {}", harmless(row.station)),
        format!("worker      {}", harmless(row.worker)),
        format!(
            "queue       {}",
            if row.queue.is_empty() {
                "Unknown".into()
            } else {
                harmless(row.queue)
            }
        ),
        format!("retries     {}", row.retry_count),
        format!("redrives    {}", row.redrives),
        format!("failed at   {}", row.failed_at),
        format!(
            "first seen  {}",
            row.first_seen.as_deref().unwrap_or("Unknown")
        ),
    ];
    for (n, attempt) in row.attempts.iter().enumerate() {
        lines.push(format!(
            "attempt {}   {}  {}  {} ms  {}  {}",
            n + 1,
            harmless(&attempt.at),
            harmless(&attempt.station),
            attempt.ms,
            harmless(&attempt.worker),
            harmless(&attempt.error),
        ));
    }
    let lead = indented(&letter.envelope.lead)
        .unwrap_or_else(|| String::from_utf8_lossy(&letter.envelope.lead).into_owned());
    lines.push("lead".into());
    lines.extend(lead.lines().map(|text| format!("  {}", harmless(text))));
    line(&lines.join("\n"))
}

async fn retry(store: &Store, args: &RetryArgs, as_json: bool) -> Result<bool, CommandError> {
    let mut progress = |_| true;
    let mut work = Move {
        store,
        who: operator(),
        destination: Destination::Redrive,
        force: args.force,
        into_this_queue: args.into_this_queue,
        progress: &mut progress,
        report: Report::with_ids(),
    };
    if args.all {
        let wanted = Matching {
            filter: args.filter.clone(),
            ..Matching::default()
        };
        work.matching(&wanted).await?;
    } else {
        work.ids(&args.id).await?;
    }
    let here = &store.keys().queue;
    if !as_json {
        for other in &work.report.other_queue {
            line(&format!(
                "{}: came from the queue {} and not {}, so it stays; retry it there, or here with --into-this-queue",
                harmless(&other.id),
                harmless(&other.queue),
                harmless(here)
            ))?;
        }
    }
    tell(&work.report, "put back to work", as_json)
}

async fn throw_away(store: &Store, ids: &[String], as_json: bool) -> Result<bool, CommandError> {
    let (trash, mut progress) = (token(), |_| true);
    let mut work = Move {
        store,
        who: operator(),
        destination: Destination::Trash(trash.clone()),
        force: true,
        into_this_queue: false,
        progress: &mut progress,
        report: Report::with_ids(),
    };
    let done = work.ids(ids).await;
    done.map_err(|error| in_trash(&error, &trash))?;
    work.report.trash = Some(trash.clone());
    tell(&work.report, &kept(&trash), as_json)
}

/// Where what was thrown away is.
fn kept(trash: &str) -> String {
    format!("thrown into the trash for a day; bring back with: bridge dlq restore {trash}")
}

/// An answer that was lost leaves open how much is in the trash: that must be told by name.
fn in_trash(error: &StoreError, trash: &str) -> CommandError {
    CommandError::Said(format!(
        "{error} What was thrown away before that comes back with: bridge dlq restore {trash}"
    ))
}

async fn trashes(store: &Store, as_json: bool) -> Result<(), CommandError> {
    let found = store.trashes().await?;
    if as_json {
        let trashes: Vec<_> = found
            .iter()
            .map(|trash| {
                serde_json::json!({
                    "trash": trash.name,
                    "count": trash.count,
                    "thrown_at": rfc3339(trash.thrown),
                    "ends_at": rfc3339(trash.ends),
                    "who": trash.who,
                })
            })
            .collect();
        return json(&serde_json::json!({ "trashes": trashes }));
    }
    for trash in &found {
        line(&format!(
            "{:>9}  {}  thrown away {} ago  ends in {}  {}",
            thousands(trash.count),
            harmless(&trash.name),
            age(store.now(), Some(trash.thrown)),
            human_duration(trash.ends - store.now()),
            harmless(trash.who.as_deref().unwrap_or("not in the audit")),
        ))?;
    }
    let sum = found.iter().map(|trash| trash.count).sum();
    line(&format!("{} in the trash", plural(sum, "dead letter")))
}

async fn restore(store: &Store, trash: &str, as_json: bool) -> Result<bool, CommandError> {
    let restored = store.restore_dead(trash, &operator(), |_| true).await?;
    summary(if as_json {
        json(&serde_json::json!({ "restored": restored }))
    } else if restored == 0 {
        line("There is nothing in that trash: it was brought back before, or its day is over.")
    } else {
        line(&format!("{} brought back", plural(restored, "dead letter")))
    })?;
    Ok(restored > 0)
}

fn tell(result: &Report, done: &str, as_json: bool) -> Result<bool, CommandError> {
    summary(if as_json {
        json(result)
    } else {
        line(&told(result, done).join("\n"))
    })?;
    Ok(result.whole())
}

/// A line for what was done, and one for each dead letter to which it was not.
fn told(result: &Report, done: &str) -> Vec<String> {
    let moved = format!("{} {done}", plural(result.moved, "dead letter"));
    let gone = result
        .gone
        .iter()
        .map(|id| format!("{}: not there, or somebody else was faster", harmless(id)));
    let refused = result.refused.iter().map(|id| {
        format!(
            "{}: cannot be a lead, so it stays; --force puts it back all the same",
            harmless(id)
        )
    });
    let too_large = result.too_large.iter().map(|id| {
        format!(
            "{}: too large to be looked into for the filter, so it stays; name it by its id",
            harmless(id)
        )
    });
    std::iter::once(moved)
        .chain(gone)
        .chain(refused)
        .chain(too_large)
        .collect()
}

async fn clear(store: &Store, yes: bool, as_json: bool) -> Result<(), CommandError> {
    if !yes {
        let count = plural(store.dead_count().await?, "dead letter");
        return Err(CommandError::Said(format!(
            "this would throw {count} into the trash; do it with: bridge dlq clear --yes"
        )));
    }
    let name = token();
    let cleared = store.clear_dead(&name, &operator()).await;
    let cleared = cleared.map_err(|error| in_trash(&error, &name))?;
    if as_json {
        let trash = (cleared > 0).then_some(name);
        return json(&serde_json::json!({ "success": true, "cleared": cleared, "trash": trash }));
    }
    if cleared == 0 {
        return line("There were no dead letters.");
    }
    line(&format!(
        "{} {}",
        plural(cleared, "dead letter"),
        kept(&name)
    ))
}

/// What is said of a large dead letter that was seen and then was not there to be read whole.
const MOVED_MEANWHILE: &str = "moved meanwhile by somebody else, and not written";

async fn export(
    store: &Store,
    file: &PathBuf,
    format: Format,
    filter: &Filter,
    as_json: bool,
) -> Result<bool, CommandError> {
    let to_stdout = file.as_os_str() == "-";
    let to_terminal = to_stdout && std::io::stdout().is_terminal();
    let out: Box<dyn Write + Send> = if to_stdout {
        Box::new(BufWriter::new(std::io::stdout()))
    } else {
        let open = create(file);
        let failed = |error: std::io::Error| {
            CommandError::Said(match error.kind() {
                std::io::ErrorKind::AlreadyExists => {
                    format!(
                        "{} is there already; name another file, or remove it",
                        file.display()
                    )
                }
                _ => format!("cannot write {}: {error}", file.display()),
            })
        };
        Box::new(BufWriter::new(open.map_err(failed)?))
    };
    let now = store.observe_time().await?;
    let mut export = Export::begin(out, format, to_terminal)?;
    let mut walk = store.walk_dead(WINDOW);
    let (mut missed, mut too_large) = (Vec::new(), 0);
    while let Some(window) = walk.next().await? {
        for letter in window {
            match store.look_into(filter, &letter, now).await? {
                Looked::Fits(_) => {
                    if !export.add(store, &letter).await? {
                        missed.push(letter);
                    }
                }
                Looked::TooLarge => too_large += 1,
                Looked::Not | Looked::Gone => {}
            }
        }
    }
    let gone = export.add_missed(store, &missed).await?;
    let exported = export.end()?;
    let whole = gone.is_empty() && too_large == 0;
    if to_stdout {
        if whole {
            return Ok(true);
        }
        let mut said = format!("{} written", plural(exported, "dead letter"));
        if !gone.is_empty() {
            let gone = thousands(gone.len() as u64);
            said = format!("{said}; {gone} {MOVED_MEANWHILE}");
        }
        let too_large = too_large_too(too_large);
        return Err(CommandError::Said(format!("{said}{too_large}")));
    }
    if as_json {
        let answer = serde_json::json!({ "exported": exported, "file": file, "gone": gone });
        summary(json(&with_too_large(answer, too_large)))?;
        return Ok(whole);
    }
    let mut lines = vec![format!(
        "{} written to {}{}",
        plural(exported, "dead letter"),
        file.display(),
        too_large_too(too_large)
    )];
    lines.extend(
        gone.iter()
            .map(|id| format!("{}: {MOVED_MEANWHILE}", harmless(id))),
    );
    summary(line(&lines.join("\n")))?;
    Ok(whole)
}
