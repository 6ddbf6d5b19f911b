//! A token file as it is written.

use std::collections::hash_map::Entry;

use ipnet::IpNet;
use serde::Deserialize;

use super::Content;
use crate::clock::Timestamp;
use crate::policy::certificate::CertificateName;
use crate::policy::credential::Digest;
use crate::policy::identity::{Binding, Bound, Identity, Issuer, Narrowing, State};
use crate::policy::scope::{Scope, ScopeSet};
use crate::store::portcullis::TokenKind;
use crate::store::portcullis::admin::NewToken;

/// What is wrong with a file. Its text is not repeated: it may hold a secret by mistake.
#[derive(Debug, thiserror::Error)]
pub enum Wrong {
    /// Not TOML, or with keys that mean nothing.
    #[error("line {line}: {message}")]
    Syntax {
        /// Where.
        line: usize,
        /// What.
        message: String,
    },
    /// An entry that is none.
    #[error("{table}[{index}] `{name}`: {what}")]
    Entry {
        /// `token` or `block`.
        table: &'static str,
        /// Which, from 0 on.
        index: usize,
        /// What it calls itself.
        name: String,
        /// What.
        what: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    token: Vec<RawToken>,
    #[serde(default)]
    block: Vec<RawBlock>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawToken {
    name: String,
    #[serde(default = "bearer")]
    kind: String,
    digest: Option<String>,
    certificate: Option<String>,
    #[serde(default)]
    scopes: Vec<String>,
    organizations: Option<Vec<String>>,
    projects: Option<Vec<String>>,
    #[serde(default)]
    allowed_origins: Vec<String>,
    expires_at: Option<toml::Value>,
    #[serde(default)]
    read_only: bool,
    profile: Option<Box<str>>,
    groups: Option<Box<[Box<str>]>>,
    networks: Option<Box<[IpNet]>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBlock {
    fingerprint: String,
    #[expect(dead_code, reason = "it is for people")]
    reason: Option<String>,
}

fn bearer() -> String {
    TokenKind::Bearer.as_str().to_owned()
}

/// Reads a file as a whole.
pub(super) fn parse(text: String) -> Result<Content, Wrong> {
    let raw: RawFile = toml::from_str(&text).map_err(|error| Wrong::Syntax {
        line: error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1),
        // What comes after a quotation mark is what was met instead.
        message: error.message().split('"').next().unwrap_or_default().trim().to_owned(),
    })?;
    let mut content = Content::default();
    for (index, token) in raw.token.into_iter().enumerate() {
        let name = token.name.clone();
        let wrong = |what: String| Wrong::Entry { table: "token", index, name, what };
        let (known, kind, identity) = match token.read() {
            Ok(read) => read,
            Err(what) => return Err(wrong(what)),
        };
        let (taken, what) = match known {
            Known::Token(digest) => {
                (is_taken(content.tokens.entry((digest, kind)), identity), "digest")
            }
            Known::Certificate(name) => {
                (is_taken(content.certificates.entry(name.digest()), identity), "certificate")
            }
        };
        if taken {
            return Err(wrong(format!("its {what} is there twice; delete one")));
        }
    }
    for (index, block) in raw.block.into_iter().enumerate() {
        match block.fingerprint.parse() {
            Ok(fingerprint) => content.blocked.insert(fingerprint),
            Err(error) => {
                let what = format!("{error}");
                return Err(Wrong::Entry { table: "block", index, name: String::new(), what });
            }
        };
    }
    content.text = text;
    Ok(content)
}

/// What somebody is known by.
enum Known {
    Token(Digest),
    Certificate(CertificateName),
}

/// Whether an entry is there already; if not, it is now.
fn is_taken<K>(entry: Entry<'_, K, Identity>, identity: Identity) -> bool {
    match entry {
        Entry::Vacant(vacant) => {
            vacant.insert(identity);
            false
        }
        Entry::Occupied(_) => true,
    }
}

impl RawToken {
    fn known(&self, kind: TokenKind) -> Result<Known, String> {
        match (&self.digest, &self.certificate) {
            (Some(digest), None) => Digest::from_hex(digest).map(Known::Token).ok_or_else(|| {
                "its `digest` is not the 64 hex digits of a SHA-256; make them with `sha256sum`"
                    .into()
            }),
            (None, Some(_)) if kind != TokenKind::Bearer => {
                Err("a certificate has no `kind`; delete the line".into())
            }
            (None, Some(name)) => CertificateName::parse(name)
                .map(Known::Certificate)
                .map_err(|error| format!("its `certificate` is wrong: {error}")),
            (Some(_), Some(_)) | (None, None) => {
                Err("it must have either a `digest` or a `certificate`".into())
            }
        }
    }

    fn read(self) -> Result<(Known, TokenKind, Identity), String> {
        let kind = TokenKind::from_name(&self.kind)
            .ok_or("its `kind` is none of `bearer`, `api-key`, `dsn`")?;
        let known = self.known(kind)?;
        let scopes: Result<ScopeSet, _> =
            self.scopes.iter().map(|name| name.parse::<Scope>()).collect();
        let scopes = scopes.map_err(|_| "it has a scope that Sentry has not")?;
        let expires_at = match &self.expires_at {
            None => None,
            Some(time) => {
                // With or without quotation marks.
                let text = time.as_str().map_or_else(|| time.to_string(), str::to_owned);
                let time = humantime::parse_rfc3339(&text);
                let help = "its `expires_at` is not a time such as `\"2026-12-24T18:00:00Z\"`";
                Some(Timestamp::from(time.map_err(|_| help)?))
            }
        };
        let new = NewToken {
            kind,
            name: self.name,
            scopes,
            organizations: binding(self.organizations),
            projects: binding(self.projects),
            allowed_origins: self.allowed_origins,
            narrowing: Narrowing {
                read_only: self.read_only,
                profile: self.profile,
                groups: self.groups,
                networks: self.networks,
            },
            expires_at,
        };
        new.check().map_err(|error| error.to_string())?;
        let origins = new.allowed_origins.iter().map(|o| o.to_ascii_lowercase().into());
        let identity = Identity {
            id: new.name.into(),
            kind: kind.identity(),
            issuer: Issuer::Gateway,
            state: State::Active,
            scopes: scopes.with_implied(),
            bounds: Bound {
                organizations: new.organizations,
                projects: new.projects,
                allowed_origins: origins.collect(),
                narrowing: new.narrowing,
            }
            .into(),
            expires_at: expires_at.into(),
        };
        Ok((known, kind, identity))
    }
}

/// Absent is any; a list, however short, is these only.
fn binding(names: Option<Vec<String>>) -> Binding {
    match names {
        None => Binding::Any,
        Some(names) => Binding::Only(names.into_iter().map(String::into_boxed_str).collect()),
    }
}
