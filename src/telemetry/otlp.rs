//! Spans to an OpenTelemetry collector: OTLP over HTTP, in Protocol Buffers.
//!
//! OpenTelemetry's own processor keeps what is to be sent, bounded, and sends it in batches from a
//! thread of its own. What becomes of each span is counted here.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::uri::Scheme;
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind as Kind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_http::{HttpClient as Http, HttpError};
use opentelemetry_otlp::{SpanExporter as Otlp, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanEvents, SpanExporter, SpanLinks,
    SpanProcessor as _,
};
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::metrics::{SpanMetrics, SpanResult};
use super::spans::{Settings, Span, SpanKind, SpanSink, SpanValue};
use crate::client::{HttpClient, Speaks, client};
use crate::tls::ClientTls;

/// How many spans may wait to be sent.
const QUEUE: u64 = 8192;
/// How many are sent at a time.
const BATCH: usize = 512;
/// How long one waits at most until it is sent.
const INTERVAL: Duration = Duration::from_secs(2);
/// How long the collector may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The largest answer of the collector that is read, in bytes.
const MAX_ANSWER: usize = 64 << 10;
/// How long the last spans of a process may take.
const LAST: Duration = Duration::from_secs(2);

/// A collector.
#[derive(Debug)]
pub struct Collector {
    processor: Arc<BatchSpanProcessor>,
    waiting: Arc<AtomicU64>,
    /// It was closed: what comes is lost.
    closed: AtomicBool,
    metrics: SpanMetrics,
    scope: InstrumentationScope,
}

impl Collector {
    /// A collector that is sent spans in the runtime that this is called in.
    ///
    /// # Errors
    /// When the certificates of the system can't be read, and the URL needs them.
    pub fn new(settings: &Settings, instance: u64, metrics: SpanMetrics) -> io::Result<Self> {
        let https = settings.endpoint.scheme() == Some(&Scheme::HTTPS);
        let tls = ClientTls::default();
        let client = client(if https { Speaks::Https(&tls) } else { Speaks::Http })?;
        let headers = settings.headers.clone();
        let sender = Sender { client, headers, runtime: Handle::current() };
        let mut otlp = Otlp::builder()
            .with_http()
            .with_http_client(sender)
            .with_endpoint(settings.endpoint.to_string())
            .with_timeout(TIMEOUT)
            .build()
            .map_err(io::Error::other)?;
        otlp.set_resource(&resource(settings, instance));
        let waiting = Arc::new(AtomicU64::new(0));
        let (failing, metrics_too) = (AtomicBool::new(false), metrics.clone());
        let exporter =
            Counted { otlp, waiting: Arc::clone(&waiting), metrics: metrics_too, failing };
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE as usize)
            .with_max_export_batch_size(BATCH)
            .with_scheduled_delay(INTERVAL)
            .build();
        let processor = Arc::new(BatchSpanProcessor::new(exporter, config));
        let scope = InstrumentationScope::builder(env!("CARGO_PKG_NAME"))
            .with_version(env!("CARGO_PKG_VERSION"))
            .build();
        Ok(Self { processor, waiting, closed: AtomicBool::new(false), metrics, scope })
    }
}

impl SpanSink for Collector {
    fn take(&self, spans: Vec<Span>) {
        let number = spans.len() as u64;
        if self.closed.load(Ordering::Acquire) {
            self.metrics.ended(SpanResult::Dropped, number);
            return;
        }
        // The processor would drop what finds no room, and not say so.
        if self.waiting.fetch_add(number, Ordering::Relaxed).saturating_add(number) > QUEUE {
            self.waiting.fetch_sub(number, Ordering::Relaxed);
            self.metrics.ended(SpanResult::Dropped, number);
            return;
        }
        for span in spans {
            self.processor.on_end(data(span, &self.scope));
        }
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        // What is left then has its time over.
        self.processor.shutdown_with_timeout(LAST).unwrap_or_default();
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let processor = Arc::clone(&self.processor);
        // Whoever lets go of it last may be a request, which does not wait. It may have been closed already.
        let last = move || processor.shutdown_with_timeout(TIMEOUT).unwrap_or_default();
        let started = thread::Builder::new().name("last-spans".to_owned()).spawn(last);
        started.map(drop).unwrap_or_default();
    }
}

/// Who sends the spans, by OpenTelemetry's names.
fn resource(settings: &Settings, instance: u64) -> Resource {
    Resource::builder_empty()
        .with_service_name(settings.service.clone())
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("service.instance.id", format!("{instance:016x}")))
        .build()
}

