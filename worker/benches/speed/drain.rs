//! One worker, the route that does nothing, and a backlog: what the bridge itself costs. Beside it
//! `redis-benchmark`, for what this machine and this Redis can do.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bridge_shared::event::{EventBatch, EventKind};

use crate::Scale;
use crate::common::{Worker, eventually};
use crate::process;
use crate::report::{Report, Target, median};
use crate::rig::{Drain, Rig};

const MB: f64 = 1024.0 * 1024.0;

/// What is taken in one round.
struct Round {
    lpush: f64,
    lpush_32: f64,
    alone: Drain,
    heard: Drain,
    told: f64,
}

pub(crate) fn measure(scale: Scale, report: &mut Report) {
    let leads = scale.of(300_000, 60_000);
    let mut rig = Rig::start(&[]);
    let worker = rig.worker();
    // The first run warms the caches and counts for nothing.
    rig.drain(&worker, leads / 10);
    let rounds: Vec<Round> = (0..scale.of(5, 2))
        .map(|_| round(&mut rig, &worker, leads))
        .collect();
    let of = |figure: &dyn Fn(&Round) -> f64| median(rounds.iter().map(figure).collect());
    let known = |figure: &dyn Fn(&Round) -> Option<f64>| {
        Some(median(
            rounds.iter().map(figure).collect::<Option<Vec<f64>>>()?,
        ))
    };

    report.add(
        "redis-benchmark LPUSH, 50 clients",
        of(&|round| round.lpush),
        "/s",
    );
    report.add(
        "redis-benchmark LPUSH, 50 clients, -P 32",
        of(&|round| round.lpush_32),
        "/s",
    );
    for (name, which) in [
        (
            "without subscriber",
            (|round| &round.alone) as fn(&Round) -> &Drain,
        ),
        ("with a subscriber", |round| &round.heard),
    ] {
        let rate = |round: &Round| which(round).rate();
        report.add(format!("leads drained, {name}"), of(&rate), "/s");
        let (first, second) = (
            of(&|round| rate(round) / round.lpush),
            of(&|round| rate(round) / round.lpush_32),
        );
        let (per_push, per_push_32) = (
            format!("{name}: ratio to LPUSH"),
            format!("{name}: ratio to LPUSH -P 32"),
        );
        let cpu = known(&|round| which(round).per_thousand(which(round).worker));
        let cost = format!("{name}: worker CPU for 1,000 leads");
        if name == "with a subscriber" {
            report.judge(per_push, first, "", Target::AtLeast(2.5));
            report.judge(per_push_32, second, "", Target::AtLeast(0.25));
            report.judge(cost, cpu, "ms", Target::AtMost(8.0));
        } else {
            report.add(per_push, first, "");
            report.add(per_push_32, second, "");
            report.add(cost, cpu, "ms");
        }
        let server = known(&|round| which(round).per_thousand(which(round).server));
        report.add(format!("{name}: Redis CPU for 1,000 leads"), server, "ms");
    }
    report.add(
        "events heard of those that happened",
        of(&|round| round.told * 100.0),
        "%",
    );
    #[allow(clippy::cast_precision_loss)]
    let left_out = worker
        .log()
        .matches("more happened than could be told")
        .count() as f64;
    report.judge(
        "times that events were left out",
        left_out,
        "",
        Target::AtMost(0.0),
    );
    #[allow(clippy::cast_precision_loss)]
    let peak = process::peak_memory(worker.pid()).map(|bytes| bytes as f64 / MB);
    report.add("worker memory at its highest", peak, "MB");
}

fn round(rig: &mut Rig, worker: &Worker, leads: usize) -> Round {
    let lpush_1 = lpush(rig, 1, leads / 2);
    let lpush_32 = lpush(rig, 32, leads * 4);
    let alone = rig.drain(worker, leads);
    let subscriber = Subscriber::start(rig);
    let heard = rig.drain(worker, leads);
    Round {
        lpush: lpush_1,
        lpush_32,
        alone,
        heard,
        told: subscriber.share_heard(leads),
    }
}

/// What `redis-benchmark` pushes with so many commands in one go, a second.
fn lpush(rig: &mut Rig, pipeline: usize, requests: usize) -> f64 {
    let (pipeline, requests) = (pipeline.to_string(), requests.to_string());
    let args = ["-t", "lpush", "-c", "50", "-P", &pipeline, "-n", &requests];
    let rate = rig.redis_benchmark(&args);
    let _: u64 = rig.run("UNLINK mylist");
    rate
}

/// Somebody who listens to the events, as a console does. What they hear is looked at afterwards,
/// so that listening takes as little as it can from what is measured.
struct Subscriber {
    stream: TcpStream,
    thread: JoinHandle<Vec<u8>>,
    heard: Arc<AtomicUsize>,
}

impl Subscriber {
    fn start(rig: &Rig) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", rig.redis.port())).expect("a connection");
        let mut reader = stream.try_clone().expect("a second handle");
        reader
            .write_all(b"SUBSCRIBE leads_to_enrich:events\r\n")
            .expect("Redis listens");
        let heard = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&heard);
        let thread = std::thread::spawn(move || {
            let (mut all, mut part) = (Vec::new(), vec![0; 1 << 16]);
            while let Ok(n @ 1..) = reader.read(&mut part) {
                all.extend_from_slice(&part[..n]);
                count.store(all.len(), Ordering::Relaxed);
            }
            all
        });
        let subscriber = Self {
            stream,
            thread,
            heard,
        };
        eventually("a subscription", || subscriber.heard() > 0);
        subscriber
    }

    fn heard(&self) -> usize {
        self.heard.load(Ordering::Relaxed)
    }

    /// The share of what happened that was told: four events for each lead.
    #[allow(clippy::cast_precision_loss)]
    fn share_heard(self, leads: usize) -> f64 {
        // Events come up to 50 ms late: it is over when nothing has come for much longer.
        let (mut heard, mut since) = (0, Instant::now());
        while since.elapsed() < Duration::from_millis(500) {
            std::thread::sleep(Duration::from_millis(20));
            if self.heard() > heard {
                (heard, since) = (self.heard(), Instant::now());
            }
        }
        self.stream
            .shutdown(Shutdown::Both)
            .expect("an open connection");
        let all = self.thread.join().expect("the subscriber lives");
        let told: usize = messages(&all)
            .map(|message| EventBatch::decode(message).expect("events").events)
            .map(|events| {
                events
                    .iter()
                    .filter(|event| EACH.contains(&event.event))
                    .count()
            })
            .sum();
        told as f64 / (leads * EACH.len()) as f64
    }
}

/// What is told of a lead that does well.
const EACH: [EventKind; 4] = [
    EventKind::Received,
    EventKind::Started,
    EventKind::Station,
    EventKind::Succeeded,
];

/// The messages in what Redis sent to a subscriber.
fn messages(mut all: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        loop {
            // `*3`, then what it is, the channel and the message, each with its length before it.
            let _ = line(&mut all)?;
            let kind = bulk(&mut all)?;
            let _channel = bulk(&mut all)?;
            if kind == b"message" {
                return bulk(&mut all);
            }
            let _subscriptions = line(&mut all)?;
        }
    })
}

fn line<'a>(all: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = all.windows(2).position(|pair| pair == b"\r\n")?;
    let line = &all[..end];
    *all = &all[end + 2..];
    Some(line)
}

fn bulk<'a>(all: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = std::str::from_utf8(line(all)?.strip_prefix(b"$")?).ok()?;
    let (bulk, rest) = all.split_at_checked(length.parse().ok()?)?;
    *all = rest.get(2..)?;
    Some(bulk)
}
