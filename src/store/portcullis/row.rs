//! A row of the table `token`, read strictly.

use std::fmt;

use super::census::Census;
use super::database::Cells;
use crate::clock::Timestamp;
use crate::policy::credential::{Digest, Fingerprint, Scheme};
use crate::policy::identity::{
    Binding, Bound, Identity, IdentityKind, Issuer, KindSet, Narrowing, State,
};
use crate::policy::scope::{Scope, ScopeSet};
use crate::store::{StoreError, narrow};

macro_rules! select {
    ($census:literal, $rest:literal) => {
        concat!(
            "SELECT id, kind, name, digest, fingerprint, scopes, organizations, projects, ",
            "allowed_origins, created_at, expires_at, revoked_at, last_used_at, narrow, ",
            "rotated_from, successor, ",
            $census,
            " AS census FROM token ",
            $rest
        )
    };
}

/// The rows of one digest. There may be several, of different kinds. How they are used is nothing to who
/// asks for somebody.
pub(super) const BY_DIGEST: &str = select!("NULL", "WHERE digest = $1");
/// The row of one id.
pub(super) const BY_ID: &str = select!("census", "WHERE id = $1");
/// Every row, oldest first.
pub(super) const ALL: &str = select!("census", "ORDER BY created_at, id");
/// So many rows behind that of an id, oldest first; from the first on, where the id is empty.
pub(super) const PAGE: &str = select!(
    "census",
    "WHERE $1 = '' OR (created_at, id) > (SELECT created_at, id FROM token WHERE id = $1) \
     ORDER BY created_at, id LIMIT $2"
);

/// What stands before the kind of a token that is narrowed: a version of this program that can't read
/// what narrows it does not know the kind either, and so refuses it.
pub(super) const NARROW: &str = "narrow-";
/// The same before the kind of a canary, which is never narrowed.
pub(super) const CANARY: &str = "canary-";

/// What kind of token the gateway issues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// A Bearer token.
    Bearer,
    /// An API key, presented by Basic.
    ApiKey,
    /// A project key, presented as a DSN.
    Dsn,
}

impl TokenKind {
    /// Every kind.
    pub const ALL: &'static [TokenKind] = &[TokenKind::Bearer, TokenKind::ApiKey, TokenKind::Dsn];

    /// What policy takes them for.
    pub fn identities() -> KindSet {
        TokenKind::ALL.iter().map(|kind| kind.identity()).collect()
    }

    /// The name, on the command line and in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            TokenKind::Bearer => "bearer",
            TokenKind::ApiKey => "api-key",
            TokenKind::Dsn => "dsn",
        }
    }

    /// The kind of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        TokenKind::ALL.iter().copied().find(|kind| kind.as_str() == name)
    }

    /// What policy takes it for.
    pub const fn identity(self) -> IdentityKind {
        match self {
            TokenKind::Bearer => IdentityKind::UserToken,
            TokenKind::ApiKey => IdentityKind::ApiKey,
            TokenKind::Dsn => IdentityKind::ProjectKey,
        }
    }

    /// How it is presented.
    pub const fn scheme(self) -> Scheme {
        match self {
            TokenKind::Bearer => Scheme::Bearer,
            TokenKind::ApiKey => Scheme::Basic,
            TokenKind::Dsn => Scheme::Dsn,
        }
    }
}

impl fmt::Display for TokenKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A token as the store knows it. Not the secret.
#[derive(Clone, Debug)]
pub struct Token {
    /// By what logs know it; never changes.
    pub id: String,
    /// Its kind.
    pub kind: TokenKind,
    /// By what people know it; one token in force has it at a time.
    pub name: String,
    /// The digest of the secret.
    pub digest: Digest,
    /// What it may do, implied scopes included.
    pub scopes: ScopeSet,
    /// The organisations that it reaches.
    pub organizations: Binding,
    /// The projects that it reaches.
    pub projects: Binding,
    /// Browser origins that may use it.
    pub allowed_origins: Vec<String>,
    /// What narrows it besides.
    pub narrowing: Narrowing,
    /// When it was created.
    pub created_at: Timestamp,
    /// From when on it is refused; `None` for never.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was last used, give or take a few seconds.
    pub last_used_at: Option<Timestamp>,
    /// The id of the token in whose place it was issued.
    pub rotated_from: Option<String>,
    /// The id of the token that was issued in its place.
    pub successor: Option<String>,
    /// Whether nobody is to use it, so that a use is an alarm.
    pub canary: bool,
    /// How it is used; nothing where that is not asked for.
    pub census: Census,
}

