//! What is known of Sentry's routes, as it is written, and what of it asks for what.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};
use serde::Deserialize;

/// The version of Sentry whose document the newest rules are checked against.
pub(super) const NEWEST: &str = "26.8";

/// In the order in which they are listed; `HEAD` and `OPTIONS` are never in a rule.
pub(super) const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];
pub(super) const CREDENTIALS: [&str; 4] = ["user_token", "org_token", "api_key", "dsn"];
pub(super) const DEFAULT_CREDENTIALS: usize = 3;

/// A line of `routes.jsonl`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Route {
    pub(super) path: String,
    #[serde(default)]
    pub(super) aliases: Vec<String>,
    /// Parameters that are `\d+` in Sentry's pattern.
    #[serde(default)]
    pub(super) digits: Vec<String>,
    /// Of each method, the scopes of which one is needed; `null` where the permission has no map.
    pub(super) methods: BTreeMap<String, Option<Vec<String>>>,
    /// The same in 24.7, whose source was read, where it was another: empty if the route was not there.
    pub(super) before: Option<BTreeMap<String, Option<Vec<String>>>>,
    pub(super) from: Origin,
    /// Sentry's authenticators; without it the usual four: user, organisation, key, session.
    pub(super) authenticators: Option<Vec<String>>,
    /// Sentry's permission classes; without it nobody has read them.
    pub(super) permissions: Option<Vec<String>>,
}

/// How a route is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Origin {
    /// From its class in Sentry's source, as it was in 24.7.
    Source,
    /// From the OpenAPI document alone.
    Document,
    /// From a list of URLs: its methods and what it asks for are unknown.
    Name,
}

/// A line of `corrections.jsonl`: what to change on the routes and methods that it names.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Correction {
    /// For the reader of the file.
    #[serde(rename = "why")]
    pub(super) _why: String,
    /// Paths as in `routes.jsonl`; a final `*` stands for any ending.
    pub(super) paths: Vec<String>,
    /// Without it, every method that the route has.
    pub(super) methods: Option<Vec<String>>,
    /// Another template for the path.
    pub(super) template: Option<String>,
    /// What a parameter may hold: `digits` or `path`.
    #[serde(default)]
    pub(super) constrain: BTreeMap<String, String>,
    pub(super) access: Option<Access>,
    pub(super) scopes: Option<Vec<String>>,
    pub(super) credentials: Option<Vec<String>>,
    pub(super) exchange: Option<bool>,
    pub(super) timeout: Option<String>,
    /// The fields of the JSON answer whose URLs clients follow, as JSON Pointers.
    pub(super) rewrite: Option<Vec<String>>,
    /// Where requests name projects; see `config/sentry.toml`.
    pub(super) projects: Option<Vec<String>>,
    pub(super) add_project: Option<bool>,
    pub(super) bound: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Access {
    Public,
    Authenticated,
    NotExposed,
    #[serde(skip)]
    Scopes(Vec<String>),
}

/// What one method of one route asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Requirement {
    pub(super) access: Access,
    /// In the order of [`CREDENTIALS`].
    pub(super) credentials: Vec<&'static str>,
    pub(super) exchange: bool,
    pub(super) timeout: Option<String>,
    /// Whether Sentry's front end calls it with its session.
    pub(super) session: bool,
    pub(super) rewrite: Vec<String>,
    pub(super) projects: Option<Vec<String>>,
    pub(super) add_project: bool,
    /// Whether tokens that are bound to projects may get through.
    pub(super) bound: bool,
}

impl Requirement {
    pub(super) fn of(route: &Route, scopes: Option<&Option<Vec<String>>>) -> Self {
        let access = access_of(route, scopes.and_then(Option::as_deref).unwrap_or_default());
        // Sentry's `IsAuthenticated` asks for a user, which only a user's token stands for.
        let taken = if access == Access::Authenticated { 1 } else { DEFAULT_CREDENTIALS };
        // Without a list of authenticators they are the usual ones, a session among them.
        let session = route.authenticators.as_ref();
        let session =
            session.is_none_or(|classes| classes.iter().any(|class| class.starts_with("Session")));
        Self { credentials: CREDENTIALS[..taken].to_vec(), session, ..Self::asking(access) }
    }

    /// What asks for this, with the usual credentials.
    fn asking(access: Access) -> Self {
        let (credentials, rewrite) = (Vec::new(), Vec::new());
        Self {
            access,
            credentials,
            exchange: true,
            timeout: None,
            session: false,
            rewrite,
            projects: None,
            add_project: false,
            bound: true,
        }
    }

