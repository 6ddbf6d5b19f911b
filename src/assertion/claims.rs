//! What an assertion says of a request.

use std::borrow::Cow;
use std::fmt::Display;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::clock::Timestamp;
use crate::policy::credential::{Fingerprint, Scheme};
use crate::policy::decision::Caller;
use crate::policy::identity::Id;
use crate::policy::path::decoded;
use crate::policy::rules::Rule;
use crate::policy::scope::ScopeSet;

/// A request that was let through, as it is forwarded.
#[derive(Clone, Copy, Debug)]
pub struct Asserted<'a> {
    /// Who called.
    pub caller: &'a Caller,
    /// The scopes that it was let through with.
    pub scopes: ScopeSet,
    /// The rule that let it through.
    pub rule: &'a Rule,
    /// The method.
    pub method: &'a str,
    /// Path and query, byte for byte.
    pub target: &'a str,
    /// Its number.
    pub request_id: &'a str,
}

/// The claims (RFC 7519, 4.1; `scope`: RFC 8693, 4.2). One that does not apply is left out.
#[derive(Serialize)]
pub(super) struct Claims<'a> {
    iss: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<Text<&'a Id>>,
    aud: &'a str,
    /// Seconds since the epoch, as `exp`.
    iat: u64,
    exp: u64,
    /// The number of the request.
    jti: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    method: &'a str,
    path: &'a str,
    /// SHA-256 of the query without its `?`, in base64url; of nothing where there is none.
    query_sha256: String,
    /// As the path names them, decoded.
    #[serde(skip_serializing_if = "Option::is_none")]
    org: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<Cow<'a, str>>,
    route: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    scheme: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential_kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_fp: Option<Text<Fingerprint>>,
}

impl<'a> Claims<'a> {
    pub(super) fn of(
        asserted: &Asserted<'a>,
        issuer: &'a str,
        audience: Option<&'a str>,
        now: Timestamp,
        ttl: Duration,
    ) -> Self {
        let Asserted { caller, scopes, rule, method, target, request_id } = *asserted;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let identity = caller.identity.as_deref().map(|holder| holder.identity());
        let named = |parameter| rule.template.value(path, parameter).map(decoded);
        let iat = now.as_millis() / 1000;
        Claims {
            iss: issuer,
            sub: identity.map(|identity| Text(&identity.id)),
            aud: audience.unwrap_or(rule.service.as_str()),
            iat,
            exp: iat.saturating_add(ttl.as_secs()),
            jti: request_id,
            scope: identity.map(|_| scopes.names()),
            method,
            path,
            query_sha256: URL_SAFE_NO_PAD.encode(Sha256::digest(query)),
            org: named("organization_"),
            project: named("project_"),
            route: rule.template.as_str(),
            scheme: caller.scheme.map(Scheme::as_str),
            credential_kind: identity.map(|identity| identity.kind.as_str()),
            token_fp: caller.digest.map(|digest| Text(digest.fingerprint())),
        }
    }
}

/// A value by its `Display`.
struct Text<T>(T);

impl<T: Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}
