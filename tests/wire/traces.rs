//! Spans: what a collector of OpenTelemetry's receives, and what the upstream is told of them.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind};
use prost::Message as _;

use crate::gate::{ADMIN, Gate, Options, eventually};
use crate::upstream::{Seen, Upstream, ok};

const LINE: &str = "GET /api/0/organizations/acme/issues/";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
const SECRET: &str = "a-secret-of-the-collector";

/// A collector that takes what it is sent.
struct Collector {
    receiver: Upstream,
    spans: Vec<Span>,
}

impl Collector {
    fn start() -> Self {
        let receiver = Upstream::answering(|_, stream| ok(stream, &[], b""));
        Self { receiver, spans: Vec::new() }
    }

    /// A gateway that sends it spans.
    fn before(&self, upstream: Upstream, traces: &str) -> Gate {
        let endpoint = format!("http://{}/v1/traces", self.receiver.address);
        Gate::with(upstream, &with_traces(&endpoint, traces))
    }

    /// What it has received so far.
    fn spans(&mut self) -> &[Span] {
        for Seen { method, target, headers, body, .. } in self.receiver.take() {
            assert_eq!((&*method, &*target), ("POST", "/v1/traces"));
            let field = |name: &str| headers.iter().find(|(own, _)| own == name).unwrap().1.clone();
            assert_eq!(field("content-type"), "application/x-protobuf");
            assert_eq!(field("authorization"), SECRET);
            let sent = ExportTraceServiceRequest::decode(&*body).unwrap();
            for resource in sent.resource_spans {
                let about = resource.resource.unwrap().attributes;
                let service = Some(Value::StringValue("portcullis".to_owned()));
                let is_it =
                    |own: &KeyValue| own.value.as_ref().is_some_and(|own| own.value == service);
                assert!(about.iter().any(|own| own.key == "service.name" && is_it(own)));
                self.spans.extend(resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
            }
        }
        &self.spans
    }

    /// Waits until it has so many.
    fn wait_for(&mut self, number: usize) -> Vec<Span> {
        eventually("spans", || self.spans().len() >= number);
        let spans = std::mem::take(&mut self.spans);
        assert_eq!(spans.len(), number, "{spans:#?}");
        spans
    }
}

fn with_traces(endpoint: &str, more: &str) -> Options {
    let file = "authorization = { file = \"collector\" }";
    let traces = format!("[traces]\nendpoint = \"{endpoint}\"\nheaders = {{ {file} }}\n{more}\n");
    Options {
        tables: traces,
        files: vec![("collector".to_owned(), SECRET.to_owned())],
        admin: "credential = { file = \"admin-credential\" }".to_owned(),
        ..Options::default()
    }
}

fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let mut named = spans.iter().filter(|span| span.name == name);
    let first = named.next().unwrap_or_else(|| panic!("no {name}: {spans:#?}"));
    assert!(named.next().is_none(), "{name} twice: {spans:#?}");
    first
}

