//! What the shipped rules open, and to whom.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

use super::{MINIMAL, SentryVersion, fake, parse};
use crate::clock::Timestamp;
use crate::policy::decision::{Forward, Lookup, Verdict};
use crate::policy::frame::RequestHead;
use crate::policy::identity::{Bounds, Expiry, Identity, IdentityKind, Issuer, State};
use crate::policy::judge::{Circumstances, Resolved};
use crate::policy::method::Method;
use crate::policy::path::CanonicalPath;
use crate::policy::profile::CredentialId;
use crate::policy::question::Answers;
use crate::policy::rules::{Access, Found, OnFailure, Rule};
use crate::policy::scope::ScopeSet;
use crate::policy::template::Segment;
use crate::policy::{Policy, Screened};

const UPSTREAM: Forward = Forward::Exchange(CredentialId::UPSTREAM);

/// The rules for each version of Sentry that is known apart.
fn shipped() -> [Policy; 2] {
    [SentryVersion::OLDEST, SentryVersion::NEWEST].map(|version| {
        let text = format!("{MINIMAL}\n[rules]\nsentry_version = \"{version}\"");
        parse(&text, &fake()).unwrap().policy
    })
}

/// A path of the rule; parameters are digits, which every kind of them takes.
fn path(rule: &Rule) -> String {
    let segments = rule.template.segments().iter().map(|segment| match segment {
        Segment::Literal(text) => text.to_string(),
        Segment::Digits(_) | Segment::Id(_) | Segment::Param(_) | Segment::Rest(_) => {
            "1".to_owned()
        }
    });
    format!("/{}", segments.collect::<Vec<_>>().join("/"))
}

/// What is forwarded for a token of the gateway with these scopes.
fn forwarded(policy: &Policy, method: Method, path: &str, scopes: ScopeSet) -> Option<Forward> {
    let mut headers = HeaderMap::new();
    headers.insert("host", "sentry.example.com".parse().unwrap());
    headers.insert("authorization", "Bearer x".parse().unwrap());
    let (method, target) = (method.as_str(), path.as_bytes());
    let head = RequestHead::new(method, target, &headers);
    let Screened::Pending(pending) = policy.screen(&head) else { return None };
    let identity = Identity {
        id: "t".into(),
        kind: IdentityKind::UserToken,
        issuer: Issuer::Gateway,
        state: State::Active,
        scopes,
        bounds: Bounds::NONE,
        expires_at: Expiry::NEVER,
    };
    let given = Circumstances {
        now: Timestamp::from_millis(1),
        client: None,
        answers: &Answers::default(),
    };
    let Resolved::Decided(decision) = pending.resolve(&Lookup::Found(Arc::new(identity)), given)
    else {
        return None;
    };
    match decision.verdict {
        Verdict::Permit(permit) => Some(permit.forward()),
        Verdict::Deny(_) | Verdict::Options(_) => None,
    }
}

#[test]
fn what_needs_no_credential_is_this() {
    let organization = "/api/0/organizations/{organization_id_or_slug}";
    let mut wanted = vec![
        "GET /api/0/".to_owned(),
        "GET /api/0/builtin-symbol-sources/".into(),
        "GET /api/0/grouping-configs/".into(),
        "GET /api/0/notification-defaults/".into(),
        format!("GET {organization}/grouping-configs/"),
        format!("POST {organization}/join-request/"),
        format!("GET {organization}/shared/issues/{{share_id}}/"),
        format!("GET {organization}/shared/groups/{{share_id}}/"),
        "GET /api/0/seer/models/".into(),
        "GET /api/0/shared/issues/{share_id}/".into(),
        "GET /api/0/shared/groups/{share_id}/".into(),
        "GET /api/0/wizard/".into(),
        "DELETE /api/0/wizard/".into(),
        "GET /api/0/wizard/{wizard_hash}/".into(),
        "DELETE /api/0/wizard/{wizard_hash}/".into(),
    ];
    let [old, policy] = shipped();
    let public = policy.rules.iter().filter(|(_, rule)| rule.access == Access::Public);
    let mut seen: Vec<_> = public
        .flat_map(|(_, rule)| rule.methods.iter().map(move |m| format!("{m} {}", rule.template)))
        .collect();
    seen.sort();
    wanted.sort();
    assert_eq!(seen, wanted);
    for (_, rule) in old.rules.iter().filter(|(_, rule)| rule.access == Access::Public) {
        for method in rule.methods.iter() {
            assert!(wanted.contains(&format!("{method} {}", rule.template)), "{}", rule.template);
        }
    }
}

