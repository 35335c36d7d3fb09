//! Moving entries out of a dead letter queue that others change at the same time.

use std::collections::HashSet;

use bridge_shared::config::RedisArgs;
use bridge_shared::sandbox::Sandbox;
use bridge_shared::store::Store;
use bridge_shared::store::dead_letters::DeadLetter;
use bridge_shared::store::dead_letters::Destination::{self, Redrive, Trash};
use bytes::Bytes;

struct Bench {
    _redis: Sandbox,
    store: Store,
    connection: redis::aio::MultiplexedConnection,
}

impl Bench {
    async fn start() -> Self {
        let redis = Sandbox::start(&[]).expect("a private Redis");
        let args = RedisArgs::of(redis.url(), ["q", "f", "e"]);
        let client = redis::Client::open(redis.url()).expect("a URL");
        // The whole of a long list takes longer than the driver waits, on a busy machine.
        let patient = redis::AsyncConnectionConfig::new().set_response_timeout(None);
        let connection = client
            .get_multiplexed_async_connection_with_config(&patient)
            .await
            .expect("a connection");
        let store = Store::connect(&args).await.expect("a store");
        Self {
            _redis: redis,
            store,
            connection,
        }
    }

    /// Puts numbered entries into the queue, number 0 the oldest.
    async fn bury(&mut self, numbers: std::ops::Range<usize>) {
        for chunk in numbers.collect::<Vec<_>>().chunks(5_000) {
            let mut cmd = redis::cmd("LPUSH");
            cmd.arg("f");
            for n in chunk {
                cmd.arg(format!("{{\"n\":{n}}}"));
            }
            let () = cmd.query_async(&mut self.connection).await.expect("pushed");
        }
    }

    async fn list(&mut self, key: &str) -> Vec<String> {
        let mut cmd = redis::cmd("LRANGE");
        cmd.arg(key).arg(0).arg(-1);
        cmd.query_async(&mut self.connection).await.expect("a list")
    }

    async fn take(&self, numbers: &[usize], total: usize, destination: Destination) -> Vec<bool> {
        let mut letters = Vec::new();
        for n in numbers {
            let (_, window) = self
                .store
                .dead_window((total - 1 - n) as u64, 1)
                .await
                .expect("read");
            letters.extend(window);
        }
        self.store
            .take_dead(&letters, &destination, "test", |_| true)
            .await
            .entries
            .iter()
            .map(Option::is_some)
            .collect()
    }

    /// Every number must be in exactly one of the two lists.
    async fn check(&mut self, total: usize, gone: &HashSet<usize>, to: &str) {
        let entry = |n: &usize| format!("{{\"n\":{n}}}");
        let left = self.list("f").await;
        let moved = self.list(to).await;
        let expected: HashSet<String> = gone.iter().map(entry).collect();
        assert_eq!(moved.len(), gone.len());
        assert_eq!(moved.into_iter().collect::<HashSet<_>>(), expected);
        assert_eq!(left.len(), total - gone.len());
        let left: HashSet<String> = left.into_iter().collect();
        assert!(left.len() == total - gone.len() && left.is_disjoint(&expected));
    }
}

#[tokio::test]
async fn entries_near_the_ends_leave_in_place_and_the_order_stays() {
    let mut bench = Bench::start().await;
    bench.bury(0..1_000).await;
    let gone = [0, 1, 5, 400, 998, 999];
    assert_eq!(bench.take(&gone, 1_000, Redrive).await, vec![true; 6]);
    bench.check(1_000, &gone.into(), "q").await;
    let left = bench.list("f").await;
    let expected: Vec<String> = (0..1_000)
        .rev()
        .filter(|n| !gone.contains(n))
        .map(|n| format!("{{\"n\":{n}}}"))
        .collect();
    assert_eq!(left, expected);
}

