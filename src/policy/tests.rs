//! The decision as a table, and what must hold for every request.

use std::sync::Arc;

use super::credential::Digest;
use super::decision::Lookup;
use super::frame::RequestHead;
use super::identity::{
    Binding, Bound, Bounds, Expiry, Identity, Issuer, KindSet, Narrowing, State,
};
use super::method::MethodSet;
use super::rules::RuleTable;
use super::scope::{Scope, ScopeSet};
use super::site::BaseUrl;
use super::site::Site;
use super::*;
use crate::clock::Timestamp;
use settle::{forwarded, settled};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn scopes(names: &str) -> ScopeSet {
    names.split_whitespace().map(|name| name.parse::<Scope>().unwrap()).collect()
}

fn rule(methods: &[Method], template: &str, access: Access) -> Rule {
    Rule {
        place: template.into(),
        ..Rule::new(
            methods.iter().copied().collect::<MethodSet>(),
            template.parse().unwrap(),
            access,
        )
    }
}

fn policy(public: &str) -> Policy {
    use Method::{Delete, Get, Post, Put};
    let org = "/api/0/organizations/{organization_id_or_slug}";
    let project = "/api/0/projects/{organization_id_or_slug}/{project_id_or_slug}";
    let any = |names| Access::AnyOf(scopes(names));
    let feedback = format!("{project}/user-feedback/");
    let rules = vec![
        rule(&[Get], "/api/0/", Access::Public),
        rule(&[Get], "/api/0/organizations/", any("org:read org:write org:admin")),
        rule(&[Get], &format!("{org}/issues/"), any("event:read event:write event:admin")),
        rule(&[Put, Delete], &format!("{org}/issues/"), any("event:write event:admin")),
        rule(&[Get], &format!("{org}/members/"), any("member:read member:write member:admin")),
        rule(&[Get], &format!("{org}/{{project_id_or_slug}}/x/"), any("org:read")),
        Rule {
            max_body: Some(10),
            ..rule(&[Post], &format!("{org}/chunk-upload/"), any("org:ci project:releases"))
        },
        rule(&[Get], "/api/0/api-tokens/", Access::NotExposed),
        rule(&[Post], &format!("{org}/saved/"), any("event:read")),
        rule(&[Post], &format!("{org}/views/"), any("event:read event:write")),
        Rule {
            exchange: false,
            ..rule(&[Get, Post], &format!("{org}/org-auth-tokens/"), any("org:read event:write"))
        },
        rule(&[Post], "/api/0/wizard/", Access::Public),
        rule(&[Post], "/api/0/relocations/", Access::Authenticated),
        Rule {
            credentials: KindSet::EMPTY.with(IdentityKind::UserToken),
            ..rule(&[Get], "/api/0/internal/health/", Access::Authenticated)
        },
        Rule {
            credentials: KindSet::DEFAULT.with(IdentityKind::ProjectKey),
            ..rule(&[Post], &feedback, any("project:write"))
        },
    ];
    let rules = RuleTable::build(rules).unwrap();
    let site = Site::new(BaseUrl::parse(public).unwrap(), Vec::new());
    Policy { max_body: [100; _], ..Policy::new(rules, site) }
}

fn identity(kind: IdentityKind, held: &str) -> Identity {
    Identity {
        id: "t".into(),
        kind,
        issuer: Issuer::Sentry,
        state: State::Active,
        scopes: scopes(held),
        bounds: Bounds::NONE,
        expires_at: Expiry::NEVER,
    }
}

fn bounds(organizations: Binding, projects: Binding) -> Bounds {
    Bound { organizations, projects, ..Bound::default() }.into()
}

fn only(names: &[&str]) -> Binding {
    Binding::Only(names.iter().map(|name| Box::from(*name)).collect())
}

