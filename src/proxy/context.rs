//! What is kept of a request from its head to its record.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use http::HeaderValue;
use ipnet::IpNet;
use pingora::proxy::Session;
use prometheus::IntGauge;

use super::counted::Counted;
use super::upstream::Attempt;
use crate::clock::Timestamp;
use crate::forward::{Origin, X_REQUEST_ID, client_address};
use crate::policy::decision::Decision;
use crate::policy::reason::UpstreamFailure;
use crate::store::cache::CacheResult;
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
    /// Its number.
    pub(super) request_id: HeaderValue,
    /// The decision, once there is one.
    pub(super) decision: Option<Decision>,
    /// Where the identity came from.
    pub(super) cache: Option<CacheResult>,
    /// Why the upstream gave no answer.
    pub(super) failure: Option<UpstreamFailure>,
    /// When the request was handed to the upstream.
    pub(super) handed_over: Option<Instant>,
    /// What it has of the upstream's pool.
    pub(super) attempt: Attempt,
    started: Instant,
    trace: Option<TraceContext>,
    client: Option<IpAddr>,
    answered: Option<(u16, Instant)>,
    _in_flight: Counted,
}

impl Context {
    pub(super) fn new(started: Instant, in_flight: &IntGauge) -> Self {
        Self {
            request_id: HeaderValue::from_static("-"),
            decision: None,
            cache: None,
            failure: None,
            handed_over: None,
            attempt: Attempt::default(),
            started,
            trace: None,
            client: None,
            answered: None,
            _in_flight: Counted::new(in_flight),
        }
    }

    /// Notes who sent the request and gives it a number.
    pub(super) fn identify(&mut self, session: &Session, ids: &RequestIds, trusted: &[IpNet]) {
        let headers = &session.req_header().headers;
        self.trace = TraceContext::of(headers);
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

    /// Who the upstream is told sent the request.
    pub(super) fn origin(&self) -> Origin {
        let client = self.client.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        Origin { client, request_id: self.request_id.clone() }
    }

    /// The head of the upstream's answer has come.
    pub(super) fn answered(&mut self, status: u16, at: Instant) {
        self.answered.get_or_insert((status, at));
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
        let target = std::str::from_utf8(head.raw_path()).unwrap_or_default();
        let written = session.response_written().filter(|head| !head.status.is_informational());
        let status = match written {
            Some(head) => head.status.as_u16(),
            None => CLIENT_CLOSED,
        };
        // A try that failed before one that did not is no failure.
        let failure = self.failure.filter(|_| failed);
        let upstream = self.handed_over.zip(self.answered);
        Record {
            at,
            request_id: self.request_id.to_str().unwrap_or_default(),
            trace: self.trace.as_ref(),
            client: self.client,
            method: head.method.as_str(),
            path: target.split('?').next().unwrap_or_default(),
            decision: self.decision.as_ref(),
            cache: self.cache.map(CacheResult::as_str),
            status,
            failure,
            bytes_in: session.body_bytes_read() as u64,
            bytes_out: session.body_bytes_sent() as u64,
            duration: ended.saturating_duration_since(self.started),
            overhead: self.handed_over.map(|at| at.saturating_duration_since(self.started)),
            upstream: upstream.map(|(from, (_, to))| to.saturating_duration_since(from)),
            upstream_status: self.answered.map(|(status, _)| status),
        }
    }
}
