//! Lines in batches: whoever has one adds it to the buffer of its thread's shard, and a thread of its
//! own writes what there is.
//!
//! So a line costs no system call, and nobody waits for who reads it, but those who ask to. When
//! writing takes too long or fails for too long, lines are dropped and counted.

use std::convert::Infallible;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use prometheus::IntCounter;
use tokio::sync::watch;

/// How often lines are written.
const INTERVAL: Duration = Duration::from_millis(100);
/// How much one shard may hold before lines are dropped, in bytes.
pub(super) const SHARD_LIMIT: usize = 4 << 20;
/// How long the last lines may take.
const LAST: Duration = Duration::from_secs(2);
/// More shards than the gateway has workers on most machines.
const SHARDS: usize = 16;

/// Where lines end up.
pub(super) trait Sink: Send + 'static {
    /// Writes lines, and says how many bytes of them are written, and why not all.
    fn write_lines(&mut self, lines: &[u8]) -> (usize, io::Result<()>);

    /// Is called whenever there could be something to write, whether there is or not.
    fn look(&mut self) {}
}

/// A stream as it is: whether a part of lines was written is not known when it fails.
#[derive(Debug)]
pub(super) struct Stream<W>(pub(super) W);

impl<W: Write + Send + 'static> Sink for Stream<W> {
    fn write_lines(&mut self, lines: &[u8]) -> (usize, io::Result<()>) {
        match self.0.write_all(lines).and_then(|()| self.0.flush()) {
            Ok(()) => (lines.len(), Ok(())),
            Err(error) => (0, Err(error)),
        }
    }
}

/// What becomes of lines that can't be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unwritten {
    /// They are lost.
    Lost,
    /// They are tried again, until there is no room for more.
    Kept,
}

/// What the lines are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// The name of the thread.
    pub(super) thread: &'static str,
    /// What is said when they can't be written.
    pub(super) failing: &'static str,
    /// What becomes of them then.
    pub(super) unwritten: Unwritten,
}

/// Where lines are added.
#[derive(Debug)]
pub(super) struct Batches {
    shared: Arc<Shared>,
    thread: thread::Thread,
    /// Hangs up when the thread ends.
    ended: Mutex<mpsc::Receiver<Infallible>>,
}

#[derive(Debug)]
struct Shared {
    shards: [Mutex<Shard>; SHARDS],
    dropped: IntCounter,
    stop: AtomicBool,
    failures: AtomicU64,
    progress: watch::Sender<Progress>,
}

#[derive(Debug)]
struct Shard {
    lines: Vec<u8>,
    /// How often lines were taken.
    taken: u64,
    /// Nobody takes lines any more.
    closed: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// Of each shard, how many of the batches that were taken are written.
    written: [u64; SHARDS],
    /// How often writing has failed.
    failures: u64,
}

/// A line that was added.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    shard: usize,
    /// The number of its batch.
    batch: u64,
    /// How often writing had failed before.
    failures: u64,
}

impl Batches {
    /// Starts the thread that writes to `sink`; `dropped` counts lines that are lost.
    ///
    /// # Errors
    /// When the thread can't be started.
    pub(super) fn start(sink: impl Sink, manner: Manner, dropped: IntCounter) -> io::Result<Self> {
        let shard = || Mutex::new(Shard { lines: Vec::new(), taken: 0, closed: false });
        let shared = Arc::new(Shared {
            shards: std::array::from_fn(|_| shard()),
            dropped,
            stop: AtomicBool::new(false),
            failures: AtomicU64::new(0),
            progress: watch::Sender::new(Progress::default()),
        });
        let theirs = Arc::clone(&shared);
        let (until_then, ended) = mpsc::channel();
        let writer = thread::Builder::new().name(manner.thread.to_owned()).spawn(move || {
            Writer { shared: &theirs, sink, manner, failing: false, batch: Batch::default() }.run();
            drop(until_then);
        })?;
        Ok(Self { shared, thread: writer.thread().clone(), ended: Mutex::new(ended) })
    }

