//! What is kept of a request from its head to its record.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::HeaderValue;
use http::header::USER_AGENT;
use pingora::http::RequestHeader;
use pingora::proxy::Session;
use tokio::sync::oneshot;

use super::client::{Client, Running};
use super::counted::Counted;
use super::pace::Pace;
use super::serving::Serving;
use super::upstream::Attempt;
use super::vouch::Confided;
use crate::clock::Timestamp;
use crate::forward::{Origin, X_REQUEST_ID, client_address};
use crate::limit::table::Held;
use crate::policy::allowance::Allowance;
use crate::policy::decision::{Decision, Denial, Standing};
use crate::policy::reason::UpstreamFailure;
use crate::store::Usage;
use crate::store::cache::{CacheResult, Canary};
use crate::telemetry::spans::{Course, Traced};
use crate::telemetry::trace::TraceContext;
use crate::telemetry::{CLIENT_CLOSED, Record};

/// Makes request numbers: 16 hex digits of the process, 16 that count.
#[derive(Debug)]
pub struct RequestIds {
    process: u64,
    next: AtomicU64,
}

impl RequestIds {
    /// Numbers that start with `process`, which is random.
    pub const fn new(process: u64) -> Self {
        Self { process, next: AtomicU64::new(1) }
    }

    fn next(&self) -> HeaderValue {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let text = format!("{:016x}{number:016x}", self.process);
        // Hex digits are a header value.
        HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("-"))
    }
}

/// The longest request number that is taken over from a trusted proxy.
const MAX_ID_LEN: usize = 64;

/// What is kept of a request.
#[derive(Debug)]
pub struct Context {
    /// What it is served by to its end, whatever config comes meanwhile.
    pub(super) serving: Arc<Serving>,
    /// Its number.
    pub(super) request_id: HeaderValue,
    /// The decision, once there is one.
    pub(super) decision: Option<Arc<Decision>>,
    /// Where the identity came from.
    pub(super) cache: Option<CacheResult>,
    /// Where it is counted how the caller's token is used.
    pub(super) usage: Option<Usage>,
    /// The token that nobody is to use, if one came.
    pub(super) canary: Option<Arc<Canary>>,
    /// What it has taken of limits.
    pub(super) held: Held,
    /// What its caller has left of them.
    pub(super) allowance: Option<Allowance>,
    /// What it has of the upstream's pool.
    pub(super) attempt: Attempt,
    /// What became of it upstream.
    pub(super) progress: Progress,
    /// How long its body was waited for before anything else.
    pub(super) waited: Duration,
    /// Whether the client did not read its answer.
    pub(super) unread: bool,
    /// How much of its body has come, where that is counted.
    pub(super) received: u64,
    /// How fast its body comes, where it is sent on as it does.
    pub(super) pace: Option<Pace>,
    /// When token stores were asked and it was decided on, where it is traced.
    pub(super) steps: Steps,
    /// What the upstream was sent in confidence.
    pub(super) confided: Confided,
    started: Instant,
    trace: Option<TraceContext>,
    traced: Option<Traced>,
    client: Option<IpAddr>,
    /// Whose part this is, when it is one.
    whole: Option<oneshot::Sender<Progress>>,
    in_flight: Option<Counted>,
    /// On its connection.
    running: Option<Running>,
}

/// What became of a request upstream.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    /// Why the upstream gave no answer.
    pub(super) failure: Option<UpstreamFailure>,
    /// When the request was handed to it.
    pub(super) handed_over: Option<Instant>,
    answered: Option<(u16, Instant)>,
}

/// When a request that is traced was admitted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Steps {
    /// From when to when token stores were asked, if they were.
    pub(super) asked: Option<(Instant, Instant)>,
    /// When it was decided on.
    pub(super) decided: Option<Instant>,
}

/// A request's exchange with the upstream, which runs as a request of its own: what it takes over.
/// It was decided on already.
#[derive(Debug)]
pub(super) struct Part {
    /// The head that was decided on.
    pub(super) head: RequestHeader,
    serving: Arc<Serving>,
    request_id: HeaderValue,
    decision: Option<Arc<Decision>>,
    allowance: Option<Allowance>,
    traced: Option<Traced>,
    client: Option<IpAddr>,
    whole: oneshot::Sender<Progress>,
}

impl Context {
    pub(super) fn new(serving: Arc<Serving>) -> Self {
        Self {
            started: serving.gateway.clock().instant(),
            serving,
            request_id: HeaderValue::from_static("-"),
            decision: None,
            cache: None,
            usage: None,
            canary: None,
            held: Held::default(),
            allowance: None,
            attempt: Attempt::default(),
            progress: Progress::default(),
            waited: Duration::ZERO,
            unread: false,
            received: 0,
            pace: None,
            steps: Steps::default(),
            confided: Confided::default(),
            trace: None,
            traced: None,
            client: None,
            whole: None,
            in_flight: None,
            running: None,
        }
    }

    /// What a part of this request with `head` takes over, and where its progress comes back when it
    /// ends, however it does.
    pub(super) fn part(&self, head: RequestHeader) -> (Part, oneshot::Receiver<Progress>) {
        let (whole, progress) = oneshot::channel();
        let (serving, decision) = (Arc::clone(&self.serving), self.decision.clone());
        let (request_id, client) = (self.request_id.clone(), self.client);
        let (allowance, traced) = (self.allowance, self.traced);
        let part = Part { head, serving, request_id, decision, allowance, traced, client, whole };
        (part, progress)
    }

