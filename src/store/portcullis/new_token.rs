//! What a token to create must be, before it is one.

use super::admin::AdminError;
use super::row::TokenKind;
use crate::clock::Timestamp;
use crate::policy::credential::Fingerprint;
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
        && is_printable(name)
        && name.parse::<Fingerprint>().is_err()
}

/// Whether a name is shown as it is: nothing in it is invisible, or turns what follows around.
fn is_printable(name: &str) -> bool {
    // Those are printable, and escaped all the same.
    let name = name.replace(['\'', '"', '\\'], "x");
    name.escape_debug().eq(name.chars()) && !name.chars().any(is_invisible)
}

/// Whether a letter, a mark or a sign has no ink (`Default_Ignorable_Code_Point` of Unicode, and the blank of
/// Braille); formats and controls aside.
const fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{34f}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{2800}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{ffa0}'
            | '\u{e0100}'..='\u{e01ef}'
    )
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
    fn a_name_is_shown_as_it_is_and_no_id_or_fingerprint() {
        for (name, wanted) in [
            ("ci", true),
            ("Release build (web) #2 'a' \"b\" \\", true),
            ("\u{fc}ber", true),
            ("u\u{308}ber", true),
            ("\u{65e5}\u{672c}\u{8a9e}", true),
            ("\u{939}\u{93f}\u{902}\u{926}\u{940}", true),
            ("0badcaf", true),
            ("0badcafe0", true),
            ("0badcafg", true),
            ("", false),
            (" ci", false),
            ("ci\n", false),
            ("c\u{7}i", false),
            ("c\u{85}i", false),
            ("tok_1", false),
            // As a fingerprint of another token.
            ("0badcafe", false),
            ("0BADCAFE", false),
            ("12345678", false),
            // Nothing, to look at, and what turns around.
            ("c\u{200b}i", false),
            ("c\u{200d}i", false),
            ("c\u{2060}i", false),
            ("c\u{ad}i", false),
            ("\u{feff}ci", false),
            ("c\u{202e}i", false),
            ("c\u{2066}i", false),
            ("c\u{61c}i", false),
            ("c\u{3164}i", false),
            ("c\u{2800}i", false),
            ("c\u{34f}i", false),
            ("c\u{fe0f}i", false),
            ("c\u{a0}i", false),
            ("c\u{2028}i", false),
            ("c\u{e0041}i", false),
        ] {
            assert_eq!(is_name(name), wanted, "{}", name.escape_unicode());
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
