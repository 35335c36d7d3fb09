//! The long run: `make soak`, for an hour or `SOAK_SECONDS`. Producers, workers, a service that
//! fails now and then, an operator who looks and puts dead letters back, at a bounded rate. Nothing
//! may grow that has no end: memory, keys, connections, open files.

mod common;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Bridge, PATIENCE, Reply, Service, Worker, eventually};

/// Leads a second.
const RATE: u64 = 200;
/// Workers.
const WORKERS: usize = 2;
/// The first part of the run, in which caches and pools fill up, as one of so many.
const WARM_UP: u32 = 4;
/// Samples of the whole run.
const SAMPLES: u32 = 60;

/// What is measured now and again.
#[derive(Debug, Clone, Default)]
struct Sample {
    at: Duration,
    /// Resident memory of each worker, in KiB.
    workers: Vec<u64>,
    /// Open files of each worker.
    files: Vec<u64>,
    /// Resident memory of Redis, in KiB.
    redis: u64,
    /// What Redis says it uses besides its data, in KiB.
    overhead: u64,
    connections: u64,
    /// The size of every kind of key, in entries.
    keys: BTreeMap<String, u64>,
    done: usize,
    dead: usize,
}

fn main_run() -> Duration {
    let seconds = std::env::var("SOAK_SECONDS").ok();
    Duration::from_secs(seconds.and_then(|text| text.parse().ok()).unwrap_or(3_600))
}

#[test]
#[ignore = "runs for an hour; make soak"]
fn nothing_grows_that_has_no_end() {
    let length = main_run();
    let bridge = Bridge::start();
    // One in fifty fails once, one in five hundred for good.
    let service = Service::quiet(|request, before| {
        let n = request.lead["n"].as_u64().unwrap_or(0);
        match (n % 500, before) {
            (0, _) => Reply::status(422),
            (n, 0) if n % 50 == 1 => Reply::status(503),
            _ => Reply::ok(),
        }
    });
    let route = bridge.route(&format!(
        "[pipelines.soak]\ndaily_budget = 1000000\n\
         [[pipelines.soak.stations]]\nkind = \"identity\"\nname = \"identity\"\n\
         [[pipelines.soak.stations]]\nkind = \"http\"\nname = \"enrich\"\nurl = \"{}\"\ncost = 0.0001\n",
        service.url
    ));
    let flags = ["--pipeline", &route, "--retry-delay-base", "1"];
    let workers: Vec<Worker> = (0..WORKERS)
        .map(|_| Worker::start(&bridge.redis.url(), &bridge.log(), &flags))
        .collect();
    eventually("the workers are there", || {
        bridge.workers().len() == WORKERS
    });

    let begun = Instant::now();
    let (mut pushed, mut samples) = (0_u64, Vec::new());
    let mut next_look = begun;
    while begun.elapsed() < length {
        let due = u64::try_from(begun.elapsed().as_millis()).expect("short") * RATE / 1_000;
        while pushed < due {
            bridge.push(format!(
                r#"{{"name":"Lead {pushed}","linkedinUrl":"https://www.linkedin.com/in/lead-{pushed}","n":{pushed}}}"#
            ));
            pushed += 1;
        }
        // Readers of enriched leads decide how long they are kept: these keep few.
        read_enriched(&bridge);
        if Instant::now() >= next_look {
            look(&bridge);
            samples.push(sample(&bridge, &workers, begun.elapsed()));
            eprintln!("{}", line(samples.last().expect("just taken")));
            next_look += (length / SAMPLES).max(Duration::from_secs(1));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let total = usize::try_from(pushed).expect("few");
    eventually("every lead has come to its end", || {
        read_enriched(&bridge);
        bridge.waiting() + bridge.in_flight() + bridge.retry() == 0
            && bridge.stat("done") + bridge.dead() == total
    });
    look(&bridge);
    let end = sample(&bridge, &workers, begun.elapsed());
    println!(
        "{pushed} leads pushed, {} done, {} dead",
        bridge.stat("done"),
        bridge.dead()
    );
    let found = judge(&samples, &end, pushed / 500 + 1);
    println!("{}", report(&samples, &end));
    assert!(found.is_empty(), "{}", found.join("\n"));
}

fn read_enriched(bridge: &Bridge) {
    let _: u64 = bridge.redis("XTRIM enriched_leads MAXLEN ~ 10000");
}

/// An operator looks, and puts some back to work.
fn look(bridge: &Bridge) {
    let Some(program) = console() else {
        return;
    };
    for arguments in [
        &["status", "--json"][..],
        &["dlq", "list", "--limit", "50"],
        &["dlq", "groups"],
        &["dlq", "retry", "--all", "--filter", "attempts:<3"],
        &["--once"],
    ] {
        let ran = Command::new(&program)
            .args(arguments)
            .env("REDIS_URL", bridge.redis.url())
            .env("HOME", bridge.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .output()
            .expect("the console starts");
        // Where there is nothing to put back, that is told by the status.
        let told = String::from_utf8_lossy(&ran.stderr);
        assert!(!told.contains("panicked"), "bridge {arguments:?}: {told}");
    }
}

/// The console's program, beside the worker's; `make soak` builds it.
fn console() -> Option<std::path::PathBuf> {
    let program = Path::new(env!("CARGO_BIN_EXE_scrapegoat-worker")).with_file_name("bridge");
    program.is_file().then_some(program)
}

fn sample(bridge: &Bridge, workers: &[Worker], at: Duration) -> Sample {
    let info: String = bridge.redis("INFO memory");
    let figure = |name: &str| -> u64 {
        let value = info.lines().find_map(|line| line.strip_prefix(name));
        value
            .and_then(|value| value.trim().parse().ok())
            .unwrap_or(0)
    };
    let clients: String = bridge.redis("CLIENT LIST");
    Sample {
        at,
        workers: workers
            .iter()
            .map(|worker| resident(worker.pid()))
            .collect(),
        files: workers
            .iter()
            .map(|worker| open_files(worker.pid()))
            .collect(),
        redis: resident(bridge.redis.pid()),
        overhead: figure("used_memory_overhead:") / 1024,
        connections: clients.lines().count() as u64,
        keys: keys(bridge),
        done: bridge.stat("done"),
        dead: bridge.dead(),
    }
}

fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0)
}

fn open_files(pid: u32) -> u64 {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |files| files.count() as u64)
}

