//! An identity as a snapshot has it.

use serde::{Deserialize, Serialize};

use super::super::entry::{Key, Known, Place};
use crate::clock::Timestamp;
use crate::policy::credential::{Digest, Scheme};
use crate::policy::identity::{Binding, Bound, Identity, IdentityKind, Issuer, State};
use crate::policy::scope::Scope;
use crate::store::narrow::Narrow;

/// An identity, under what it is known by.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    store: String,
    scheme: String,
    digest: String,
    /// Until when it was served without asking, in milliseconds.
    until: u64,
    id: String,
    kind: String,
    issuer: By,
    scopes: Vec<String>,
    organizations: Names,
    projects: Names,
    expires_at: Option<u64>,
    allowed_origins: Vec<String>,
    #[serde(default)]
    narrowing: Narrow,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum By {
    Sentry,
    Gateway,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Names {
    Any,
    Only(Vec<String>),
    Unknown,
}

impl Entry {
    pub(super) fn of(store: &str, key: &Key, known: &Known) -> Self {
        let identity = &known.identity;
        let names = |binding: &Binding| match binding {
            Binding::Any => Names::Any,
            Binding::Only(names) => Names::Only(names.iter().map(ToString::to_string).collect()),
            Binding::Unknown => Names::Unknown,
        };
        let origins = identity.bounds.allowed_origins();
        Self {
            store: store.to_owned(),
            scheme: key.scheme.as_str().to_owned(),
            digest: key.digest.hex(),
            until: known.fresh_until().as_millis(),
            id: identity.id.to_string(),
            kind: identity.kind.as_str().to_owned(),
            issuer: match identity.issuer {
                Issuer::Sentry => By::Sentry,
                Issuer::Gateway => By::Gateway,
            },
            scopes: identity.scopes.iter().map(|scope| scope.as_str().to_owned()).collect(),
            organizations: names(identity.bounds.organizations()),
            projects: names(identity.bounds.projects()),
            expires_at: identity.expires_at.time().map(Timestamp::as_millis),
            allowed_origins: origins.iter().map(ToString::to_string).collect(),
            narrowing: identity.bounds.narrowing().into(),
        }
    }

    pub(super) fn store(&self) -> &str {
        &self.store
    }

    /// What it is kept under, who it is, and until when; `None` where anything can't be read.
    pub(super) fn read(self, store: Place) -> Option<(Key, Identity, Timestamp)> {
        let scheme = Scheme::ALL.iter().copied().find(|scheme| scheme.as_str() == self.scheme)?;
        let key = Key { store, scheme, digest: Digest::from_hex(&self.digest)? };
        let kind =
            IdentityKind::from_name(&self.kind).filter(|kind| scheme.kinds().contains(*kind))?;
        let scopes: Result<_, _> = self.scopes.iter().map(|name| name.parse::<Scope>()).collect();
        let boxed = |names: Vec<String>| names.into_iter().map(String::into_boxed_str).collect();
        let binding = |names| match names {
            Names::Any => Binding::Any,
            Names::Only(names) => Binding::Only(boxed(names)),
            Names::Unknown => Binding::Unknown,
        };
        let origins = self.allowed_origins.into_iter().map(String::into_boxed_str).collect();
        let identity = Identity {
            id: self.id.into(),
            kind,
            issuer: match self.issuer {
                By::Sentry => Issuer::Sentry,
                By::Gateway => Issuer::Gateway,
            },
            state: State::Active,
            scopes: scopes.ok()?,
            bounds: Bound {
                organizations: binding(self.organizations),
                projects: binding(self.projects),
                allowed_origins: origins,
                narrowing: self.narrowing.into(),
            }
            .into(),
            expires_at: self.expires_at.map(Timestamp::from_millis).into(),
        };
        Some((key, identity, Timestamp::from_millis(self.until)))
    }
}
