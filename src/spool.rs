//! Bodies that are kept until they are whole: a little of each in memory, the rest in a file
//! that has no name, so that it ends with the request whatever becomes of the process.
//!
//! **Invariant:** a body never takes more than its limit, all of them never more than the budget, and
//! what one took is given back when it is dropped. No worker waits for a disk.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Bytes, BytesMut};
use tokio::task::spawn_blocking;

use crate::budget::{Budget, Share};

/// What all bodies together may keep in memory, in bytes; beyond it they go to their files at once.
const MEMORY_IN_ALL: u64 = 64 << 20;
/// How much is read back from a file at a time.
const PIECE: u64 = 64 << 10;

/// Where bodies are kept, and how much of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolSettings {
    /// The folder of the files; the system's for temporary files when `None`.
    pub folder: Option<PathBuf>,
    /// What one body may keep in memory, in bytes.
    pub memory: u64,
    /// The largest body, in bytes.
    pub max_body: u64,
    /// What all bodies together may take in the folder, in bytes.
    pub budget: u64,
}

/// Keeps bodies.
#[derive(Debug)]
pub struct Spool {
    settings: SpoolSettings,
    folder: PathBuf,
    known: Room,
    strangers: Room,
    failing: AtomicBool,
}

/// Where there is room for bodies.
#[derive(Debug)]
struct Room {
    memory: Arc<Budget>,
    disk: Arc<Budget>,
}

impl Room {
    /// Half of it, at most.
    fn half(&self, memory: u64, disk: u64) -> Self {
        let half = |of: &Arc<Budget>, size: u64| Arc::new(Budget::part(Arc::clone(of), size / 2));
        Self { memory: half(&self.memory, memory), disk: half(&self.disk, disk) }
    }
}

/// Why a body could not be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpoolError {
    /// It has more bytes than this.
    #[error("the body is larger than {0} bytes")]
    TooLarge(u64),
    /// There is no room for it at the moment.
    #[error("there is no room for the body")]
    Full,
    /// The folder does not take it.
    #[error("the body can't be kept")]
    Unwritable,
}

impl SpoolSettings {
    /// The folder of the files.
    pub fn folder(&self) -> PathBuf {
        self.folder.clone().unwrap_or_else(std::env::temp_dir)
    }

    /// Whether bodies could be kept there.
    ///
    /// # Errors
    /// [`Unwritable`], for the operator.
    pub fn try_folder(&self) -> Result<(), Unwritable> {
        let folder = self.folder();
        match tempfile::tempfile_in(&folder) {
            Ok(_) => Ok(()),
            Err(error) => Err(Unwritable { folder, error }),
        }
    }
}

/// A folder that bodies can't be kept in.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{}` can't be written to, so request bodies that have to be kept are refused ({error}); make \
     room in it, change its owner, or set `spool.folder`", folder.display()
)]
pub struct Unwritable {
    folder: PathBuf,
    error: io::Error,
}

impl Spool {
    /// Keeps bodies as `settings` say.
    pub fn new(settings: SpoolSettings) -> Self {
        let folder = settings.folder();
        let budget = |size| Arc::new(Budget::new(size));
        let known = Room { memory: budget(MEMORY_IN_ALL), disk: budget(settings.budget) };
        let strangers = known.half(MEMORY_IN_ALL, settings.budget);
        Self { settings, folder, known, strangers, failing: AtomicBool::new(false) }
    }

    /// As it was told to keep bodies.
    pub const fn settings(&self) -> &SpoolSettings {
        &self.settings
    }

    /// Starts on a body of at most `limit` bytes, and no more than the settings have.
    pub fn body(&self, limit: u64) -> Body<'_> {
        self.body_in(&self.known, limit)
    }

    /// The same for a caller whom nobody knows. All of these have half of the room, so that those who
    /// are known find some.
    pub fn body_of_a_stranger(&self, limit: u64) -> Body<'_> {
        self.body_in(&self.strangers, limit)
    }

    fn body_in(&self, room: &Room, limit: u64) -> Body<'_> {
        Body {
            spool: self,
            limit: limit.min(self.settings.max_body),
            length: 0,
            buffer: BytesMut::new(),
            memory: room.memory.share(),
            file: None,
            written: 0,
            disk: room.disk.share(),
        }
    }

    /// Tells the operator of the first failure of several, and of no other.
    fn told<T>(&self, done: io::Result<T>) -> Result<T, SpoolError> {
        match done {
            Ok(done) => {
                self.failing.store(false, Ordering::Relaxed);
                Ok(done)
            }
            Err(error) => {
                let refused = refusal(error.kind());
                if !self.failing.swap(true, Ordering::Relaxed) {
                    let folder = self.folder.clone();
                    tracing::error!("{}", Unwritable { folder, error });
                }
                Err(refused)
            }
        }
    }
}

