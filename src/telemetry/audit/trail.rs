//! The audit of commands, which write to the file beside the gateway.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::file::{FileError, LogFile};
use super::records::{Administration, write_administration};
use crate::telemetry::batches::Sink as _;
use crate::telemetry::privacy::{Detail, Privacy};

/// The file of the audit, open for a command.
#[derive(Debug)]
pub struct Trail {
    path: PathBuf,
    file: LogFile,
}

impl Trail {
    /// Opens the file. Before anything is changed: what can't be recorded is not done.
    ///
    /// # Errors
    /// When it can't be written to.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let failed = |error| FileError { path: path.to_owned(), error };
        let file = LogFile::open(path, Arc::new(AtomicBool::new(false))).map_err(failed)?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Appends a record, in one write.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn append(&mut self, done: &Administration<'_>) -> Result<(), FileError> {
        // A command has no client.
        let nobody = Privacy { client_address: Detail::Off, user_agent: Detail::Off };
        let mut line = Vec::new();
        let written = write_administration(&mut line, done, nobody);
        line.push(b'\n');
        let written = written.map_err(Into::into).and_then(|()| self.file.write_lines(&line).1);
        written.map_err(|error| FileError { path: self.path.clone(), error })
    }
}
