//! Token stores.

use std::path::PathBuf;

use super::super::raw::RawStore;
use super::super::value::{SecretRef, TextOrSecret};
use super::super::{SentryDatabase, Source, Store, StoreKind};
use super::Compiler;
use crate::store::portcullis::StoreLocation;
use crate::store::sentry::Database;

/// The kind of a store with tokens that the gateway issues.
pub(super) const PORTCULLIS: &str = "portcullis";
/// The kind of a store with Sentry's own.
const SENTRY: &str = "sentry";
/// Connections to Sentry's database: a look-up takes a millisecond, and Sentry's own need the room.
const CONNECTIONS: u32 = 4;
/// More is a mistake: PostgreSQL has a hundred for all.
const MOST_CONNECTIONS: u32 = 50;

/// Where the URL of a database and its password are written.
#[derive(Clone, Debug)]
pub struct DatabaseOrigin {
    url: TextOrSecret,
    password: Option<SecretRef>,
    folder: PathBuf,
}

impl DatabaseOrigin {
    /// Reads them, after a password was changed; nothing if they can't be read.
    pub fn read(&self, source: &dyn Source) -> Option<Database> {
        let url = match &self.url {
            TextOrSecret::Text(text) => text.clone(),
            TextOrSecret::Secret(secret) => secret.read(&self.folder, source).ok()?,
        };
        let database = Database::parse(&url).ok()?;
        Some(match &self.password {
            Some(password) => database.with_password(&password.read(&self.folder, source).ok()?),
            None => database,
        })
    }
}

impl Compiler<'_> {
    pub(super) fn stores(&mut self, raw: &[RawStore]) -> Vec<Store> {
        if raw.is_empty() {
            let help = "add `[[store]]` with `kind = \"portcullis\"` and `url = \"sqlite:///path/to/tokens.db\"`";
            self.problem("store", "there is none, so no token could be known", help);
        }
        let mut stores: Vec<Store> = Vec::new();
        for (index, raw) in raw.iter().enumerate() {
            let kind = match raw.kind.as_str() {
                PORTCULLIS => self.portcullis(index, raw),
                SENTRY => self.sentry(index, raw),
                other => {
                    let what = format!("`{other}` is not a kind of store");
                    let help = "write `portcullis` or `sentry`";
                    self.problem(format!("store[{index}].kind"), what, help);
                    continue;
                }
            };
            let Some(kind) = kind else { continue };
            let name = raw.name.clone().unwrap_or_else(|| raw.kind.clone());
            if stores.iter().any(|other| other.name == name) {
                let help = "give each store a `name` of its own";
                self.problem(format!("store[{index}].name"), format!("`{name}` is taken"), help);
            }
            stores.push(Store { name, kind });
        }
        stores
    }

    fn portcullis(&mut self, index: usize, raw: &RawStore) -> Option<StoreKind> {
        let unused = [
            ("password", raw.password.is_some()),
            ("connections", raw.connections.is_some()),
            ("required_at_start", !raw.required_at_start),
        ];
        for (key, _) in unused.into_iter().filter(|(_, given)| *given) {
            let what = "is of a `sentry` store, and this one is `portcullis`";
            self.problem(format!("store[{index}].{key}"), what, "delete it");
        }
        self.location(index, raw).map(StoreKind::Portcullis)
    }

    /// Where the file of a `portcullis` store is.
    pub(super) fn location(&mut self, index: usize, raw: &RawStore) -> Option<StoreLocation> {
        let (at, help) = (format!("store[{index}].url"), "write `sqlite:///path/to/tokens.db`");
        let TextOrSecret::Text(url) = &raw.url else {
            self.problem(at, "is a secret, and the path of a file is none", help);
            return None;
        };
        let location = self.parsed(&at, url.parse::<StoreLocation>(), help)?;
        Some(StoreLocation::file(self.folder.join(location.path())))
    }

    fn sentry(&mut self, index: usize, raw: &RawStore) -> Option<StoreKind> {
        let at = format!("store[{index}].url");
        let help = "write `postgres://portcullis@host/sentry` and the password as `password = { file = \"path\" }`, or the whole URL as a secret";
        let url = match &raw.url {
            TextOrSecret::Text(text) if has_password(text) => {
                self.problem(at, "holds a password", help);
                return None;
            }
            TextOrSecret::Text(text) => text.clone(),
            TextOrSecret::Secret(secret) => self.secret(&at, secret)?,
        };
        let mut database = self.parsed(&at, Database::parse(&url), help)?;
        if let Some(password) = &raw.password {
            let password = self.secret(&format!("store[{index}].password"), password)?;
            database = database.with_password(&password);
        }
        let connections = raw.connections.unwrap_or(CONNECTIONS);
        if !(1..=MOST_CONNECTIONS).contains(&connections) {
            let what = format!("is {connections}");
            let help = format!("write a number from 1 to {MOST_CONNECTIONS}");
            self.problem(format!("store[{index}].connections"), what, help);
        }
        let (url, password) = (raw.url.clone(), raw.password.clone());
        let origin = DatabaseOrigin { url, password, folder: self.folder.to_path_buf() };
        let required_at_start = raw.required_at_start;
        let sentry = SentryDatabase { database, origin, connections, required_at_start };
        Some(StoreKind::Sentry(Box::new(sentry)))
    }
}

/// Whether the text of a URL has a password, in the place of one or as a parameter.
fn has_password(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (authority, query) = rest.split_once(['/', '?']).unwrap_or((rest, ""));
    let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
    user.contains(':') || query.contains("password=")
}
