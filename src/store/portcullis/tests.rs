//! The store as its callers meet it: each test has a file of its own, and damages it from outside
//! through a connection of its own, as the `sqlite3` shell would.

mod corrupt;
mod issue;
mod names;
mod opening;
mod rotation;
mod secrecy;
mod sharing;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};
use tempfile::TempDir;

use super::admin::{Issued, NewToken};
use super::*;
use crate::clock::Timestamp;
use crate::policy::credential::{Authorization, Credential, Digest, Scheme};
use crate::policy::identity::{Binding, Identity, Narrowing};
use crate::policy::scope::{Scope, ScopeSet};

pub(super) const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// An open store in a folder that goes with it.
pub(super) struct Desk {
    pub(super) folder: TempDir,
    pub(super) store: PortcullisStore,
}

impl Desk {
    pub(super) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let location = StoreLocation::file(folder.path().join("tokens.db"));
        let store = PortcullisStore::open(&location, IfMissing::Create).await.unwrap();
        relax(&store).await;
        Self { folder, store }
    }

    /// Another store on the same file, as another process has it.
    pub(super) async fn again(&self) -> PortcullisStore {
        let store = open(self.store.path().unwrap(), IfMissing::Fail).await.unwrap();
        relax(&store).await;
        store
    }

    pub(super) async fn create(&self, kind: TokenKind, name: &str) -> Issued {
        self.store.create(new(kind, name), NOW).await.unwrap()
    }

    pub(super) async fn sql(&self, text: &str) {
        sql(self.store.path().unwrap(), text).await;
    }

    pub(super) async fn identity(&self, presented: &Credential) -> Option<Identity> {
        let found = self.store.find(presented.into()).await.unwrap()?;
        Some(Identity::clone(&found.identity))
    }
}

/// The file of a store.
pub(super) fn sqlite(store: &PortcullisStore) -> &Sqlite {
    match &store.database {
        Database::Sqlite(sqlite) => sqlite,
        Database::Postgres(_) => panic!("not a file"),
    }
}

/// What survives a power cut is not tested, and the disk is slow.
async fn relax(store: &PortcullisStore) {
    sqlx::query("PRAGMA synchronous = OFF").execute(&sqlite(store).writer).await.unwrap();
}

pub(super) async fn open(path: &Path, missing: IfMissing) -> Result<PortcullisStore, OpenError> {
    PortcullisStore::open(&StoreLocation::file(path), missing).await
}

/// Runs statements over a new connection that knows nothing of the store.
pub(super) async fn sql(path: &Path, text: &str) {
    let mut connection = shell(path).await;
    sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

pub(super) async fn shell(path: &Path) -> sqlx::SqliteConnection {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    options.connect().await.unwrap()
}

/// A token that may read events everywhere and never expires; a DSN of project 42 of `acme`.
pub(super) fn new(kind: TokenKind, name: &str) -> NewToken {
    let (organizations, projects) = match kind {
        TokenKind::Dsn => (only(&["acme"]), only(&["42"])),
        TokenKind::Bearer | TokenKind::ApiKey => (Binding::Any, Binding::Any),
    };
    NewToken {
        kind,
        name: name.to_owned(),
        scopes: ScopeSet::EMPTY.with(Scope::EventRead),
        organizations,
        projects,
        allowed_origins: Vec::new(),
        narrowing: Narrowing::NONE,
        expires_at: None,
    }
}

pub(super) fn only(names: &[&str]) -> Binding {
    Binding::Only(names.iter().map(|name| (*name).into()).collect())
}

/// As its holder sends it, read as every request is.
pub(super) fn present(issued: &Issued) -> Credential {
    let secret = issued.secret.expose();
    let header = match issued.token.kind {
        TokenKind::Bearer => format!("Bearer {secret}"),
        TokenKind::ApiKey => format!("Basic {}", STANDARD.encode(format!("{secret}:"))),
        TokenKind::Dsn => format!("DSN {}", issued.dsn("https://sentry.example.com").unwrap()),
    };
    match Authorization::parse(header.as_bytes()) {
        Authorization::Credential(credential) => credential,
        other => panic!("{other:?}"),
    }
}

/// A secret under a scheme that may not be its own.
pub(super) fn under(scheme: Scheme, digest: Digest) -> Credential {
    Credential { scheme, digest, project: None, kinds: scheme.kinds() }
}

/// Every field; `Debug` shortens the digest.
#[track_caller]
pub(super) fn assert_same(one: &Token, other: &Token) {
    assert_eq!(format!("{one:?}"), format!("{other:?}"));
    assert_eq!(one.digest, other.digest);
}
