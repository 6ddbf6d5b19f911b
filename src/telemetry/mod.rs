//! What an operator sees: metrics, the access log, the audit, and the gateway's own messages.
//!
//! What is recorded of a request is written from one decision, so that no two can disagree.
//!
//! **Invariant:** nothing secret comes in here: a record holds digests' fingerprints, templates
//! and redacted paths, never a query, and of the headers the user agent alone, which is looked through.

pub mod access_log;
pub mod audit;
mod batches;
pub mod diagnostics;
pub mod errors;
mod facts;
mod lines;
pub mod metrics;
#[cfg(feature = "opentelemetry")]
pub mod otlp;
pub mod privacy;
mod redact;
mod routes;
pub mod spans;
pub mod trace;
pub mod unmatched;

use std::net::IpAddr;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::policy::decision::Decision;
use crate::policy::reason::UpstreamFailure;

/// The status of a request whose client went away before it was answered (as nginx has it), or did not
/// read its answer.
pub const CLIENT_CLOSED: u16 = 499;

/// A request that is told of without a decision on it: its method, and its path without its query and
/// without what could be a secret.
pub fn shown(method: &str, target: &str) -> String {
    let path = target.split('?').next().unwrap_or_default();
    let path = redact::RedactedPath { path, template: None };
    format!("{} {path}", routes::method_label(method))
}

/// Everything that is recorded of one request.
#[derive(Debug)]
pub struct Record<'a> {
    /// When it ended.
    pub at: Timestamp,
    /// Its number.
    pub request_id: &'a str,
    /// The trace that it belongs to.
    pub trace: Option<&'a trace::TraceContext>,
    /// The client's address.
    pub client: Option<IpAddr>,
    /// What it calls itself.
    pub user_agent: Option<&'a [u8]>,
    /// The method as it came; any that is not known is `other`.
    pub method: &'a str,
    /// The path as it came, without the query.
    pub path: &'a str,
    /// The decision; `None` when the client went away before there was one.
    pub decision: Option<&'a Decision>,
    /// Where the identity came from.
    pub cache: Option<&'static str>,
    /// The status that the client got; [`CLIENT_CLOSED`] when it got none, or not all of its answer.
    pub status: u16,
    /// Why the upstream gave no answer.
    pub failure: Option<UpstreamFailure>,
    /// Bytes of the request body.
    pub bytes_in: u64,
    /// Bytes of the response body.
    pub bytes_out: u64,
    /// From the request head to the end of the response.
    pub duration: Duration,
    /// From the request head until the request was handed to the upstream.
    pub overhead: Option<Duration>,
    /// From then until the head of its response.
    pub upstream: Option<Duration>,
    /// The status of its response.
    pub upstream_status: Option<u16>,
    /// The course that it took, where it is traced.
    pub course: Option<spans::Course>,
}

impl Record<'_> {
    /// `allow`, `observe` (let through, though it would be refused), `shadow` (let through, though a rule
    /// in shadow would refuse it), `refuse`, `answer` (to `OPTIONS`) or `none`: what became of the request.
    pub fn outcome(&self) -> &'static str {
        self.decision.map_or("none", facts::outcome)
    }

    /// The code of the refusal, made or only observed, or of the upstream's failure.
    pub fn reason(&self) -> Option<&'static str> {
        self.failure.map(UpstreamFailure::code).or_else(|| self.denied())
    }

    /// The code of the refusal, made or only observed.
    pub fn denied(&self) -> Option<&'static str> {
        facts::denial(self.decision?).map(|denial| denial.reason.code())
    }
}