/// A body that is being kept.
#[derive(Debug)]
pub struct Body<'a> {
    spool: &'a Spool,
    limit: u64,
    length: u64,
    /// What is not in the file yet.
    buffer: BytesMut,
    memory: Share,
    file: Option<Arc<File>>,
    /// How much is in the file.
    written: u64,
    disk: Share,
}

impl Body<'_> {
    /// Keeps another piece.
    ///
    /// # Errors
    /// [`SpoolError`]: the body can't be kept, and what follows need not be read.
    pub async fn push(&mut self, piece: &[u8]) -> Result<(), SpoolError> {
        let size = piece.len() as u64;
        self.length += size;
        if self.length > self.limit {
            return Err(SpoolError::TooLarge(self.limit));
        }
        let fits = self.buffer.len() as u64 + size <= self.spool.settings.memory;
        if fits && self.memory.take(size) {
            self.buffer.extend_from_slice(piece);
            return Ok(());
        }
        self.buffer.extend_from_slice(piece);
        let flushed = self.buffer.split().freeze();
        self.memory.give_back();
        self.write(flushed).await
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), SpoolError> {
        let size = bytes.len() as u64;
        if !self.disk.take(size) {
            return Err(SpoolError::Full);
        }
        let (file, at, folder) = (self.file.take(), self.written, self.spool.folder.clone());
        let written = blocking(move || {
            let file = match file {
                Some(file) => file,
                None => Arc::new(tempfile::tempfile_in(folder)?),
            };
            file.write_all_at(&bytes, at).map(|()| file)
        });
        self.file = Some(self.spool.told(written.await)?);
        self.written += size;
        Ok(())
    }

    /// The largest that it may be, in bytes.
    pub const fn limit(&self) -> u64 {
        self.limit
    }

    /// The whole body, to be read.
    pub fn finish(self) -> Kept {
        Kept {
            length: self.length,
            file: self.file,
            written: self.written,
            read: 0,
            rest: self.buffer.freeze(),
            _shares: [self.memory, self.disk],
        }
    }
}

/// A body that is kept, and is read once.
#[derive(Debug)]
pub struct Kept {
    length: u64,
    file: Option<Arc<File>>,
    written: u64,
    read: u64,
    rest: Bytes,
    _shares: [Share; 2],
}

impl Kept {
    /// How many bytes it has.
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// All of it, still to be read: for a body that is small.
    ///
    /// # Errors
    /// As the file has them.
    pub async fn whole(&self) -> io::Result<Bytes> {
        let Some(file) = &self.file else { return Ok(self.rest.clone()) };
        let (file, size) = (Arc::clone(file), usize::try_from(self.written).unwrap_or_default());
        let read = blocking(move || {
            let mut whole = vec![0; size];
            file.read_exact_at(&mut whole, 0).map(|()| whole)
        });
        let mut whole = read.await?;
        whole.extend_from_slice(&self.rest);
        Ok(whole.into())
    }

    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// As the file has them.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        if let Some(file) = &self.file
            && self.read < self.written
        {
            let size = PIECE.min(self.written - self.read);
            let (file, at) = (Arc::clone(file), self.read);
            let piece = blocking(move || {
                // At most `PIECE`.
                let mut piece = vec![0; usize::try_from(size).unwrap_or_default()];
                file.read_exact_at(&mut piece, at).map(|()| piece)
            });
            let piece = piece.await?;
            self.read += size;
            return Ok(Some(piece.into()));
        }
        let rest = std::mem::take(&mut self.rest);
        Ok((!rest.is_empty()).then_some(rest))
    }
}

fn refusal(kind: io::ErrorKind) -> SpoolError {
    match kind {
        // The last is a limit of the file system or of the process (`ulimit -f`).
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            SpoolError::Full
        }
        // Not our own list: whatever else there is, it needs the operator.
        _ => SpoolError::Unwritable,
    }
}

/// Runs what waits for a disk where no worker waits with it.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

#[cfg(test)]
mod tests;
