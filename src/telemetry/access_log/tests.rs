//! What a line looks like, and what happens when nobody reads.

use std::sync::mpsc;
use std::thread;

use super::*;
use crate::clock::Timestamp;
use crate::policy::rules::RuleTable;
use crate::policy::site::{BaseUrl, Site};
use crate::telemetry::batches::SHARD_LIMIT;
use crate::telemetry::privacy::Detail;

const PRIVACY: Privacy = Privacy { client_address: Detail::Full, user_agent: Detail::Shortened };

fn policy() -> Policy {
    let rules = RuleTable::build(Vec::new()).unwrap();
    let site = Site::new(BaseUrl::parse("http://gw:8080").unwrap(), Vec::new());
    Policy::new(rules, site)
}

fn record(path: &str) -> Record<'_> {
    Record {
        at: Timestamp::from_millis(1_700_000_000_000),
        request_id: "r1",
        trace: None,
        client: Some([203, 0, 113, 7].into()),
        user_agent: Some(b"sentry-cli/3.8.2 (x)"),
        method: "GET",
        path,
        decision: None,
        cache: None,
        status: 404,
        failure: None,
        bytes_in: 0,
        bytes_out: 12,
        duration: Duration::from_micros(1234),
        overhead: None,
        upstream: None,
        upstream_status: None,
        course: None,
    }
}

/// Hands on what is written, and blocks when told to.
struct Sink(mpsc::SyncSender<Vec<u8>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn counter() -> IntCounter {
    IntCounter::new("dropped", "dropped").unwrap()
}

#[test]
fn a_line_is_json_and_closing_writes_it() {
    let (sender, lines) = mpsc::sync_channel(100);
    let log = AccessLog::start(Sink(sender), counter()).unwrap();
    log.write(&record("/a\"b\\\u{1b}/sntryu_1/"), &policy(), PRIVACY, "c0ffee00");
    log.close();
    let text: Vec<u8> = lines.iter().flatten().collect();
    let line: serde_json::Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(line["ts"], "2023-11-14T22:13:20.000Z");
    assert_eq!(line["path"], "/a\"b\\\u{1b}/***/");
    assert_eq!(
        (&line["client_ip"], &line["user_agent"]),
        (&"203.0.113.7".into(), &"sentry-cli/3.8.2".into())
    );
    assert_eq!(line["duration_ms"], 1.234);
    assert_eq!(line["decision"], "none");
    assert_eq!(line["config_hash"], "c0ffee00");
    assert_eq!(text.iter().filter(|byte| **byte == b'\n').count(), 1);
}

#[test]
fn a_blocked_reader_costs_lines_and_not_requests() {
    let (sender, lines) = mpsc::sync_channel(0);
    let dropped = counter();
    let log = AccessLog::start(Sink(sender), dropped.clone()).unwrap();
    let policy = policy();
    let long = "a/".repeat(200);
    let mut written = 0;
    // Nobody reads: at most two shards of lines find room, the one being written and the next.
    while dropped.get() < 10 {
        log.write(&record(&long), &policy, PRIVACY, "c0ffee00");
        written += 1;
        assert!(written < 10 * SHARD_LIMIT / 400, "the buffer has no bound");
    }
    let reader = thread::spawn(move || {
        lines.iter().map(|l| l.iter().filter(|b| **b == b'\n').count()).sum::<usize>()
    });
    log.close();
    drop(log);
    assert_eq!(reader.join().unwrap() as u64 + dropped.get(), written as u64);
}
