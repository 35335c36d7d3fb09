//! Spans for a collector of OpenTelemetry: one for each attempt at a lead, with a child for each
//! station that was called.
//!
//! They go out over OTLP (HTTP, protobuf) where `OTEL_EXPORTER_OTLP_ENDPOINT` says, in batches and
//! by a thread of their own, which holds no lead up: where more happens than the collector takes,
//! spans are left out, and the log says so. Where it says nothing, none is made.

use std::time::{Duration, SystemTime};

use bridge_shared::VERSION;
use bridge_shared::envelope::Envelope;
use bridge_shared::event::EventKind;
use opentelemetry::trace::{
    Span as _, SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

/// The settings that turn it on, as OpenTelemetry names them.
const ENDPOINTS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
];
/// How long the last spans may take to go out.
const LAST_SPANS: Duration = Duration::from_secs(5);

/// Where spans go.
#[derive(Debug)]
pub(crate) struct Traces {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

impl Traces {
    /// What the environment asks for: `None` where it names no collector.
    ///
    /// # Errors
    /// One line that says which setting is wrong.
    pub(crate) fn from_env() -> Result<Option<Self>, String> {
        let set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        if !ENDPOINTS.iter().any(set) {
            return Ok(None);
        }
        let exporter = SpanExporter::builder()
            .with_http()
            .build()
            .map_err(|error| format!("spans cannot be sent: {error}. Look at the settings OTEL_EXPORTER_OTLP_*, or unset them."))?;
        let mut resource = Resource::builder();
        if !set(&"OTEL_SERVICE_NAME") {
            resource = resource.with_service_name("scrapegoat-worker");
        }
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(
                resource
                    .with_attribute(KeyValue::new("service.version", VERSION))
                    .build(),
            )
            .build();
        Ok(Some(Self {
            tracer: provider.tracer("redis-bridge"),
            provider,
        }))
    }

    /// Begins the span of an attempt.
    pub(crate) fn attempt(&self, envelope: &Envelope, pipeline: &str, worker: &str) -> Attempt<'_> {
        let span = self
            .tracer
            .span_builder("lead")
            .with_kind(SpanKind::Consumer)
            .with_attributes([
                KeyValue::new("lead.id", envelope.id.clone()),
                KeyValue::new("lead.retry", i64::from(envelope.retry_count)),
                KeyValue::new("bridge.pipeline", pipeline.to_owned()),
                KeyValue::new("bridge.worker", worker.to_owned()),
            ])
            .start_with_context(&self.tracer, &Context::new());
        Attempt {
            tracer: &self.tracer,
            context: Context::new().with_span(span),
        }
    }

    /// Sends what there is, and no more.
    pub(crate) async fn close(&self) {
        let provider = self.provider.clone();
        let closed =
            tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(LAST_SPANS));
        if let Ok(Err(error)) = closed.await {
            tracing::warn!("the last spans could not be sent: {error}");
        }
    }
}

/// The span of an attempt under way. It ends at the latest when this is dropped.
#[derive(Debug)]
pub(crate) struct Attempt<'a> {
    tracer: &'a SdkTracer,
    context: Context,
}

impl Attempt<'_> {
    /// A station was called, and is done.
    pub(crate) fn station(&self, name: &str, took: Duration, error: Option<&str>) {
        let end = SystemTime::now();
        let mut span = self
            .tracer
            .span_builder(name.to_owned())
            .with_kind(SpanKind::Internal)
            .with_start_time(end.checked_sub(took).unwrap_or(end))
            .start_with_context(self.tracer, &self.context);
        if let Some(error) = error {
            span.set_status(Status::error(error.to_owned()));
        }
        span.end_with_timestamp(end);
    }

    /// The attempt is over.
    pub(crate) fn end(self, outcome: EventKind, station: Option<&str>, error: Option<&str>) {
        let span = self.context.span();
        span.set_attribute(KeyValue::new("lead.outcome", outcome.as_str()));
        if let Some(station) = station {
            span.set_attribute(KeyValue::new("bridge.station", station.to_owned()));
        }
        // What was ended on purpose has a reason and no error.
        let failed = matches!(outcome, EventKind::Dead | EventKind::RetryScheduled);
        if let Some(error) = error.filter(|_| failed) {
            span.set_status(Status::error(error.to_owned()));
        }
        span.end();
    }
}
