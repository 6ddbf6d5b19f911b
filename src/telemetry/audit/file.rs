//! A file that several processes append to and that is rotated under them.
//!
//! **Invariant:** a line that is reported as written is in the file that had the name when it was
//! written, whole. What a full disk leaves of a line is taken back.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::telemetry::batches::Sink;

/// For its owner, and for its group to read. The process's mask may take more away.
const MODE: u32 = 0o640;

/// A file that is open for appending.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    /// Device and number, by which a file of the same name is told apart.
    id: (u64, u64),
    /// Turns true when it is to be opened anew.
    reopen: Arc<AtomicBool>,
    /// The new file can't be opened, and that was said.
    stale: bool,
}

fn open(path: &Path) -> io::Result<(File, (u64, u64))> {
    // To open a pipe would wait for its reader.
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(io::Error::other("it is not a regular file"));
    }
    let file = OpenOptions::new().append(true).create(true).mode(MODE).open(path)?;
    let found = file.metadata()?;
    Ok((file, (found.dev(), found.ino())))
}

impl LogFile {
    /// Opens the file at `path`; makes it if there is none.
    ///
    /// # Errors
    /// The operating system's.
    pub(super) fn open(path: &Path, reopen: Arc<AtomicBool>) -> io::Result<Self> {
        let (file, id) = open(path)?;
        Ok(Self { path: path.to_owned(), file, id, reopen, stale: false })
    }

    /// Follows the name: takes another file when the name has come to mean one. A file that was moved away
    /// is written to for as long as there is no new one, one that was deleted is not.
    fn follow(&mut self) -> io::Result<()> {
        let asked = self.reopen.swap(false, Ordering::AcqRel);
        let now = fs::metadata(&self.path).map(|found| (found.dev(), found.ino())).ok();
        if now == Some(self.id) && !asked {
            return Ok(());
        }
        match open(&self.path) {
            Ok((file, id)) => {
                (self.file, self.id, self.stale) = (file, id, false);
                Ok(())
            }
            Err(error) if self.file.metadata()?.nlink() == 0 => Err(error),
            Err(error) => {
                if !std::mem::replace(&mut self.stale, true) {
                    let path = self.path.display();
                    tracing::warn!(%error, "`{path}` can't be opened anew, so the file before it is written to; check its folder");
                }
                Ok(())
            }
        }
    }

    /// How much of what was written of `lines` is whole lines, once the rest is taken back. Where it
    /// can't be, because somebody else has written since, it stays.
    fn whole(&mut self, lines: &[u8]) -> usize {
        let whole = lines.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let torn = (lines.len() - whole) as u64;
        let taken_back = torn == 0 || self.take_back(torn).is_ok_and(|done| done);
        if taken_back { whole } else { lines.len() }
    }

    fn take_back(&mut self, bytes: u64) -> io::Result<bool> {
        let end = self.file.stream_position()?;
        let is_last = self.file.metadata()?.len() == end;
        if is_last {
            self.file.set_len(end.saturating_sub(bytes))?;
        }
        Ok(is_last)
    }
}

impl Sink for LogFile {
    fn write_lines(&mut self, lines: &[u8]) -> (usize, io::Result<()>) {
        if let Err(error) = self.follow() {
            return (0, Err(error));
        }
        let (written, result) = write(&mut self.file, lines);
        match result {
            Ok(()) => (written, Ok(())),
            Err(error) => (self.whole(&lines[..written]), Err(error)),
        }
    }

    fn look(&mut self) {
        if self.reopen.load(Ordering::Acquire)
            && let Err(error) = self.follow()
        {
            let path = self.path.display();
            tracing::warn!(%error, "`{path}` can't be opened anew; check its folder");
        }
    }
}

/// Standard output, which access lines may go to as well.
#[derive(Debug)]
pub(super) struct Stdout(File);

impl Stdout {
    /// Without the buffer of the library, so that what was written is known.
    ///
    /// # Errors
    /// When it is closed.
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self(io::stdout().as_fd().try_clone_to_owned()?.into()))
    }
}

impl Sink for Stdout {
    fn write_lines(&mut self, lines: &[u8]) -> (usize, io::Result<()>) {
        // Until all is written, nobody else's line comes in between.
        let _others = io::stdout().lock();
        write(&mut self.0, lines)
    }
}

fn write(file: &mut File, lines: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < lines.len() {
        match file.write(&lines[written..]) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

/// Whether a file could be opened for appending, without making one.
///
/// # Errors
/// Why not.
pub fn try_file(path: &Path) -> Result<(), FileError> {
    let found = match fs::metadata(path) {
        Ok(found) if !found.is_file() => Err(io::Error::other("it is not a regular file")),
        Ok(_) => OpenOptions::new().append(true).open(path).map(|_| ()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = path.parent().filter(|folder| *folder != Path::new(""));
            tempfile::tempfile_in(folder.unwrap_or(Path::new("."))).map(|_| ())
        }
        Err(error) => Err(error),
    };
    found.map_err(|error| FileError { path: path.to_owned(), error })
}

/// Why the file of the audit can't be written.
#[derive(Debug, thiserror::Error)]
#[error("the audit can't be written to `{}` ({error}); make its folder, or change its owner or permissions", path.display())]
pub struct FileError {
    pub(super) path: PathBuf,
    pub(super) error: io::Error,
}