    /// Adds the line that `write` writes, without its end. Without room for it, and when it can't be
    /// written, it is lost and counted.
    pub(super) fn add<E>(
        &self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Option<Ticket> {
        let own = own_shard();
        let failures = self.shared.failures.load(Ordering::Acquire);
        let mut shard = lock(&self.shared.shards[own]);
        let before = shard.lines.len();
        if before > SHARD_LIMIT || shard.closed || write(&mut shard.lines).is_err() {
            // Of one that broke off, nothing gets out.
            shard.lines.truncate(before);
            drop(shard);
            self.shared.dropped.inc();
            return None;
        }
        shard.lines.push(b'\n');
        Some(Ticket { shard: own, batch: shard.taken + 1, failures })
    }

    /// Has a line written at once and waits for it, at most for so long. Whether it is written;
    /// `false` too when anything could not be since it was added.
    pub(super) async fn written(&self, ticket: Ticket, patience: Duration) -> bool {
        let is_written = |progress: &Progress| progress.written[ticket.shard] >= ticket.batch;
        let mut progress = self.shared.progress.subscribe();
        self.wake();
        let known = progress.wait_for(|now| is_written(now) || now.failures != ticket.failures);
        match tokio::time::timeout(patience, known).await {
            Ok(Ok(progress)) => is_written(&progress),
            Ok(Err(_)) | Err(_) => false,
        }
    }

    /// Has the thread look what there is to do.
    pub(super) fn wake(&self) {
        self.thread.unpark();
    }

    /// Writes what is left and ends the thread; whether it came to that. One that is not done in time is
    /// left alone: it must not keep the gateway from ending.
    pub(super) fn close(&self) -> bool {
        self.end();
        // Nothing is ever sent: it has ended, or takes too long.
        let Err(error) = lock(&self.ended).recv_timeout(LAST);
        error == mpsc::RecvTimeoutError::Disconnected
    }

    fn end(&self) {
        self.shared.stop.store(true, Ordering::Release);
        self.wake();
    }
}

impl Drop for Batches {
    /// The thread ends when it has written what is left. Nobody waits for it here, since that may be on
    /// the way of a request.
    fn drop(&mut self) {
        self.end();
    }
}

/// Each thread has a shard of its own as long as there are no more threads than shards, so the
/// lock is met only by the writer, ten times a second.
fn own_shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
    }
    MINE.with(|mine| *mine)
}

/// A line is added in one step, so a panic elsewhere leaves it whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lines that were taken from a shard, as far as they are not written.
#[derive(Default)]
struct Batch {
    lines: Vec<u8>,
    shard: usize,
    number: u64,
}

struct Writer<'a, S> {
    shared: &'a Shared,
    sink: S,
    manner: Manner,
    failing: bool,
    batch: Batch,
}

impl<S: Sink> Writer<'_, S> {
    fn run(mut self) {
        loop {
            let last = self.shared.stop.load(Ordering::Acquire);
            self.sink.look();
            // What could not be written goes first.
            let mut done = self.write(last);
            for shard in 0..SHARDS {
                if !done {
                    break;
                }
                self.take(shard, last);
                done = self.write(last);
            }
            if last {
                return;
            }
            thread::park_timeout(INTERVAL);
        }
    }

    fn take(&mut self, shard: usize, last: bool) {
        // After a burst the memory goes back.
        self.batch.lines.shrink_to(64 << 10);
        let mut from = lock(&self.shared.shards[shard]);
        from.taken += 1;
        from.closed |= last;
        std::mem::swap(&mut from.lines, &mut self.batch.lines);
        (self.batch.shard, self.batch.number) = (shard, from.taken);
    }

    /// Writes what was taken. Whether nothing is left of it: it is written, or lost.
    fn write(&mut self, last: bool) -> bool {
        if self.batch.lines.is_empty() {
            return true;
        }
        let (written, result) = self.sink.write_lines(&self.batch.lines);
        match result {
            Ok(()) => {
                self.batch.lines.clear();
                self.failing = false;
                let Batch { shard, number, .. } = self.batch;
                self.shared.progress.send_modify(|progress| progress.written[shard] = number);
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::error!(%error, "{}", self.manner.failing);
                }
                self.batch.lines.drain(..written);
                if last || self.manner.unwritten == Unwritten::Lost {
                    let lines = self.batch.lines.iter().filter(|byte| **byte == b'\n').count();
                    self.shared.dropped.inc_by(u64::try_from(lines).unwrap_or(u64::MAX));
                    self.batch.lines.clear();
                }
                self.shared.failures.fetch_add(1, Ordering::Release);
                self.shared.progress.send_modify(|progress| progress.failures += 1);
            }
        }
        self.batch.lines.is_empty()
    }
}

#[cfg(test)]
mod tests;
