//! What an endpoint answers, read strictly: only what is certain counts.

use serde::Deserialize;
use serde_json::Value;

use crate::clock::Timestamp;
use crate::policy::escaped::escaped_within;
use crate::policy::identity::{Binding, Bound, Identity, IdentityKind, Issuer, State};
use crate::policy::scope::{Scope, ScopeSet};
use crate::store::object::Object;
use crate::store::{Found, StoreError};

/// The longest name that is shown of somebody.
const MAX_ID_LEN: usize = 128;

/// Sentry's answer to `GET /api/0/` (`api/endpoints/index.py`): `auth` is null where nobody presented
/// anything valid. Where there is no `auth`, something else than Sentry answers.
#[derive(Deserialize)]
struct Index {
    #[serde(deserialize_with = "Option::deserialize")]
    auth: Option<Object<Auth>>,
    user: Option<Object<User>>,
}

#[derive(Deserialize)]
struct Auth {
    scopes: Vec<String>,
}

#[derive(Deserialize)]
struct User {
    id: Value,
}

/// An answer of RFC 7662, section 2.2.
#[derive(Deserialize)]
struct Introspected {
    active: bool,
    scope: Option<String>,
    exp: Option<Value>,
    sub: Option<String>,
    client_id: Option<String>,
}

/// Who Sentry says that it is.
pub(super) fn of_sentry(body: &[u8], kind: IdentityKind) -> Result<Option<Found>, StoreError> {
    let index: Index = parse(body)?;
    let Some(Object(auth)) = index.auth else { return Ok(None) };
    let id = match index.user.map(|Object(user)| user.id) {
        Some(Value::String(id)) => format!("user:{id}"),
        Some(Value::Number(id)) => format!("user:{id}"),
        Some(_) => return Err(StoreError::unavailable("Sentry names a user without an id")),
        None => kind.to_string(),
    };
    let scopes = auth.scopes.iter().map(String::as_str);
    Ok(Some(found(&id, kind, scopes, None)))
}

/// Who an OAuth 2.0 server says that it is.
pub(super) fn of_rfc7662(body: &[u8]) -> Result<Option<Found>, StoreError> {
    let answer: Introspected = parse(body)?;
    if !answer.active {
        return Ok(None);
    }
    let expires_at = match &answer.exp {
        None => None,
        Some(exp) => {
            let wrong = || StoreError::unavailable("the endpoint names an expiry that is none");
            let seconds = exp.as_u64().ok_or_else(wrong)?;
            Some(Timestamp::from_millis(seconds.saturating_mul(1000)))
        }
    };
    let names = [answer.sub, answer.client_id].into_iter().flatten();
    let id = { names }.find(|name| !name.is_empty()).unwrap_or_else(|| "introspected".to_owned());
    let scopes = answer.scope.as_deref().unwrap_or_default().split(' ');
    Ok(Some(found(&id, IdentityKind::UserToken, scopes, expires_at)))
}

/// The reason why it can't be read could repeat it.
fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, StoreError> {
    let read = serde_json::from_slice(body).map(|Object(answer)| answer);
    read.map_err(|_| StoreError::unavailable("its answer can't be read"))
}

