//! Creating, listing and revoking tokens.
//!
//! **Invariant:** the secret leaves this module once, in [`Issued`], and is not in the file.

use std::fmt;

use super::census::Census;
use super::database::{Cells, Value};
pub use super::new_token::NewToken;
use super::new_token::{ID_PREFIX, MAX_NAME_LEN};
use super::row::{self, Token, TokenKind};
use super::{PortcullisStore, StoreError};
use crate::clock::Timestamp;
use crate::policy::credential::{Digest, hex};
use crate::policy::identity::Binding;
use crate::policy::token;
use crate::store::narrow;

pub(super) const INSERT: &str = "INSERT INTO token (id, kind, name, digest, fingerprint, scopes, \
    organizations, projects, allowed_origins, created_at, expires_at, narrow, rotated_from) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
const REVOKE: &str = "UPDATE token SET revoked_at = $1 WHERE id = $2 AND revoked_at IS NULL";
const MEANT: &str = "SELECT id, name, revoked_at, successor FROM token \
    WHERE id = $1 OR name = $1 OR fingerprint = $1 ORDER BY created_at, id";

/// A token that was just created.
#[derive(Debug)]
pub struct Issued {
    /// As the store knows it.
    pub token: Token,
    /// The secret: the token, the key, or the public key of the DSN.
    pub secret: IssuedSecret,
}

impl Issued {
    /// The DSN of a project key, under the URL by which clients know the gateway. `None` for
    /// another kind, and for a URL that is not one.
    pub fn dsn(&self, public_url: &str) -> Option<String> {
        let (Binding::Only(projects), TokenKind::Dsn) = (&self.token.projects, self.token.kind)
        else {
            return None;
        };
        let (scheme, rest) = public_url.split_once("://")?;
        let rest = rest.trim_end_matches('/');
        if rest.is_empty() || !matches!(scheme, "http" | "https") || rest.contains(['@', '?', '#'])
        {
            return None;
        }
        Some(format!("{scheme}://{}@{rest}/{}", self.secret.expose(), projects.first()?))
    }
}

/// A secret that was just made. Prints nothing.
pub struct IssuedSecret(String);

impl IssuedSecret {
    /// The secret, to be shown once.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for IssuedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IssuedSecret(..)")
    }
}

/// Why a token was not created or changed.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Not a name.
    #[error(
        "`{}` can't be the name of a token; take 1 to {MAX_NAME_LEN} printable characters that \
         neither start with `{ID_PREFIX}` nor start or end with a blank, and are no 8 hex digits, as \
         fingerprints are",
        .0.escape_debug()
    )]
    BadName(String),
    /// Another token in force has the name.
    #[error("a token named `{0}` is in force; take another name, or revoke that one first")]
    NameTaken(String),
    /// A DSN without its project.
    #[error("a DSN belongs to one project; give its numeric id, as Sentry shows it in the DSN")]
    NoProject,
    /// A DSN without its organisation.
    #[error("a DSN belongs to one organization; give its slug")]
    NoOrganization,
    /// Not a slug or an id.
    #[error(
        "`{}` is neither a slug nor an id; write it as Sentry's URLs have it, in lower case",
        .0.escape_debug()
    )]
    BadSlug(String),
    /// Not a browser origin.
    #[error(
        "`{}` is not a browser origin; write scheme, host and port alone, such as \
         `https://app.example.com`, or `*`",
        .0.escape_debug()
    )]
    BadOrigin(String),
    /// Not a reason to show in a list.
    #[error("the reason is longer than 200 characters, or has control characters; shorten it")]
    BadReason,
    /// A time that the file can't hold.
    #[error("the time of expiry is too far away; take an earlier one")]
    BadTime,
    /// The system gives no random bytes.
    #[error("the system gives no random bytes; try again")]
    NoRandomness,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store can't be written.
    #[error("the token store can't be written; check its rights, and its disk or network")]
    Write(#[source] sqlx::Error),
}

/// A token that a text may mean: enough to name it, even when the rest of it can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The id.
    pub id: String,
    /// The name.
    pub name: String,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// The id of the token that was issued in its place.
    pub successor: Option<String>,
}

/// What is issued, besides what a token may do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Issuing {
    /// A token.
    Token,
    /// One that nobody is to use.
    Canary,
}

/// Which token a text means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// This one.
    One(Candidate),
    /// None.
    None,
    /// More than one.
    Several(Vec<Candidate>),
}

