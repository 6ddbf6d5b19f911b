//! The bodies of requests: what a token is to be, and how one is rotated.

use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;

use super::problem::Problem;
use crate::clock::Timestamp;
use crate::policy::identity::{Binding, Narrowing};
use crate::policy::profile::Profiles;
use crate::policy::scope::{Scope, ScopeSet};
use crate::store::portcullis::admin::{AdminError, Issued, NewToken};
use crate::store::portcullis::{Lifetime, PortcullisStore, Rotation, TokenKind};

/// How long an old secret is good for besides.
const OVERLAP: Duration = Duration::from_secs(24 * 3600);
/// How many names a list takes.
const MAX_NAMES: usize = 100;

/// A token to create.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    name: String,
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    scopes: Option<Vec<String>>,
    #[serde(default)]
    organizations: Option<Vec<String>>,
    #[serde(default)]
    projects: Option<Vec<String>>,
    #[serde(default)]
    origins: Option<Vec<String>>,
    #[serde(default)]
    read_only: bool,
    #[serde(default)]
    profile: Option<String>,
    #[serde(default)]
    groups: Option<Vec<String>>,
    #[serde(default)]
    networks: Option<Vec<IpNet>>,
    #[serde(default)]
    expires_in: Option<String>,
    #[serde(default)]
    expires_at: Option<String>,
    #[serde(default)]
    no_expiry: bool,
    #[serde(default)]
    canary: bool,
}

/// How a token is rotated.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rotate {
    #[serde(default)]
    overlap: Option<String>,
    #[serde(default)]
    expires_in: Option<String>,
    #[serde(default)]
    no_expiry: bool,
}

/// What is created.
pub(super) enum New {
    Token(NewToken),
    Canary { kind: TokenKind, name: String, of: Option<(String, u64)> },
}

impl New {
    pub(super) fn name(&self) -> &str {
        match self {
            New::Token(new) => &new.name,
            New::Canary { name, .. } => name,
        }
    }

    pub(super) async fn create(
        self,
        store: &PortcullisStore,
        now: Timestamp,
    ) -> Result<Issued, AdminError> {
        match self {
            New::Token(new) => store.create(new, now).await,
            New::Canary { kind, name, of } => store.create_canary(kind, name, of, now).await,
        }
    }
}

impl Wanted {
    /// What the command refuses is refused here too.
    pub(super) fn check(self, profiles: &Profiles, now: Timestamp) -> Result<New, Problem> {
        let kind = self.kind.as_deref().unwrap_or(TokenKind::Bearer.as_str());
        let kind = TokenKind::from_name(kind);
        let kind = kind.ok_or_else(|| bad("`kind` is `bearer`, `api-key` or `dsn`; take one"))?;
        if self.canary {
            return self.canary(kind);
        }
        let of_profile = granted(profiles, self.profile.as_deref(), self.groups.as_deref())?;
        let scopes = scopes(self.scopes, kind, of_profile)?;
        let projects = binding("projects", self.projects)?;
        let organizations = binding("organizations", self.organizations)?;
        if projects.is_bound() && !organizations.is_bound() {
            return Err(bad("a project is one of an organization; name that in `organizations`"));
        }
        // A slug may get another owner; of a DSN paths name it too.
        if kind != TokenKind::Dsn && !projects.has_ids_alone() {
            return Err(bad(
                "a token is bound to a project by its numeric id; write that in `projects`",
            ));
        }
        let expires_at = expiry(self.expires_in, self.expires_at, self.no_expiry, now)?;
        let narrowing = Narrowing {
            read_only: self.read_only,
            profile: self.profile.map(|name| named("profile", name)).transpose()?,
            groups: self.groups.map(|names| list("groups", names)).transpose()?,
            networks: self.networks.map(|nets| bounded("networks", nets)).transpose()?,
        };
        let new = NewToken {
            kind,
            name: self.name,
            scopes,
            organizations,
            projects,
            allowed_origins: bounded("origins", self.origins.unwrap_or_default())?.into_vec(),
            narrowing,
            expires_at,
        };
        Ok(New::Token(new))
    }

    fn canary(self, kind: TokenKind) -> Result<New, Problem> {
        let nothing = self.scopes.is_none()
            && self.origins.is_none()
            && self.profile.is_none()
            && self.groups.is_none()
            && self.networks.is_none()
            && self.expires_in.is_none()
            && self.expires_at.is_none()
            && !self.read_only;
        if !nothing {
            return Err(bad(
                "a canary is for nobody, so it takes `name` and `kind` alone, and what a `dsn` is of; leave \
                 the rest out",
            ));
        }
        let of = match (kind, self.organizations.as_deref(), self.projects.as_deref()) {
            (TokenKind::Bearer | TokenKind::ApiKey, None, None) => None,
            (TokenKind::Dsn, Some([organization]), Some([id])) => {
                let id = id.parse().ok().filter(|id| *id != 0);
                let id =
                    id.ok_or_else(|| bad("the project of a DSN is its numeric id; correct it"))?;
                Some((organization.clone(), id))
            }
            (_, _, _) => {
                return Err(bad(
                    "of canaries a `dsn` names one organization and one project, and nothing else does",
                ));
            }
        };
        Ok(New::Canary { kind, name: self.name, of })
    }
}