    /// Becomes a part, and gives the head that it forwards.
    pub(super) fn take_over(&mut self, part: Part) -> RequestHeader {
        self.serving = part.serving;
        self.request_id = part.request_id;
        self.decision = part.decision;
        self.allowance = part.allowance;
        self.traced = part.traced;
        self.client = part.client;
        self.whole = Some(part.whole);
        part.head
    }

    /// Whether this is a part of a request, which answers and is recorded as a whole.
    pub(super) const fn is_part(&self) -> bool {
        self.whole.is_some()
    }

    /// Counts the request, notes who sent it and gives it a number.
    pub(super) fn identify(&mut self, session: &Session, ids: &RequestIds) {
        let Serving { metrics, trusted_proxies: trusted, .. } = &*self.serving;
        // In this order: a stop must see one of them.
        self.in_flight = Some(Counted::new(metrics.in_flight()));
        self.running = Client::of(session).map(|client| client.requests.run());
        let headers = &session.req_header().headers;
        self.trace = TraceContext::of(headers);
        let spans = self.serving.spans.as_ref();
        self.traced = spans.and_then(|spans| spans.begin(self.trace.as_ref()));
        let peer = session.client_addr().and_then(|address| address.as_inet());
        let peer = peer.map(|address| address.ip().to_canonical());
        self.client = peer.map(|peer| client_address(peer, headers, trusted));
        let is_trusted = peer.is_some_and(|peer| trusted.iter().any(|net| net.contains(&peer)));
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let given = headers.get(X_REQUEST_ID).filter(|id| {
            is_trusted && (1..=MAX_ID_LEN).contains(&id.len()) && id.as_bytes().iter().all(plain)
        });
        self.request_id = given.cloned().unwrap_or_else(|| ids.next());
    }

    /// Who sent the request, as far as the proxies in between are trusted.
    pub(super) const fn client(&self) -> Option<IpAddr> {
        self.client
    }

    /// The request was let through, and is refused after all.
    pub(super) fn refuse(&mut self, denial: Denial) {
        if let Some(usage) = &self.usage {
            usage.refused(self.serving.gateway.clock().now(), denial.reason);
        }
        if let Some(decision) = &self.decision {
            self.decision = Some(Arc::new(decision.refused(denial)));
        }
    }

    /// Whether it is known who sent the request.
    pub(super) fn standing(&self) -> Standing {
        self.decision.as_ref().map_or(Standing::Stranger, |decision| decision.caller.standing())
    }

    /// Whether spans are made of it.
    pub(super) const fn is_traced(&self) -> bool {
        self.traced.is_some()
    }

    /// Who the upstream is told sent the request.
    pub(super) fn origin(&self) -> Origin {
        let client = self.client.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let traceparent = self.traced.as_ref().map(Traced::traceparent);
        Origin { client, request_id: self.request_id.clone(), traceparent }
    }

    /// The head of the upstream's answer has come.
    pub(super) fn answered(&mut self, status: u16, at: Instant) {
        self.progress.answered.get_or_insert((status, at));
    }

    /// The record of the request, which has ended.
    pub(super) fn record<'a>(
        &'a self,
        session: &'a Session,
        failed: bool,
        at: Timestamp,
        ended: Instant,
    ) -> Record<'a> {
        let head = session.req_header();
        let written = session.response_written().filter(|head| !head.status.is_informational());
        let status = match written {
            Some(head) if !self.unread => head.status.as_u16(),
            Some(_) | None => CLIENT_CLOSED,
        };
        // A try that failed before one that did not is no failure.
        let Progress { failure, handed_over, answered, .. } = self.progress;
        let failure = failure.filter(|_| failed);
        let upstream = handed_over.zip(answered);
        let overhead = handed_over.map(|at| at.saturating_duration_since(self.started));
        Record {
            at,
            request_id: self.request_id.to_str().unwrap_or_default(),
            trace: self.trace.as_ref(),
            client: self.client,
            user_agent: head.headers.get(USER_AGENT).map(HeaderValue::as_bytes),
            method: head.method.as_str(),
            path: path(head),
            decision: self.decision.as_deref(),
            cache: self.cache.map(CacheResult::as_str),
            status,
            failure,
            bytes_in: session.body_bytes_read() as u64,
            bytes_out: session.body_bytes_sent() as u64,
            duration: ended.saturating_duration_since(self.started),
            overhead: overhead.map(|time| time.saturating_sub(self.waited)),
            upstream: upstream.map(|(from, (_, to))| to.saturating_duration_since(from)),
            upstream_status: answered.map(|(status, _)| status),
            course: self.traced.map(|traced| self.course(traced)),
        }
    }

    fn course(&self, traced: Traced) -> Course {
        let after = |at: Instant| at.saturating_duration_since(self.started);
        Course {
            traced,
            decided: self.steps.decided.map(after),
            looked_up: self.steps.asked.map(|(from, to)| (after(from), after(to))),
            handed_over: self.progress.handed_over.map(after),
        }
    }
}

/// The path as it came, without its query.
pub(super) fn path(head: &RequestHeader) -> &str {
    let target = std::str::from_utf8(head.raw_path()).unwrap_or_default();
    target.split('?').next().unwrap_or_default()
}

impl Drop for Context {
    fn drop(&mut self) {
        if let Some(whole) = self.whole.take() {
            // Nobody listens when the whole request has ended.
            let _ = whole.send(self.progress);
        }
    }
}
