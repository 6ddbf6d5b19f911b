//! The access log: one JSON object a line, one line a request.

use std::io::{self, Write};
use std::time::Duration;

use prometheus::IntCounter;
use serde::Serialize;

use super::Record;
use super::batches::{Batches, Manner, Stream, Unwritten};
use super::facts::{Facts, Text};
use super::privacy::{ClientAddress, Privacy, UserAgent};
use super::trace::TraceContext;
use crate::policy::Policy;

const MANNER: Manner = Manner {
    thread: "access-log",
    failing: "access lines are lost; check where the log goes",
    unwritten: Unwritten::Lost,
};

/// The fields of a line. A field that does not apply is left out.
#[derive(Serialize)]
struct Line<'a> {
    ts: Text<crate::clock::Timestamp>,
    level: &'static str,
    msg: &'static str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    span_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_ip: Option<Text<ClientAddress>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<Text<UserAgent<'a>>>,
    #[serde(flatten)]
    facts: Facts<'a>,
    status: u16,
    bytes_in: u64,
    bytes_out: u64,
    duration_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream_status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream_ms: Option<f64>,
    decision: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache: Option<&'static str>,
    /// Of the config that the request was decided under.
    config_hash: &'a str,
}

impl<'a> Line<'a> {
    fn of(
        record: &'a Record<'a>,
        policy: &'a Policy,
        privacy: Privacy,
        config_hash: &'a str,
    ) -> Self {
        let rule = record.decision.and_then(|decision| decision.rule);
        let rule = rule.map(|id| policy.rules.rule(id));
        let millis = |duration: Duration| (duration.as_secs_f64() * 1e6).round() / 1e3;
        Line {
            ts: Text(record.at),
            level: "info",
            msg: "request",
            request_id: record.request_id,
            trace_id: record.trace.map(TraceContext::trace),
            span_id: record.trace.map(TraceContext::span),
            client_ip: privacy.address(record.client).map(Text),
            user_agent: privacy.agent(record.user_agent).map(Text),
            facts: Facts::of(record.method, record.path, record.decision, policy),
            status: record.status,
            bytes_in: record.bytes_in,
            bytes_out: record.bytes_out,
            duration_ms: millis(record.duration),
            upstream: record.overhead.and(rule).map(|rule| rule.service.as_str()),
            upstream_status: record.upstream_status,
            upstream_ms: record.upstream.map(millis),
            decision: record.outcome(),
            reason: record.reason(),
            cache: record.cache,
            config_hash,
        }
    }
}

/// Where access lines go.
#[derive(Debug)]
pub struct AccessLog(Batches);

impl AccessLog {
    /// Starts the thread that writes to `sink`; `dropped` counts lines that found no room.
    ///
    /// # Errors
    /// When the thread can't be started.
    pub fn start(sink: impl Write + Send + 'static, dropped: IntCounter) -> io::Result<Self> {
        Ok(Self(Batches::start(Stream(sink), MANNER, dropped)?))
    }

    /// Adds the line of a request, which was decided under the config of this hash.
    pub fn write(&self, record: &Record<'_>, policy: &Policy, privacy: Privacy, config_hash: &str) {
        let line = Line::of(record, policy, privacy, config_hash);
        self.0.add(|lines| serde_json::to_writer(lines, &line));
    }

    /// Writes what is left, for as long as that may take.
    pub fn close(&self) {
        self.0.close();
    }
}

#[cfg(test)]
mod tests;