#[tokio::test]
async fn entries_deep_in_a_long_list_leave_too_and_the_length_is_exact() {
    let mut bench = Bench::start().await;
    bench.bury(0..60_000).await;
    let gone = [0, 3, 20_000, 29_999, 30_000, 30_001, 41_234, 59_999];
    assert_eq!(bench.take(&gone, 60_000, Redrive).await, vec![true; 8]);
    bench.check(60_000, &gone.into(), "q").await;
}

#[tokio::test]
async fn an_entry_is_found_again_after_others_changed_the_list() {
    let mut bench = Bench::start().await;
    bench.bury(0..2_000).await;
    let (_, letters) = bench.store.dead_window(0, 2_000).await.expect("read");
    let picked: Vec<_> = letters
        .iter()
        .filter(|letter| letter.index % 100 == 0)
        .cloned()
        .collect();
    // New failures arrive, and somebody else takes the 500 oldest, five of them picked.
    bench.bury(2_000..2_300).await;
    let mut cmd = redis::cmd("RPOP");
    cmd.arg("f").arg(500);
    let _: Vec<String> = cmd
        .query_async(&mut bench.connection)
        .await
        .expect("popped");
    let moved = bench
        .store
        .take_dead(&picked, &Redrive, "test", |_| true)
        .await
        .entries;
    assert_eq!(moved.iter().flatten().count(), 15);
    assert_eq!(bench.list("q").await.len(), 15);
    assert_eq!(bench.list("f").await.len(), 2_300 - 500 - 15);
}

#[tokio::test]
async fn two_operators_with_the_same_selection_move_every_entry_once() {
    let mut bench = Bench::start().await;
    bench.bury(0..3_000).await;
    let (_, letters) = bench.store.dead_window(0, 3_000).await.expect("read");
    let (a, b) = tokio::join!(
        bench.store.take_dead(&letters, &Redrive, "a", |_| true),
        bench
            .store
            .take_dead(&letters[500..], &Redrive, "b", |_| true),
    );
    let count = |moved: &[Option<Bytes>]| moved.iter().flatten().count();
    assert_eq!(count(&a.entries) + count(&b.entries), 3_000);
    bench.check(3_000, &(0..3_000).collect(), "q").await;
}

#[tokio::test]
async fn a_stopped_move_leaves_the_rest_and_says_what_it_did() {
    let mut bench = Bench::start().await;
    bench.bury(0..1_000).await;
    let (_, letters) = bench.store.dead_window(0, 1_000).await.expect("read");
    let moved = bench
        .store
        .take_dead(&letters, &Trash("t".into()), "test", |so_far| so_far < 300)
        .await
        .entries;
    let moved = moved.iter().flatten().count();
    assert!((300..1_000).contains(&moved), "{moved}");
    assert_eq!(bench.list("f").await.len(), 1_000 - moved);
    assert_eq!(
        bench.store.snapshot().await.expect("read").totals.dropped,
        moved as u64
    );
}

#[tokio::test]
async fn what_was_thrown_away_comes_back_in_its_order_even_if_stopped_on_the_way() {
    let mut bench = Bench::start().await;
    bench.bury(0..1_300).await;
    let before = bench.list("f").await;
    let cleared = bench.store.clear_dead("t", "test").await.expect("cleared");
    assert_eq!((cleared, bench.list("f").await.len()), (1_300, 0));
    let stopped = bench.store.restore_dead("t", "test", |so_far| so_far < 500);
    assert_eq!(stopped.await.expect("restored"), 500);
    let rest = bench.store.restore_dead("t", "test", |_| true);
    assert_eq!(rest.await.expect("restored"), 800);
    assert_eq!(bench.list("f").await, before);
    assert_eq!(
        bench
            .store
            .restore_dead("t", "test", |_| true)
            .await
            .expect("nothing"),
        0
    );
    let totals = bench.store.snapshot().await.expect("read").totals;
    assert_eq!((totals.dropped, totals.restored), (1_300, 1_300));
}

