//! Carries out a plan: does to the workers, to Redis and to the network what it says, and writes
//! down what was done.

use std::time::{Duration, Instant};

use crate::common::proxy::Proxy;
use crate::crew::Crew;
use crate::plan::{Act, Log, Plan, Step, ms};
use crate::record::{CLOCK_MOVED, Effect, Fault, On, Record, UNTOLD};
use crate::site::Site;

/// How long silent connections may go unnoticed: 10 s until a call counts as unanswered, and the
/// way back.
const UNNOTICED: Duration = Duration::from_secs(13);

/// Whom things are done to.
pub struct Stage<'a> {
    pub plan: &'a Plan,
    pub site: &'a Site,
    pub crew: &'a Crew,
    pub producers: &'a [Proxy],
    pub record: &'a Record,
}

impl Stage<'_> {
    /// Goes through one track.
    pub fn play(&self, track: &[Step]) {
        for step in track {
            std::thread::sleep(step.after);
            self.carry_out(step.act);
        }
    }

    fn carry_out(&self, act: Act) {
        match act {
            Act::Kill(post) => self.kill(post),
            Act::Freeze(post, time) => self.freeze(post, time),
            Act::Terminate(post, times) => self.terminate(&[post], times, None),
            Act::TerminateAll => {
                let all: Vec<usize> = (0..self.crew.posts.len()).collect();
                self.terminate(&all, 1, None);
            }
            Act::Log(post, log) => self.spoil_log(post, log),
            Act::Cut(_)
            | Act::CutAt(..)
            | Act::CutPush(..)
            | Act::Silence(_)
            | Act::Hold(..)
            | Act::Slow(..)
            | Act::Dribble(..)
            | Act::Narrow(..) => self.disturb(act),
            _ => self.shake(act),
        }
    }

    fn note(&self, name: &'static str, on: On, from: Instant, effect: Effect) {
        let to = Instant::now();
        self.record.add(Fault {
            name,
            on,
            from,
            to,
            effect,
        });
    }

    fn worker(&self, post: usize) -> On {
        self.crew.number(post).map_or(On::Everybody, On::Worker)
    }

    fn kill(&self, post: usize) {
        let on = self.worker(post);
        let from = Instant::now();
        self.crew.signal(post, "KILL");
        self.note("worker kill -9", on, from, Effect::Repeats);
        self.crew.see_off(post, &[]);
        std::thread::sleep(ms(200));
        self.crew.hire(post, None);
    }

    fn freeze(&self, post: usize, time: Duration) {
        let (on, from) = (self.worker(post), Instant::now());
        self.crew.signal(post, "STOP");
        std::thread::sleep(time);
        self.crew.signal(post, "CONT");
        self.note("worker SIGSTOP, SIGCONT", on, from, Effect::None);
    }

    fn terminate(&self, posts: &[usize], times: u32, log: Option<Log>) {
        let from = Instant::now();
        let on: Vec<On> = posts.iter().map(|post| self.worker(*post)).collect();
        for i in 0..times {
            if i > 0 {
                std::thread::sleep(ms(30));
            }
            for post in posts {
                self.crew.remind(*post);
            }
        }
        for (post, on) in posts.iter().zip(on) {
            self.crew
                .see_off(*post, &[0, 130][..if times > 2 { 2 } else { 1 }]);
            let gives_back = times > 1 || from.elapsed() > self.plan.shutdown;
            let effect = if gives_back {
                Effect::Repeats
            } else {
                Effect::None
            };
            self.note("worker SIGTERM", on, from, effect);
            self.crew.hire(*post, log);
        }
    }

    /// A worker whose log cannot be written works like any other.
    fn spoil_log(&self, post: usize, log: Log) {
        self.terminate(&[post], 1, Some(log));
        let (on, from) = (self.worker(post), Instant::now());
        let (name, time) = match log {
            Log::Closed => ("log's reader gone", ms(0)),
            Log::Full => ("log on a full disk", ms(0)),
            Log::Stalled(time) => ("log that nobody reads", time),
        };
        std::thread::sleep(time);
        self.note(name, on, from, Effect::KeepsLease);
    }

    /// What is done to Redis.
    fn shake(&self, act: Act) {
        let (site, from) = (self.site, Instant::now());
        let mut effect = Effect::None;
        let name = match act {
            Act::Restart(pause) => {
                effect = site.restart(pause);
                "Redis kill -9, restart"
            }
            Act::PowerCut => {
                effect = site.power_cut();
                "Redis power cut, AOF everysec"
            }
            Act::FailOver => {
                effect = site.fail_over();
                "failover (Sentinel)"
            }
            Act::Sleep(time) => {
                site.sleep(time);
                "DEBUG SLEEP"
            }
            Act::Busy(time) => {
                site.busy(time);
                "BUSY script"
            }
            Act::Pause(time) => {
                site.pause(time);
                "CLIENT PAUSE"
            }
            Act::KillClients => {
                site.kill_clients();
                "CLIENT KILL of all"
            }
            Act::NoMemory(time) => {
                site.set(time, "maxmemory", "1", "0");
                "maxmemory reached (OOM)"
            }
            Act::FlushScripts => {
                site.flush_scripts();
                "SCRIPT FLUSH (NOSCRIPT)"
            }
            Act::StepClock(seconds) => {
                effect = Effect::KeepsLease;
                site.step_clock(seconds);
                CLOCK_MOVED
            }
            Act::Deregister => {
                effect = Effect::KeepsLease;
                site.deregister();
                "register of workers deleted"
            }
            Act::ReadOnly(time) => {
                site.read_only(time);
                "primary demoted (READONLY)"
            }
            Act::OutputLimit(time) => {
                effect = Effect::KeepsLease;
                site.limit_replies(time);
                "replies limited"
            }
            Act::RotatePassword(late) => {
                site.rotate_password(late);
                "password rotated"
            }
            Act::DiskFull(time) if site.has_disk() => {
                site.disk_full(time);
                "disk full, AOF"
            }
            // Where no disk can be had, the other reason for the same answer.
            Act::NoSnapshots(time) | Act::DiskFull(time) => {
                site.no_snapshots(time);
                "snapshots fail (MISCONF)"
            }
            _ => {
                let Act::NoReplicas(time) = act else {
                    unreachable!("the others are elsewhere")
                };
                site.set(time, "min-replicas-to-write", "5", "0");
                "too few replicas (NOREPLICAS)"
            }
        };
        self.note(name, On::Everybody, from, effect);
        if matches!(act, Act::RotatePassword(_)) {
            self.crew.replace_refused();
        }
    }

    /// What is done to the network.
    fn disturb(&self, act: Act) {
        let proxy = |post: usize| &self.crew.posts[post].proxy;
        let from = Instant::now();
        match act {
            Act::Cut(post) => {
                proxy(post).cut();
                self.note("connections cut", self.worker(post), from, Effect::None);
            }
            Act::CutAt(post, script, cut) => {
                let on = self.worker(post);
                proxy(post).trap(script, cut);
                std::thread::sleep(ms(600));
                if !proxy(post).untrap() {
                    self.note("cut between command and reply", on, from, Effect::None);
                }
            }
            Act::CutPush(producer, cut) => {
                self.producers[producer].trap("push", cut);
                std::thread::sleep(ms(200));
                self.producers[producer].untrap();
                self.producers[producer].cut();
            }
            Act::Silence(post) => {
                proxy(post).pull_the_cable();
                let on = self.worker(post);
                self.note("half-open connections", on, from, Effect::None);
                self.record.add(Fault {
                    name: UNTOLD,
                    on,
                    from,
                    to: from + UNNOTICED,
                    effect: Effect::None,
                });
            }
            Act::Hold(post, time) => {
                proxy(post).hold(time);
                std::thread::sleep(time);
                self.note("network stalled", self.worker(post), from, Effect::None);
            }
            Act::Slow(post, by, time) => {
                proxy(post).slow_down(by, time);
                std::thread::sleep(time);
                self.note("network slow", self.worker(post), from, Effect::None);
            }
            Act::Narrow(post, rate, time) => {
                proxy(post).narrow(rate);
                std::thread::sleep(time);
                proxy(post).widen();
                let on = self.worker(post);
                self.note("link too narrow", on, from, Effect::KeepsLease);
            }
            _ => {
                let Act::Dribble(post, time) = act else {
                    unreachable!("the others are elsewhere")
                };
                proxy(post).dribble(time);
                std::thread::sleep(time);
                self.note("network dribbles", self.worker(post), from, Effect::None);
            }
        }
    }
}
