//! Files that are rotated while they are written: every record is in one of them, once and whole.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::{gate, of_kind};
use crate::client::{Connection, request};
use crate::gate::{Ending, Gate, eventually};

/// The sample that is shipped.
const SAMPLE: &str = include_str!("../../../deploy/logrotate/portcullis");

/// Sends refusals, each for an organization of its own, while `work` runs, which is told how many there
/// were so far. Says how many there were.
fn under_load(gate: &Gate, work: impl FnOnce(&AtomicUsize)) -> usize {
    let (sent, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut connection = Connection::open(gate.address);
                while !stop.load(Ordering::SeqCst) {
                    let number = sent.fetch_add(1, Ordering::SeqCst);
                    let line = format!("GET /api/0/organizations/org-{number}/issues/");
                    connection.write(&request(&line, &[], b""));
                    assert_eq!(connection.read_reply("GET").expect("an answer").status, 401);
                }
            });
        }
        let _ending = Ending(&stop);
        work(&sent);
    });
    sent.into_inner()
}

/// Waits for some more requests.
fn more(sent: &AtomicUsize) {
    let before = sent.load(Ordering::SeqCst);
    eventually("requests", || sent.load(Ordering::SeqCst) > before + 50);
}

/// The files of the audit.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let is_own =
        |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("audit.log");
    entries.filter(is_own).collect()
}

fn read(path: &Path) -> String {
    if path.extension().is_some_and(|extension| extension == "gz") {
        let mut text = String::new();
        let file = fs::File::open(path).unwrap();
        flate2::read::MultiGzDecoder::new(file).read_to_string(&mut text).unwrap();
        return text;
    }
    fs::read_to_string(path).unwrap()
}

/// Every request is in the files once.
fn check(gate: &Gate, sent: usize) {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for path in files(gate.folder.path()) {
        for record in of_kind(&read(&path), "decision") {
            *seen.entry(record["org"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    let missing: Vec<_> =
        (0..sent).filter(|number| seen.get(&format!("org-{number}")) != Some(&1)).collect();
    assert!(missing.is_empty() && seen.len() == sent, "{missing:?} of {sent}");
    gate.counts("portcullis_audit_dropped_total", &[], 0.0);
}

#[test]
fn a_file_that_is_moved_away_is_replaced_with_or_without_a_signal() {
    let gate = gate("");
    let path = gate.folder.path().join("audit.log");
    let sent = under_load(&gate, |sent| {
        for round in 0..6 {
            more(sent);
            fs::rename(&path, gate.folder.path().join(format!("audit.log.{round}"))).unwrap();
            match round % 3 {
                // Nobody says so.
                0 => {}
                1 => gate.signal("-HUP"),
                // Somebody makes the next one.
                _ => drop(fs::File::create_new(&path)),
            }
            eventually("the next file", || fs::metadata(&path).is_ok_and(|file| file.len() > 0));
        }
    });
    eventually("every record", || {
        let all = files(gate.folder.path()).iter().map(|path| read(path)).collect::<String>();
        all.ends_with('\n') && all.matches("\"kind\":\"decision\"").count() == sent
    });
    check(&gate, sent);
    assert_eq!(files(gate.folder.path()).len(), 7);
}

#[test]
fn a_signal_makes_the_file_anew_though_nothing_is_recorded() {
    let gate = gate("");
    let path = gate.folder.path().join("audit.log");
    eventually("the start", || fs::metadata(&path).is_ok_and(|file| file.len() > 0));
    fs::rename(&path, gate.folder.path().join("audit.log.1")).unwrap();
    assert!(!path.exists());
    gate.signal("-HUP");
    eventually("a file", || path.exists());
    // The config is as it was.
    eventually("a reload", || gate.output().contains("the config is unchanged"));
    assert_eq!(fs::metadata(&path).unwrap().len(), 0);
}

#[test]
fn logrotate_rotates_it_by_the_sample() {
    let gate = gate("");
    let folder = gate.folder.path();
    let own = folder.join("audit.log");
    let config = SAMPLE.replace("/var/log/portcullis/audit.log", own.to_str().unwrap());
    assert_ne!(config, SAMPLE);
    fs::write(folder.join("logrotate.conf"), config).unwrap();
    let rotate = || {
        let program = ["/usr/sbin/logrotate", "logrotate"];
        let program = program.iter().find(|path| Path::new(path).exists()).unwrap_or(&"logrotate");
        let state = folder.join("state");
        let mut command = Command::new(program);
        command.arg("--force").arg("--state").arg(state).arg(folder.join("logrotate.conf"));
        let done = command.output().unwrap();
        let said = String::from_utf8(done.stderr).unwrap();
        // The name of what is moved away has its second in it.
        let early = said.contains("already exists");
        assert!(early || done.status.success() && said.is_empty(), "{said}");
    };
    let sent = under_load(&gate, |sent| {
        for round in 1..=3 {
            more(sent);
            let before = files(folder).len();
            eventually("another file", || {
                if files(folder).len() == before {
                    rotate();
                }
                files(folder).len() == round + 1
            });
            eventually("records", || fs::metadata(&own).unwrap().len() > 0);
        }
    });
    eventually("every record", || {
        let all: usize = files(folder)
            .iter()
            .map(|path| read(path).matches("\"kind\":\"decision\"").count())
            .sum();
        all == sent
    });
    check(&gate, sent);
    let compressed =
        files(folder).iter().filter(|path| path.extension().is_some_and(|e| e == "gz")).count();
    assert_eq!(compressed, 2, "{:?}", files(folder));
}
