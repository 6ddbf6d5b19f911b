//! What an operator sees: metrics, the access log, and the gateway's own messages.
//!
//! All of them are written from the same [`Record`] of a request, so they can't disagree.
//!
//! **Invariant:** nothing secret comes in here: a record holds digests' fingerprints, templates
//! and redacted paths, never a header or a query.

pub mod access_log;
pub mod diagnostics;
mod lines;
pub mod metrics;
#[cfg(feature = "opentelemetry")]
pub mod otlp;
mod redact;
mod routes;
pub mod spans;
pub mod trace;
pub mod unmatched;

use std::net::IpAddr;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::policy::decision::{Decision, Verdict};
use crate::policy::reason::UpstreamFailure;

/// The status of a request whose client went away before it was answered (as nginx has it).
pub const CLIENT_CLOSED: u16 = 499;

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
    /// The method as it came; any that is not known is `other`.
    pub method: &'a str,
    /// The path as it came, without the query.
    pub path: &'a str,
    /// The decision; `None` when the client went away before there was one.
    pub decision: Option<&'a Decision>,
    /// Where the identity came from.
    pub cache: Option<&'static str>,
    /// The status that the client got; [`CLIENT_CLOSED`] when it got none.
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
    /// `allow`, `observe` (let through, though it would be refused), `refuse`, `answer` (to
    /// `OPTIONS`) or `none`: what became of the request.
    pub fn outcome(&self) -> &'static str {
        match self.decision {
            None => "none",
            Some(decision) => match &decision.verdict {
                Verdict::Permit(permit) if permit.observed().is_some() => "observe",
                Verdict::Permit(_) => "allow",
                Verdict::Deny(_) => "refuse",
                Verdict::Options(_) => "answer",
            },
        }
    }

    /// The code of the refusal, made or only observed, or of the upstream's failure.
    pub fn reason(&self) -> Option<&'static str> {
        self.failure.map(UpstreamFailure::code).or_else(|| self.denied())
    }

    /// The code of the refusal, made or only observed.
    pub fn denied(&self) -> Option<&'static str> {
        match &self.decision?.verdict {
            Verdict::Deny(denial) => Some(denial.reason.code()),
            Verdict::Permit(permit) => permit.observed().map(|denial| denial.reason.code()),
            Verdict::Options(_) => None,
        }
    }
}
