//! On a cluster.

use std::process::Stdio;

use bridge_shared::config::RedisArgs;
use bridge_shared::sandbox::Sandbox;
use bridge_shared::store::survey::{Search, Survey};

use crate::common::{self, PATIENCE, Reply, Service, eventually};
use crate::{AT_ONCE, Gate, Node, PATIENT, Site, TAGGED, bridge, is_following, names, url};

/// Three primaries, and a replica of the one that holds the bridge's keys.
struct Cluster {
    nodes: Vec<Sandbox>,
    /// The slot of the keys.
    slot: u16,
    /// The number of the node that holds it.
    holder: usize,
}

impl Cluster {
    fn start() -> Self {
        let patient = PATIENT.as_millis().to_string();
        let settings = [&AT_ONCE[..], &["--cluster-node-timeout", &patient]].concat();
        let node = |_| Sandbox::cluster_node(&settings).expect("a node");
        let nodes: Vec<Sandbox> = (0..4).map(node).collect();
        let slot: u16 = Node::of(&nodes[0]).run("CLUSTER KEYSLOT {leads}");
        let slots = [(0, 5_000), (5_001, 10_000), (10_001, 16_383)];
        let holds = |(first, last): &(u16, u16)| (*first..=*last).contains(&slot);
        let holder = slots.iter().position(holds).expect("each slot has a node");
        for (i, node) in nodes.iter().enumerate() {
            let mut at = Node::of(node);
            let _: String = at.run(&format!("CLUSTER SET-CONFIG-EPOCH {}", i + 1));
            if let Some((first, last)) = slots.get(i) {
                let _: String = at.run(&format!("CLUSTER ADDSLOTSRANGE {first} {last}"));
            }
            let _: String = at.run(&format!("CLUSTER MEET 127.0.0.1 {}", nodes[0].port()));
        }
        let cluster = Self {
            nodes,
            slot,
            holder,
        };
        for node in &cluster.nodes {
            let mut at = Node::of(node);
            eventually("the nodes know each other", || {
                let known: String = at.run("CLUSTER NODES");
                known.lines().count() == 4 && !known.contains("handshake")
            });
        }
        let id = cluster.id(holder);
        let _: String = Node::of(&cluster.nodes[3]).run(&format!("CLUSTER REPLICATE {id}"));
        eventually("the replica follows", || is_following(&cluster.nodes[3]));
        for node in &cluster.nodes {
            let mut at = Node::of(node);
            eventually("the cluster is whole", || {
                let info: String = at.run("CLUSTER INFO");
                info.contains("cluster_state:ok")
            });
        }
        cluster
    }

    fn id(&self, node: usize) -> String {
        Node::of(&self.nodes[node]).run("CLUSTER MYID")
    }

    fn url(&self) -> String {
        // One that is not there, and one that does not hold the keys.
        let port = self.nodes[self.another()].port();
        format!("redis+cluster://127.0.0.1:1,127.0.0.1:{port}")
    }

    /// A primary that does not hold the keys.
    fn another(&self) -> usize {
        (self.holder + 1) % 3
    }

    /// Makes the replica of the node that holds the keys ready to take over with nothing lost.
    fn prepare_failover(&self) {
        Node::of(&self.nodes[self.holder]).wait_for_the_replica("{leads}_mark");
        for node in &self.nodes {
            let _: String = Node::of(node).run("CONFIG SET cluster-node-timeout 1000");
        }
    }

    /// Moves the bridge's slot to another node, as `redis-cli --cluster reshard` does.
    fn move_slot(&mut self, to: usize) {
        let (slot, from) = (self.slot, self.holder);
        let (source, target) = (self.id(from), self.id(to));
        let (mut at, mut there) = (Node::of(&self.nodes[from]), Node::of(&self.nodes[to]));
        let _: String = there.run(&format!("CLUSTER SETSLOT {slot} IMPORTING {source}"));
        let _: String = at.run(&format!("CLUSTER SETSLOT {slot} MIGRATING {target}"));
        loop {
            let keys: Vec<String> = at.run(&format!("CLUSTER GETKEYSINSLOT {slot} 5"));
            if keys.is_empty() {
                break;
            }
            let (port, keys) = (self.nodes[to].port(), keys.join(" "));
            let _: String = at.run(&format!("MIGRATE 127.0.0.1 {port}  0 60000 KEYS {keys}"));
        }
        for node in [&mut there, &mut at] {
            let _: String = node.run(&format!("CLUSTER SETSLOT {slot} NODE {target}"));
        }
        self.holder = to;
    }
}

