//! What is done for each lead with the bytes of the wire: reading a lead and writing it again,
//! wrapping it, telling of it. `cargo bench --bench wire`.

use std::hint::black_box;

use bridge_shared::envelope::{Attempt, Envelope, ErrorKind};
use bridge_shared::event::{EventKind, Message, News};
use bridge_shared::lead::Lead;
use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const SAMPLES: &str = include_str!("../../assets/leads/leads.jsonl");

/// Good leads of the samples.
fn leads() -> Vec<&'static str> {
    let is_lead = |line: &&str| Lead::parse(line.as_bytes()).is_ok();
    SAMPLES.lines().filter(is_lead).collect()
}

fn lead(criterion: &mut Criterion) {
    let leads = leads();
    let mut group = criterion.benchmark_group("lead");
    group.throughput(Throughput::Elements(leads.len() as u64));
    group.bench_function("parse", |bencher| {
        bencher.iter(|| {
            for lead in &leads {
                let _ = black_box(Lead::parse(black_box(lead.as_bytes())));
            }
        });
    });
    group.bench_function("parse, set and write", |bencher| {
        bencher.iter(|| {
            for lead in &leads {
                let mut lead = Lead::parse(lead.as_bytes()).expect("a lead");
                lead.set("saved", &true);
                lead.set("_pipeline_stations_executed", &["noop"]);
                black_box(lead.to_json());
            }
        });
    });
    group.finish();
}

fn envelope(criterion: &mut Criterion) {
    let envelopes: Vec<Envelope> = leads().into_iter().map(failed).collect();
    let encoded: Vec<Bytes> = envelopes.iter().map(Envelope::encode).collect();
    let mut group = criterion.benchmark_group("envelope");
    group.throughput(Throughput::Elements(envelopes.len() as u64));
    group.bench_function("encode", |bencher| {
        bencher.iter(|| {
            envelopes
                .iter()
                .map(Envelope::encode)
                .for_each(|bytes| drop(black_box(bytes)));
        });
    });
    group.bench_function("decode", |bencher| {
        bencher.iter(|| {
            encoded
                .iter()
                .map(Envelope::from_payload)
                .for_each(|envelope| drop(black_box(envelope)));
        });
    });
    group.finish();
}

/// A lead that has failed twice.
fn failed(lead: &'static str) -> Envelope {
    let mut envelope = Envelope::new(
        "k3xw9a72bq-1234",
        Bytes::from_static(lead.as_bytes()),
        Some(1_000),
    );
    for at in [2_000, 3_000] {
        envelope.fail(
            at,
            Attempt {
                at: bridge_shared::clock::rfc3339(at),
                station: "enrich".into(),
                error: "HTTP 503 Service Unavailable".into(),
                kind: ErrorKind::Transient,
                ms: 120,
                worker: "host-7-k3xw9a72bq".into(),
            },
        );
    }
    envelope
}

fn events(criterion: &mut Criterion) {
    const EVENTS: usize = 500;
    let mut group = criterion.benchmark_group("events");
    group.throughput(Throughput::Elements(EVENTS as u64));
    group.bench_function("encode", |bencher| {
        let mut message = Message::new("host-7-k3xw9a72bq", 0);
        bencher.iter(|| {
            for _ in 0..EVENTS {
                message.push(&News {
                    station: Some("enrich"),
                    ms: Some(12),
                    ..News::new(
                        1_764_000_000_000,
                        EventKind::Station,
                        black_box("k3xw9a72bq-1234"),
                    )
                });
            }
            black_box(message.take());
        });
    });
    group.finish();
}

criterion_group!(wire, lead, envelope, events);
criterion_main!(wire);
