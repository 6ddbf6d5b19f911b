//! What a token to create must be, before it is one.

use super::admin::AdminError;
use super::row::TokenKind;
use crate::clock::Timestamp;
use crate::policy::identity::{Binding, Narrowing};
use crate::policy::scope::ScopeSet;
use crate::policy::template::is_slug_or_id;

/// The longest name, in characters.
pub(super) const MAX_NAME_LEN: usize = 100;
/// What every id starts with, and so no name may.
pub(super) const ID_PREFIX: &str = "tok_";

/// A token to create.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// Its kind.
    pub kind: TokenKind,
    /// By what people know it.
    pub name: String,
    /// What it may do; what these imply is added.
    pub scopes: ScopeSet,
    /// The organisations that it reaches.
    pub organizations: Binding,
    /// The projects that it reaches. For a DSN [`Binding::Only`], with the project's id first.
    pub projects: Binding,
    /// Browser origins that may use it.
    pub allowed_origins: Vec<String>,
    /// What narrows it besides.
    pub narrowing: Narrowing,
    /// From when on it is refused; may have passed, for a token to try refusals with.
    pub expires_at: Option<Timestamp>,
}

impl NewToken {
    /// Whether it can be created.
    pub(in crate::store) fn check(&self) -> Result<(), AdminError> {
        if !is_name(&self.name) {
            return Err(AdminError::BadName(self.name.clone()));
        }
        if self.kind == TokenKind::Dsn && !names_a_project(&self.projects) {
            return Err(AdminError::NoProject);
        }
        // A project's slug is its own only within an organisation.
        let by_organization =
            matches!(&self.organizations, Binding::Only(names) if !names.is_empty());
        if self.kind == TokenKind::Dsn && !by_organization {
            return Err(AdminError::NoOrganization);
        }
        for binding in [&self.organizations, &self.projects] {
            if let Binding::Only(names) = binding
                && let Some(name) = names.iter().find(|name| !is_slug_or_id(name))
            {
                return Err(AdminError::BadSlug(name.to_string()));
            }
        }
        if let Some(origin) = self.allowed_origins.iter().find(|origin| !is_origin(origin)) {
            return Err(AdminError::BadOrigin(origin.clone()));
        }
        Ok(())
    }
}

/// An origin as browsers send it (RFC 6454), or all of them.
fn is_origin(origin: &str) -> bool {
    let plain = |host: &str| {
        !host.is_empty()
            && host.bytes().all(|byte| byte.is_ascii_graphic() && !b"/?#@\\*".contains(&byte))
    };
    origin == "*"
        || origin.split_once("://").is_some_and(|(scheme, host)| {
            scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                && !scheme.is_empty()
                && plain(host)
        })
}

fn is_name(name: &str) -> bool {
    (1..=MAX_NAME_LEN).contains(&name.chars().count())
        && name.trim() == name
        && !name.starts_with(ID_PREFIX)
        && !name.chars().any(char::is_control)
}

fn names_a_project(projects: &Binding) -> bool {
    let id = match projects {
        Binding::Only(names) => names.first(),
        Binding::Any | Binding::Unknown => None,
    };
    // In its one spelling: policy compares byte for byte.
    id.is_some_and(|id| id.parse::<u64>().is_ok_and(|n| n != 0 && *n.to_string() == **id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_what_sentry_has_in_urls() {
        for (name, wanted) in [
            ("acme", true),
            ("1", true),
            ("a-b_c", true),
            ("", false),
            ("Acme", false),
            ("acme/", false),
            ("acme ", false),
            ("%61cme", false),
        ] {
            assert_eq!(is_slug_or_id(name), wanted, "{name}");
        }
    }

    #[test]
    fn origins_are_what_browsers_send() {
        for (origin, wanted) in [
            ("https://app.example.com", true),
            ("http://localhost:3000", true),
            ("http://[::1]:3000", true),
            ("chrome-extension://abc", true),
            ("*", true),
            ("", false),
            ("null", false),
            ("app.example.com", false),
            ("https://", false),
            ("https://app.example.com/", false),
            ("https://app.example.com/path", false),
            ("https://*.example.com", false),
            ("https://user@app.example.com", false),
        ] {
            assert_eq!(is_origin(origin), wanted, "{origin}");
        }
    }
}