#[tokio::test]
async fn an_operator_clears_what_there_was_when_asked_and_nothing_that_came_since() {
    use bridge_shared::triage::{Asked, Matching, Move, Report};
    let mut bench = Bench::start().await;
    bench.bury(0..30).await;
    let before = bench.list("f").await;
    let clear = |name: &'static str, most| bench.store.clear_oldest(name, "test", most);
    assert_eq!(clear("t", 20).await.expect("cleared"), Some(20));
    assert_eq!(
        bench.list("f").await,
        before[..10],
        "the newest, in their order"
    );
    let (total, inside) = bench.store.trash_window("t", 0, 50).await.expect("read");
    let inside: Vec<String> = inside
        .iter()
        .map(|letter| String::from_utf8_lossy(&letter.bytes).into_owned())
        .collect();
    assert_eq!((total, &inside[..]), (20, &before[10..]));
    let clear = |name: &'static str, most| bench.store.clear_oldest(name, "test", most);
    assert_eq!(clear("none", 0).await.expect("nothing"), Some(0));
    assert_eq!(clear("all", 99).await.expect("cleared"), Some(10));
    // Too many to be left out in one step: they are not moved by half.
    bench.bury(0..500).await;
    let clear = |name: &'static str, most| bench.store.clear_oldest(name, "test", most);
    assert_eq!(clear("some", 100).await.expect("refused"), None);
    assert_eq!(bench.list("f").await.len(), 500);
    let totals = bench.store.snapshot().await.expect("read").totals;
    assert_eq!(totals.dropped, 30);
    // One by one it goes on.
    let mut progress = |_| true;
    let mut work = Move {
        store: &bench.store,
        who: "test".into(),
        destination: Trash("some".into()),
        force: false,
        into_this_queue: false,
        progress: &mut progress,
        report: Report::default(),
    };
    let asked = Asked {
        dead: 100,
        at: bench.store.now(),
    };
    let wanted = Matching {
        asked: Some(asked),
        ..Matching::default()
    };
    work.matching(&wanted).await.expect("moved");
    assert_eq!(work.report.moved, 100);
    assert_eq!(bench.list("f").await.len(), 400);
}

#[tokio::test]
async fn what_is_paused_stays_as_it_was_paused_and_is_audited_once() {
    let bench = Bench::start().await;
    for (who, paused, changed) in [
        ("ada", true, true),
        ("eve", true, false),
        ("eve", false, true),
        ("ada", false, false),
    ] {
        let set = bench.store.set_paused(paused, who).await.expect("set");
        assert_eq!(set, changed, "{who} {paused}");
    }
    let (total, _) = bench.store.audit(9).await.expect("read");
    assert_eq!(total, 2);
}