/// Some tokens, in the order of their creation.
#[derive(Debug, Default)]
pub struct Page {
    /// Those that can be read.
    pub tokens: Vec<Token>,
    /// Those that can't.
    pub unreadable: Vec<StoreError>,
    /// Whether there may be more behind them.
    pub is_full: bool,
    /// The id of the last of them.
    pub last: Option<String>,
}

/// What a revocation did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// The token is revoked now.
    Now,
    /// It was, since this time.
    Before(Timestamp),
    /// There is no such token.
    NotFound,
}

impl PortcullisStore {
    /// Creates a token. The secret is in the answer and nowhere else.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn create(&self, new: NewToken, now: Timestamp) -> Result<Issued, AdminError> {
        self.issue(new, Issuing::Token, now).await
    }

    pub(super) async fn issue(
        &self,
        new: NewToken,
        what: Issuing,
        now: Timestamp,
    ) -> Result<Issued, AdminError> {
        new.check()?;
        let secret = IssuedSecret::new(new.kind)?;
        let token = Token {
            id: new_id()?,
            kind: new.kind,
            name: new.name,
            digest: Digest::of(secret.expose()),
            scopes: new.scopes.with_implied(),
            organizations: new.organizations,
            projects: new.projects,
            allowed_origins: new.allowed_origins.iter().map(|o| o.to_ascii_lowercase()).collect(),
            narrowing: new.narrowing,
            created_at: now,
            expires_at: new.expires_at,
            revoked_at: None,
            last_used_at: None,
            rotated_from: None,
            successor: None,
            canary: matches!(what, Issuing::Canary),
            census: Census::default(),
        };
        match self.database.write(INSERT, vec![values(&token)?]).await {
            Ok(_) => Ok(Issued { token, secret }),
            Err(error) if is_name_taken(&error) => Err(AdminError::NameTaken(token.name)),
            Err(error) => Err(AdminError::Write(error)),
        }
    }

    /// Every token, oldest first, and beside them those that can't be read.
    ///
    /// # Errors
    /// When the store can't be read at all.
    pub async fn list(&self) -> Result<(Vec<Token>, Vec<StoreError>), StoreError> {
        let (mut tokens, mut unreadable) = (Vec::new(), Vec::new());
        for row in self.database.fetch(row::ALL, Vec::new()).await? {
            match Token::read(&*row) {
                Ok(token) => tokens.push(token),
                Err(error) => unreadable.push(error),
            }
        }
        Ok((tokens, unreadable))
    }

    /// At most so many tokens behind the one of an id, oldest first, and beside them those of these that
    /// can't be read; from the first on without an id.
    ///
    /// # Errors
    /// When the store can't be read at all.
    pub async fn page(&self, after: Option<&str>, most: u32) -> Result<Page, StoreError> {
        let values = vec![after.unwrap_or_default().into(), i64::from(most).into()];
        let rows = self.database.fetch(row::PAGE, values).await?;
        let mut page = Page { is_full: rows.len() as u64 == u64::from(most), ..Page::default() };
        page.last =
            rows.last().map(|row| row.text("id")).transpose().map_err(StoreError::unavailable)?;
        for row in rows {
            match Token::read(&*row) {
                Ok(token) => page.tokens.push(token),
                Err(error) => page.unreadable.push(error),
            }
        }
        Ok(page)
    }

    /// The token of this id.
    ///
    /// # Errors
    /// When the store or the row can't be read.
    pub async fn token(&self, id: &str) -> Result<Option<Token>, StoreError> {
        let rows = self.database.fetch(row::BY_ID, vec![id.into()]).await?;
        rows.first().map(|row| Token::read(&**row)).transpose()
    }

    /// Which token `text` means: an id, or else a name or a fingerprint. Where several share it,
    /// the only one in force is meant; of one that was rotated and its successor, the successor.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn resolve(&self, text: &str) -> Result<Resolved, StoreError> {
        let mut candidates = self.candidates(text).await?;
        let only = |test: &dyn Fn(&Candidate) -> bool| {
            let mut passing = (0..candidates.len()).filter(|index| test(&candidates[*index]));
            passing.next().filter(|_| passing.next().is_none())
        };
        let meant = only(&|candidate| candidate.id == text)
            .or_else(|| only(&|one| one.revoked_at.is_none() && one.successor.is_none()))
            .or_else(|| only(&|candidate| candidate.revoked_at.is_none()))
            .or_else(|| only(&|_| true));
        Ok(match meant {
            Some(index) => Resolved::One(candidates.swap_remove(index)),
            None if candidates.is_empty() => Resolved::None,
            None => Resolved::Several(candidates),
        })
    }

    /// Revokes the token of this id, for good. Its row stays, so that its callers are told that it
    /// was revoked.
    ///
    /// # Errors
    /// When the store can't be written.
    pub async fn revoke(&self, id: &str, now: Timestamp) -> Result<Revoked, AdminError> {
        let values = vec![stored(now)?.into(), id.into()];
        let revoked = self.database.write(REVOKE, vec![values]).await.map_err(AdminError::Write)?;
        if revoked > 0 {
            return Ok(Revoked::Now);
        }
        let before = self.candidates(id).await?.into_iter().find(|row| row.id == id);
        Ok(before.and_then(|row| row.revoked_at).map_or(Revoked::NotFound, Revoked::Before))
    }

    pub(super) async fn candidates(&self, text: &str) -> Result<Vec<Candidate>, StoreError> {
        let rows = self.database.fetch(MEANT, vec![text.into()]).await?;
        let candidates: sqlx::Result<_> = rows.iter().map(|row| candidate(&**row)).collect();
        candidates.map_err(StoreError::unavailable)
    }
}

