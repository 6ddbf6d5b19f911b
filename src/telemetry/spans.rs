//! The spans of requests that are traced: which requests are, and what their spans say.
//!
//! Spans are made when their request has ended, out of the same [`Record`] as its access line, so a
//! request that is not traced costs next to nothing. Where they go is a [`SpanSink`]'s.
//!
//! **Invariant:** a span says no more than an access line does.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use http::{HeaderName, HeaderValue, Uri};

use super::Record;
use super::facts::Facts;
use super::privacy::Privacy;
use super::routes::method_label;
use super::trace::TraceContext;
use crate::policy::Policy;

/// Where spans go, and of which requests.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The collector's own URL for spans.
    pub endpoint: Uri,
    /// Fields that it is sent. Sensitive ones print nothing.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The gateway's name (`service.name`).
    pub service: String,
    /// The share of requests that are traced where the client does not say, from 0 to 1.
    pub share: f64,
}

/// The numbers of a traced request's spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traced {
    trace: u128,
    /// The client's span.
    parent: Option<u64>,
    request: u64,
    upstream: u64,
}

impl Traced {
    /// What the upstream is told, so that its spans are below the gateway's (W3C Trace Context).
    pub fn traceparent(&self) -> HeaderValue {
        let text = format!("00-{:032x}-{:016x}-01", self.trace, self.upstream);
        // Hex digits are a header value.
        HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("-"))
    }
}

/// When the steps of a traced request were taken, each from its head on.
#[derive(Clone, Copy, Debug)]
pub struct Course {
    /// The numbers of its spans.
    pub traced: Traced,
    /// When it was decided on.
    pub decided: Option<Duration>,
    /// From when to when token stores were asked, if they were.
    pub looked_up: Option<(Duration, Duration)>,
    /// When it was handed to the upstream.
    pub handed_over: Option<Duration>,
}

/// A step of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The trace that it belongs to.
    pub trace: u128,
    /// Its own number.
    pub id: u64,
    /// The number of the step that it is a part of.
    pub parent: Option<u64>,
    /// What it is.
    pub kind: SpanKind,
    /// Its name, one of few.
    pub name: String,
    /// When it began.
    pub start: SystemTime,
    /// When it ended.
    pub end: SystemTime,
    /// What it says, by OpenTelemetry's names where it has one.
    pub attributes: Vec<(&'static str, SpanValue)>,
    /// Whether it failed.
    pub failed: bool,
}

/// What a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// The request of a client.
    Request,
    /// A step within the gateway.
    Step,
    /// The request to the upstream.
    Upstream,
}

/// What a span says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpanValue {
    /// In words.
    Text(String),
    /// A number.
    Number(i64),
}

impl From<u16> for SpanValue {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

/// Whatever has an own way to be written.
fn text(value: impl fmt::Display) -> SpanValue {
    SpanValue::Text(value.to_string())
}

/// Takes spans, and never waits.
pub trait SpanSink: Send + Sync + fmt::Debug {
    /// Takes the spans of one request.
    fn take(&self, spans: Vec<Span>);
    /// Sends what was taken, but not for ever: the process is about to end.
    fn close(&self);
}

/// Makes the spans of requests.
#[derive(Debug)]
pub struct Spans {
    settings: Settings,
    /// Traces whose last 64 bits are below it are traced.
    threshold: u128,
    seed: u64,
    next: AtomicU64,
    sink: Box<dyn SpanSink>,
}

impl Spans {
    /// Spans that go to `sink`; `seed` is random, so that no two processes make the same numbers.
    pub fn new(settings: Settings, seed: u64, sink: Box<dyn SpanSink>) -> Self {
        // All of 2^64 for a share of 1.
        let threshold = (settings.share * 2_f64.powi(64)) as u128;
        Self { settings, threshold, seed, next: AtomicU64::new(0), sink }
    }

    /// What they were made by.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The numbers for a request, if it is traced: as its client says, and by chance where that does not.
    /// The chance is in the number of the trace, so that others come to the same (OpenTelemetry's
    /// `TraceIdRatioBased`).
    pub fn begin(&self, client: Option<&TraceContext>) -> Option<Traced> {
        let given = client.and_then(|client| u128::from_str_radix(client.trace(), 16).ok());
        let [first, second] = self.random();
        let trace = given.unwrap_or(u128::from(first) << 64 | u128::from(second));
        let sampled = client.and_then(TraceContext::sampled);
        let sampled = sampled.unwrap_or((trace & u128::from(u64::MAX)) < self.threshold);
        if !sampled {
            return None;
        }
        let parent = client.and_then(|client| u64::from_str_radix(client.span(), 16).ok());
        let [request, upstream] = self.random();
        // Zero is no number.
        Some(Traced { trace: trace.max(1), parent, request: request | 1, upstream: upstream | 1 })
    }

