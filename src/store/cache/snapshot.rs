//! The last known identities in a file, for a start while their stores can't be asked.
//!
//! What is read from it is never served in place of a store that answers: it stands in while one does
//! not, for as long as it would have without the restart.
//!
//! **Invariants:** digests only, no secret; the file is the gateway's own and nobody else's, or it is not
//! read; a file that can't be read as a whole counts as none.

mod entry;

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Identities;
use super::blocked::List;
use super::entry::{Key, Known, Place};
use crate::clock::Timestamp;
use crate::policy::identity::{Identity, State};
use crate::store::{Chain, Found, Shutdown, every};

/// How often it is written, where nothing was revoked, in [`SOON`].
const EVERY: u32 = 60;
/// How long after a failure it is tried again, in the same.
const AGAIN: u32 = 5;
/// How long after a revocation it is, so that a restart does not bring back what was revoked.
const SOON: Duration = Duration::from_secs(1);
/// What others may do with the file: nothing.
const OTHERS: u32 = 0o077;

/// Why a snapshot is not read. It is no reason not to start.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// It can't be read or written.
    #[error("the snapshot `{path}` can't be read or written; check its folder and its permissions")]
    File {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Somebody else could have written it.
    #[error("others than the gateway may use the snapshot `{0}`; delete it, or `chmod 600` it")]
    NotOurs(PathBuf),
    /// It is not as this program writes it.
    #[error("line {line} of the snapshot `{path}` can't be read; delete it")]
    Damaged {
        /// Where.
        path: PathBuf,
        /// Which line, from 1 on.
        line: usize,
    },
}

/// A line of the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum Line {
    /// An identity.
    Known(Box<entry::Entry>),
    /// A block list, by the name of its store.
    Blocked { store: String, as_of: u64, fingerprints: Vec<String> },
}

impl Identities {
    /// Writes a snapshot to `path` every minute and soon after everything that was forgotten, until
    /// `shutdown` turns true or its sender is gone, and once more.
    pub async fn keep_snapshot(self: Arc<Self>, path: PathBuf, mut shutdown: Shutdown) {
        let mut tick = every(SOON);
        let (mut failed, mut ticks, mut epoch) = (false, 0_u32, 0);
        loop {
            let last = tokio::select! {
                _ = tick.tick() => false,
                _ = shutdown.wait_for(|stop| *stop) => true,
            };
            ticks = ticks.wrapping_add(1);
            let purges = self.epochs.total();
            let due = ticks.is_multiple_of(if failed { AGAIN } else { EVERY });
            if !last && purges == epoch && !due {
                continue;
            }
            epoch = purges;
            let (this, to) = (Arc::clone(&self), path.clone());
            let written = tokio::task::spawn_blocking(move || this.write_snapshot(&to)).await;
            match written {
                Ok(Err(error)) if !failed => {
                    let error = Chain(&error).to_string();
                    tracing::error!(error, "the snapshot of identities is not written");
                    failed = true;
                }
                Ok(Ok(())) if failed => {
                    tracing::info!("the snapshot of identities is written again");
                    failed = false;
                }
                Ok(Ok(()) | Err(_)) | Err(_) => {}
            }
            if last {
                return;
            }
        }
    }

    /// Writes what is known, in one step.
    ///
    /// # Errors
    /// When the folder can't be written to.
    pub fn write_snapshot(&self, path: &Path) -> Result<(), SnapshotError> {
        let now = self.clock.now();
        let write = || {
            let folder = path.parent().unwrap_or(Path::new("."));
            if !folder.as_os_str().is_empty() && !folder.exists() {
                fs::DirBuilder::new().mode(0o700).create(folder)?;
            }
            // Readable for nobody else, from its first byte on.
            let mut file = io::BufWriter::new(tempfile::NamedTempFile::new_in(folder)?);
            let mut line = |line: &Line| {
                serde_json::to_writer(&mut file, line)?;
                file.write_all(b"\n")
            };
            for (slot, list) in self.stores.iter().zip(self.blocked.lists_of_all()) {
                if let Some(list) = list {
                    let store = slot.store.name().to_owned();
                    let as_of = list.as_of.unwrap_or(now).as_millis();
                    let listed = list.fingerprints.iter().map(ToString::to_string);
                    let fingerprints = listed.collect();
                    line(&Line::Blocked { store, as_of, fingerprints })?;
                }
            }
            for (key, known) in &self.known {
                let Some(slot) = self.stores.get(usize::from(key.store)) else { continue };
                if !slot.store.is_kept_over_restarts() {
                    continue;
                }
                // What is refused anyway need not be remembered.
                if known.fresh_until().as_millis() == 0 || known.identity.state != State::Active {
                    continue;
                }
                let store = slot.store.name();
                line(&Line::Known(entry::Entry::of(store, &key, &known).into()))?;
            }
            let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.persist(path).map_err(|error| error.error)?;
            Ok(())
        };
        write().map_err(|source| SnapshotError::File { path: path.to_owned(), source })
    }

