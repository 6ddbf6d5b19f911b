//! The identity headers: who called, for what stands between the gateway and Sentry.

use http::header::{HeaderName, HeaderValue};

use crate::policy::decision::Caller;
use crate::policy::escaped::escaped;
use crate::policy::path::decoded;
use crate::policy::rules::Rule;
use crate::policy::scope::ScopeSet;

/// Who called: the name by which logs know the identity.
const SUBJECT: HeaderName = HeaderName::from_static("x-portcullis-subject");
/// The scopes that it was let through with, blank-separated.
const SCOPES: HeaderName = HeaderName::from_static("x-portcullis-scopes");
/// The organisation that the path names.
const ORGANIZATION: HeaderName = HeaderName::from_static("x-portcullis-organization");
/// The project that the path names.
const PROJECT: HeaderName = HeaderName::from_static("x-portcullis-project");
/// The fingerprint of its credential, as `token_fp` in the access log.
const TOKEN: HeaderName = HeaderName::from_static("x-portcullis-token");
/// What the credential is, as `credential_kind` in the access log.
const CREDENTIAL_KIND: HeaderName = HeaderName::from_static("x-portcullis-credential-kind");

/// All of them.
pub(super) const NAMES: [HeaderName; 6] =
    [SUBJECT, SCOPES, ORGANIZATION, PROJECT, TOKEN, CREDENTIAL_KIND];

/// The longest value, in bytes. A longer one is left out: the start of a name is another name.
const MAX_LEN: usize = 1024;

/// The identity headers of a request of this caller that this rule let through with these scopes, forwarded
/// to `path`. One that does not apply is left out, all of them where nobody is known.
pub fn identity_headers(
    caller: &Caller,
    scopes: ScopeSet,
    rule: &Rule,
    path: &str,
) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    let identity = caller.identity.as_deref().map(|holder| holder.identity());
    let named = |parameter| {
        let segment = identity.and_then(|_| rule.template.value(path, parameter))?;
        told(&decoded(segment))
    };
    let known = |value: &'static str| Some(HeaderValue::from_static(value));
    let token = caller.digest.filter(|_| identity.is_some());
    let fields = [
        (SUBJECT, identity.and_then(|identity| told(&identity.id.to_string()))),
        // Names of scopes are header values.
        (SCOPES, identity.and_then(|_| HeaderValue::try_from(scopes.names()).ok())),
        (ORGANIZATION, named("organization_")),
        (PROJECT, named("project_")),
        (TOKEN, token.and_then(|digest| told(&digest.fingerprint().to_string()))),
        (CREDENTIAL_KIND, identity.and_then(|identity| known(identity.kind.as_str()))),
    ];
    fields.into_iter().filter_map(|(name, value)| value.map(|value| (name, value)))
}

/// A value in visible ASCII.
fn told(text: &str) -> Option<HeaderValue> {
    let value = escaped(text);
    let fits = (1..=MAX_LEN).contains(&value.len());
    HeaderValue::try_from(value).ok().filter(|_| fits)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::policy::credential::Digest;
    use crate::policy::identity::{Bounds, Expiry, Identity, IdentityKind, Issuer, State};
    use crate::policy::method::{Method, MethodSet};
    use crate::policy::rules::Access;
    use crate::policy::scope::Scope;

    fn rule(template: &str) -> Rule {
        let methods: MethodSet = [Method::Get].into_iter().collect();
        Rule::new(methods, template.parse().unwrap(), Access::Authenticated)
    }

    fn fields(id: &str, template: &str, path: &str) -> Vec<(String, String)> {
        let identity = Identity {
            id: id.into(),
            kind: IdentityKind::OrgToken,
            issuer: Issuer::Gateway,
            state: State::Active,
            // More than it is let through with.
            scopes: ScopeSet::ALL,
            bounds: Bounds::NONE,
            expires_at: Expiry::NEVER,
        };
        let scopes = [Scope::EventRead, Scope::OrgCi].into_iter().collect();
        let caller = Caller {
            scheme: None,
            digest: Some(Digest::from_bytes([0xab; 32])),
            identity: Some(Arc::new(identity)),
        };
        let text = |value: HeaderValue| value.to_str().unwrap().to_owned();
        identity_headers(&caller, scopes, &rule(template), path)
            .map(|(name, value)| (name.to_string(), text(value)))
            .collect()
    }

    #[test]
    fn who_called_is_told_and_nothing_that_does_not_apply() {
        let both = "/api/0/projects/{organization_id_or_slug}/{project_id_or_slug}/";
        let one = "/api/0/organizations/{organization_id_or_slug}/{rest:path}";
        let rows: &[(&str, &str, &[(&str, &str)])] = &[
            (both, "/api/0/projects/acme/web/", &[("organization", "acme"), ("project", "web")]),
            (
                both,
                "/api/0/projects/%61cme/w%20b/",
                &[("organization", "acme"), ("project", "w%20b")],
            ),
            (one, "/api/0/organizations/acme/a/b/", &[("organization", "acme")]),
            ("/api/0/", "/api/0/", &[]),
        ];
        for (template, path, named) in rows {
            let always = [
                ("subject", "ci"),
                ("scopes", "event:read org:ci"),
                ("token", "abababab"),
                ("credential-kind", "org_token"),
            ];
            let mut wanted: Vec<_> = always
                .iter()
                .chain(*named)
                .map(|(name, value)| (format!("x-portcullis-{name}"), (*value).to_owned()))
                .collect();
            let mut seen = fields("ci", template, path);
            wanted.sort();
            seen.sort();
            assert_eq!(seen, wanted, "{path}");
        }
    }

    #[test]
    fn nobody_is_told_of_where_nobody_is_known() {
        let caller = Caller { digest: Some(Digest::from_bytes([1; 32])), ..Caller::default() };
        let template = rule("/api/0/organizations/{organization_id_or_slug}/");
        assert_eq!(
            identity_headers(&caller, ScopeSet::ALL, &template, "/api/0/organizations/acme/")
                .count(),
            0
        );
    }

    #[test]
    fn a_value_is_visible_ascii_and_no_two_read_the_same() {
        let rows = [
            ("jane@example.com", "jane@example.com"),
            ("a b", "a%20b"),
            ("a%20b", "a%2520b"),
            ("Zoë", "Zo%C3%AB"),
            ("a\r\nX-Portcullis-Scopes: org:admin", "a%0D%0AX-Portcullis-Scopes:%20org:admin"),
            ("\0\u{7f}", "%00%7F"),
        ];
        for (id, wanted) in rows {
            let told = fields(id, "/api/0/", "/api/0/");
            assert_eq!(told[0], ("x-portcullis-subject".to_owned(), wanted.to_owned()), "{id:?}");
        }
        for id in ["", &"a".repeat(MAX_LEN + 1), &" ".repeat(MAX_LEN / 3 + 1)] {
            let told = fields(id, "/api/0/", "/api/0/");
            assert!(told.iter().all(|(name, _)| name != "x-portcullis-subject"), "{told:?}");
        }
        assert_eq!(fields(&"a".repeat(MAX_LEN), "/api/0/", "/api/0/")[0].1.len(), MAX_LEN);
    }
}