/// A scope that is not known here is left out: that can only narrow.
fn found<'a>(
    id: &str,
    kind: IdentityKind,
    scopes: impl Iterator<Item = &'a str>,
    expires_at: Option<Timestamp>,
) -> Found {
    let scopes: ScopeSet = scopes.filter_map(|name| name.parse::<Scope>().ok()).collect();
    let identity = Identity {
        id: escaped_within(id, MAX_ID_LEN).into(),
        kind,
        issuer: Issuer::Sentry,
        state: State::Active,
        scopes,
        bounds: Bound {
            organizations: Binding::Unknown,
            projects: Binding::Unknown,
            ..Bound::default()
        }
        .into(),
        expires_at: expires_at.into(),
    };
    Found { identity, usage: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Id, scopes and expiry, or `unknown`, or `error`.
    fn told(answer: Result<Option<Found>, StoreError>) -> String {
        match answer {
            Ok(Some(found)) => {
                let Identity { id, scopes, expires_at, .. } = &found.identity;
                assert_eq!(*found.identity.bounds.organizations(), Binding::Unknown);
                assert_eq!(found.identity.issuer, Issuer::Sentry);
                let expiry =
                    expires_at.time().map(|at| format!(" {}", at.as_millis())).unwrap_or_default();
                format!("{id} [{}]{expiry}", scopes.names())
            }
            Ok(None) => "unknown".to_owned(),
            Err(_) => "error".to_owned(),
        }
    }

    #[test]
    fn sentry_names_scopes_or_nobody() {
        let rows = [
            (
                r#"{"version":"0","auth":{"scopes":["org:read"]},"user":{"id":"7"}}"#,
                "user:7 [org:read]",
            ),
            (
                r#"{"auth":{"scopes":["org:read","new:scope"]},"user":null}"#,
                "user_token [org:read]",
            ),
            (r#"{"auth":{"scopes":[]},"user":null}"#, "user_token []"),
            (r#"{"auth":null,"user":null}"#, "unknown"),
            // A session of a browser.
            (r#"{"auth":null,"user":{"id":"7"}}"#, "unknown"),
            // Something else answers.
            (r#"{"user":{"id":"7"}}"#, "error"),
            (r#"{"status":"ok"}"#, "error"),
            ("{}", "error"),
            (r#"{"auth":{},"user":null}"#, "error"),
            (r#"{"auth":true}"#, "error"),
            (r#"{"auth":false,"user":null}"#, "error"),
            (r#"{"auth":[["org:read"]],"user":null}"#, "error"),
            (r#"[{"scopes":["org:read"]},null]"#, "error"),
            (r#"{"auth":{"scopes":["org:read"]},"user":["7"]}"#, "error"),
            (r#"{"auth":null,"auth":{"scopes":["org:read"]},"user":null}"#, "error"),
            (r#"{"auth":{"scopes":[],"scopes":["org:read"]},"user":null}"#, "error"),
            (r#"{"auth":{"scopes":["org:read",null]},"user":null}"#, "error"),
            (r#"{"auth":null,"user":null}{"auth":null,"user":null}"#, "error"),
            (r#"{"auth":{"scopes":"org:read"}}"#, "error"),
            (r#"{"auth":{"scopes":["org:read"]},"user":{"id":null}}"#, "error"),
            ("<html>", "error"),
            ("", "error"),
            ("[]", "error"),
        ];
        for (body, wanted) in rows {
            let answer = of_sentry(body.as_bytes(), IdentityKind::UserToken);
            assert_eq!(told(answer), wanted, "{body}");
        }
    }

    #[test]
    fn only_true_is_active() {
        let rows = [
            (
                r#"{"active":true,"scope":"org:read event:write","sub":"ci"}"#,
                "ci [org:read event:write]",
            ),
            (r#"{"active":true,"client_id":"app","exp":1700000000}"#, "app [] 1700000000000"),
            (r#"{"active":true}"#, "introspected []"),
            (r#"{"active":true,"sub":"a b\nc"}"#, "a%20b%0Ac []"),
            (r#"{"active":false,"scope":"org:read"}"#, "unknown"),
            // Neither yes nor no.
            (r#"{"active":"true"}"#, "error"),
            (r#"{"active":"false"}"#, "error"),
            (r#"{"active":1}"#, "error"),
            (r#"{"active":0}"#, "error"),
            (r#"{"active":null}"#, "error"),
            (r#"{"Active":true}"#, "error"),
            (r#"[true,"org:read",null,null,null]"#, "error"),
            (r#"{"active":true,"exp":null,"scope":null}"#, "introspected []"),
            (r#"{"active":true,"exp":0}"#, "introspected [] 0"),
            (r#"{"active":true,"exp":1700000000.5}"#, "error"),
            (
                r#"{"active":true,"scope":" org:read  event:read,org:admin\torg:write "}"#,
                "introspected [org:read]",
            ),
            (r#"{"active":true,"exp":"tomorrow"}"#, "error"),
            (r#"{"active":true,"exp":-1}"#, "error"),
            (r#"{"active":true,"scope":["org:read"]}"#, "error"),
            (r#"{"active":true,"active":false}"#, "error"),
            (r#"{}"#, "error"),
            ("null", "error"),
        ];
        for (body, wanted) in rows {
            let told = told(of_rfc7662(body.as_bytes()));
            let same = |text: &str| {
                let mut parts: Vec<_> = text.split([' ', '[', ']']).map(str::to_owned).collect();
                parts.sort();
                parts
            };
            assert_eq!(same(&told), same(wanted), "{body}: {told}");
        }
    }
}