fn says(span: &Span, key: &str) -> Option<String> {
    let attribute = span.attributes.iter().find(|attribute| attribute.key == key)?;
    match attribute.value.clone()?.value? {
        Value::StringValue(text) => Some(text),
        Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{key}: {other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn traceparent(flags: &str) -> String {
    format!("00-{TRACE}-{PARENT}-{flags}")
}

#[test]
fn the_steps_of_a_request_are_spans_of_its_trace() {
    let mut collector = Collector::start();
    let gate = collector.before(Upstream::start(), "sample = 0");
    let bearer = format!("Bearer {}", gate.token("event:read"));
    let (parent, sentry) = (traceparent("01"), format!("{TRACE}-{PARENT}-1"));
    let reply = gate.send(
        LINE,
        &[
            ("Authorization", &bearer),
            ("traceparent", &parent),
            ("tracestate", "vendor=1"),
            ("sentry-trace", &sentry),
            ("baggage", "sentry-release=1.0"),
        ],
    );
    assert_eq!(reply.status, 200);

    let spans = collector.wait_for(4);
    let template = "/api/0/organizations/{organization_id_or_slug}/issues/";
    let request = named(&spans, &format!("GET {template}"));
    let [admission, look_up, upstream] =
        ["admission", "store look-up", "GET"].map(|name| named(&spans, name));
    for (span, parent, kind) in [
        (request, PARENT, SpanKind::Server),
        (admission, &*hex(&request.span_id), SpanKind::Internal),
        (look_up, &*hex(&admission.span_id), SpanKind::Internal),
        (upstream, &*hex(&request.span_id), SpanKind::Client),
    ] {
        assert_eq!(hex(&span.trace_id), TRACE, "{}", span.name);
        assert_eq!(hex(&span.parent_span_id), parent, "{}", span.name);
        assert_eq!(span.kind(), kind, "{}", span.name);
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano, "{}", span.name);
        assert!(request.start_time_unix_nano <= span.start_time_unix_nano, "{}", span.name);
        assert!(span.end_time_unix_nano <= request.end_time_unix_nano, "{}", span.name);
    }
    assert!(look_up.end_time_unix_nano <= admission.end_time_unix_nano);
    assert!(admission.end_time_unix_nano <= upstream.start_time_unix_nano);
    let line = gate.access_lines().remove(0);
    for (span, key, value) in [
        (request, "http.request.method", Some("GET")),
        (request, "http.route", Some(template)),
        (request, "url.path", Some("/api/0/organizations/acme/issues/")),
        (request, "server.address", Some("gw.example")),
        (request, "client.address", Some("127.0.0.1")),
        (request, "http.response.status_code", Some("200")),
        (request, "error.type", None),
        (request, "portcullis.organization", Some("acme")),
        (request, "portcullis.scheme", Some("bearer")),
        (request, "portcullis.token_fp", line["token_fp"].as_str()),
        (request, "portcullis.principal", line["principal"].as_str()),
        (request, "portcullis.request_id", line["request_id"].as_str()),
        (request, "portcullis.rule", line["rule"].as_str()),
        (admission, "portcullis.decision", Some("allow")),
        (admission, "portcullis.cache", Some("miss")),
        (upstream, "http.response.status_code", Some("200")),
        (upstream, "portcullis.upstream", Some("web")),
    ] {
        assert_eq!(says(span, key).as_deref(), value, "{key}");
    }

    // What Sentry makes of it is below the gateway's own span; what Sentry's SDKs say is left alone.
    let seen = gate.upstream.take_one();
    let own = format!("00-{TRACE}-{}-01", hex(&upstream.span_id));
    for (name, value) in [
        ("traceparent", &*own),
        ("tracestate", "vendor=1"),
        ("sentry-trace", &sentry),
        ("baggage", "sentry-release=1.0"),
    ] {
        assert_eq!(seen.value(name), Some(value), "{name}");
    }
}

#[test]
fn a_refusal_goes_no_further_and_says_why() {
    let mut collector = Collector::start();
    let gate = collector.before(Upstream::start(), "");
    let token = gate.token("org:read");
    assert_eq!(gate.bearer(LINE, &token).status, 403);
    let spans = collector.wait_for(3);
    let admission = named(&spans, "admission");
    assert_eq!(says(admission, "portcullis.decision").as_deref(), Some("refuse"));
    assert_eq!(says(admission, "portcullis.reason").as_deref(), Some("missing_scope"));
    assert_eq!(gate.send("GET /nowhere/", &[]).status, 404);
    let spans = collector.wait_for(2);
    // Nobody was looked up, and no rule gives it a longer name.
    assert_eq!(spans.iter().map(|span| &*span.name).collect::<Vec<_>>(), ["GET", "admission"]);
    assert!(gate.upstream.take().is_empty());
}

#[test]
fn a_failure_is_one_and_names_the_upstream() {
    let mut collector = Collector::start();
    let endpoint = format!("http://{}/v1/traces", collector.receiver.address);
    let mut options = with_traces(&endpoint, "");
    options.upstream_url = Some("http://127.0.0.1:1".to_owned());
    let gate = Gate::with(Upstream::start(), &options);
    let reply = gate.bearer(LINE, &gate.token("event:read"));
    assert_eq!(reply.code(), "upstream_unreachable");
    let spans = collector.wait_for(4);
    let upstream = named(&spans, "GET");
    assert_eq!(says(upstream, "error.type").as_deref(), Some("upstream_unreachable"));
    for span in
        spans.iter().filter(|span| [SpanKind::Client, SpanKind::Server].contains(&span.kind()))
    {
        assert_eq!(span.status.clone().unwrap().code, 2, "{}", span.name);
    }
}

#[test]
fn what_clients_say_is_followed_and_the_rest_is_left_to_chance() {
    let mut collector = Collector::start();
    let gate = collector.before(Upstream::start(), "sample = 0");
    let bearer = format!("Bearer {}", gate.token("event:read"));
    let (no, off) = (traceparent("00"), format!("{TRACE}-{PARENT}-0"));
    let rows: &[(&str, &str)] = &[
        ("traceparent", &no),
        ("sentry-trace", &off),
        ("x-other", "1"),
        ("traceparent", "nonsense"),
    ];
    for (name, value) in rows {
        assert_eq!(gate.send(LINE, &[("Authorization", &bearer), (name, value)]).status, 200);
        let seen = gate.upstream.take_one();
        assert_eq!(seen.value(name), Some(*value), "{name}");
        if *name != "traceparent" {
            assert_eq!(seen.value("traceparent"), None, "{name}");
        }
    }
    // It is the only one.
    let on = format!("{TRACE}-{PARENT}-1");
    gate.send(LINE, &[("Authorization", &bearer), ("sentry-trace", &on)]);
    let spans = collector.wait_for(3);
    assert!(spans.iter().all(|span| hex(&span.trace_id) == TRACE));
}

#[test]
fn an_answer_that_is_held_is_in_the_same_trace() {
    let mut collector = Collector::start();
    let endpoint = format!("http://{}/v1/traces", collector.receiver.address);
    let mut options = with_traces(&endpoint, "");
    options.rules =
        "[[rule]]\nmethods = [\"GET\"]\npath = \"/api/0/held/\"\naccess = \"authenticated\"\n\
                     rewrite = { fields = [\"/url\"] }\n"
            .to_owned();
    let gate = Gate::with(Upstream::start(), &options);
    assert_eq!(gate.bearer("GET /api/0/held/", &gate.token("event:read")).status, 200);
    let spans = collector.wait_for(4);
    let upstream = named(&spans, "GET");
    let told = gate.upstream.take_one().value("traceparent").unwrap().to_owned();
    assert_eq!(told, format!("00-{}-{}-01", hex(&upstream.trace_id), hex(&upstream.span_id)));
}

#[test]
fn a_collector_that_is_away_costs_no_request_and_no_secret_is_told() {
    let options = with_traces("http://127.0.0.1:1/v1/traces", "");
    let gate = Gate::with(Upstream::start(), &options);
    let token = gate.token("event:read");
    for _ in 0..3 {
        assert_eq!(gate.bearer(LINE, &token).status, 200);
    }
    eventually("spans that failed", || {
        gate.metric("portcullis_spans_total", &["\"failed\""]) == 10.0
    });
    // It is said once.
    eventually("a message", || gate.output().matches("`traces.endpoint`").count() == 1);
    assert!(!gate.output().contains(SECRET), "{}", gate.output());
}

#[test]
fn no_span_holds_a_secret() {
    let collector = Collector::start();
    let gate = collector.before(Upstream::start(), "");
    let token = gate.token("event:read");
    let path = format!("GET /api/0/organizations/{token}/issues/?token=in-the-query&q={token}");
    gate.bearer(&path, &token);
    let nonsense = [
        ("Authorization", "Bearer not-known-0123456789abcdef"),
        ("Cookie", "sid=cookie"),
        ("Referer", "https://x.example/?token=in-the-referer"),
        ("baggage", "sentry-release=1,token=in-the-baggage"),
    ];
    gate.send(&format!("GET /unknown/{token}/"), &nonsense);
    let mut text = String::new();
    eventually("both requests", || {
        for seen in collector.receiver.take() {
            text.push_str(&String::from_utf8_lossy(&seen.body));
        }
        text.matches("admission").count() == 2
    });
    assert!(text.contains("portcullis.token_fp"));
    for secret in [&*token, "in-the-", "not-known-0123", "sid=cookie"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
}

#[test]
fn a_stop_sends_the_last_spans() {
    let mut collector = Collector::start();
    let mut gate = collector.before(Upstream::start(), "");
    gate.bearer(LINE, &gate.token("event:read"));
    gate.stop();
    // Nothing comes after the end.
    assert_eq!(collector.spans().len(), 4);
}

#[test]
fn another_collector_is_taken_up_while_the_gateway_serves() {
    let (mut first, mut second) = (Collector::start(), Collector::start());
    let gate = first.before(Upstream::start(), "");
    let token = gate.token("event:read");
    gate.bearer(LINE, &token);
    let path = gate.folder.path().join("portcullis.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let [old, new] = [&first, &second].map(|own| own.receiver.address.to_string());
    std::fs::write(&path, text.replace(&old, &new)).unwrap();
    let bearer = format!("Bearer {ADMIN}");
    let reply = gate.operator("POST /reload", &[("Authorization", &bearer)], "");
    assert_eq!(reply.status, 200, "{:?}", String::from_utf8_lossy(&reply.body));
    gate.bearer(LINE, &token);
    // The first gets what was made for it, at once.
    assert_eq!(first.wait_for(4).len(), 4);
    eventually("the second's", || second.spans().iter().any(|span| span.name == "admission"));
}
