//! Files that are moved, deleted and shared while they are written.

use std::fs;
use std::path::Path;

use super::*;
use crate::clock::Timestamp;
use crate::telemetry::batches::Sink as _;
use crate::telemetry::privacy::Detail;

fn open(path: &Path) -> LogFile {
    LogFile::open(path, Arc::new(AtomicBool::new(false))).unwrap()
}

fn put(file: &mut LogFile, line: &str) {
    let (written, result) = file.write_lines(line.as_bytes());
    result.unwrap();
    assert_eq!(written, line.len());
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn a_file_is_followed_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let (own, old) = (folder.path().join("a"), folder.path().join("b"));
    let mut file = open(&own);
    put(&mut file, "1\n");
    // Moved, and nobody makes a new one.
    fs::rename(&own, &old).unwrap();
    put(&mut file, "2\n");
    assert_eq!((read(&own), read(&old)), ("2\n".to_owned(), "1\n".to_owned()));
    // Somebody does, as logrotate's `create`.
    fs::rename(&own, &old).unwrap();
    fs::write(&own, "").unwrap();
    put(&mut file, "3\n");
    assert_eq!((read(&own), read(&old)), ("3\n".to_owned(), "2\n".to_owned()));
    // Deleted.
    fs::remove_file(&own).unwrap();
    put(&mut file, "4\n");
    assert_eq!(read(&own), "4\n");
    // Emptied in place.
    fs::write(&own, "").unwrap();
    put(&mut file, "5\n");
    assert_eq!(read(&own), "5\n");
}

#[test]
fn what_can_not_be_opened_anew_costs_no_line() {
    let folder = tempfile::tempdir().unwrap();
    let (own, old) = (folder.path().join("a"), folder.path().join("b"));
    let mut file = open(&own);
    fs::rename(&own, &old).unwrap();
    fs::create_dir(&own).unwrap();
    put(&mut file, "1\n");
    assert_eq!(read(&old), "1\n");
    // Into one that has no name any more nothing is written.
    fs::remove_file(&old).unwrap();
    let (written, result) = file.write_lines(b"2\n");
    assert!(written == 0 && result.is_err());
    fs::remove_dir(&own).unwrap();
    put(&mut file, "2\n");
    assert_eq!(read(&own), "2\n");
}

#[test]
fn it_is_opened_anew_when_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("a");
    let reopen = Arc::new(AtomicBool::new(false));
    let mut file = LogFile::open(&own, Arc::clone(&reopen)).unwrap();
    fs::remove_file(&own).unwrap();
    file.look();
    assert!(!own.exists());
    reopen.store(true, Ordering::Release);
    file.look();
    assert!(own.exists() && !reopen.load(Ordering::Acquire));
    put(&mut file, "1\n");
    assert_eq!(read(&own), "1\n");
}

#[test]
fn what_is_no_file_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    for (path, what) in [
        (folder.path().to_owned(), "it is not a regular file"),
        ("/dev/null".into(), "it is not a regular file"),
        (folder.path().join("none/a"), "No such file"),
    ] {
        for error in [try_file(&path).unwrap_err(), Trail::open(&path).unwrap_err()] {
            let error = error.to_string();
            assert!(error.contains(what) && error.contains("; make its folder"), "{error}");
        }
    }
    let fine = folder.path().join("a");
    try_file(&fine).unwrap();
    assert!(!fine.exists(), "to look makes nothing");
    drop(Trail::open(&fine).unwrap());
    try_file(&fine).unwrap();
}

#[test]
fn several_may_write_and_every_line_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    let (writers, lines) = (4, 200);
    std::thread::scope(|scope| {
        for writer in 0..writers {
            let path = &path;
            scope.spawn(move || {
                let mut trail = Trail::open(path).unwrap();
                for line in 0..lines {
                    let target = format!("{writer}-{line}");
                    let actor = Actor::Command { uid: 0, user: Some("root"), login_uid: None };
                    let done = Administration {
                        at: Timestamp::from_millis(1_700_000_000_000),
                        action: "token.create",
                        result: "done",
                        target: Some(&target),
                        actor,
                        left_out: None,
                        config_hash: None,
                    };
                    trail.append(&done).unwrap();
                }
            });
        }
    });
    let text = read(&path);
    let targets = text.lines().map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["target"].as_str().unwrap().to_owned()
    });
    let targets: std::collections::BTreeSet<_> = targets.collect();
    assert_eq!((targets.len(), text.lines().count()), (writers * lines, writers * lines));
    assert_eq!(
        text.lines()
            .next()
            .unwrap()
            .replace(['1', '2', '3'], "0")
            .split_once("\"target\"")
            .unwrap()
            .0,
        "{\"ts\":\"0000-00-04T00:00:00.000Z\",\"level\":\"info\",\"msg\":\"audit\",\
         \"kind\":\"administration\",\"action\":\"token.create\",\"result\":\"done\","
    );
}

#[test]
fn a_log_is_written_when_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let output = Output::File(folder.path().join("a"));
    let records = IntCounterVec::new(prometheus::Opts::new("records", "records"), &["kind"]);
    let dropped = IntCounter::new("dropped", "dropped").unwrap();
    let counters = AuditCounters { records: records.unwrap(), dropped };
    let log = Arc::new(AuditLog::start(&output, &counters).unwrap());
    let privacy = Privacy { client_address: Detail::Shortened, user_agent: Detail::Off };
    let settings = AuditSettings {
        output: output.clone(),
        decisions: Selection::default(),
        when_full: WhenFull::Count,
    };
    let audit = Audit { log, settings, privacy };
    let recorded = audit.administered(&Administration {
        at: Timestamp::from_millis(0),
        action: "explain",
        result: "done",
        target: None,
        actor: Actor::Admin { client: Some([203, 0, 113, 7].into()), claimed: Some("ci") },
        left_out: None,
        config_hash: Some("c0ffee00"),
    });
    assert!(matches!(recorded.0, State::Settled));
    audit.log.close();
    let line: serde_json::Value = serde_json::from_str(&read(output.file().unwrap())).unwrap();
    assert_eq!((&line["client_ip"], &line["actor"]), (&"203.0.113.0/24".into(), &"admin".into()));
    assert_eq!((&line["config_hash"], &line["claimed_actor"]), (&"c0ffee00".into(), &"ci".into()));
    assert_eq!(counters.records.with_label_values(&["administration"]).get(), 1);
    assert_eq!(counters.dropped.get(), 0);
}