/// How many entries every kind of key has, all keys of a kind together. A kind is a key's name
/// without what counts time or workers.
fn keys(bridge: &Bridge) -> BTreeMap<String, u64> {
    let names: Vec<String> = bridge.redis("KEYS *");
    let mut kinds = BTreeMap::new();
    for name in names {
        let parts: Vec<&str> = name
            .split(':')
            .map(|part| {
                if part.chars().all(|c| c.is_ascii_digit()) {
                    "#"
                } else {
                    part
                }
            })
            .collect();
        let mut kind = parts.join(":");
        for (before, more) in [
            ("leads_to_enrich:active:", "<worker>"),
            ("leads_to_enrich:push:", "<run>"),
        ] {
            if kind.starts_with(before) {
                kind = format!("{before}{more}");
            }
        }
        let sized = match bridge.redis::<String>(&format!("TYPE {name}")).as_str() {
            "list" => "LLEN",
            "hash" => "HLEN",
            "zset" => "ZCARD",
            "set" => "SCARD",
            "stream" => "XLEN",
            _ => "STRLEN",
        };
        *kinds.entry(kind).or_default() += bridge.redis::<u64>(&format!("{sized} {name}"));
    }
    kinds
}

/// How many entries a kind of key may have, where that has an end of its own.
fn documented_end(kind: &str, minutes: u64, refused: u64) -> Option<u64> {
    Some(match kind {
        // Totals, and one count for each retry.
        "leads_to_enrich:stats" => 32,
        // As many fields for each minute, kept for 25 hours.
        "leads_to_enrich:stats:#" => 32 * (minutes + 2).min(1_501),
        // A few figures of each station for each hour, and the last batch of each worker.
        "leads_to_enrich:stations:#" => (64 + WORKERS as u64) * (minutes / 60 + 2).min(26),
        "leads_to_enrich:workers" | "leads_to_enrich:workers:info" => WORKERS as u64,
        "leads_to_enrich:workers:lost" => 100,
        // One pipeline, and a key that is written to see whether that works.
        "leads_to_enrich:budgets" | "leads_to_enrich:probe" => 1,
        "leads_to_enrich:active:<worker>" => 50 * WORKERS as u64,
        // What waits is bounded by the rate and the few seconds that a retry takes.
        "leads_to_enrich" | "leads_to_enrich:retry" => RATE * PATIENCE.as_secs(),
        // What the service refuses for good.
        "failed_leads" => refused,
        "leads_to_enrich:audit" => 10_200,
        // Trimmed by its readers, here.
        "enriched_leads" => 10_200 + RATE * 2,
        // A number of micro-dollars for each day.
        "leads_to_enrich:spent:soak:#" => 20 * 9,
        _ => return None,
    })
}