/// The id and the digest are random: what can clash is the name. A server says what did: it may be the log,
/// where a copy counts from the start again.
pub(super) fn is_name_taken(error: &sqlx::Error) -> bool {
    let error = error.as_database_error().filter(|error| error.is_unique_violation());
    error.is_some_and(|error| error.constraint().is_none_or(|name| name == "token_name"))
}

fn candidate(row: &dyn Cells) -> sqlx::Result<Candidate> {
    let revoked_at = row.maybe_integer("revoked_at")?;
    let revoked_at = revoked_at.map(|at| Timestamp::from_millis(u64::try_from(at).unwrap_or(0)));
    // A token whose name or line is damaged must still be revocable.
    let (name, successor) = (row.lossy_text("name")?, row.maybe_text("successor").ok().flatten());
    Ok(Candidate { id: row.text("id")?, name, revoked_at, successor })
}

impl IssuedSecret {
    /// A new one.
    pub(super) fn new(kind: TokenKind) -> Result<Self, AdminError> {
        let mint = |letter| -> Result<String, AdminError> {
            token::mint(letter, &random::<96>()?).ok_or(AdminError::NoRandomness)
        };
        Ok(Self(match kind {
            TokenKind::Bearer => mint('t')?,
            TokenKind::ApiKey => mint('k')?,
            TokenKind::Dsn => hex(&random::<16>()?),
        }))
    }
}

/// A new id.
pub(super) fn new_id() -> Result<String, AdminError> {
    Ok(format!("{ID_PREFIX}{}", hex(&random::<8>()?)))
}

/// A token, for [`INSERT`].
pub(super) fn values(token: &Token) -> Result<Vec<Value>, AdminError> {
    let narrow = narrow::written(&token.narrowing);
    let mark = match (token.canary, &narrow) {
        (true, _) => row::CANARY,
        (false, Some(_)) => row::NARROW,
        (false, None) => "",
    };
    Ok(vec![
        token.id.as_str().into(),
        format!("{mark}{}", token.kind.as_str()).into(),
        token.name.as_str().into(),
        token.digest.as_bytes().as_slice().into(),
        token.fingerprint().to_string().into(),
        token.scopes.names().into(),
        column(&token.organizations).into(),
        column(&token.projects).into(),
        json(token.allowed_origins.iter().map(String::as_str)).into(),
        stored(token.created_at)?.into(),
        token.expires_at.map(stored).transpose()?.into(),
        narrow.into(),
        token.rotated_from.clone().into(),
    ])
}

fn random<const N: usize>() -> Result<[u8; N], AdminError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| AdminError::NoRandomness)?;
    Ok(bytes)
}

/// A binding that is not known can't be written: none, rather than any.
fn column(binding: &Binding) -> Option<String> {
    match binding {
        Binding::Any => None,
        Binding::Only(names) => Some(json(names.iter().map(|name| &**name))),
        Binding::Unknown => Some(json([].into_iter())),
    }
}

fn json<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(serde_json::Value::from).collect::<serde_json::Value>().to_string()
}

pub(super) fn stored(time: Timestamp) -> Result<i64, AdminError> {
    i64::try_from(time.as_millis()).map_err(|_| AdminError::BadTime)
}
