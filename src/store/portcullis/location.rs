//! Where a token store is, as its URL says.

use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The file of a token store, from `sqlite:///absolute/path` or `sqlite://relative/path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreLocation(PathBuf);

impl StoreLocation {
    /// The store in this file.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// Not the URL of a token store. The text is not repeated: it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLocation {
    /// Another scheme.
    #[error(
        "the `url` of a file of tokens starts with `sqlite://`, such as `sqlite:///path/tokens.db`; a \
         PostgreSQL is named in a config"
    )]
    Scheme,
    /// No path.
    #[error("the `url` of the token store names no file; write `sqlite:///path/tokens.db`")]
    NoPath,
    /// Something that SQLite would not take for a plain file name.
    #[error(
        "the `url` of the token store has more than a path (`?`, `#`, `%` or `:memory:`); write `sqlite:///path/tokens.db`"
    )]
    NotPlain,
}

impl FromStr for StoreLocation {
    type Err = BadLocation;

    fn from_str(url: &str) -> Result<Self, BadLocation> {
        let path = url.strip_prefix("sqlite://").ok_or(BadLocation::Scheme)?;
        if path.is_empty() || path.ends_with('/') {
            return Err(BadLocation::NoPath);
        }
        if path == ":memory:" || path.contains(['?', '#', '%', '\0']) {
            return Err(BadLocation::NotPlain);
        }
        Ok(Self(PathBuf::from(path)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_plain_path() {
        let rows = [
            ("sqlite:///var/lib/tokens.db", Ok("/var/lib/tokens.db")),
            ("sqlite://tokens.db", Ok("tokens.db")),
            ("sqlite:///", Err(BadLocation::NoPath)),
            ("sqlite://", Err(BadLocation::NoPath)),
            ("sqlite://:memory:", Err(BadLocation::NotPlain)),
            ("sqlite:///a.db?mode=ro", Err(BadLocation::NotPlain)),
            ("sqlite:tokens.db", Err(BadLocation::Scheme)),
            ("postgres://u:secret@host/db", Err(BadLocation::Scheme)),
            ("/var/lib/tokens.db", Err(BadLocation::Scheme)),
        ];
        for (url, wanted) in rows {
            let location = url.parse::<StoreLocation>();
            assert_eq!(
                location.as_ref().map(|l| l.path()),
                wanted.as_ref().map(Path::new),
                "{url}"
            );
        }
    }
}
