//! Lines that a thread of its own writes, so that nobody who has something to say waits for a reader.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// How much may wait to be written before lines are lost, in bytes.
const LIMIT: usize = 1 << 20;

/// Where lines are handed over. Never waits, and never fails.
#[derive(Clone, Debug)]
pub(super) struct Lines(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    lost: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    /// Whether what was waiting is being written.
    writing: bool,
}

impl Lines {
    /// Starts the thread that writes to `sink`. `resumed` is told how many lines had been lost, when one
    /// could be written again.
    ///
    /// # Errors
    /// When the thread can't be started.
    pub(super) fn start(
        sink: impl Write + Send + 'static,
        resumed: impl Fn(u64) + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            lost: AtomicU64::new(0),
        });
        let theirs = Arc::clone(&shared);
        thread::Builder::new()
            .name("messages".to_owned())
            .spawn(move || write(&theirs, sink, resumed))?;
        Ok(Self(shared))
    }

    /// How many lines were lost.
    pub(super) fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }

    /// Waits until everything is written, or for so long.
    pub(super) fn flush(&self, patience: Duration) {
        let rest = |state: &mut State| state.writing || !state.waiting.is_empty();
        let waited = self.0.changed.wait_timeout_while(self.0.lock(), patience, rest);
        // What is left is lost with the process.
        drop(waited);
    }
}

impl Write for Lines {
    /// Takes a line as a whole, or loses it as a whole.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut state = self.0.lock();
        if state.waiting.len().saturating_add(line.len()) > LIMIT {
            self.0.lose(line);
        } else {
            state.waiting.extend_from_slice(line);
            self.0.changed.notify_all();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    /// A line is added in one step, so a panic elsewhere leaves it whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lose(&self, lines: &[u8]) {
        let count = lines.iter().filter(|byte| **byte == b'\n').count();
        self.lost.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

fn write(shared: &Shared, mut sink: impl Write, resumed: impl Fn(u64)) {
    let (mut batch, mut told) = (Vec::new(), 0);
    loop {
        let mut state = shared.lock();
        state.writing = false;
        shared.changed.notify_all();
        while state.waiting.is_empty() {
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.writing = true;
        std::mem::swap(&mut state.waiting, &mut batch);
        drop(state);
        match sink.write_all(&batch).and_then(|()| sink.flush()) {
            Ok(()) => {
                let lost = shared.lost.load(Ordering::Relaxed);
                if lost > told {
                    resumed(lost - told);
                    told = lost;
                }
            }
            // There is nobody to tell.
            Err(_) => shared.lose(&batch),
        }
        batch.clear();
        // After a burst the memory goes back.
        batch.shrink_to(64 << 10);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Hands on what is written; blocks while nobody takes it, and fails when nobody will.
    struct Sink(mpsc::SyncSender<Vec<u8>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const FOREVER: Duration = Duration::from_secs(60);

    fn started() -> (Lines, mpsc::Receiver<Vec<u8>>, mpsc::Receiver<u64>) {
        let (sender, written) = mpsc::sync_channel(0);
        let (tell, told) = mpsc::channel();
        let lines = Lines::start(Sink(sender), move |lost| tell.send(lost).unwrap()).unwrap();
        (lines, written, told)
    }

    #[test]
    fn nobody_who_reads_costs_lines_and_those_are_told_of() {
        let (mut lines, written, told) = started();
        let line = [[b'a'; 99].as_slice(), b"\n"].concat();
        let mut count = 0;
        while lines.lost() < 7 {
            lines.write_all(&line).unwrap();
            count += 1;
            assert!(count < 3 * LIMIT / line.len(), "the buffer has no bound");
        }
        // It gives up.
        lines.flush(Duration::from_millis(10));
        let mut bytes = 0;
        while bytes < (count - 7) * line.len() {
            bytes += written.recv_timeout(FOREVER).unwrap().len();
        }
        assert_eq!(bytes, (count - 7) * line.len());
        assert_eq!(told.recv_timeout(FOREVER).unwrap(), 7);
        let reader = thread::spawn(move || written.recv_timeout(FOREVER).unwrap());
        lines.write_all(b"more\n").unwrap();
        lines.flush(FOREVER);
        assert_eq!(reader.join().unwrap(), b"more\n");
        assert_eq!((lines.lost(), told.try_recv()), (7, Err(mpsc::TryRecvError::Empty)));
    }

    #[test]
    fn a_reader_that_is_gone_costs_lines() {
        let (mut lines, written, _told) = started();
        drop(written);
        for count in 1..=3 {
            lines.write_all(b"a\n").unwrap();
            lines.flush(FOREVER);
            assert_eq!(lines.lost(), count);
        }
    }
}