impl Rotate {
    pub(super) fn check(&self) -> Result<Rotation, Problem> {
        let overlap = match &self.overlap {
            Some(text) => duration("overlap", text)?,
            None => OVERLAP,
        };
        let lifetime = match (&self.expires_in, self.no_expiry) {
            (Some(_), true) => return Err(bad("give `expires_in` or `no_expiry`, and not both")),
            (Some(text), false) => Lifetime::For(duration("expires_in", text)?),
            (None, true) => Lifetime::Unlimited,
            (None, false) => Lifetime::Same,
        };
        Ok(Rotation { overlap, lifetime })
    }
}

fn bad(detail: impl Into<String>) -> Problem {
    Problem::bad_request(detail)
}

/// The scopes of the profile that a token is for, if it is for one; it and the groups must be there.
fn granted(
    profiles: &Profiles,
    profile: Option<&str>,
    groups: Option<&[String]>,
) -> Result<ScopeSet, Problem> {
    let gone = |what: &str, name: &str| {
        let name = name.escape_debug();
        bad(format!("the config has no {what} `{name}`; take one that it has, or add it"))
    };
    for name in groups.unwrap_or_default() {
        if !profiles.has_group(name) {
            return Err(gone("group", name));
        }
    }
    let Some(name) = profile else { return Ok(ScopeSet::EMPTY) };
    profiles.profile(name).map(|profile| profile.scopes).ok_or_else(|| gone("profile", name))
}

fn scopes(
    names: Option<Vec<String>>,
    kind: TokenKind,
    of_profile: ScopeSet,
) -> Result<ScopeSet, Problem> {
    let names = names.unwrap_or_default();
    if names.is_empty() {
        return match kind {
            TokenKind::Dsn => Ok(ScopeSet::PROJECT_KEY),
            TokenKind::Bearer | TokenKind::ApiKey if !of_profile.is_empty() => Ok(of_profile),
            TokenKind::Bearer | TokenKind::ApiKey => Err(bad(
                "a token without a scope gets nowhere; name one in `scopes`, such as `event:read`",
            )),
        };
    }
    let scope = |name: &String| {
        name.parse::<Scope>().map_err(|error| bad(format!("`{}`: {error}", name.escape_debug())))
    };
    names.iter().map(scope).collect()
}

/// Left out, it is any; an empty list would be easily taken for that.
fn binding(key: &str, names: Option<Vec<String>>) -> Result<Binding, Problem> {
    match names {
        None => Ok(Binding::Any),
        Some(names) if names.is_empty() => {
            Err(bad(format!("`{key}` is empty; name some, or leave it out for any")))
        }
        Some(names) => Ok(Binding::Only(list(key, names)?)),
    }
}

fn list(key: &str, names: Vec<String>) -> Result<Box<[Box<str>]>, Problem> {
    bounded(key, names)?.into_vec().into_iter().map(|name| named(key, name)).collect()
}

fn bounded<T>(key: &str, list: Vec<T>) -> Result<Box<[T]>, Problem> {
    if list.len() > MAX_NAMES {
        return Err(bad(format!("`{key}` has more than {MAX_NAMES} entries; shorten it")));
    }
    Ok(list.into())
}

fn named(key: &str, name: String) -> Result<Box<str>, Problem> {
    if name.is_empty() || name.len() > MAX_NAMES || name.contains(char::is_control) {
        return Err(bad(format!("`{key}` has an entry that is no name; correct it")));
    }
    Ok(name.into())
}

fn expiry(
    within: Option<String>,
    at: Option<String>,
    never: bool,
    now: Timestamp,
) -> Result<Option<Timestamp>, Problem> {
    let expiry = match (within, at, never) {
        (Some(text), None, false) => now.after(duration("expires_in", &text)?),
        (None, Some(text), false) => {
            let wrong =
                |_| bad("`expires_at` is no time; write one such as `2030-01-01T00:00:00Z`");
            humantime::parse_rfc3339(&text).map_err(wrong)?.into()
        }
        (None, None, true) => return Ok(None),
        (_, _, _) => {
            return Err(bad(
                "say when it ends: one of `expires_in` (such as `30d`), `expires_at` and `\"no_expiry\": true`",
            ));
        }
    };
    if expiry <= now {
        return Err(bad("the token would be refused at once; give it a later end"));
    }
    Ok(Some(expiry))
}

fn duration(key: &str, text: &str) -> Result<Duration, Problem> {
    let wrong = |_| bad(format!("`{key}` is no time; write one such as `30d`"));
    humantime::parse_duration(text).map_err(wrong)
}