#[tokio::test]
async fn trashes_are_found_by_who_threw_them_away_and_told_of_when_they_come_back() {
    use futures::StreamExt as _;
    let mut bench = Bench::start().await;
    bench.bury(0..10).await;
    let trash = |name: &str| Trash(name.into());
    bench.take(&[0, 3], 10, trash("few")).await;
    bench
        .store
        .clear_dead("rest*", "ada@ops-1")
        .await
        .expect("cleared");
    let found = bench.store.trashes().await.expect("read");
    let told: Vec<_> = found
        .iter()
        .map(|trash| (trash.name.as_str(), trash.count, trash.who.as_deref()))
        .collect();
    assert!(told.contains(&("few", 2, Some("test"))), "{told:?}");
    assert!(told.contains(&("rest*", 8, Some("ada@ops-1"))), "{told:?}");
    let now = bench.store.now();
    for trash in &found {
        assert!((now - trash.thrown).abs() < 60_000, "{trash:?}");
        assert!((trash.ends - now - 86_400_000).abs() < 60_000, "{trash:?}");
    }
    let (total, inside) = bench.store.trash_window("few", 1, 5).await.expect("read");
    assert_eq!((total, inside.len()), (2, 1));
    assert_eq!(&inside[0].bytes[..], br#"{"n":0}"#);

    let mut events = Box::pin(bench.store.subscribe().await.expect("listening"));
    let back = bench.store.restore_dead("few", "test", |_| true);
    assert_eq!(back.await.expect("restored"), 2);
    let batch = events.next().await.expect("told");
    let batch = batch.expect("a message");
    assert_eq!((batch.worker.as_str(), batch.events.len()), ("test", 2));
    for event in batch.events {
        assert_eq!(event.event.as_str(), "dead");
        assert_eq!(event.error.as_deref(), Some("brought back from the trash"));
    }
    assert_eq!(bench.store.trashes().await.expect("read").len(), 1);
}

#[tokio::test]
async fn what_was_put_back_to_work_is_recalled_while_it_waits() {
    let mut bench = Bench::start().await;
    bench.bury(0..600).await;
    let (_, letters) = bench.store.dead_window(0, 600).await.expect("read");
    let moved = bench.store.take_dead(&letters, &Redrive, "test", |_| true);
    let put: Vec<(Bytes, Bytes)> = letters
        .iter()
        .zip(moved.await.entries)
        .map(|(letter, put)| (put.expect("moved"), letter.bytes.clone()))
        .collect();
    // A worker takes the oldest fifty, and a producer pushes a few more.
    let mut cmd = redis::cmd("RPOP");
    cmd.arg("q").arg(50);
    let taken: Vec<String> = cmd
        .query_async(&mut bench.connection)
        .await
        .expect("popped");
    let more = [Bytes::from_static(b"{\"new\":1}")];
    bench.store.push("run", 1, &more).await.expect("pushed");
    let back = bench
        .store
        .recall(&put, "test", |_| true)
        .await
        .expect("recalled");
    assert_eq!(back.iter().filter(|back| **back).count(), 550);
    let rest: Vec<_> = (0..400)
        .map(|n| (Bytes::from(format!("gone {n}")), Bytes::new()))
        .collect();
    let stopped = bench
        .store
        .recall(&rest, "test", |_| false)
        .await
        .expect("recalled");
    assert!(
        stopped.len() < 400,
        "nothing is said of what was not looked for"
    );
    assert_eq!(bench.list("q").await, ["{\"new\":1}"]);
    let dead: HashSet<String> = bench.list("f").await.into_iter().collect();
    assert!(dead.len() == 550 && taken.iter().all(|lead| !dead.contains(lead)));
}

#[tokio::test]
async fn an_edited_lead_goes_back_to_work_and_the_audit_keeps_the_old_one() {
    let mut bench = Bench::start().await;
    let old = Bytes::from_static(b"{\"lead\":{\"email\":\"wrong\"},\"error\":\"boom\"}");
    let mut cmd = redis::cmd("LPUSH");
    cmd.arg("f").arg(&old[..]).arg(&b"\xff not json"[..]);
    let () = cmd
        .query_async(&mut bench.connection)
        .await
        .expect("pushed");
    let (_, mut letters) = bench.store.dead_window(0, 2).await.expect("read");
    for letter in &mut letters {
        letter.envelope.lead = Bytes::from_static(b"{\"email\":\"right\"}");
    }
    let edited = bench
        .store
        .take_dead(&letters, &Destination::Edited, "test", |_| true);
    assert_eq!(edited.await.entries.iter().flatten().count(), 2);
    let back = bench.list("q").await;
    assert!(
        back.contains(&"{\"email\":\"right\"}".to_owned()),
        "{back:?}"
    );
    assert!(
        back.iter()
            .any(|lead| lead.contains("\"lead\":{\"email\":\"right\"}") && lead.contains("boom"))
    );
    let (_, audit) = bench.store.audit(10).await.expect("read");
    assert_eq!((audit[0].what.as_str(), audit[0].count), ("edited", 2));
    assert!(
        audit[0].detail.contains("was {\"email\":\"wrong\"}"),
        "{audit:?}"
    );
}

#[tokio::test]
async fn an_empty_entry_that_was_edited_goes_back_as_it_is_now() {
    let mut bench = Bench::start().await;
    let mut cmd = redis::cmd("LPUSH");
    cmd.arg("f").arg("").arg("");
    let () = cmd
        .query_async(&mut bench.connection)
        .await
        .expect("pushed");
    let (_, mut letters) = bench.store.dead_window(0, 1).await.expect("read");
    letters[0].envelope.lead = Bytes::from_static(b"{\"email\":\"right\"}");
    let edited = bench
        .store
        .take_dead(&letters, &Destination::Edited, "test", |_| true);
    let put = edited.await.entries;
    assert_eq!(put, [Some(letters[0].envelope.lead.clone())]);
    assert_eq!(bench.list("q").await, ["{\"email\":\"right\"}"]);
    assert_eq!(bench.list("f").await, [""]);
}

#[tokio::test]
async fn dead_letters_are_read_by_their_places() {
    let mut bench = Bench::start().await;
    bench.bury(0..1_000).await;
    let every = bench
        .store
        .dead_at(&(1..=1_000).collect::<Vec<_>>())
        .await
        .expect("read");
    assert_eq!(every.len(), 1_000, "also where a run is cut in pieces");
    let places = [1, 2, 500, 510, 999, 1_000, 1_001, 5_000];
    let mut found = bench.store.dead_at(&places).await.expect("read");
    found.sort_by_key(bridge_shared::store::dead_letters::DeadLetter::from_end);
    let seen: Vec<(u64, String)> = found
        .iter()
        .map(|letter| {
            (
                letter.from_end(),
                String::from_utf8_lossy(&letter.bytes).into_owned(),
            )
        })
        .collect();
    let expected: Vec<(u64, String)> = [1, 2, 500, 510, 999, 1_000]
        .map(|place| (place, format!("{{\"n\":{}}}", place - 1)))
        .into();
    assert_eq!(seen, expected);
    assert!(bench.store.dead_at(&[]).await.expect("nothing").is_empty());
}

#[tokio::test]
async fn a_batch_pushed_again_after_a_lost_answer_is_pushed_once() {
    let bench = Bench::start().await;
    let leads = [
        Bytes::from_static(b"{\"n\":1}"),
        Bytes::from_static(b"{\"n\":2}"),
    ];
    assert_eq!(bench.store.push("run", 1, &leads).await.expect("pushed"), 2);
    assert_eq!(bench.store.push("run", 1, &leads).await.expect("pushed"), 2);
    assert_eq!(
        bench
            .store
            .push("run", 2, &leads[..1])
            .await
            .expect("pushed"),
        3
    );
    assert_eq!(
        bench
            .store
            .push("other", 1, &leads[..1])
            .await
            .expect("pushed"),
        4
    );
}

#[tokio::test]
async fn where_redis_has_no_room_nothing_is_half_moved() {
    let mut bench = Bench::start().await;
    bench.bury(0..100).await;
    let config = |value: &'static str| {
        let mut cmd = redis::cmd("CONFIG");
        cmd.arg("SET").arg("maxmemory").arg(value);
        cmd
    };
    let () = config("1")
        .query_async(&mut bench.connection)
        .await
        .expect("set");
    let (_, letters) = bench.store.dead_window(0, 100).await.expect("read");
    let error = bench
        .store
        .take_dead(&letters, &Redrive, "test", |_| true)
        .await
        .error
        .expect("no room");
    assert!(error.to_string().contains("refuses to write"), "{error}");
    let () = config("0")
        .query_async(&mut bench.connection)
        .await
        .expect("set");
    assert_eq!(
        (bench.list("f").await.len(), bench.list("q").await.len()),
        (100, 0)
    );
}

