//! What the look-up functions answer, and what that makes of a credential.

use serde::Deserialize;

use crate::clock::Timestamp;
use crate::policy::identity::{Binding, Bound, Id, Identity, IdentityKind, Issuer, State};
use crate::policy::scope::{Scope, ScopeSet};
use crate::store::{Found, StoreError};

/// An answer. A newer function may say more.
#[derive(Debug, Deserialize)]
struct Row {
    id: i64,
    /// `NULL` is no yes.
    #[serde(default)]
    active: Option<bool>,
    /// Seconds since the epoch.
    #[serde(default)]
    expires_at: Option<f64>,
    #[serde(default)]
    scope_list: Option<Vec<String>>,
    #[serde(default)]
    scopes: Option<i64>,
    /// What the application of an integration may do, which its token may not exceed.
    #[serde(default)]
    app: Option<Scopes>,
    /// Whether it is of one organisation. It must be said: left out, it would be of any.
    bound: bool,
    #[serde(default)]
    organization_id: Option<i64>,
    #[serde(default)]
    organization_slug: Option<String>,
    #[serde(default)]
    project_id: Option<i64>,
    #[serde(default)]
    project_slug: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Scopes {
    scope_list: Option<Vec<String>>,
    scopes: Option<i64>,
}

/// The bits of the column `scopes`, from the lowest (`models/apiscopes.py` in Sentry). What came
/// later has none.
const BITS: [Scope; 17] = [
    Scope::ProjectRead,
    Scope::ProjectWrite,
    Scope::ProjectAdmin,
    Scope::ProjectReleases,
    Scope::TeamRead,
    Scope::TeamWrite,
    Scope::TeamAdmin,
    Scope::EventRead,
    Scope::EventWrite,
    Scope::EventAdmin,
    Scope::OrgRead,
    Scope::OrgWrite,
    Scope::OrgAdmin,
    Scope::MemberRead,
    Scope::MemberWrite,
    Scope::MemberAdmin,
    Scope::OrgIntegrations,
];

/// The identity in an answer about a credential of this kind.
pub(super) fn read(text: &str, kind: IdentityKind) -> Result<Found, StoreError> {
    let corrupt = |id: String, problem| StoreError::Corrupt { id, problem };
    let row: Row = serde_json::from_str(text)
        .map_err(|_| corrupt(format!("a {kind}"), "the look-up function answers otherwise"))?;
    let id = Id::row(kind, row.id);
    let scopes = match kind {
        IdentityKind::ProjectKey => ScopeSet::PROJECT_KEY,
        IdentityKind::UserToken | IdentityKind::OrgToken | IdentityKind::ApiKey => {
            let own = held(row.scope_list.as_deref(), row.scopes);
            match &row.app {
                None => own,
                Some(app) => {
                    let app = held(app.scope_list.as_deref(), app.scopes);
                    own.iter().filter(|scope| app.contains(*scope)).collect()
                }
            }
        }
    };
    let expires_at = row.expires_at.map(|seconds| {
        // A float turns to 0 for what is before the epoch or no number, which has expired.
        Timestamp::from_millis((seconds * 1000.0) as u64)
    });
    // Where a path has digits, Sentry reads an id: a slug of digits alone names something else.
    let digits = |slug: &String| slug.bytes().all(|byte| byte.is_ascii_digit());
    let names = |id: Option<i64>, slug: Option<String>| -> Binding {
        let slug = slug.filter(|slug| !digits(slug));
        let names = id.map(|id| id.to_string()).into_iter().chain(slug);
        Binding::Only(names.map(String::into_boxed_str).collect())
    };
    // Of an organisation that is gone there is no name, and so it reaches none.
    let organizations =
        if row.bound { names(row.organization_id, row.organization_slug) } else { Binding::Any };
    let projects = if kind == IdentityKind::ProjectKey {
        names(row.project_id, row.project_slug)
    } else {
        Binding::Any
    };
    let identity = Identity {
        id,
        kind,
        issuer: Issuer::Sentry,
        state: if row.active == Some(true) { State::Active } else { State::Disabled },
        scopes,
        // Sentry sees the credential and the `Origin`, and judges that itself.
        bounds: Bound { organizations, projects, ..Bound::default() }.into(),
        expires_at: expires_at.into(),
    };
    Ok(Found { identity, usage: None })
}

/// The list, or the bits where it is empty, as Sentry reads them. Scopes that no rule asks for are
/// left out.
fn held(list: Option<&[String]>, bits: Option<i64>) -> ScopeSet {
    match list {
        Some(names @ [_, ..]) => names.iter().filter_map(|name| name.parse().ok()).collect(),
        Some([]) | None => {
            let bits = bits.unwrap_or_default();
            let set = BITS.iter().enumerate().filter(|(bit, _)| bits & 1 << bit != 0);
            set.map(|(_, scope)| *scope).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(text: &str, kind: IdentityKind) -> Identity {
        read(text, kind).unwrap().identity
    }

    #[test]
    fn scopes_are_the_list_or_the_bits() {
        for (row, wanted) in [
            (r#""scope_list": ["event:read"], "scopes": 7"#, "event:read"),
            (r#""scope_list": [], "scopes": 7"#, "project:admin project:read project:write"),
            (r#""scope_list": null, "scopes": 65536"#, "org:integrations"),
            (r#""scope_list": [], "scopes": 0"#, ""),
            (r#""scope_list": ["org:superuser", "org:read"]"#, "org:read"),
            (
                r#""scopes": -1"#,
                "event:admin event:read event:write member:admin member:read member:write org:admin org:integrations org:read org:write project:admin project:read project:releases project:write team:admin team:read team:write",
            ),
            // An integration may do what its application may.
            (
                r#""scope_list": ["org:read", "event:read"], "app": {"scope_list": ["event:read"], "scopes": 0}"#,
                "event:read",
            ),
            (
                r#""scope_list": ["org:read", "event:read"], "app": {"scope_list": null, "scopes": 128}"#,
                "event:read",
            ),
            (r#""scope_list": ["event:read"], "app": {"scope_list": [], "scopes": 0}"#, ""),
        ] {
            let row = format!(r#"{{"id": 1, "bound": false, {row}}}"#);
            let seen = identity(&row, IdentityKind::UserToken);
            assert_eq!(seen.scopes.names(), wanted, "{row}");
        }
        let key = r#"{"id": 1, "bound": true, "scope_list": ["org:admin"]}"#;
        let key = identity(key, IdentityKind::ProjectKey);
        assert!(!key.scopes.contains(Scope::OrgAdmin) && key.scopes.contains(Scope::ProjectAdmin));
    }

    #[test]
    fn what_is_not_said_does_not_widen() {
        use IdentityKind::{OrgToken, ProjectKey, UserToken};
        let only =
            |names: &[&str]| Binding::Only(names.iter().map(|name| Box::from(*name)).collect());
        let plain = identity(r#"{"id": 7, "bound": false}"#, UserToken);
        assert_eq!((plain.state, plain.scopes), (State::Disabled, ScopeSet::EMPTY));
        assert_eq!(plain.id.to_string(), "sentry:user_token:7");
        assert_eq!((plain.bounds.organizations(), plain.expires_at.time()), (&Binding::Any, None));
        let gone = identity(r#"{"id": 1, "active": true, "bound": true}"#, OrgToken);
        assert_eq!((gone.state, gone.bounds.organizations()), (State::Active, &only(&[])));
        let bound = r#"{"id": 1, "active": true, "bound": true, "organization_id": 2, "organization_slug": "acme"}"#;
        assert_eq!(*identity(bound, OrgToken).bounds.organizations(), only(&["2", "acme"]));
        assert_eq!(*identity(bound, ProjectKey).bounds.projects(), only(&[]));
        assert_eq!(
            *identity(&bound.replace("acme", "3"), OrgToken).bounds.organizations(),
            only(&["2"])
        );
        let expired =
            identity(r#"{"id": 1, "bound": false, "active": true, "expires_at": -5.0}"#, UserToken);
        assert_eq!(expired.expires_at.time(), Some(Timestamp::from_millis(0)));
        let later =
            identity(r#"{"id": 1, "bound": false, "expires_at": 1795478400.25}"#, UserToken);
        assert_eq!(later.expires_at.time(), Some(Timestamp::from_millis(1_795_478_400_250)));
        for text in [
            "",
            "7",
            "[]",
            "{}",
            r#"{"id": "x"}"#,
            r#"{"id": 1, "bound": 1}"#,
            r#"{"id": 1}"#,
            r#"{"id": 1, "bound": null}"#,
        ] {
            let error = read(text, UserToken).map(|_| ()).unwrap_err();
            assert!(matches!(error, StoreError::Corrupt { .. }), "{text}: {error}");
        }
    }
}