    pub(super) fn apply(&mut self, correction: &Correction) -> Result<()> {
        if let Some(access) = &correction.access {
            *self = Self {
                credentials: CREDENTIALS[..DEFAULT_CREDENTIALS].to_vec(),
                session: self.session,
                ..Self::asking(access.clone())
            };
        }
        if let Some(scopes) = &correction.scopes {
            ensure!(!scopes.is_empty(), "`scopes` is empty; name one or set `access` instead");
            self.access = Access::Scopes(sorted(scopes));
        }
        self.exchange = correction.exchange.unwrap_or(self.exchange);
        if let Some(fields) = &correction.rewrite {
            self.rewrite.clone_from(fields);
        }
        if correction.projects.is_some() {
            self.projects.clone_from(&correction.projects);
        }
        self.add_project = correction.add_project.unwrap_or(self.add_project);
        self.bound = correction.bound.unwrap_or(self.bound);
        if correction.credentials.is_none() && correction.timeout.is_none() {
            return Ok(());
        }
        ensure!(
            self.access != Access::NotExposed,
            "nobody gets to it, so credentials and a timeout mean nothing; set `access` or `scopes`"
        );
        if let Some(wanted) = &correction.credentials {
            self.credentials = in_order(&CREDENTIALS, wanted)?;
        }
        if let Some(timeout) = &correction.timeout {
            self.timeout = Some(timeout.clone());
        }
        Ok(())
    }
}

/// Fail closed: a method is open only where Sentry checks nothing at all.
fn access_of(route: &Route, scopes: &[String]) -> Access {
    let usual = route.authenticators.is_none();
    let tokens =
        usual || route.authenticators.iter().flatten().any(|class| class == "UserAuthToken");
    if !scopes.is_empty() && tokens {
        return Access::Scopes(sorted(scopes));
    }
    match route.permissions.as_deref() {
        Some([]) if usual && route.from == Origin::Source => Access::Public,
        Some([only]) if usual && only == "IsAuthenticated" => Access::Authenticated,
        _ => Access::NotExposed,
    }
}

/// The known words among `wanted`, in their own order; an unknown one is an error.
pub(super) fn in_order<'a>(known: &[&'a str], wanted: &[impl AsRef<str>]) -> Result<Vec<&'a str>> {
    if let Some(word) = wanted.iter().find(|word| !known.contains(&word.as_ref())) {
        bail!("`{}` is not one of {known:?}; write one of them", word.as_ref());
    }
    let is_wanted = |word: &&&str| wanted.iter().any(|other| other.as_ref() == **word);
    Ok(known.iter().filter(is_wanted).copied().collect())
}

pub(super) fn sorted(items: &[String]) -> Vec<String> {
    let mut items = items.to_vec();
    items.sort();
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_to_be_open_is_closed() {
        let scopes = || Access::Scopes(vec!["org:read".into()]);
        let rows = [
            (r#""from": "source", "permissions": []"#, "null", Access::Public),
            (r#""from": "document", "permissions": []"#, "null", Access::NotExposed),
            (r#""from": "document""#, "[]", Access::NotExposed),
            (r#""from": "document""#, r#"["org:read"]"#, scopes()),
            (
                r#""from": "source", "permissions": ["IsAuthenticated"]"#,
                "null",
                Access::Authenticated,
            ),
            (r#""from": "source", "permissions": ["UserPermission"]"#, "[]", Access::NotExposed),
            (r#""from": "source", "permissions": ["A", "B"]"#, "null", Access::NotExposed),
            (
                r#""from": "source", "authenticators": ["Session"]"#,
                r#"["org:read"]"#,
                Access::NotExposed,
            ),
            (
                r#""from": "source", "authenticators": [], "permissions": []"#,
                "null",
                Access::NotExposed,
            ),
            (
                r#""from": "source", "authenticators": ["UserAuthToken"]"#,
                r#"["org:read"]"#,
                scopes(),
            ),
        ];
        for (about, asks, wanted) in rows {
            let line = format!(r#"{{"path": "/a/", "methods": {{"GET": {asks}}}, {about}}}"#);
            let route: Route = serde_json::from_str(&line).unwrap();
            assert_eq!(Requirement::of(&route, route.methods.get("GET")).access, wanted, "{line}");
        }
    }
}
