//! What is written, in which order, and what is lost.

use std::sync::atomic::AtomicUsize;

use super::*;

const FOREVER: Duration = Duration::from_secs(60);

/// A disk: what was written to it, and how much room it has.
#[derive(Clone, Debug, Default)]
struct Disk {
    written: Arc<Mutex<Vec<u8>>>,
    room: Arc<AtomicUsize>,
    attempts: Arc<AtomicUsize>,
}

impl Disk {
    fn with_room(bytes: usize) -> Self {
        let disk = Self::default();
        disk.room.store(bytes, Ordering::SeqCst);
        disk
    }

    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(lock(&self.written).clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    fn tried(&self) {
        let before = self.attempts.load(Ordering::SeqCst);
        eventually(|| self.attempts.load(Ordering::SeqCst) > before + 1);
    }
}

impl Sink for Disk {
    fn write_lines(&mut self, lines: &[u8]) -> (usize, io::Result<()>) {
        self.attempts.fetch_add(1, Ordering::SeqCst);
        let room = self.room.load(Ordering::SeqCst);
        let fits = lines.len().min(room);
        self.room.fetch_sub(fits, Ordering::SeqCst);
        lock(&self.written).extend_from_slice(&lines[..fits]);
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        (fits, if fits == lines.len() { Ok(()) } else { Err(full()) })
    }
}

/// A disk that is so slow that it takes nothing until it is told to.
struct Stuck(mpsc::Receiver<()>, Disk);

impl Sink for Stuck {
    fn write_lines(&mut self, lines: &[u8]) -> (usize, io::Result<()>) {
        // Whoever tells it may have gone.
        let _ = self.0.recv();
        self.1.write_lines(lines)
    }
}

fn eventually(mut condition: impl FnMut() -> bool) {
    for _ in 0..6000 {
        if condition() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("not within a minute");
}

fn counter() -> IntCounter {
    IntCounter::new("dropped", "dropped").unwrap()
}

fn manner(unwritten: Unwritten) -> Manner {
    Manner { thread: "test", failing: "lines can't be written", unwritten }
}

fn add(batches: &Batches, line: &str) -> Option<Ticket> {
    batches.add(|lines| {
        lines.extend_from_slice(line.as_bytes());
        io::Result::Ok(())
    })
}

fn wait(batches: &Batches, ticket: Ticket, patience: Duration) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(batches.written(ticket, patience))
}

#[test]
fn who_waits_learns_that_its_line_is_written() {
    let disk = Disk::with_room(100);
    let batches = Batches::start(disk.clone(), manner(Unwritten::Kept), counter()).unwrap();
    for line in ["one", "two"] {
        let ticket = add(&batches, line).unwrap();
        assert!(wait(&batches, ticket, FOREVER));
        assert_eq!(disk.lines().last().map(String::as_str), Some(line));
    }
}

#[test]
fn who_waits_learns_that_its_line_is_not_written() {
    let (disk, dropped) = (Disk::with_room(6), counter());
    let batches = Batches::start(disk.clone(), manner(Unwritten::Kept), dropped.clone()).unwrap();
    let first = add(&batches, "one").unwrap();
    assert!(wait(&batches, first, FOREVER));
    let second = add(&batches, "two").unwrap();
    assert!(!wait(&batches, second, FOREVER));
    // The disk has taken half of it, and takes the rest when it can.
    disk.room.store(100, Ordering::SeqCst);
    let third = add(&batches, "three").unwrap();
    eventually(|| disk.lines().len() == 3);
    assert!(wait(&batches, third, FOREVER));
    assert_eq!(
        (disk.lines(), dropped.get()),
        (vec!["one".into(), "two".into(), "three".into()], 0)
    );
}

#[test]
fn nobody_waits_for_a_slow_disk_for_ever() {
    let (go, word) = mpsc::channel();
    let disk = Disk::with_room(100);
    let stuck = Stuck(word, disk.clone());
    let batches = Batches::start(stuck, manner(Unwritten::Kept), counter()).unwrap();
    let ticket = add(&batches, "one").unwrap();
    assert!(!wait(&batches, ticket, Duration::from_millis(50)));
    go.send(()).unwrap();
    assert!(wait(&batches, ticket, FOREVER));
    assert_eq!(disk.lines(), ["one"]);
}

#[test]
fn what_is_kept_has_a_bound_and_the_rest_is_counted() {
    let (disk, dropped) = (Disk::default(), counter());
    let batches = Batches::start(disk.clone(), manner(Unwritten::Kept), dropped.clone()).unwrap();
    let line = "x".repeat(1000);
    let mut added = 0;
    while dropped.get() < 5 {
        add(&batches, &line);
        added += 1;
        assert!(added < 3 * SHARD_LIMIT / line.len(), "the buffer has no bound");
    }
    disk.tried();
    assert_eq!(disk.lines().len(), 0);
    disk.room.store(usize::MAX / 2, Ordering::SeqCst);
    assert!(batches.close());
    assert_eq!(disk.lines().len() as u64 + dropped.get(), added as u64);
    assert!(disk.lines().iter().all(|written| *written == line));
    // After the end there is nobody to write it.
    assert!(add(&batches, "late").is_none());
    assert_eq!(disk.lines().len() as u64 + dropped.get(), added as u64 + 1);
}

#[test]
fn an_end_with_a_full_disk_counts_what_was_left() {
    let (disk, dropped) = (Disk::with_room(8), counter());
    let batches = Batches::start(disk.clone(), manner(Unwritten::Kept), dropped.clone()).unwrap();
    for line in ["one", "two", "three", "four"] {
        add(&batches, line);
    }
    disk.tried();
    assert!(batches.close());
    assert_eq!((disk.lines(), dropped.get()), (vec!["one".into(), "two".into()], 2));
}

#[test]
fn what_is_not_kept_is_lost_at_once() {
    let (disk, dropped) = (Disk::default(), counter());
    let batches = Batches::start(disk.clone(), manner(Unwritten::Lost), dropped.clone()).unwrap();
    add(&batches, "one");
    eventually(|| dropped.get() == 1);
    disk.room.store(100, Ordering::SeqCst);
    add(&batches, "two");
    assert!(batches.close());
    assert_eq!((disk.lines(), dropped.get()), (vec!["two".into()], 1));
}

#[test]
fn a_line_that_breaks_off_is_none() {
    let (disk, dropped) = (Disk::with_room(100), counter());
    let batches = Batches::start(disk.clone(), manner(Unwritten::Kept), dropped.clone()).unwrap();
    let broken = batches.add(|lines| {
        lines.extend_from_slice(b"half");
        Err(())
    });
    assert!(broken.is_none());
    add(&batches, "whole");
    assert!(batches.close());
    assert_eq!((disk.lines(), dropped.get()), (vec!["whole".into()], 1));
}
