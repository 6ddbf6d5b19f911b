//! Why a token store could not be opened.

use std::io;
use std::path::{Path, PathBuf};

use super::schema::Unusable;

/// Why the store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its folder is missing.
    #[error(
        "the folder of the token store `{0}` does not exist; create it, or correct the store's `url`"
    )]
    NoFolder(PathBuf),
    /// The file is missing.
    #[error("there is no token store at `{0}`; create a token first, or correct the store's `url`")]
    NoFile(PathBuf),
    /// The file can't be created or looked at.
    #[error("the token store `{path}` can't be opened; check its owner and its permissions")]
    File {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// SQLite can't open it, or can't bring its tables up to date.
    #[error(
        "the token store `{path}` can't be opened; check its owner, its permissions and its disk"
    )]
    Database {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file is something else.
    #[error("`{0}` is not a token store; name another file in the store's `url`")]
    NotAStore(PathBuf),
    /// A newer version of this program wrote it.
    #[error(
        "the token store `{path}` has schema version {version}, which this version of portcullis does \
         not know; run the version that wrote it, or a newer one"
    )]
    Newer {
        /// Where.
        path: PathBuf,
        /// The version that is not known here.
        version: i64,
    },
    /// A server can't be reached, or does not let the gateway in.
    #[error(
        "the token store at `{place}` can't be opened; check its URL, its password, its rights and the network"
    )]
    Server {
        /// Host and port.
        place: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The database is of something else.
    #[error(
        "the database at `{0}` has tables of something else; give the token store a database of its own"
    )]
    Foreign(String),
    /// The tables are not there, and must not be made now.
    #[error("the database at `{0}` has no token store yet; a start of the gateway makes it")]
    Empty(String),
    /// Some tables are not there, and must not be made now.
    #[error(
        "the token store at `{0}` has tables of an older version; a start of the gateway brings them \
         up to date"
    )]
    Outdated(String),
    /// Tables are not there, and may not be made.
    #[error(
        "the database at `{0}` lacks tables of the token store, and the role may not make them; grant it \
         CREATE on the schema, or start the gateway once as a role that has it"
    )]
    Forbidden(String),
    /// A newer version of this program made the tables.
    #[error(
        "the token store at `{place}` has schema version {version}, which this version of portcullis does \
         not know; run the version that made it, or a newer one"
    )]
    NewerServer {
        /// Host and port.
        place: String,
        /// The version that is not known here.
        version: i64,
    },
}

impl OpenError {
    /// Of a file.
    pub(super) fn of_file(path: &Path, unusable: Unusable) -> Self {
        let path = path.to_owned();
        match unusable {
            Unusable::Newer(version) => OpenError::Newer { path, version },
            Unusable::Foreign | Unusable::NotADatabase => OpenError::NotAStore(path),
            // Of a server only.
            Unusable::Empty | Unusable::Outdated | Unusable::Forbidden => OpenError::NoFile(path),
            Unusable::Failed(source) => OpenError::Database { path, source },
            Unusable::Busy(error) => OpenError::Database { path, source: error.into() },
        }
    }

    /// Of a server.
    pub(super) fn of_server(place: &str, unusable: Unusable) -> Self {
        let place = place.to_owned();
        match unusable {
            Unusable::Newer(version) => OpenError::NewerServer { place, version },
            Unusable::Foreign | Unusable::NotADatabase => OpenError::Foreign(place),
            Unusable::Empty => OpenError::Empty(place),
            Unusable::Outdated => OpenError::Outdated(place),
            Unusable::Forbidden => OpenError::Forbidden(place),
            Unusable::Failed(source) => OpenError::Server { place, source },
            Unusable::Busy(error) => OpenError::Server { place, source: error.into() },
        }
    }
}