#[test]
fn a_worker_and_the_console_follow_the_keys_through_a_cluster() {
    let mut cluster = Cluster::start();
    let site = Site::new(&cluster.url(), TAGGED);
    let gate = Gate::start();
    let file = site.folder.path().join("leads.jsonl");
    let lines = (0..300).map(|n| format!("{{\"name\":\"Lead {n}\",\"n\":{n}}}\n"));
    std::fs::write(&file, lines.collect::<String>()).expect("a file");
    site.json(&["push", file.to_str().expect("a plain path")]);
    assert_eq!(site.json(&["status"])["waiting"], 300);
    let worker = site.worker(&gate.service);

    site.eventually("it is at work", |now| now.totals.done > 50);
    let (home, away) = (cluster.holder, cluster.another());
    cluster.move_slot(away);
    let before = site.outcomes().len();
    site.eventually("it goes on where the slot is now", |_| {
        site.outcomes().len() > before + 20
    });
    cluster.move_slot(home);
    site.eventually("and back again", |now| {
        now.totals.done > 0 && now.waiting > 0
    });

    gate.close(&site);
    cluster.prepare_failover();
    cluster.nodes[home].kill();
    gate.open();
    site.eventually("all are done", |now| now.waiting + now.in_flight == 0);
    site.assert_each_once(300);
    let now = site.snapshot().expect("Redis answers");
    assert_eq!((now.retry, now.dead, now.totals.lease_lost), (0, 0, 0));

    // The console, against what was a replica.
    let mut node = Node::of(&cluster.nodes[3]);
    let _: u64 = node.run("LPUSH {leads}_failed {\"n\":300} {\"n\":301}");
    let letters = site.json(&["dlq", "list"]);
    assert_eq!(letters["total"], 2);
    let id = letters["items"][0]["id"].as_str().expect("an id");
    site.json(&["dlq", "drop", id]);
    site.json(&["dlq", "retry", "--all"]);
    site.eventually("the other one is done", |now| {
        now.dead == 0 && now.waiting + now.in_flight == 0
    });
    site.assert_each_once(301);
    site.json(&["pause"]);
    assert_eq!(site.json(&["status"])["paused"], true);
    site.json(&["resume"]);
    drop(worker);
}

#[test]
fn names_that_a_cluster_would_scatter_are_refused_in_one_line() {
    let scattered = ["{leads}_to_enrich", "failed_leads", "{leads}_enriched"];
    let args = RedisArgs::of("redis+cluster://127.0.0.1:1", scattered);
    let flags: Vec<&str> = (names(&args).into_iter())
        .flat_map(|(flag, name)| [flag, name])
        .collect();
    let worker = common::command(&flags)
        .env("REDIS_URL", url(&args))
        .stderr(Stdio::piped())
        .output()
        .expect("the worker runs");
    let console = bridge(&args, &["status"]);
    for output in [worker, console] {
        let said = String::from_utf8(output.stderr).expect("UTF-8");
        assert!(
            !output.status.success() && said.lines().count() == 1,
            "{said}"
        );
        assert!(
            said.contains("failed_leads") && said.contains("QUEUE_NAME='{leads}_to_enrich'"),
            "{said}"
        );
    }
}

#[test]
fn leads_of_an_unregistered_worker_are_found_at_the_node_that_holds_them() {
    let mut cluster = Cluster::start();
    let site = Site::new(&cluster.url(), TAGGED);
    let service = Service::start(|_, _| Reply::ok().after(600_000));
    site.push("a", 0..3);
    let victim = site.worker_with(&service, &["--lease-seconds", "1"]);
    site.eventually("it has them", |now| now.in_flight == 3);
    victim.signal("KILL");
    let mut node = Node::of(&cluster.nodes[cluster.holder]);
    let name = site.snapshot().expect("figures").workers[0].id.clone();
    let _: u64 = node.run("DEL {leads}_to_enrich:workers {leads}_to_enrich:workers:info");
    let told = site.json(&["status"]);
    assert_eq!(
        (&told["in_flight"], &told["in_flight_complete"]),
        (&3.into(), &true.into()),
        "{told}"
    );
    let only = &told["workers"][0];
    assert_eq!(
        (&only["id"], &only["state"]),
        (&name.into(), &"unregistered".into())
    );

    // A survey that has its connection at a node which then loses the slot.
    let _inside = site.runtime.enter();
    let survey = Survey::new(site.store.clone());
    site.snapshot();
    cluster.move_slot(cluster.another());
    eventually("it reads at the node that has them now", || {
        let read = site.runtime.block_on(survey.snapshot_within(PATIENCE));
        // A call that is turned away may fail, and none reads less than there is.
        read.is_ok_and(|now| {
            let is_known = now.search != Search::Unfinished;
            assert!(now.in_flight == 3 || !is_known, "{now:?}");
            is_known
        })
    });

    let heir = site.worker_with(
        &Service::start(|_, _| Reply::ok()),
        &["--lease-seconds", "1"],
    );
    site.eventually("all are done", |now| {
        now.totals.done == 3 && now.in_flight == 0
    });
    site.assert_each_once(3);
    let now = site.snapshot().expect("figures");
    assert_eq!((now.totals.recovered, now.workers.len()), (3, 1));
    drop(heir);
}