/// The identities of the table, by the secret that each is presented with.
fn lookup(digest: Digest) -> Lookup {
    use IdentityKind::{ApiKey, OrgToken, ProjectKey, UserToken};
    let gateway = |identity| Identity { issuer: Issuer::Gateway, ..identity };
    let acme =
        |identity| Identity { bounds: bounds(only(&["acme", "1"]), Binding::Any), ..identity };
    let rows = [
        ("read", identity(UserToken, "org:read project:read event:read")),
        ("none", identity(UserToken, "")),
        ("ci", identity(UserToken, "org:ci")),
        ("expired", Identity { expires_at: Some(NOW).into(), ..identity(UserToken, "event:read") }),
        (
            "last-ms",
            Identity {
                expires_at: Some(Timestamp::from_millis(NOW.as_millis() + 1)).into(),
                ..identity(UserToken, "event:read")
            },
        ),
        ("revoked", Identity { state: State::Disabled, ..identity(UserToken, "event:read") }),
        ("bound", acme(gateway(identity(UserToken, "event:read org:read")))),
        ("gateway", gateway(identity(UserToken, "event:read"))),
        ("writer", gateway(identity(UserToken, "event:write"))),
        ("powerless", gateway(identity(UserToken, ""))),
        (
            "unknown-project",
            Identity {
                bounds: bounds(Binding::Any, Binding::Unknown),
                ..gateway(identity(UserToken, "event:read"))
            },
        ),
        (
            "unknown-org",
            Identity {
                bounds: bounds(Binding::Unknown, Binding::Any),
                ..gateway(identity(UserToken, "event:read"))
            },
        ),
        (
            "app",
            Identity {
                bounds: Bound {
                    allowed_origins: ["https://app.example".into()].into(),
                    narrowing: Narrowing::NONE,
                    ..Bound::default()
                }
                .into(),
                ..gateway(identity(UserToken, "event:read"))
            },
        ),
        ("sntrys_x", acme(identity(OrgToken, "org:ci"))),
        ("key", acme(identity(ApiKey, "event:read"))),
        ("orgkey", acme(identity(ApiKey, "org:read"))),
        (
            "abc",
            Identity {
                bounds: bounds(only(&["acme", "1"]), only(&["2", "web"])),
                ..identity(ProjectKey, "project:write")
            },
        ),
        ("anyproject", identity(ProjectKey, "project:write")),
    ];
    if digest == Digest::of("down") {
        return Lookup::Unavailable;
    }
    let found = rows.into_iter().find(|(secret, _)| Digest::of(secret) == digest);
    found.map_or(Lookup::Unknown, |(_, identity)| Lookup::Found(Arc::new(identity)))
}

/// Decides on `METHOD TARGET` with more header lines, and names what came of it.
fn decide(policy: &Policy, line: &str, fields: &[(&str, &str)]) -> String {
    let (method, target) = line.split_once(' ').unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("host", "sentry.example.com".parse().unwrap());
    for (name, value) in fields {
        headers.append(name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap());
    }
    let target = target.as_bytes();
    let head = RequestHead::new(method, target, &headers);
    let decision = match policy.screen(&head) {
        Screened::Decided(decision) => decision,
        Screened::Passing(passing) => passing.unblocked(),
        Screened::Pending(pending) => {
            let lookup = lookup(pending.presented().credential.digest);
            settled(&pending, &lookup)
        }
    };
    match decision.verdict {
        Verdict::Permit(permit) => match permit.observed() {
            None => forwarded(permit.forward()),
            Some(denial) => format!("{}, {}", forwarded(permit.forward()), denial.reason),
        },
        Verdict::Deny(denial) => denial.reason.code().to_owned(),
        Verdict::Options(methods) => methods.to_string(),
    }
}

const BASIC_KEY: &str = "Basic a2V5Og==";
const BASIC_PASSWORD: &str = "Basic a2V5OnB3";

