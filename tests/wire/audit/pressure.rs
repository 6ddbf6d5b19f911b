//! A disk that is full or slow: requests go on and what is lost is counted, or they wait and are refused.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::json;

use super::{LINE, gate, of_kind, options, records, text};
use crate::client::{Connection, request};
use crate::gate::{Gate, Options, eventually};
use crate::upstream::Upstream;

const ISSUE: &str = "PUT /api/0/organizations/acme/issues/";

/// Sets how large files may become.
fn limit(gate: &Gate, what: &str) {
    let pid = gate.process().to_string();
    let done = Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={what}:")]).output();
    assert!(done.unwrap().status.success());
}

/// Leaves room for some bytes more than the audit has, so that a line breaks off.
fn fill(gate: &Gate) {
    let length = std::fs::metadata(gate.folder.path().join("audit.log")).unwrap().len();
    limit(gate, &(length + 1000).to_string());
}

/// A request that is refused, and makes a long record.
fn refusal() -> Vec<u8> {
    let slug = "a".repeat(220);
    request(&format!("GET /api/0/organizations/{slug}/issues/"), &[], b"")
}

/// Sends so many, each of which is refused.
fn refuse(gate: &Gate, count: usize) {
    let (bytes, mut connection) = (refusal(), Connection::open(gate.address));
    for _ in 0..count {
        connection.write(&bytes);
        assert_eq!(connection.read_reply("GET").expect("an answer").status, 401);
    }
}

fn dropped(gate: &Gate) -> usize {
    gate.metric("portcullis_audit_dropped_total", &[]) as usize
}

/// Sends refusals until some records were lost, and says how many it sent.
fn overflow(gate: &Gate) -> usize {
    let mut sent = 0;
    while dropped(gate) == 0 {
        refuse(gate, 500);
        sent += 500;
        assert!(sent < 60_000, "the queue has no bound");
    }
    sent
}

#[test]
fn with_a_full_disk_what_is_written_and_what_was_lost_are_all() {
    let mut gate = Gate::with(Upstream::start(), &Options { threads: Some(1), ..options("") });
    refuse(&gate, 10);
    eventually("records", || of_kind(&text(&gate), "decision").len() == 10);
    fill(&gate);
    let sent = overflow(&gate);
    eventually("a word about it", || gate.output().contains("audit records can't be written"));
    // A part of a line is taken back.
    records(&text(&gate));
    limit(&gate, "unlimited");
    refuse(&gate, 10);
    let all = 10 + sent + 10;
    eventually("every record", || {
        let text = text(&gate);
        text.ends_with('\n') && of_kind(&text, "decision").len() + dropped(&gate) == all
    });
    assert_eq!(gate.metric("portcullis_audit_records_total", &["\"decision\""]) as usize, all);
    gate.stop();
    assert_eq!(of_kind(&text(&gate), "settings").last().unwrap()["action"], "stop");
}

/// A pipe in a folder that nobody reads yet: what is written to it stands still when it is full.
fn pipe(folder: &Path) -> File {
    let path = folder.join("pipe");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    // For both, so that nobody waits for the other.
    OpenOptions::new().read(true).write(true).open(path).unwrap()
}

/// A gateway whose standard output, where its audit goes, is that pipe.
fn slow(folder: &Path, audit: &str) -> Gate {
    let words = [
        "sh",
        "-c",
        &format!("exec \"$@\" > {}", folder.join("pipe").display()),
        "sh",
        env!("CARGO_BIN_EXE_portcullis"),
    ];
    let tables = format!("[audit]\noutput = \"stdout\"\n{audit}\n[log]\naccess = false\n");
    let program = Some(words.map(str::to_owned).to_vec());
    Gate::with(
        Upstream::start(),
        &Options { tables, program, threads: Some(1), ..Options::default() },
    )
}

/// Reads the pipe to its end, and counts decisions.
fn read(folder: &Path) -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    let (counted, pipe) = (Arc::clone(&count), File::open(folder.join("pipe")).unwrap());
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines() {
            let line: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
            if line["kind"] == "decision" {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    count
}

#[test]
fn with_a_slow_disk_nobody_waits_and_what_is_written_and_what_was_lost_are_all() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = pipe(folder.path());
    let mut gate = slow(folder.path(), "");
    let sent = overflow(&gate);
    let written = read(folder.path());
    drop(pipe);
    eventually("every record", || written.load(Ordering::SeqCst) + dropped(&gate) == sent);
    let lost = dropped(&gate);
    gate.stop();
    assert_eq!(written.load(Ordering::SeqCst) + lost, sent);
    assert!(lost > 0 && lost < sent);
}

#[test]
fn with_a_full_disk_nothing_passes_that_has_to_be_recorded() {
    let gate = gate("when_full = \"wait\"");
    let token = gate.token("event:write");
    gate.settle();
    for line in [ISSUE, LINE] {
        assert_eq!(gate.bearer(line, &token).status, 200);
    }
    gate.upstream.take();
    let length = std::fs::metadata(gate.folder.path().join("audit.log")).unwrap().len();
    limit(&gate, &length.to_string());
    for _ in 0..3 {
        let reply = gate.bearer(ISSUE, &token);
        assert_eq!((reply.status, reply.code().as_str()), (503, "audit_unavailable"));
        assert_eq!(reply.header("retry-after"), Some("5"));
        // Nor does anybody learn whether a token is known.
        let reply = gate.bearer(LINE, "sntryu_unknown");
        assert_eq!((reply.status, reply.code().as_str()), (503, "audit_unavailable"));
    }
    assert!(gate.upstream.take().is_empty());
    // What is not recorded goes on.
    assert_eq!(gate.bearer(LINE, &token).status, 200);
    assert_eq!(gate.upstream.take().len(), 1);

    limit(&gate, "unlimited");
    eventually("a write that passes", || gate.bearer(ISSUE, &token).status == 200);
    assert_eq!(gate.bearer(LINE, "sntryu_unknown").status, 401);
    let found = of_kind(&text(&gate), "decision");
    let unavailable = |record: &&serde_json::Value| record["reason"] == "audit_unavailable";
    assert!(found.iter().filter(unavailable).count() >= 6, "{found:?}");
    // Each has the record of what was decided at first.
    for refused in found.iter().filter(unavailable) {
        assert_eq!(refused["status"], 503);
        let of = found.iter().filter(|record| record["request_id"] == refused["request_id"]);
        assert_eq!(of.count(), 2, "{refused}");
    }
    assert_eq!(found.last().unwrap()["reason"], json!("unknown_token"));
    assert_eq!(dropped(&gate), 0);
}

#[test]
fn with_a_slow_disk_a_request_waits_and_not_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = pipe(folder.path());
    let gate = slow(folder.path(), "when_full = \"wait\"\nmax_wait = \"500ms\"");
    let token = gate.token("event:write");
    let mut refused = 0;
    // As long as the pipe takes records, they are written.
    while refused == 0 {
        let reply = gate.bearer(ISSUE, &token);
        let seen = gate.upstream.take().len();
        match reply.status {
            200 => assert_eq!(seen, 1),
            503 => {
                assert_eq!((reply.code().as_str(), seen), ("audit_unavailable", 0));
                refused += 1;
            }
            other => panic!("{other}: {reply:?}"),
        }
    }
    let _written = read(folder.path());
    drop(pipe);
    eventually("a write that passes", || gate.bearer(ISSUE, &token).status == 200);
    assert_eq!(dropped(&gate), 0);
}