/// An envelope at the end of its retries, its lead of so many bytes inside or behind it.
fn worn_out(n: usize, lead: usize) -> Bytes {
    use bridge_shared::envelope::Envelope;
    let filler = "x".repeat(lead);
    let lead = format!("{{\"full_name\":\"Ada {n}\",\"filler\":\"{filler}\",\"last\":\"omega\"}}");
    let mut envelope = Envelope::new(format!("id-{n:03}"), lead.into(), None);
    (envelope.error, envelope.retry_count, envelope.deaths) = ("boom".into(), 5, 2);
    envelope.encode()
}

impl Bench {
    async fn push(&mut self, entries: &[Bytes]) {
        for entry in entries {
            let mut cmd = redis::cmd("LPUSH");
            cmd.arg("f").arg(&entry[..]);
            let () = cmd.query_async(&mut self.connection).await.expect("pushed");
        }
    }

    /// Somebody else takes the oldest.
    async fn pop(&mut self, count: usize) {
        let mut cmd = redis::cmd("RPOP");
        cmd.arg("f").arg(count);
        let _: Vec<Bytes> = cmd.query_async(&mut self.connection).await.expect("popped");
    }

    /// Those of the newest that come only as their beginnings.
    async fn beginnings(&self, count: u64) -> Vec<DeadLetter> {
        let (_, mut letters) = self.store.dead_window(0, count).await.expect("read");
        letters.retain(|letter| !letter.is_whole());
        assert!(!letters.is_empty());
        letters
    }