#[test]
fn the_decision_table() {
    let policy = policy("https://sentry.example.com");
    let issues = "GET /api/0/organizations/acme/issues/";
    let feedback = "POST /api/0/projects/acme/web/user-feedback/";
    let upload = "POST /api/0/organizations/acme/chunk-upload/";
    let rows: &[(&str, &str, &str)] = &[
        // Route
        ("GET /api/0/nothing/", "Bearer read", "no_such_route"),
        ("GET /api/0/organizations/acme/issues", "Bearer read", "no_such_route"),
        ("GET /api/0/api-tokens/", "", "route_not_exposed"),
        ("GET /api/0/api-tokens/", "Bearer read", "route_not_exposed"),
        ("POST /api/0/api-tokens/", "Bearer read", "route_not_exposed"),
        ("OPTIONS /api/0/api-tokens/", "", "route_not_exposed"),
        ("POST /api/0/organizations/acme/issues/", "Bearer read", "method_not_allowed"),
        ("get /api/0/", "", "malformed_request"),
        ("GET /api/0/../0/api-tokens/", "", "bad_path"),
        ("GET /api/0/organizations/acme%2Fmembers/issues/", "Bearer read", "bad_path"),
        ("OPTIONS /api/0/organizations/acme/issues/", "", "GET, HEAD, PUT, DELETE, OPTIONS"),
        ("OPTIONS /api/0/nothing/", "", "no_such_route"),
        // Credential
        (issues, "", "missing_credential"),
        (issues, "Token read", "missing_credential"),
        (issues, "Bearer", "malformed_credential"),
        (issues, "Bearer read x", "malformed_credential"),
        (issues, "Bearer portcullis_t_x", "malformed_credential"),
        (issues, BASIC_PASSWORD, "malformed_credential"),
        (issues, "DSN https://abc@h/2", "wrong_credential_kind"),
        (issues, "Bearer nobody", "unknown_token"),
        (issues, "Bearer down", "store_unavailable"),
        (issues, "Bearer expired", "expired_token"),
        (issues, "Bearer last-ms", "AsIs"),
        (issues, "Bearer revoked", "disabled_token"),
        ("GET /api/0/internal/health/", "Bearer none", "AsIs"),
        ("GET /api/0/internal/health/", "Bearer sntrys_x", "wrong_credential_kind"),
        ("GET /api/0/internal/health/", BASIC_KEY, "wrong_credential_kind"),
        // A key of one kind is not a token of another.
        (issues, "Bearer key", "unknown_token"),
        (issues, "Bearer abc", "unknown_token"),
        // Scopes
        (issues, "bearer   read", "AsIs"),
        ("HEAD /api/0/organizations/acme/issues/", "Bearer read", "AsIs"),
        ("HEAD /api/0/organizations/acme/issues/", "", "missing_credential"),
        (issues, "Bearer none", "missing_scope"),
        ("PUT /api/0/organizations/acme/issues/", "Bearer read", "missing_scope"),
        ("GET /api/0/organizations/acme/members/", "Bearer read", "missing_scope"),
        (issues, BASIC_KEY, "AsIs"),
        // Bindings
        (issues, "Bearer bound", "Exchange"),
        ("GET /api/0/organizations/1/issues/", "Bearer bound", "Exchange"),
        ("GET /api/0/organizations/ac%6De/issues/", "Bearer bound", "Exchange"),
        ("GET /api/0/organizations/ACME/issues/", "Bearer bound", "wrong_organization"),
        ("GET /api/0/organizations/globex/issues/", "Bearer bound", "wrong_organization"),
        ("GET /api/0/organizations/globex/issues/", BASIC_KEY, "wrong_organization"),
        ("GET /api/0/organizations/", "Bearer bound", "binding"),
        // Of its own keys Sentry knows what they are bound to.
        ("GET /api/0/organizations/", "Basic b3Jna2V5Og==", "AsIs"),
        (issues, "Bearer gateway", "Exchange"),
        (issues, "Bearer unknown-org", "binding"),
        (issues, "Bearer unknown-project", "binding"),
        // The upstream's role is not lent: a write takes a scope that writes.
        ("POST /api/0/organizations/acme/saved/", "Bearer read", "AsIs"),
        ("POST /api/0/organizations/acme/saved/", "Bearer gateway", "wrong_credential_kind"),
        ("POST /api/0/organizations/acme/views/", "Bearer read", "AsIs"),
        ("POST /api/0/organizations/acme/views/", "Bearer gateway", "missing_scope"),
        ("POST /api/0/organizations/acme/views/", "Bearer writer", "Exchange"),
        ("POST /api/0/organizations/acme/org-auth-tokens/", "Bearer read", "AsIs"),
        (
            "POST /api/0/organizations/acme/org-auth-tokens/",
            "Bearer writer",
            "wrong_credential_kind",
        ),
        ("GET /api/0/organizations/acme/org-auth-tokens/", "Bearer bound", "wrong_credential_kind"),
        // Public
        ("GET /api/0/", "", "Anonymous"),
        ("GET /api/0/", "Token x", "Anonymous"),
        ("GET /api/0/", "DSN https://abc@h/2", "Anonymous"),
        ("GET /api/0/", BASIC_PASSWORD, "Anonymous"),
        ("GET /api/0/", "Basic a2V5", "malformed_credential"),
        ("GET /api/0/", "Basic %", "malformed_credential"),
        ("GET /api/0/", "Bearer nobody", "unknown_token"),
        ("GET /api/0/", "Bearer a b", "malformed_credential"),
        ("GET /api/0/", "Bearer expired", "expired_token"),
        ("GET /api/0/", "Bearer none", "AsIs"),
        ("GET /api/0/", "Bearer gateway", "Exchange"),
        ("GET /api/0/", "Bearer bound", "Anonymous"),
        ("GET /api/0/", "Bearer powerless", "Anonymous"),
        ("POST /api/0/wizard/", "Bearer gateway", "Anonymous"),
        ("POST /api/0/wizard/", "Bearer read", "AsIs"),
        ("POST /api/0/relocations/", "Bearer gateway", "wrong_credential_kind"),
        ("POST /api/0/relocations/", "Bearer none", "AsIs"),
        ("GET /api/0/internal/health/", "Bearer gateway", "Exchange"),
        ("GET /api/0/internal/health/", "Bearer powerless", "wrong_credential_kind"),
        ("GET /api/0/internal/health/", "Bearer bound", "binding"),
        // DSN
        (feedback, "DSN https://abc@h/2", "AsIs"),
        ("POST /api/0/projects/acme/2/user-feedback/", "dsn https://abc:old@h:1/p/2", "AsIs"),
        (feedback, "DSN https://abc@h/3", "unknown_token"),
        (feedback, "DSN https://anyproject@h/3", "unknown_token"),
        ("POST /api/0/projects/acme/api/user-feedback/", "DSN https://abc@h/2", "binding"),
        (
            "POST /api/0/projects/globex/web/user-feedback/",
            "DSN https://abc@h/2",
            "wrong_organization",
        ),
        (
            "GET /api/0/projects/acme/web/user-feedback/",
            "DSN https://abc@h/2",
            "method_not_allowed",
        ),
        // Query
        ("GET /api/0/organizations/acme/issues/?x=/api/0/", "", "missing_credential"),
        (
            "GET /api/0/organizations/acme/issues/?a&sentry_key=x",
            "Bearer read",
            "multiple_credentials",
        ),
        ("GET /api/0/organizations/acme/issues/?sentry_keys=x", "Bearer read", "AsIs"),
        ("GET /api/0/organizations/acme/issues/?sentry%5", "Bearer read", "AsIs"),
        (
            "GET /api/0/organizations/acme/issues/?%73entry%5fkey=x",
            "Bearer read",
            "multiple_credentials",
        ),
        (upload, "Bearer ci", "AsIs"),
    ];
    for (line, authorization, wanted) in rows {
        let field = [("authorization", *authorization)];
        let fields = if authorization.is_empty() { &[][..] } else { &field[..] };
        assert_eq!(decide(&policy, line, fields), *wanted, "{line} with {authorization:?}");
    }
}

