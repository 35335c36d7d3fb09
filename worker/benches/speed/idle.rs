//! What a worker costs that has nothing to do.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::Scale;
use crate::process;
use crate::report::{Report, Target};
use crate::rig::Rig;

#[allow(clippy::cast_precision_loss)]
pub(crate) fn measure(scale: Scale, report: &mut Report) {
    let seconds = scale.of(30.0, 10.0);
    let mut rig = Rig::start(&[]);
    let worker = rig.worker();
    let before = process::cpu(worker.pid());
    let commands = listen(&rig, Duration::from_secs_f64(seconds));
    let cpu = process::cpu(worker.pid())
        .zip(before)
        .map(|(after, before)| after.saturating_sub(before));
    let share = cpu.map(|cpu| cpu.as_secs_f64() / seconds * 100.0);
    report.judge(
        "idle worker: one processor",
        share,
        "%",
        Target::AtMost(0.5),
    );
    let all: usize = commands.values().sum();
    report.add("idle worker: Redis commands", all as f64 / seconds, "/s");
    let most = commands.values().max().copied().unwrap_or(0);
    // One more may fall into the window than there are seconds in it.
    let rate = most.saturating_sub(1) as f64 / seconds;
    report.judge(
        "idle worker: the most frequent command",
        rate,
        "/s",
        Target::AtMost(1.0),
    );
}

/// Every command that others send within a time, by name. What a script calls is not sent.
fn listen(rig: &Rig, time: Duration) -> HashMap<String, usize> {
    let mut stream = TcpStream::connect(("127.0.0.1", rig.redis.port())).expect("a connection");
    stream
        .set_read_timeout(Some(Duration::from_millis(100)))
        .expect("a timeout");
    stream.write_all(b"MONITOR\r\n").expect("Redis listens");
    let mut reader = BufReader::new(stream);
    let (mut commands, mut line) = (HashMap::new(), String::new());
    let started = Instant::now();
    while started.elapsed() < time {
        // A timeout leaves what was read of a line in it.
        if reader.read_line(&mut line).is_err() {
            continue;
        }
        if let Some((_, words)) = line.split_once("] \"")
            && !line.contains(" lua] ")
        {
            // A script's hash tells it from the others.
            let mut words = words.split('"').step_by(2);
            let name = words.next().unwrap_or_default().to_ascii_uppercase();
            let script = words.next().filter(|_| name.starts_with("EVALSHA"));
            let name = name + script.unwrap_or_default();
            *commands.entry(name).or_default() += 1;
        }
        line.clear();
    }
    commands
}
