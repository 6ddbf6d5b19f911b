//! The access log: one JSON object a line, one line a request.
//!
//! A line is serialised into the buffer of its thread's shard and written by a thread of its own,
//! so that a request costs no system call and never waits for a slow reader. When the reader is
//! too slow for too long, lines are dropped and counted.

use std::convert::Infallible;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use prometheus::IntCounter;
use serde::Serialize;

use super::Record;
use super::redact::RedactedPath;
use super::trace::TraceContext;
use crate::policy::Policy;
use crate::policy::credential::Scheme;
use crate::policy::identity::Id;

/// How often lines are written.
const INTERVAL: Duration = Duration::from_millis(100);
/// How much one shard may hold before lines are dropped, in bytes.
const SHARD_LIMIT: usize = 4 << 20;
/// How long the last lines may take.
const LAST: Duration = Duration::from_secs(2);
/// More shards than the gateway has workers on most machines.
const SHARDS: usize = 16;

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
    client_ip: Option<std::net::IpAddr>,
    method: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<&'a str>,
    /// The organization and the project as the path names them: a slug or an id.
    #[serde(skip_serializing_if = "Option::is_none")]
    org: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<&'a str>,
    path: Text<RedactedPath<'a>>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    scheme: Option<&'static str>,
    /// What the identity is; left out while nobody is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    credential_kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_fp: Option<Text<crate::policy::credential::Fingerprint>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<Text<&'a Id>>,
    decision: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache: Option<&'static str>,
    /// Of the config that the request was decided under.
    config_hash: &'a str,
}

/// Writes a value by its `Display`.
struct Text<T>(T);

impl<T: std::fmt::Display> Serialize for Text<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'a> Line<'a> {
    fn of(record: &'a Record<'a>, policy: &'a Policy, config_hash: &'a str) -> Self {
        let rule = record.decision.and_then(|decision| decision.rule);
        let rule = rule.map(|id| policy.rules.rule(id));
        let name = record.decision.and_then(|decision| decision.name);
        let caller = record.decision.map(|decision| &decision.caller);
        let identity = caller.and_then(|caller| caller.identity.as_deref());
        let path = RedactedPath { path: record.path, template: rule.map(|rule| &rule.template) };
        let millis = |duration: Duration| (duration.as_secs_f64() * 1e6).round() / 1e3;
        Line {
            ts: Text(record.at),
            level: "info",
            msg: "request",
            request_id: record.request_id,
            trace_id: record.trace.map(TraceContext::trace),
            span_id: record.trace.map(TraceContext::span),
            client_ip: record.client,
            method: super::routes::method_label(record.method),
            host: name.map(|name| policy.site.names()[name.index()].authority()),
            route: rule.map(|rule| rule.template.as_str()),
            org: path.named("organization_"),
            project: path.named("project_"),
            path: Text(path),
            status: record.status,
            bytes_in: record.bytes_in,
            bytes_out: record.bytes_out,
            duration_ms: millis(record.duration),
            upstream: record.overhead.and(rule).map(|rule| rule.service.as_str()),
            upstream_status: record.upstream_status,
            upstream_ms: record.upstream.map(millis),
            scheme: caller.and_then(|caller| caller.scheme).map(Scheme::as_str),
            credential_kind: identity.map(|identity| identity.identity().kind.as_str()),
            token_fp: caller.and_then(|c| c.digest).map(|digest| Text(digest.fingerprint())),
            principal: identity.map(|identity| Text(&identity.identity().id)),
            decision: record.outcome(),
            reason: record.reason(),
            rule: rule.map(|rule| &*rule.place),
            cache: record.cache,
            config_hash,
        }
    }
}

/// Where access lines go.
#[derive(Debug)]
pub struct AccessLog {
    shards: Arc<[Mutex<Vec<u8>>; SHARDS]>,
    dropped: IntCounter,
    stop: Arc<AtomicBool>,
    thread: thread::Thread,
    /// Hangs up when the thread ends.
    ended: Mutex<mpsc::Receiver<Infallible>>,
}

impl AccessLog {
    /// Starts the thread that writes to `sink`; `dropped` counts lines that found no room.
    ///
    /// # Errors
    /// When the thread can't be started.
    pub fn start(sink: impl Write + Send + 'static, dropped: IntCounter) -> io::Result<Self> {
        let shards = Arc::new([const { Mutex::new(Vec::new()) }; SHARDS]);
        let stop = Arc::new(AtomicBool::new(false));
        let (their_shards, their_stop) = (Arc::clone(&shards), Arc::clone(&stop));
        let lost = dropped.clone();
        let (until_then, ended) = mpsc::channel();
        let writer = thread::Builder::new().name("access-log".to_owned()).spawn(move || {
            write_lines(&their_shards, &their_stop, &lost, sink);
            drop(until_then);
        })?;
        let thread = writer.thread().clone();
        Ok(Self { shards, dropped, stop, thread, ended: Mutex::new(ended) })
    }

    /// Adds the line of a request, which was decided under the config of this hash.
    pub fn write(&self, record: &Record<'_>, policy: &Policy, config_hash: &str) {
        let mut shard = lock(&self.shards[shard()]);
        if shard.len() > SHARD_LIMIT {
            self.dropped.inc();
            return;
        }
        let before = shard.len();
        match serde_json::to_writer(&mut *shard, &Line::of(record, policy, config_hash)) {
            Ok(()) => shard.push(b'\n'),
            Err(_) => {
                // A vector takes any bytes; should that change, no half line gets out.
                shard.truncate(before);
                self.dropped.inc();
            }
        }
    }

    /// Writes what is left and ends the thread. One that nobody reads from is left alone: it must not
    /// keep the gateway from ending.
    pub fn close(&self) {
        if self.stop.swap(true, Ordering::AcqRel) {
            return;
        }
        self.thread.unpark();
        // Nothing is ever sent: it has ended, or takes too long.
        let Err(_) = lock(&self.ended).recv_timeout(LAST);
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.close();
    }
}

/// Each thread has a shard of its own as long as there are no more threads than shards, so the
/// lock is met only by the writer, ten times a second.
fn shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
    }
    MINE.with(|mine| *mine)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write_lines(
    shards: &[Mutex<Vec<u8>>; SHARDS],
    stop: &AtomicBool,
    lost: &IntCounter,
    mut sink: impl Write,
) {
    let mut batch = Vec::new();
    let mut failing = false;
    loop {
        let last = stop.load(Ordering::Acquire);
        for shard in shards {
            std::mem::swap(&mut *lock(shard), &mut batch);
            if batch.is_empty() {
                continue;
            }
            if let Err(error) = sink.write_all(&batch).and_then(|()| sink.flush()) {
                let lines = batch.iter().filter(|byte| **byte == b'\n').count();
                lost.inc_by(u64::try_from(lines).unwrap_or(u64::MAX));
                if !std::mem::replace(&mut failing, true) {
                    tracing::error!(%error, "access lines are lost; check where the log goes");
                }
            } else {
                failing = false;
            }
            batch.clear();
            // After a burst the memory goes back.
            batch.shrink_to(64 << 10);
        }
        if last {
            return;
        }
        thread::park_timeout(INTERVAL);
    }
}

#[cfg(test)]
mod tests;