/// What has grown that should not have.
fn judge(samples: &[Sample], end: &Sample, refused: u64) -> Vec<String> {
    let mut found = Vec::new();
    let warm = samples
        .iter()
        .find(|sample| sample.at * WARM_UP >= end.at)
        .unwrap_or(&samples[0]);
    for worker in 0..WORKERS {
        grows(
            &mut found,
            &format!("worker {worker}, memory in KiB"),
            warm.workers[worker],
            end.workers[worker],
            16 * 1024,
        );
        grows(
            &mut found,
            &format!("worker {worker}, open files"),
            least_files(samples, end, worker, warm.at..end.at / 2),
            least_files(samples, end, worker, end.at * 3 / 4..end.at),
            8,
        );
    }
    // The minutes, the stations and the dead letters have their place in it.
    let dead = end.dead.saturating_sub(warm.dead) as u64;
    grows(
        &mut found,
        "Redis, memory in KiB",
        warm.redis,
        end.redis,
        24 * 1024 + 2 * dead,
    );
    grows(
        &mut found,
        "Redis, connections",
        warm.connections,
        end.connections,
        4,
    );
    let minutes = end.at.as_secs() / 60 + 1;
    for (kind, size) in &end.keys {
        match documented_end(kind, minutes, refused) {
            None => found.push(format!("the key {kind} has no documented end")),
            Some(most) if *size > most => {
                found.push(format!(
                    "the key {kind} has {size} entries, more than its end of {most}"
                ));
            }
            Some(_) => {}
        }
    }
    found
}

/// The least files that a worker had open in that time: connections to a station are kept for the
/// next call, so that their number goes up and down.
fn least_files(samples: &[Sample], end: &Sample, worker: usize, time: Range<Duration>) -> u64 {
    let then = samples.iter().filter(|sample| time.contains(&sample.at));
    let files = then.map(|sample| sample.files[worker]);
    files.min().unwrap_or(end.files[worker])
}

#[test]
fn files_that_come_and_go_are_no_leak_and_those_that_only_come_are_one() {
    let run = |files: fn(u64) -> u64| {
        let sample = |minute: u64| Sample {
            at: Duration::from_secs(minute * 60),
            workers: vec![1; WORKERS],
            files: vec![files(minute); WORKERS],
            ..Sample::default()
        };
        let samples: Vec<Sample> = (0..60).map(sample).collect();
        judge(&samples, &sample(60), 0)
    };
    assert_eq!(
        run(|minute| 44 + minute % 5 * 4 + minute / 60 * 17),
        [""; 0]
    );
    let found = run(|minute| 44 + minute % 5 * 4 + minute);
    assert!(found[0].contains("open files grew"), "{found:?}");
    assert_eq!(found.len(), WORKERS, "{found:?}");
}

fn grows(found: &mut Vec<String>, what: &str, before: u64, after: u64, room: u64) {
    if after > before + before / 10 + room {
        found.push(format!("{what} grew from {before} to {after}"));
    }
}

fn line(sample: &Sample) -> String {
    format!(
        "{:>6} s  done {:>8}  dead {:>6}  workers {:?} KiB, {:?} files  redis {} KiB, {} connections",
        sample.at.as_secs(),
        sample.done,
        sample.dead,
        sample.workers,
        sample.files,
        sample.redis,
        sample.connections
    )
}

fn report(samples: &[Sample], end: &Sample) -> String {
    let mut text = String::new();
    for sample in samples.iter().chain([end]) {
        let _ = writeln!(text, "{}", line(sample));
    }
    let _ = writeln!(
        text,
        "\n{:<36} {:>10} {:>10}",
        "key", "at first", "at the end"
    );
    for (kind, size) in &end.keys {
        let first = samples[0].keys.get(kind).copied().unwrap_or(0);
        let _ = writeln!(text, "{kind:<36} {first:>10} {size:>10}");
    }
    let _ = writeln!(
        text,
        "Redis, overhead in KiB               {:>10} {:>10}",
        samples[0].overhead, end.overhead
    );
    text
}