#[test]
fn what_is_rewritten_is_this() {
    let organization = "/api/0/organizations/{organization_id_or_slug}";
    let project = "/api/0/projects/{organization_id_or_slug}/{project_id_or_slug}";
    let any = "GET POST PUT PATCH DELETE";
    let (one, each) =
        ("/links/organizationUrl /links/regionUrl", "/*/links/organizationUrl /*/links/regionUrl");
    let of_project = "/organization/links/organizationUrl /organization/links/regionUrl";
    let of_projects = "/*/organization/links/organizationUrl /*/organization/links/regionUrl";
    let newer = format!("{organization}/preprodartifacts/{{artifact_id:digits}}/install-details/");
    let rows: [(&str, String, &str); 13] = [
        ("GET", "/api/0/organizations/".into(), each),
        ("POST", "/api/0/organizations/".into(), one),
        ("GET PUT", format!("{organization}/"), one),
        ("GET", format!("{organization}/chunk-upload/"), "/url"),
        ("GET", format!("{organization}/region/"), "/url"),
        ("GET", newer.clone(), "/installUrl"),
        ("GET", "/api/0/projects/".into(), of_projects),
        ("GET PUT", format!("{project}/"), of_project),
        ("GET", format!("{project}/artifact-lookup/"), "/*/url"),
        ("GET", "/api/0/users/{user_id}/regions/".into(), "/regions/*/url"),
        // Not let out as shipped, and right where an operator's own rule opens them.
        (any, format!("{project}/preprodartifacts/snapshots/upload-options/"), "/objectstore/url"),
        (
            any,
            format!("{project}/preprodartifacts/{{artifact_id:digits}}/install-details/"),
            "/installUrl",
        ),
        (
            any,
            format!(
                "{organization}/preprodartifacts/{{artifact_id:digits}}/private-install-details/"
            ),
            "/installUrl",
        ),
    ];
    let [old, new] = shipped();
    for (policy, has_newer) in [(old, false), (new, true)] {
        let lines = rows.iter().filter(|(_, template, _)| has_newer || *template != newer);
        let mut wanted: Vec<_> = lines
            .flat_map(|(methods, template, fields)| {
                let methods = methods.split_whitespace();
                methods.map(move |method| format!("{method} {template}: {fields}"))
            })
            .collect();
        let mut seen = Vec::new();
        for (_, rule) in policy.rules.iter() {
            let Some(rewrite) = &rule.rewrite else { continue };
            // As it is, an answer would send its client past the gateway.
            assert_eq!(rewrite.on_failure, OnFailure::Refuse, "{}", rule.template);
            let fields = rewrite.names().collect::<Vec<_>>().join(" ");
            let methods = rule.methods.iter();
            seen.extend(methods.map(|method| format!("{method} {}: {fields}", rule.template)));
        }
        wanted.sort();
        seen.sort();
        assert_eq!(seen, wanted);
    }
}

/// To put an upload together may take a minute and more, and Sentry's uWSGI closes after 15 s.
#[test]
fn what_takes_long_may_and_connections_end_before_sentry_ends_them() {
    for policy in shipped() {
        let mut met = 0;
        for (_, rule) in policy.rules.iter() {
            let template = rule.template.as_str();
            if rule.access == Access::NotExposed || !rule.methods.contains(Method::Post) {
                continue;
            }
            if template.contains("/assemble/") || template.contains("/chunk-upload/") {
                met += 1;
                let timeout = rule.timeout.unwrap_or_default();
                assert!(timeout >= Duration::from_secs(90), "{template}: {timeout:?}");
            }
        }
        assert!(met >= 4, "{met}");
    }
    let config = parse(MINIMAL, &fake()).unwrap();
    assert!(config.upstreams.web.idle_timeout < Duration::from_secs(15));
}

#[test]
fn a_token_of_the_gateway_that_reads_never_writes() {
    for policy in shipped() {
        let (mut read, mut refused) = (0, 0);
        for (_, rule) in policy.rules.iter() {
            for method in rule.methods.iter() {
                let seen = forwarded(&policy, method, &path(rule), ScopeSet::READ);
                if method.is_safe() {
                    read += usize::from(seen == Some(UPSTREAM));
                } else {
                    refused += 1;
                    assert_ne!(seen, Some(UPSTREAM), "{method} {}", rule.template);
                }
            }
        }
        assert!(read > 300 && refused > 300, "{read} {refused}");
    }
}