    /// Makes the spans of a request that has ended and was traced.
    pub fn end(&self, record: &Record<'_>, policy: &Policy, privacy: Privacy) {
        if let Some(course) = &record.course {
            self.sink.take(Making { record, policy, privacy, course }.spans(self));
        }
    }

    /// Sends what there is, for the process is about to end.
    pub fn close(&self) {
        self.sink.close();
    }

    fn random(&self) -> [u64; 2] {
        let first = self.next.fetch_add(2, Ordering::Relaxed);
        [first, first.wrapping_add(1)].map(|number| mixed(self.seed, number))
    }
}

/// The numbers of a row look as if they were random (SplitMix64).
const fn mixed(seed: u64, number: u64) -> u64 {
    let mut x = seed.wrapping_add(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The spans of one request, being made.
struct Making<'a> {
    record: &'a Record<'a>,
    policy: &'a Policy,
    privacy: Privacy,
    course: &'a Course,
}

impl Making<'_> {
    fn spans(&self, numbers: &Spans) -> Vec<Span> {
        let Traced { parent, request, upstream, .. } = self.course.traced;
        let [admission, look_up] = numbers.random().map(|number| number | 1);
        let mut spans = Vec::with_capacity(4);
        let whole = (Duration::ZERO, self.record.duration);
        spans.push(self.span(SpanKind::Request, request, parent, whole, self.request()));
        if let Some(decided) = self.course.decided {
            let step = (Duration::ZERO, decided);
            let admitted = self.admission();
            spans.push(self.span(SpanKind::Step, admission, Some(request), step, admitted));
            if let Some(step) = self.course.looked_up {
                let within = Some(admission);
                let about = ("store look-up".to_owned(), Vec::new(), false);
                spans.push(self.span(SpanKind::Step, look_up, within, step, about));
            }
        }
        if let Some(from) = self.course.handed_over {
            let answered = self.record.upstream.map(|took| from.saturating_add(took));
            let step = (from, answered.unwrap_or(self.record.duration));
            let sent = self.upstream();
            spans.push(self.span(SpanKind::Upstream, upstream, Some(request), step, sent));
        }
        spans
    }

    fn span(
        &self,
        kind: SpanKind,
        id: u64,
        parent: Option<u64>,
        (from, to): (Duration, Duration),
        (name, attributes, failed): (String, Vec<(&'static str, SpanValue)>, bool),
    ) -> Span {
        let ended = self.record.at.to_system_time();
        let started = ended.checked_sub(self.record.duration).unwrap_or(ended);
        let at = |offset| started.checked_add(offset).unwrap_or(ended);
        let trace = self.course.traced.trace;
        Span { trace, id, parent, kind, name, start: at(from), end: at(to), attributes, failed }
    }

    /// What is said of the whole request, by the conventions for HTTP servers.
    fn request(&self) -> (String, Vec<(&'static str, SpanValue)>, bool) {
        let record = self.record;
        let facts = self.facts();
        let failed = record.status >= 500;
        let attributes = [
            ("http.request.method", Some(text(facts.method))),
            ("http.route", facts.route.map(text)),
            ("url.path", Some(text(facts.path.0))),
            ("server.address", facts.host.map(text)),
            ("client.address", self.privacy.address(record.client).map(text)),
            ("user_agent.original", self.privacy.agent(record.user_agent).map(text)),
            ("http.response.status_code", Some(record.status.into())),
            ("error.type", failed.then(|| text(record.reason().unwrap_or("upstream")))),
            ("portcullis.request_id", Some(text(record.request_id))),
            ("portcullis.rule", facts.rule.map(text)),
            ("portcullis.organization", facts.org.map(text)),
            ("portcullis.project", facts.project.map(text)),
            ("portcullis.scheme", facts.scheme.map(text)),
            ("portcullis.credential_kind", facts.credential_kind.map(text)),
            ("portcullis.token_fp", facts.token_fp.as_ref().map(|print| text(print.0))),
            ("portcullis.principal", facts.principal.as_ref().map(|id| text(id.0))),
        ];
        let name = match facts.route {
            Some(route) => format!("{} {route}", facts.method),
            None => facts.method.to_owned(),
        };
        (name, given(attributes), failed)
    }

    fn facts(&self) -> Facts<'_> {
        let record = self.record;
        Facts::of(record.method, record.path, record.decision, self.policy)
    }

    fn admission(&self) -> (String, Vec<(&'static str, SpanValue)>, bool) {
        let record = self.record;
        let attributes = [
            ("portcullis.decision", Some(text(record.outcome()))),
            ("portcullis.reason", record.denied().map(text)),
            ("portcullis.cache", record.cache.map(text)),
        ];
        ("admission".to_owned(), given(attributes), false)
    }

    fn upstream(&self) -> (String, Vec<(&'static str, SpanValue)>, bool) {
        let record = self.record;
        let method = method_label(record.method);
        let rule = record.decision.and_then(|decision| decision.rule);
        let service = rule.map(|id| self.policy.rules.rule(id).service.as_str());
        let attributes = [
            ("http.request.method", Some(text(method))),
            ("http.response.status_code", record.upstream_status.map(Into::into)),
            ("error.type", record.failure.map(|failure| text(failure.code()))),
            ("portcullis.upstream", service.map(text)),
        ];
        (method.to_owned(), given(attributes), record.failure.is_some())
    }
}

fn given<const N: usize>(
    attributes: [(&'static str, Option<SpanValue>); N],
) -> Vec<(&'static str, SpanValue)> {
    attributes.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use http::HeaderMap;

    use super::*;

    #[derive(Debug)]
    struct Nowhere;

    impl SpanSink for Nowhere {
        fn take(&self, _: Vec<Span>) {}
        fn close(&self) {}
    }

    fn spans(share: f64) -> Spans {
        let endpoint = Uri::from_static("http://localhost:4318/v1/traces");
        let (headers, service) = (Vec::new(), "portcullis".to_owned());
        let settings = Settings { endpoint, headers, service, share };
        Spans::new(settings, 7, Box::new(Nowhere))
    }

    fn client(sentry_trace: &str) -> TraceContext {
        let mut headers = HeaderMap::new();
        headers.insert("sentry-trace", sentry_trace.parse().unwrap());
        TraceContext::of(&headers).unwrap()
    }

    #[test]
    fn a_share_is_traced_and_no_number_comes_twice() {
        for (share, wanted) in [(0.0, 0..=0), (0.25, 2300..=2700), (1.0, 10_000..=10_000)] {
            let spans = spans(share);
            let traced: Vec<_> = (0..10_000).filter_map(|_| spans.begin(None)).collect();
            assert!(wanted.contains(&traced.len()), "{share}: {}", traced.len());
            let numbers = traced.iter().flat_map(|own| [own.request, own.upstream]);
            let numbers: HashSet<u64> = numbers.collect();
            let traces: HashSet<u128> = traced.iter().map(|own| own.trace).collect();
            assert_eq!((numbers.len(), traces.len()), (2 * traced.len(), traced.len()));
        }
    }

    #[test]
    fn what_the_client_says_is_followed() {
        let low = "00000000000000010000000000000001-00000000000000ab";
        let high = "0000000000000001ffffffffffffffff-00000000000000ab";
        let rows = [
            (0.0, format!("{high}-1"), true),
            (1.0, format!("{low}-0"), false),
            // Whoever comes by the same trace decides the same.
            (0.5, low.to_owned(), true),
            (0.5, high.to_owned(), false),
            (1.0, high.to_owned(), true),
            (0.0, low.to_owned(), false),
        ];
        for (share, header, traced) in rows {
            let own = spans(share).begin(Some(&client(&header)));
            assert_eq!(own.is_some(), traced, "{share} {header}");
            if let Some(own) = own {
                assert_eq!((own.trace >> 64, own.parent), (1, Some(0xab)));
                let value = own.traceparent();
                let text = value.to_str().unwrap();
                assert!(text.starts_with(&format!("00-{}-", &header[..32])), "{text}");
                assert!(text.ends_with(&format!("-{:016x}-01", own.upstream)), "{text}");
            }
        }
    }
}
