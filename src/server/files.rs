//! The files that a config was read from, and whether they are still what they were.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::clock::Timestamp;
use crate::config::{Machine, Source};
use crate::policy::credential::Digest;

/// What tells that a file was changed or replaced, links followed: a folder of Kubernetes' is a link
/// that is replaced. `None` while there is none that can be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp(Option<(u64, u64, u64, i64, i64)>);

impl Stamp {
    fn of(path: &Path) -> Self {
        let stamp =
            |file: Metadata| (file.dev(), file.ino(), file.size(), file.mtime(), file.mtime_nsec());
        Self(fs::metadata(path).ok().map(stamp))
    }
}

/// A file as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    /// From before it was read, so that a change meanwhile shows.
    stamp: Stamp,
    /// What was in it; `None` when it could not be read.
    content: Option<Digest>,
}

/// Reads from the machine, and notes which files and what was in them.
#[derive(Debug, Default)]
pub(super) struct Recording(Mutex<BTreeMap<PathBuf, Seen>>);

impl Source for Recording {
    fn now(&self) -> Timestamp {
        Machine.now()
    }

    fn read(&self, path: &Path) -> io::Result<String> {
        let stamp = Stamp::of(path);
        let text = Machine.read(path);
        let content = text.as_ref().ok().map(|text| Digest::of(text));
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.entry(path.to_owned()).or_insert(Seen { stamp, content });
        text
    }

    fn env(&self, name: &str) -> Option<String> {
        Machine.env(name)
    }
}

/// Files as they were read.
#[derive(Debug, Default)]
pub(super) struct Files(BTreeMap<PathBuf, Seen>);

impl Files {
    /// Those of `recording`.
    pub(super) fn of(recording: Recording) -> Self {
        Self(recording.0.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether they are the same files with the same content.
    pub(super) fn same_content(&self, other: &Self) -> bool {
        let content = |files: &Self| -> Vec<_> {
            files.0.iter().map(|(path, seen)| (path.clone(), seen.content)).collect()
        };
        content(self) == content(other)
    }

    /// How the files are now, if any is not as it was read.
    pub(super) fn changed(&self) -> Option<Vec<Stamp>> {
        let now: Vec<_> = self.0.keys().map(|path| Stamp::of(path)).collect();
        let same = self.0.values().zip(&now).all(|(seen, now)| seen.stamp == *now);
        (!same).then_some(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_shows_and_links_are_followed() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for (name, text) in [("a", "one"), ("b", "two")] {
            fs::create_dir(path(name)).unwrap();
            fs::write(path(name).join("file"), text).unwrap();
        }
        std::os::unix::fs::symlink("a", path("link")).unwrap();
        let read = || {
            let recording = Recording::default();
            let text = recording.read(&path("link/file")).ok();
            assert!(recording.read(&path("missing")).is_err() || path("missing").exists());
            (text, Files::of(recording))
        };
        let (text, files) = read();
        assert_eq!((text.as_deref(), files.changed()), (Some("one"), None));
        assert!(files.same_content(&read().1));

        // As Kubernetes replaces a folder.
        std::os::unix::fs::symlink("b", path("new")).unwrap();
        fs::rename(path("new"), path("link")).unwrap();
        assert!(files.changed().is_some());
        let (text, later) = read();
        assert_eq!((text.as_deref(), later.changed()), (Some("two"), None));
        assert!(!files.same_content(&later));

        // What was missing comes, what was there goes.
        fs::write(path("missing"), "").unwrap();
        assert!(later.changed().is_some());
        let (_, later) = read();
        fs::remove_file(path("b/file")).unwrap();
        let gone = later.changed();
        assert!(gone.is_some());
        assert_eq!(later.changed(), gone, "the same change is told in the same way");
        assert!(!later.same_content(&read().1));
    }

    #[test]
    fn a_touch_is_no_other_content() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let read = || {
            let recording = Recording::default();
            recording.read(file.path()).unwrap();
            Files::of(recording)
        };
        let before = read();
        fs::File::options()
            .write(true)
            .open(file.path())
            .unwrap()
            .set_modified(std::time::UNIX_EPOCH)
            .unwrap();
        assert!(before.changed().is_some());
        assert!(before.same_content(&read()));
    }
}