    /// How often the server ran a command since this was asked last.
    async fn calls(&mut self, command: &str) -> usize {
        let stats: String = redis::cmd("INFO")
            .arg("commandstats")
            .query_async(&mut self.connection)
            .await
            .expect("read");
        let () = redis::cmd("CONFIG")
            .arg("RESETSTAT")
            .query_async(&mut self.connection)
            .await
            .expect("reset");
        let calls = stats.lines().filter_map(|line| {
            let line = line.strip_prefix("cmdstat_")?.strip_prefix(command)?;
            let calls = line.split_once("calls=")?.1.split(',').next()?;
            calls.parse::<usize>().ok()
        });
        calls.sum()
    }
}

#[tokio::test]
async fn a_large_entry_that_others_shifted_goes_back_with_its_history_and_a_new_start() {
    use bridge_shared::envelope::Envelope;
    for shift in [3, 100] {
        let mut bench = Bench::start().await;
        bench.bury(0..100).await;
        let entries: Vec<Bytes> = (0..12).map(|n| worn_out(n, 900_000)).collect();
        bench.push(&entries).await;
        let letters = bench.beginnings(12).await;
        bench.pop(shift).await;
        let moved = bench
            .store
            .take_dead(&letters, &Redrive, "test", |_| true)
            .await;
        assert!(moved.error.is_none(), "{:?}", moved.error);
        assert!(moved.entries.iter().all(Option::is_some), "shift {shift}");
        let waiting = bench.list("q").await;
        assert_eq!(waiting.len(), letters.len());
        for entry in waiting {
            let envelope = Envelope::from_payload(&entry.into()).expect("an envelope");
            let (retries, deaths) = (envelope.retry_count, envelope.deaths);
            assert_eq!((retries, deaths, envelope.redrives), (0, 0, 1));
            assert!(envelope.lead.ends_with(b"\"omega\"}"));
        }
    }
}

#[tokio::test]
async fn only_those_large_entries_are_read_whole_that_must_be_and_none_before_its_step() {
    let mut bench = Bench::start().await;
    let apart: Vec<Bytes> = (0..12).map(|n| worn_out(n, 1_100_000)).collect();
    bench.push(&apart).await;
    let letters = bench.beginnings(12).await;
    bench.calls("lindex").await;
    let moved = bench.store.take_dead(&letters, &Redrive, "test", |_| true);
    assert!(moved.await.entries.iter().all(Option::is_some));
    assert_eq!(bench.calls("lindex").await, letters.len());

    bench.pop(12).await;
    let inside: Vec<Bytes> = (0..40).map(|n| worn_out(n, 900_000)).collect();
    bench.push(&inside).await;
    let letters = bench.beginnings(40).await;
    bench.calls("lindex").await;
    let stopped = bench.store.take_dead(&letters, &Redrive, "test", |_| false);
    let moved = stopped.await.entries.into_iter().flatten().count();
    let read = bench.calls("lindex").await;
    assert!(moved > 0 && read <= 8, "{moved} moved, {read} read");
}

