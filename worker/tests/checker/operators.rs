//! Operators at their consoles: they retry dead letters, throw some away and bring them back,
//! and pause work for a moment; more than one at the same time.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bridge_shared::config::RedisArgs;
use bridge_shared::store::Store;
use bridge_shared::store::dead_letters::{DeadLetter, Destination, token};
use tokio::runtime::Handle;

use crate::account::number_of;
use crate::plan::ms;

/// Who retries, throws away and brings back.
pub const OPERATOR: &str = "operator";

/// What they did: which lead was put back to work when, as far as they know.
#[derive(Default)]
pub struct Deeds(Mutex<Vec<(usize, Instant, Instant)>>);

impl Deeds {
    /// Whether a lead was put back to work between two moments.
    pub fn was_retried(&self, n: usize, from: Instant, to: Instant) -> bool {
        let deeds = self.0.lock().expect("nobody panics with it");
        deeds
            .iter()
            .any(|(lead, begun, over)| *lead == n && *begun <= to && *over >= from)
    }
}

/// Works through the dead letters until it is over.
pub fn operate(seed: u64, args: &RedisArgs, deeds: &Deeds, over: &AtomicBool, on: &Handle) {
    let _inside = on.enter();
    let store = Store::new(args).expect("a store");
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut trash = None;
    while !over.load(Ordering::SeqCst) {
        std::thread::sleep(ms(rng.u64(30..200)));
        // What cannot be done now is tried again later, as an operator would.
        let Ok((_, letters)) = on.block_on(store.dead_window(0, 30)) else {
            continue;
        };
        // Time to read; meanwhile others are at work.
        std::thread::sleep(ms(rng.u64(5..60)));
        let picked: Vec<DeadLetter> = letters.into_iter().filter(|_| rng.u32(..3) == 0).collect();
        match rng.u32(..12) {
            10 => pause(&store, rng.u64(20..400), on),
            11 => resume(&store, on),
            0 => {
                let name = token();
                on.block_on(store.take_dead(
                    &picked,
                    &Destination::Trash(name.clone()),
                    OPERATOR,
                    |_| true,
                ));
                trash = Some(name);
            }
            1 => {
                if let Some(name) = &trash {
                    let _ = on.block_on(store.restore_dead(name, OPERATOR, |_| true));
                }
            }
            _ => retry(&store, &picked, deeds, on),
        }
    }
    // A power cut may have brought a pause back.
    resume(&store, on);
}

/// Pauses all work for a moment, and does not rest before it goes on.
fn pause(store: &Store, time: u64, on: &Handle) {
    if on.block_on(store.set_paused(true, OPERATOR)).is_ok() {
        std::thread::sleep(ms(time));
    }
    resume(store, on);
}

/// Resumes work, however often that is refused.
fn resume(store: &Store, on: &Handle) {
    while on.block_on(store.set_paused(false, OPERATOR)).is_err() {
        std::thread::sleep(ms(20));
    }
}

fn retry(store: &Store, picked: &[DeadLetter], deeds: &Deeds, on: &Handle) {
    let begun = Instant::now();
    on.block_on(store.take_dead(picked, &Destination::Redrive, OPERATOR, |_| true));
    let over = Instant::now();
    let mut deeds = deeds.0.lock().expect("nobody panics with it");
    let numbers = picked
        .iter()
        .filter_map(|letter| number_of(&letter.envelope.lead));
    deeds.extend(numbers.map(|n| (n, begun, over)));
}