impl Token {
    /// The start of its digest, by which logs name it too.
    pub fn fingerprint(&self) -> Fingerprint {
        self.digest.fingerprint()
    }

    /// `active`, `expired` or `revoked`, for people.
    pub fn condition(&self, now: Timestamp) -> &'static str {
        match (self.revoked_at, self.expires_at) {
            (Some(_), _) => "revoked",
            (None, Some(expiry)) if now >= expiry => "expired",
            (None, Some(_) | None) => "active",
        }
    }

    /// What policy decides on.
    pub fn identity(&self) -> Identity {
        Identity {
            id: self.id.as_str().into(),
            kind: self.kind.identity(),
            issuer: Issuer::Gateway,
            state: if self.revoked_at.is_some() { State::Disabled } else { State::Active },
            scopes: self.scopes,
            bounds: Bound {
                organizations: self.organizations.clone(),
                projects: self.projects.clone(),
                allowed_origins: self.allowed_origins.iter().map(|o| o.as_str().into()).collect(),
                narrowing: self.narrowing.clone(),
            }
            .into(),
            expires_at: self.expires_at.into(),
        }
    }

    /// Reads a row. Whatever is not as this program writes it is an error, but for a scope that it
    /// does not know: leaving that out can only narrow.
    pub(super) fn read(row: &dyn Cells) -> Result<Self, StoreError> {
        let id = row.text("id").map_err(StoreError::unavailable)?;
        Self::read_as(&id, row).map_err(|problem| StoreError::Corrupt { id, problem })
    }

    fn read_as(id: &str, row: &dyn Cells) -> Result<Self, &'static str> {
        let text = |column| row.text(column).map_err(|_| "a text is missing");
        let maybe = |column| row.maybe_text(column).map_err(|_| "not a text");
        let digest = row.bytes("digest").map_err(|_| "no digest")?;
        let digest = <[u8; 32]>::try_from(digest).map_err(|_| "its digest has not 32 bytes")?;
        let digest = Digest::from_bytes(digest);
        if text("fingerprint")? != digest.fingerprint().to_string() {
            return Err("its fingerprint is not that of its digest");
        }
        let scopes = text("scopes")?;
        let scopes = scopes.split(' ').filter_map(|name| name.parse::<Scope>().ok());
        let kind = text("kind")?;
        let canary = kind.strip_prefix(CANARY);
        let (kind, narrowing) = match (kind.strip_prefix(NARROW), maybe("narrow")?) {
            (Some(kind), Some(narrow)) => (kind, narrow::read(&narrow)?),
            (None, None) => (canary.unwrap_or(&kind), Narrowing::NONE),
            (Some(_), None) | (None, Some(_)) => return Err("its kind and what narrows it differ"),
        };
        Ok(Self {
            id: id.to_owned(),
            kind: TokenKind::from_name(kind).ok_or("its kind is not known")?,
            name: text("name")?,
            digest,
            scopes: scopes.collect(),
            organizations: binding(maybe("organizations")?)?,
            projects: binding(maybe("projects")?)?,
            allowed_origins: list(&text("allowed_origins")?)?,
            narrowing,
            created_at: time(row, "created_at")?.ok_or("it has no time of creation")?,
            expires_at: time(row, "expires_at")?,
            revoked_at: time(row, "revoked_at")?,
            last_used_at: time(row, "last_used_at")?,
            rotated_from: maybe("rotated_from")?,
            successor: maybe("successor")?,
            canary: canary.is_some(),
            // It lets nobody in, so what can't be read of it is no reason to refuse anybody.
            census: maybe("census").ok().flatten().as_deref().map(Census::read).unwrap_or_default(),
        })
    }
}

/// `NULL` is any; a list, however short, is these only.
fn binding(column: Option<String>) -> Result<Binding, &'static str> {
    let Some(names) = column else { return Ok(Binding::Any) };
    Ok(Binding::Only(list(&names)?.into_iter().map(String::into_boxed_str).collect()))
}

fn list(json: &str) -> Result<Vec<String>, &'static str> {
    serde_json::from_str(json).map_err(|_| "a list in it is not a JSON array of texts")
}

fn time(row: &dyn Cells, column: &str) -> Result<Option<Timestamp>, &'static str> {
    let millis = row.maybe_integer(column).map_err(|_| "a time in it is not a number")?;
    let millis = millis.map(u64::try_from).transpose().map_err(|_| "a time in it is negative")?;
    Ok(millis.map(Timestamp::from_millis))
}
