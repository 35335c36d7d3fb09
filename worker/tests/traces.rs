//! Spans of leads, as a collector of OpenTelemetry gets them.

mod common;

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use bytes::Bytes;
use common::{Bridge, Reply, Service, Worker, command, eventually};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};
use prost::Message as _;

/// A collector that takes spans over HTTP and keeps them.
struct Collector {
    url: String,
    got: Arc<Mutex<Vec<ResourceSpans>>>,
    _runtime: tokio::runtime::Runtime,
}

type Got = Arc<Mutex<Vec<ResourceSpans>>>;

async fn take(
    State(got): State<Got>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Vec<u8>, StatusCode> {
    if headers
        .get("content-type")
        .is_none_or(|kind| kind != "application/x-protobuf")
    {
        return Err(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    let request = ExportTraceServiceRequest::decode(body).map_err(|_| StatusCode::BAD_REQUEST)?;
    got.lock().expect("no panic").extend(request.resource_spans);
    Ok(ExportTraceServiceResponse::default().encode_to_vec())
}

impl Collector {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let got = Got::default();
        let app = Router::new()
            .route("/v1/traces", post(take))
            .with_state(Arc::clone(&got));
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"));
        let listener = listener.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self {
            url,
            got,
            _runtime: runtime,
        }
    }

    fn spans(&self) -> Vec<Span> {
        let got = self.got.lock().expect("no panic");
        let scopes = got.iter().flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }
}

fn text(attributes: &[KeyValue], name: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == name);
    match found.and_then(|found| found.value.as_ref()?.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        other => panic!("{name} is {other:?}"),
    }
}

fn start(bridge: &Bridge, service: &Service, endpoint: Option<&str>) -> Worker {
    let route = bridge.route(&format!(
        "default_pipeline = \"main\"\n[[pipelines.main.stations]]\nkind = \"identity\"\nname = \"identity\"\n[[pipelines.main.stations]]\nkind = \"http\"\nname = \"enrich\"\nurl = \"{}\"\n",
        service.url
    ));
    let log = bridge.log();
    let mut command = command(&["--pipeline", &route, "--retry-delay-base", "0.01"]);
    command
        .env("REDIS_URL", bridge.redis.url())
        .stderr(std::fs::File::create(&log).expect("a log file"));
    if let Some(endpoint) = endpoint {
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint);
    }
    Worker::of(command.spawn().expect("the worker starts"), log)
}

#[test]
fn every_attempt_is_a_span_with_a_child_for_each_station() {
    let (bridge, collector) = (Bridge::start(), Collector::start());
    let service = Service::start(|_, before| match before {
        0 => Reply::status(503).after(20),
        _ => Reply::ok().after(20),
    });
    let mut worker = start(&bridge, &service, Some(&collector.url));
    bridge.push(r#"{"name":"Ada","linkedinUrl":"https://linkedin.com/in/ada"}"#);
    eventually("enriched", || bridge.done() == 1);
    worker.signal("TERM");
    assert!(worker.wait().success());
    let mut spans = collector.spans();
    spans.sort_by_key(|span| (span.parent_span_id.is_empty(), span.start_time_unix_nano));
    let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(
        names,
        ["identity", "enrich", "identity", "enrich", "lead", "lead"]
    );
    let outcome = |span: &Span| text(&span.attributes, "lead.outcome");
    let (first, second) = (&spans[4], &spans[5]);
    assert_eq!(
        (outcome(first), outcome(second)),
        ("retry_scheduled".into(), "succeeded".into())
    );
    assert_eq!(
        text(&first.attributes, "lead.id"),
        text(&second.attributes, "lead.id")
    );
    assert_eq!(text(&first.attributes, "bridge.pipeline"), "main");
    assert_ne!(first.trace_id, second.trace_id);
    for (station, lead) in [(0, first), (1, first), (2, second), (3, second)] {
        let station = &spans[station];
        assert_eq!(
            (&station.parent_span_id, &station.trace_id),
            (&lead.span_id, &lead.trace_id)
        );
        assert!(station.end_time_unix_nano <= lead.end_time_unix_nano);
    }
    let took = spans[1].end_time_unix_nano - spans[1].start_time_unix_nano;
    assert!(took >= 20_000_000, "{took} ns");
    let error = |span: &Span| span.status.as_ref().is_some_and(|status| status.code == 2);
    assert_eq!(
        spans.iter().map(error).collect::<Vec<_>>(),
        [false, true, false, false, true, false]
    );
    let got = collector.got.lock().expect("no panic");
    let resource = got[0].resource.as_ref().expect("a resource");
    assert_eq!(
        text(&resource.attributes, "service.name"),
        "scrapegoat-worker"
    );
}

#[test]
fn a_collector_that_is_away_holds_no_lead_up() {
    let bridge = Bridge::start();
    let service = Service::start(|_, _| Reply::ok());
    let mut worker = start(&bridge, &service, Some("http://127.0.0.1:1"));
    bridge.push_numbered(20);
    eventually("enriched", || bridge.done() == 20);
    worker.signal("TERM");
    assert!(worker.wait().success());
    assert_eq!(bridge.done(), 20);
}

#[test]
fn an_endpoint_that_is_none_is_an_error_at_the_start() {
    let bridge = Bridge::start();
    let service = Service::start(|_, _| Reply::ok());
    let mut worker = start(&bridge, &service, Some("http://not a url"));
    assert!(!worker.wait().success());
    let log = worker.log();
    let last = log.lines().last().unwrap_or_default();
    assert!(last.contains("OTEL_EXPORTER_OTLP"), "{log}");
    // An empty setting counts as none.
    let mut worker = start(&bridge, &service, Some(""));
    bridge.push(r#"{"name":"Ada"}"#);
    eventually("enriched", || bridge.done() == 1);
    worker.signal("TERM");
    assert!(worker.wait().success());
}