fn data(span: Span, scope: &InstrumentationScope) -> SpanData {
    let value = |value| match value {
        SpanValue::Text(text) => Value::from(text),
        SpanValue::Number(number) => Value::from(number),
    };
    let attributes = span.attributes.into_iter();
    let (trace, id) = (TraceId::from(span.trace), SpanId::from(span.id));
    SpanData {
        span_context: SpanContext::new(trace, id, TraceFlags::SAMPLED, false, TraceState::NONE),
        parent_span_id: span.parent.map_or(SpanId::INVALID, SpanId::from),
        parent_span_is_remote: span.kind == SpanKind::Request && span.parent.is_some(),
        span_kind: match span.kind {
            SpanKind::Request => Kind::Server,
            SpanKind::Step => Kind::Internal,
            SpanKind::Upstream => Kind::Client,
        },
        name: span.name.into(),
        start_time: span.start,
        end_time: span.end,
        attributes: attributes.map(|(name, own)| KeyValue::new(name, value(own))).collect(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: if span.failed { Status::error("") } else { Status::Unset },
        instrumentation_scope: scope.clone(),
    }
}

/// Counts what becomes of spans.
#[derive(Debug)]
struct Counted {
    otlp: Otlp,
    waiting: Arc<AtomicU64>,
    metrics: SpanMetrics,
    failing: AtomicBool,
}

impl SpanExporter for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let number = batch.len() as u64;
        let result = self.otlp.export(batch).await;
        self.waiting.fetch_sub(number, Ordering::Relaxed);
        match &result {
            Ok(()) => {
                self.metrics.ended(SpanResult::Exported, number);
                if self.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("the collector takes spans again");
                }
            }
            Err(error) => {
                self.metrics.ended(SpanResult::Failed, number);
                if !self.failing.swap(true, Ordering::Relaxed) {
                    let help = "spans are lost; check `traces.endpoint` and the collector";
                    tracing::warn!(%error, "{help}");
                }
            }
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.otlp.shutdown_with_timeout(timeout)
    }
}

/// Sends requests in a runtime, whatever thread asks.
struct Sender {
    client: HttpClient,
    headers: Vec<(HeaderName, HeaderValue)>,
    runtime: Handle,
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sender")
    }
}

#[async_trait]
impl Http for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let mut request = request.map(Full::new);
        request.headers_mut().extend(self.headers.iter().cloned());
        let answer = self.client.request(request);
        let whole = async move {
            let (head, body) = answer.await?.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await?.to_bytes();
            Ok(Response::from_parts(head, body))
        };
        // Whoever asks has no runtime, and a timeout is made in one.
        self.runtime.spawn(async { timeout(TIMEOUT, whole).await }).await??
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::SystemTime;

    use http::Uri;
    use prometheus::Registry;

    use super::*;

    fn span(at: SystemTime) -> Span {
        let (kind, name, attributes) = (SpanKind::Step, "admission".to_owned(), Vec::new());
        let (trace, id, parent, failed) = (1, 1, None, false);
        Span { trace, id, parent, kind, name, start: at, end: at, attributes, failed }
    }

    #[tokio::test]
    async fn what_finds_no_room_is_counted_and_nobody_waits() {
        // It accepts, and never answers.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}/v1/traces", silent.local_addr().unwrap());
        let endpoint: Uri = endpoint.parse().unwrap();
        let (headers, service) = (Vec::new(), "portcullis".to_owned());
        let settings = Settings { endpoint, headers, service, share: 1.0 };
        let registry = Registry::new();
        let metrics = SpanMetrics::register(&registry).unwrap();
        let collector = Collector::new(&settings, 1, metrics).unwrap();
        for _ in 0..3 * QUEUE {
            collector.take(vec![span(SystemTime::UNIX_EPOCH)]);
        }
        let counted = registry.gather();
        let by_result = counted[0].get_metric().iter().map(|one| {
            (one.get_label()[0].value().to_owned(), one.get_counter().get_value() as u64)
        });
        let by_result: Vec<_> = by_result.collect();
        let of = |name: &str| by_result.iter().find(|(own, _)| own == name).unwrap().1;
        assert_eq!(of("exported"), 0);
        let waiting = collector.waiting.load(Ordering::Relaxed);
        assert!(waiting <= QUEUE, "{waiting}");
        assert_eq!(waiting + of("dropped") + of("failed"), 3 * QUEUE, "{by_result:?}");
        assert!(of("dropped") >= QUEUE, "{by_result:?}");
    }
}
