//! Token stores, as a config names them.

use std::fmt;
use std::path::PathBuf;

use http::Uri;

use super::Source;
use super::value::{SecretRef, TextOrSecret};
use crate::limit::Rates;
use crate::policy::identity::{IdentityKind, KindSet};
use crate::policy::issuers::TrustedIssuer;
use crate::store::introspection::Protocol;
use crate::store::jwt::IssuerSettings;
use crate::store::portcullis::{StoreLocation, TokenKind};
use crate::store::postgres::Address;

/// A token store.
#[derive(Clone, Debug, PartialEq)]
pub struct Store {
    /// The name in metrics and messages.
    pub name: String,
    /// What it is, and where.
    pub kind: StoreKind,
    /// The kinds of credential that it is asked for.
    pub credentials: KindSet,
    /// How often it is asked for credentials that are not known.
    pub unknown: Rates,
}

/// What a token store is.
#[derive(Clone, Debug, PartialEq)]
pub enum StoreKind {
    /// Tokens that the gateway issues.
    Portcullis(Own),
    /// Sentry's own credentials, in its PostgreSQL.
    Sentry(Box<Server>),
    /// Whoever issued the credentials is asked over HTTP.
    Introspection(Box<Introspection>),
    /// Digests in a file of an operator's.
    File(PathBuf),
    /// An issuer of JWTs.
    Jwt(Box<IssuerSettings>),
}

impl Store {
    /// The issuer of JWTs that it is, if it is one.
    pub(super) fn issuer(&self) -> Option<TrustedIssuer> {
        match &self.kind {
            StoreKind::Jwt(issuer) => Some(issuer.trusted(&self.name)),
            StoreKind::Portcullis(_)
            | StoreKind::Sentry(_)
            | StoreKind::Introspection(_)
            | StoreKind::File(_) => None,
        }
    }

    /// Whether it is asked for the keys of Sentry's projects. The gateway's own are not Sentry's, so
    /// Relay takes none of them.
    pub(super) fn knows_project_keys(&self) -> bool {
        let of_sentry = match self.kind {
            StoreKind::Sentry(_) | StoreKind::Introspection(_) => true,
            StoreKind::Portcullis(_) | StoreKind::File(_) | StoreKind::Jwt(_) => false,
        };
        let key = IdentityKind::ProjectKey;
        of_sentry && self.kind.knows().contains(key) && self.credentials.contains(key)
    }
}

impl StoreKind {
    /// The kinds of credential that it can know.
    pub fn knows(&self) -> KindSet {
        match self {
            StoreKind::Portcullis(_) | StoreKind::File(_) => TokenKind::identities(),
            StoreKind::Sentry(_) => KindSet::ALL,
            StoreKind::Introspection(endpoint) => endpoint.protocol.takes(),
            StoreKind::Jwt(_) => KindSet::EMPTY.with(IdentityKind::UserToken),
        }
    }
}

/// Where tokens are that the gateway issues.
#[derive(Clone, Debug, PartialEq)]
pub enum Own {
    /// In a SQLite file.
    Sqlite(StoreLocation),
    /// In a PostgreSQL that a fleet shares.
    Postgres(Box<Server>),
}

/// A database of a PostgreSQL.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Where it is.
    pub address: Address,
    /// Where that is read again, after a password was changed.
    pub origin: ServerOrigin,
    /// Where it is listened to for notifications, if it is.
    pub listen: Option<ServerOrigin>,
    /// How many connections it may take.
    pub connections: u32,
    /// Whether a start fails while it can't be asked.
    pub required_at_start: bool,
}

/// Where the URL of a database and its password are written.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerOrigin {
    pub(super) url: TextOrSecret,
    pub(super) password: Option<SecretRef>,
    pub(super) folder: PathBuf,
}

impl ServerOrigin {
    /// Reads them, after a password was changed; nothing if they can't be read.
    pub fn read(&self, source: &dyn Source) -> Option<Address> {
        let url = match &self.url {
            TextOrSecret::Text(text) => text.clone(),
            TextOrSecret::Secret(secret) => secret.read(&self.folder, source).ok()?,
        };
        let address = Address::parse(&url).ok()?;
        Some(match &self.password {
            Some(password) => address.with_password(&password.read(&self.folder, source).ok()?),
            None => address,
        })
    }
}

/// An endpoint that says who a credential stands for.
#[derive(Clone, Debug, PartialEq)]
pub struct Introspection {
    /// Where it is.
    pub url: Uri,
    /// How it is asked.
    pub protocol: Protocol,
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