#[tokio::test]
async fn a_large_entry_is_read_whole_where_it_is_now_and_told_as_gone_where_it_is_not() {
    let mut bench = Bench::start().await;
    bench.bury(0..100).await;
    let entries: Vec<Bytes> = (0..12).map(|n| worn_out(n, 900_000)).collect();
    bench.push(&entries).await;
    let letters = bench.beginnings(12).await;
    bench.pop(3).await;
    for letter in &letters {
        let whole = bench.store.whole_dead(letter).await.expect("read");
        let whole = whole.expect("it is near");
        assert!(whole.is_whole() && whole.id() == letter.id());
    }
    bench.pop(96).await;
    let named: Vec<&DeadLetter> = letters.iter().collect();
    let found = bench.store.find_again(&named).await.expect("read");
    assert_eq!(found.len(), letters.len());
    for (n, found) in &found {
        assert_eq!(found.id(), letters[*n].id());
    }
    bench.pop(13).await;
    for letter in &letters {
        let whole = bench.store.whole_dead(letter).await.expect("read");
        assert!(whole.is_none());
    }
}

#[tokio::test]
async fn large_entries_behind_small_ones_take_a_step_each_few_and_not_one_for_all() {
    let mut bench = Bench::start().await;
    let large: Vec<Bytes> = (0..60).map(|n| worn_out(n, 2_000_000)).collect();
    bench.push(&large).await;
    bench.bury(0..40).await;
    bench.calls("lrange").await;
    bench.calls("eval").await;
    let (_, letters) = bench.store.dead_window(0, 100).await.expect("read");
    assert_eq!(letters.len(), 100);
    // At most 16 with the first large one, and then two or three a step of 4 MiB.
    let steps = bench.calls("eval").await;
    assert!(steps >= 15, "{steps} steps");

    // Others shifted all of them: looking around costs a few copies and not 129.
    let seen = letters[70].clone();
    bench.pop(5).await;
    let trash = Trash("t".into());
    let moved = bench
        .store
        .take_dead(&[seen], &trash, "test", |_| true)
        .await;
    assert!(moved.entries[0].is_some());
    let left = bench.list("f").await.len();
    assert_eq!(left, 94);
    bench
        .store
        .clear_dead("rest", "test")
        .await
        .expect("cleared");
    bench.calls("eval").await;
    let back = bench.store.restore_dead("rest", "test", |_| true).await;
    assert_eq!(back.expect("restored"), 94);
    let steps = bench.calls("eval").await;
    assert!(steps >= 15, "{steps} steps");
}

#[tokio::test]
async fn a_filter_is_asked_of_all_of_a_large_letter_or_of_none_of_it() {
    use bridge_shared::filter::Filter;
    use bridge_shared::triage::{Matching, Move, Report};
    let mut bench = Bench::start().await;
    let large: Vec<Bytes> = (0..12).map(|n| worn_out(n, 1_100_000)).collect();
    let huge = worn_out(99, 17 << 20);
    bench.push(&[huge]).await;
    bench.push(&large).await;
    for (filter, moved, too_large) in [
        ("!name:ada", 0, 1),
        ("!lead:omega", 0, 1),
        ("!omega", 0, 1),
        ("!error:boom name:nobody", 0, 0),
        ("lead:omega name:\"ada 3\"", 1, 1),
        ("omega", 11, 1),
        ("error:boom", 1, 0),
    ] {
        let mut progress = |_| true;
        let mut work = Move {
            store: &bench.store,
            who: "test".into(),
            destination: Trash("t".into()),
            force: false,
            into_this_queue: false,
            progress: &mut progress,
            report: Report::with_ids(),
        };
        let wanted = Matching {
            filter: Filter::parse(filter).expect("a filter"),
            ..Matching::default()
        };
        work.matching(&wanted).await.expect("moved");
        let report = work.report;
        let is = (report.moved, report.too_large.len(), report.gone.len());
        assert_eq!(is, (moved, too_large, 0), "{filter}: {report:?}");
    }
    assert!(bench.list("f").await.is_empty());
}