#[test]
fn headers_in_the_decision() {
    let policy = policy("https://sentry.example.com");
    let issues = "GET /api/0/organizations/acme/issues/";
    let upload = "POST /api/0/organizations/acme/chunk-upload/";
    let rows: &[(&str, &[(&str, &str)], &str)] = &[
        (
            issues,
            &[("authorization", "Bearer read"), ("authorization", "Bearer read")],
            "multiple_credentials",
        ),
        (
            issues,
            &[("authorization", "Bearer read"), ("x-sentry-auth", "Sentry sentry_key=a")],
            "multiple_credentials",
        ),
        (issues, &[("x-sentry-auth", "Sentry sentry_key=a")], "wrong_credential_kind"),
        ("GET /api/0/", &[("x-sentry-auth", "Sentry sentry_key=a")], "Anonymous"),
        (issues, &[("cookie", "sentrysid=1")], "missing_credential"),
        (issues, &[("host", "sentry.example.com")], "malformed_request"),
        (upload, &[("authorization", "Bearer ci"), ("content-length", "10")], "AsIs"),
        (upload, &[("authorization", "Bearer ci"), ("content-length", "11")], "too_large"),
        (upload, &[("authorization", "Bearer read"), ("content-length", "11")], "missing_scope"),
        (upload, &[("authorization", "Bearer ci"), ("transfer-encoding", "chunked")], "AsIs"),
        ("POST /api/0/wizard/", &[("content-length", "101")], "too_large"),
        ("GET /api/0/", &[("content-length", "1")], "malformed_request"),
        (issues, &[("authorization", "Bearer read"), ("origin", "https://evil")], "AsIs"),
        (issues, &[("authorization", "Bearer gateway"), ("origin", "https://evil")], "origin"),
        (issues, &[("authorization", "Bearer gateway"), ("origin", "null")], "origin"),
        (issues, &[("authorization", "Bearer app"), ("origin", "https://APP.example")], "Exchange"),
        (
            issues,
            &[("authorization", "Bearer app"), ("origin", "https://app.example.evil")],
            "origin",
        ),
    ];
    for (line, fields, wanted) in rows {
        assert_eq!(decide(&policy, line, fields), *wanted, "{line} with {fields:?}");
    }
}

#[test]
fn a_path_prefix_is_part_of_the_address() {
    let policy = policy("https://sentry.example.com/gw");
    let token = [("authorization", "Bearer read")];
    for (line, wanted) in [
        ("GET /gw/api/0/organizations/acme/issues/", "AsIs"),
        ("GET /api/0/organizations/acme/issues/", "no_such_route"),
        ("GET /gw/%2e%2e/api/0/api-tokens/", "bad_path"),
        ("GET /g%77/api/0/organizations/acme/issues/", "no_such_route"),
        ("GET /g%77/./api/0/organizations/acme/issues/", "bad_path"),
        ("GET /gw", "no_such_route"),
    ] {
        assert_eq!(decide(&policy, line, &token), wanted, "{line}");
    }
}

mod lent;
mod observe;
mod properties;
mod refusals;
mod settle;
mod shadow;