    /// Takes up a snapshot, if there is one, and says of how many identities. All of them count as
    /// past their lifetime, so that every store that can be asked is.
    ///
    /// # Errors
    /// Why it is not taken up.
    pub async fn read_snapshot(&self, path: &Path) -> Result<usize, SnapshotError> {
        let Some(text) = own_text(path)? else { return Ok(0) };
        let read = (1..).zip(text.lines()).map(|(line, text)| {
            let damaged = SnapshotError::Damaged { path: path.to_owned(), line };
            self.parse(text).ok_or(damaged)
        });
        // As a whole, or not at all.
        let read: Vec<Read> = read.collect::<Result<_, _>>()?;
        let (now, mut count) = (self.clock.now(), 0);
        let longest = self.settings.ttl.saturating_add(self.settings.stale_if_error);
        for read in read {
            match read {
                // What was read meanwhile is newer. And a list that is older than any identity may be
                // is none: who was blocked since would get in.
                Read::Blocked(place, list) => {
                    let old = list.as_of.is_none_or(|at| at.after(longest) < now);
                    if !old {
                        self.blocked.set_first(usize::from(place), list);
                    }
                }
                Read::Known(key, identity, until) => {
                    let known = Known::unsettled(Found { identity: *identity, usage: None });
                    known.settle(until.min(now));
                    if known.bridges(now, &self.settings) && !known.identity.is_expired(now) {
                        self.known.entry(key).or_insert(Arc::new(known)).await;
                        count += 1;
                    }
                }
                Read::OfNoStore => {}
            }
        }
        Ok(count)
    }

    /// What a line says; `None` where it can't be read.
    fn parse(&self, text: &str) -> Option<Read> {
        let place = |store: &str| {
            let slot = self.stores.iter().find(|slot| slot.store.name() == store)?;
            Some(slot.index)
        };
        Some(match serde_json::from_str(text).ok()? {
            Line::Blocked { store, as_of, fingerprints } => {
                let listed: Result<_, _> = fingerprints.iter().map(|text| text.parse()).collect();
                let as_of = Some(Timestamp::from_millis(as_of));
                let list = List { fingerprints: listed.ok()?, as_of };
                place(&store).map_or(Read::OfNoStore, |place| Read::Blocked(place, list))
            }
            Line::Known(entry) => {
                let place = place(entry.store());
                let (key, identity, until) = entry.read(place.unwrap_or_default())?;
                match place {
                    Some(_) => Read::Known(key, Box::new(identity), until),
                    None => Read::OfNoStore,
                }
            }
        })
    }
}

/// A line that was read.
enum Read {
    Known(Key, Box<Identity>, Timestamp),
    Blocked(Place, List),
    /// Of a store that the config has no more.
    OfNoStore,
}

/// The text of a file that nobody but this process could have written; `None` if there is none.
fn own_text(path: &Path) -> Result<Option<String>, SnapshotError> {
    let fails = |source| SnapshotError::File { path: path.to_owned(), source };
    let mut file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fails(error)),
    };
    let (opened, named) =
        (file.metadata().map_err(fails)?, fs::symlink_metadata(path).map_err(fails)?);
    // Of its entry in `/proc` a process is the owner.
    let owner = fs::metadata("/proc/self").map_err(fails)?.uid();
    let is_same = (opened.dev(), opened.ino()) == (named.dev(), named.ino());
    if !is_same || !opened.is_file() || opened.mode() & OTHERS != 0 || opened.uid() != owner {
        return Err(SnapshotError::NotOurs(path.to_owned()));
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(fails)?;
    Ok(Some(text))
}

#[cfg(test)]
mod tests;