#[test]
fn no_token_of_the_gateway_makes_credentials_or_members() {
    let [old, policy] = shipped();
    let all = ScopeSet::ALL;
    for line in [
        "GET /api/0/organizations/1/api-keys/",
        "POST /api/0/organizations/1/api-keys/",
        "POST /api/0/organizations/1/org-auth-tokens/",
        "POST /api/0/organizations/1/agent/token/",
        "POST /api/0/organizations/1/members/",
        "PUT /api/0/organizations/1/members/1/",
        "POST /api/0/organizations/1/members/1/teams/1/",
        "POST /api/0/organizations/1/scim/v2/Users",
        "POST /api/0/sentry-apps/",
        "PUT /api/0/sentry-apps/1/",
        "GET /api/0/sentry-apps/1/",
        "POST /api/0/sentry-apps/1/api-tokens/",
        "POST /api/0/sentry-apps/1/rotate-secret/",
        "GET /api/0/auth/",
        "GET /api/0/authenticators/",
        "POST /api/0/api-tokens/",
    ] {
        let (method, path) = line.split_once(' ').unwrap();
        let method = Method::from_name(method).unwrap();
        for policy in [&old, &policy] {
            assert_eq!(forwarded(policy, method, path, all), None, "{line}");
        }
    }
    let members = forwarded(&policy, Method::Get, "/api/0/organizations/1/members/", all);
    assert_eq!(members, Some(UPSTREAM));
}

#[test]
fn the_version_of_sentry_selects_the_rules() {
    let organization = "/api/0/organizations/{organization_id_or_slug}";
    // (version, method, route, what it asks for)
    let rows: &[(&str, Method, &str, Option<&str>)] = &[
        ("24.7", Method::Get, "/monitors/", Some("org:admin org:read org:write")),
        ("24.7.1", Method::Get, "/monitors/", Some("org:admin org:read org:write")),
        // What came between is refused until a version is known to have it.
        ("26.7", Method::Get, "/monitors/", Some("org:admin org:read org:write")),
        ("26.8", Method::Get, "/monitors/", Some("alerts:read org:admin org:read org:write")),
        ("30.1", Method::Get, "/monitors/", Some("alerts:read org:admin org:read org:write")),
        ("24.7", Method::Get, "/detectors/", None),
        ("26.8", Method::Get, "/detectors/", Some("alerts:read org:admin org:read org:write")),
        ("24.7", Method::Get, "/projects/", Some("org:admin org:read org:write")),
        ("24.7", Method::Post, "/projects/", None),
        ("26.8", Method::Get, "/teams/", Some("org:admin org:read org:write")),
        ("24.7", Method::Get, "/teams/", Some("org:admin org:read org:write")),
    ];
    for (version, method, route, wanted) in rows {
        let text = format!("{MINIMAL}\n[rules]\nsentry_version = \"{version}\"");
        let config = parse(&text, &fake()).unwrap();
        assert_eq!(config.notes.len(), usize::from(*version == "30.1"), "{:?}", config.notes);
        let template = format!("{organization}{route}");
        let mut rules = config.policy.rules.iter().map(|(_, rule)| rule);
        let rule = rules.find(|r| r.template.as_str() == template && r.methods.contains(*method));
        let seen = rule.map(|rule| match rule.access {
            Access::AnyOf(scopes) => scopes.names(),
            other => format!("{other:?}"),
        });
        let sorted = seen.map(|names| {
            let mut names: Vec<_> = names.split(' ').map(str::to_owned).collect();
            names.sort();
            names.join(" ")
        });
        assert_eq!(sorted.as_deref(), *wanted, "{version} {method} {route}");
    }
}

/// A route that one version has and another has not must not fall to a wider rule that asks for less:
/// between the two, nobody knows which of them has it.
#[test]
fn what_one_version_has_no_rule_for_is_not_open_there() {
    let [old, new] = shipped();
    let mut met = 0;
    for (with, without) in [(&old, &new), (&new, &old)] {
        for (_, rule) in with.rules.iter() {
            for method in rule.methods.iter() {
                let path = path(rule);
                let path = CanonicalPath::parse(path.as_bytes()).unwrap();
                let Found::Rule(id) = without.rules.find(&path, 0, method) else { continue };
                met += 1;
                let other = without.rules.rule(id);
                let narrower = match (other.access, rule.access) {
                    (Access::NotExposed, _) => true,
                    // The same route, with the scopes of its version.
                    _ if other.template == rule.template => rule.access != Access::NotExposed,
                    (Access::AnyOf(scopes), Access::AnyOf(asked)) => {
                        scopes.iter().all(|scope| asked.contains(scope))
                    }
                    (other, asked) => other == asked,
                };
                assert!(narrower, "{method} {} falls to {}", rule.template, other.template);
            }
        }
    }
    assert!(met > 1_500, "{met}");
}
