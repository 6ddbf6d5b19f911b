//! What a token that is bound to a project gets through the shipped rules with: what is of its project, and
//! never what is of another, by whatever a request can name it.

mod bodies;
mod requests;

use std::sync::Arc;

use http::HeaderMap;

use super::{MINIMAL, SentryVersion, fake, parse};
use crate::clock::Timestamp;
use crate::gateway::with_query;
use crate::policy::bound::{BodyNames, BodyVerdict};
use crate::policy::decision::{Lookup, Permit, Verdict};
use crate::policy::frame::RequestHead;
use crate::policy::identity::{
    Binding, Bound, Expiry, Identity, IdentityKind, Issuer, Narrowing, State,
};
use crate::policy::judge::{Circumstances, Resolved};
use crate::policy::method::Method;
use crate::policy::naming::Place;
use crate::policy::question::{Answers, Learnt, Question};
use crate::policy::rules::{Access, Rule};
use crate::policy::scope::ScopeSet;
use crate::policy::template::Segment;
use crate::policy::{Policy, Screened};

const NOW: Timestamp = Timestamp::from_millis(1);

/// A Sentry with two organisations: `acme` (1) with the projects `web` (42) and `app` (43), and `globex` (2)
/// with another `web` (44).
fn learnt(question: &Question) -> Learnt {
    let ids = |ids: &[u64]| Learnt::Ids(ids.into());
    let is_acme = |name: &str| matches!(name, "acme" | "1");
    match question {
        Question::Organization(name) => match &**name {
            "acme" => ids(&[1]),
            "globex" => ids(&[2]),
            _ => Learnt::Nothing,
        },
        Question::Project { organization, project } => match (&**organization, &**project) {
            ("acme" | "1", "web") => ids(&[42]),
            ("acme" | "1", "app") => ids(&[43]),
            ("globex" | "2", "web") => ids(&[44]),
            // It has moved.
            ("acme" | "1", "former") => ids(&[]),
            _ => Learnt::Nothing,
        },
        Question::Release { organization, version } if is_acme(organization) => match &**version {
            "web@1" => ids(&[42]),
            "app@1" => ids(&[43]),
            "shared@1" => ids(&[42, 43]),
            _ => Learnt::Nothing,
        },
        Question::Issue { organization, issue } if is_acme(organization) => match &**issue {
            "7" | "WEB-7" => ids(&[42]),
            "8" | "APP-8" => ids(&[43]),
            _ => Learnt::Nothing,
        },
        Question::Release { .. } | Question::Issue { .. } => Learnt::Nothing,
    }
}

/// A token of the gateway with every scope, bound to `web` of `acme`.
fn web() -> Identity {
    let only = |id: &str| Binding::Only([Box::from(id)].into());
    Identity {
        id: "t".into(),
        kind: IdentityKind::UserToken,
        issuer: Issuer::Gateway,
        state: State::Active,
        scopes: ScopeSet::ALL,
        bounds: Bound {
            organizations: only("1"),
            projects: only("42"),
            allowed_origins: [].into(),
            narrowing: Narrowing::NONE,
        }
        .into(),
        expires_at: Expiry::NEVER,
    }
}

fn policy(version: SentryVersion) -> Policy {
    let text = format!("{MINIMAL}\n[rules]\nsentry_version = \"{version}\"");
    parse(&text, &fake()).unwrap().policy
}

/// What is decided, the target that goes on, and what is asked of the body.
fn admit(
    policy: &Policy,
    method: Method,
    target: &str,
    content_type: Option<&str>,
    identity: &Identity,
) -> Result<(String, Permit), &'static str> {
    let mut headers = HeaderMap::new();
    headers.insert("host", "sentry.example.com".parse().unwrap());
    headers.insert("authorization", "Bearer x".parse().unwrap());
    if let Some(kind) = content_type {
        headers.insert("content-type", kind.parse().unwrap());
        if !method.is_safe() {
            headers.insert("content-length", "2".parse().unwrap());
        }
    }
    let head = RequestHead::new(method.as_str(), target.as_bytes(), &headers);
    let lookup = Lookup::Found(Arc::new(identity.clone()));
    let decision = match policy.screen(&head) {
        Screened::Decided(decision) => decision,
        Screened::Passing(passing) => passing.unblocked(),
        Screened::Pending(pending) => {
            let mut answers = Answers::default();
            loop {
                let given = Circumstances { now: NOW, client: None, answers: &answers };
                match pending.resolve(&lookup, given) {
                    Resolved::Decided(decision) => break decision,
                    Resolved::Ask(question) => {
                        let answer = learnt(&question);
                        answers.add(question, answer);
                    }
                }
            }
        }
    };
    match decision.verdict {
        Verdict::Permit(permit) => {
            let whole = match permit.added() {
                None => target.to_owned(),
                Some(added) => String::from_utf8(with_query(target.as_bytes(), added)).unwrap(),
            };
            Ok((whole, permit))
        }
        Verdict::Deny(denial) => Err(denial.reason.code()),
        Verdict::Options(_) => Err("options"),
    }
}

/// Whether a body with these names goes through.
fn admits_body(permit: &Permit, identity: &Identity, names: &BodyNames) -> bool {
    let Some(check) = permit.body_check() else { return true };
    let mut answers = Answers::default();
    loop {
        match check.judge(identity, names, &answers) {
            BodyVerdict::Admitted => return true,
            BodyVerdict::Refused(_) => return false,
            BodyVerdict::Ask(question) => {
                let answer = learnt(&question);
                answers.add(question, answer);
            }
        }
    }
}

/// A path of the rule with these in the place of what names something.
fn path(rule: &Rule, organization: &str, project: &str, version: &str, issue: &str) -> String {
    let segments = rule.template.segments().iter().map(|segment| match segment {
        Segment::Literal(text) => text.to_string(),
        Segment::Digits(name) | Segment::Id(name) | Segment::Param(name) | Segment::Rest(name) => {
            let value = match &**name {
                name if name.starts_with("organization_") => organization,
                name if name.starts_with("project_") => project,
                "version" => version,
                "issue_id" | "short_id" => issue,
                _ => "1",
            };
            value.replace('@', "%40")
        }
    });
    format!("/{}", segments.collect::<Vec<_>>().join("/"))
}

/// By what a rule is held to a project: for people, and for the list.
fn held(policy: &Policy, rule: &Rule, method: Method) -> String {
    let json = (!method.is_safe()).then_some("application/json");
    let target = path(rule, "acme", "web", "web@1", "7");
    let own = web();
    match admit(policy, method, &target, json, &own) {
        Ok((whole, permit)) => {
            let mut by = Vec::new();
            let names_one = rule.template.segments().iter().filter_map(Segment::name);
            by.extend(names_one.filter(|name| name.starts_with("project_")).map(|_| "path"));
            by.extend(rule.projects.iter().map(Place::as_str));
            if whole != target {
                by.push("added");
            }
            if by.is_empty() {
                let public = rule.access == Access::Public;
                by.push(if public { "public" } else { "nothing" });
            }
            assert!(permit.body_check().is_none() || json.is_some(), "{target}");
            by.join(" ")
        }
        Err("binding") => {
            let with = format!("{target}?project=42");
            match admit(policy, method, &with, json, &own) {
                Ok(_) => "query".to_owned(),
                Err(_) => "refused".to_owned(),
            }
        }
        Err(code) => code.to_owned(),
    }
}

#[test]
fn the_list_of_what_holds_every_route_to_a_project_is_complete() {
    for version in [SentryVersion::OLDEST, SentryVersion::NEWEST] {
        let policy = policy(version);
        let mut lines = Vec::new();
        for (_, rule) in policy.rules.iter() {
            for method in rule.methods.iter() {
                let by = held(&policy, rule, method);
                // Who gets nowhere without a binding either is not of interest.
                if !["route_not_exposed", "wrong_credential_kind", "no_such_route"].contains(&&*by)
                {
                    lines.push(format!("{method} {} {by}\n", rule.template));
                }
            }
        }
        lines.sort();
        let text = lines.concat();
        let name = format!("held-{version}.txt");
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let written = folder.join("src/config/tests/bound").join(&name);
        if std::fs::read_to_string(&written).unwrap_or_default() != text {
            let made = folder.join("target/tmp").join(&name);
            std::fs::create_dir_all(made.parent().unwrap()).unwrap();
            std::fs::write(&made, &text).unwrap();
            panic!("{} is not what the rules say; {} is", written.display(), made.display());
        }
    }
}

/// Whether a target that goes on names anything of another project. This reads it in its own way.
fn strays(rule: &Rule, target: &str) -> bool {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut parameters = rule.template.segments().iter().filter_map(Segment::name);
    let names_project = parameters.any(|name| name.starts_with("project_"));
    let in_path = |foreign: &[&str]| path.split('/').any(|segment| foreign.contains(&segment));
    // Of a project that is named, Sentry looks for the release and the issue within that.
    let within = names_project && !rule.projects.has(Place::Release);
    let foreign_in_path = in_path(&["app", "43", "44", "globex", "2", "former"])
        || !within && in_path(&["app%401", "shared%401", "8", "APP-8"]);
    let foreign_in_query = ["43", "44", "app", "-1", "all"].iter().any(|name| {
        query.split('&').any(|pair| {
            pair.split_once('=').is_some_and(|(key, value)| {
                key.to_ascii_lowercase().contains("project") && value.contains(name)
            })
        })
    });
    let names_own = query.split('&').any(|pair| pair == "project=42");
    let needs_query = rule.projects.has(Place::Query) && !names_project;
    let is_search = |pair: &&str| pair.starts_with("query");
    let searches: Vec<_> = query.split('&').filter(is_search).collect();
    let strays = rule.projects.has(Place::Search) && searches != ["query=id:42"];
    foreign_in_path || foreign_in_query || strays || needs_query && !names_own
}

#[test]
fn no_rule_lets_another_project_through() {
    let policy = policy(SentryVersion::NEWEST);
    let own = web();
    let (mut permitted, mut refused) = (0, 0);
    for (_, rule) in policy.rules.iter() {
        if rule.access == Access::Public {
            continue;
        }
        for method in rule.methods.iter() {
            let json = (!method.is_safe()).then_some("application/json");
            for (organization, project, version, issue) in requests::NAMES {
                let path = path(rule, organization, project, version, issue);
                for query in requests::QUERIES {
                    let target = format!("{path}{query}");
                    match admit(&policy, method, &target, json, &own) {
                        Ok((whole, permit)) => {
                            permitted += 1;
                            assert!(!strays(rule, &whole), "{method} {whole}");
                            for body in bodies::foreign_bodies() {
                                let checked = permit.body_check().is_some();
                                assert!(
                                    !checked || !admits_body(&permit, &own, &body),
                                    "{whole} {body:?}"
                                );
                            }
                        }
                        Err(_) => refused += 1,
                    }
                }
            }
        }
    }
    assert!(permitted > 3_000 && refused > 100_000, "{permitted} {refused}");
}

#[test]
fn requests_of_a_token_that_is_bound_to_a_project() {
    let policy = policy(SentryVersion::NEWEST);
    for (line, kind, wanted) in requests::ROWS {
        let (method, target) = line.split_once(' ').unwrap();
        let method = Method::from_name(method).unwrap();
        let seen = match admit(&policy, method, target, *kind, &web()) {
            Ok((whole, permit)) if permit.body_check().is_some() => format!("body {whole}"),
            Ok((whole, _)) => whole,
            Err(code) => code.to_owned(),
        };
        let wanted = wanted.replace('=', target).replace("EQUALS", "=");
        assert_eq!(seen, wanted, "{line} {kind:?}");
    }
}

#[test]
fn all_projects_of_a_token_are_added() {
    let policy = policy(SentryVersion::NEWEST);
    let own = web();
    let projects = Binding::Only(["42".into(), "43".into()].into());
    let organizations = own.bounds.organizations().clone();
    let both =
        Identity { bounds: Bound { organizations, projects, ..Bound::default() }.into(), ..own };
    for (target, wanted) in [
        ("/api/0/organizations/acme/issues/", "?project=42&project=43"),
        ("/api/0/organizations/acme/projects/", "?query=id:42%20id:43"),
        ("/api/0/organizations/acme/projects/?query=id:43", ""),
        ("/api/0/organizations/acme/projects/?query=id:43%20id:42", ""),
    ] {
        let (whole, _) = admit(&policy, Method::Get, target, None, &both).unwrap();
        assert_eq!(whole, format!("{target}{wanted}"));
        // With it, it is decided on again, and nothing more is added.
        let (again, _) = admit(&policy, Method::Get, &whole, None, &both).unwrap();
        assert_eq!(again, whole);
    }
    let another = "/api/0/organizations/acme/projects/?query=id:44%20id:42";
    assert_eq!(admit(&policy, Method::Get, another, None, &both).err(), Some("binding"));
}

#[test]
fn bodies_of_a_token_that_is_bound_to_a_project() {
    let policy = policy(SentryVersion::NEWEST);
    for (line, body, wanted) in bodies::BODIES {
        let (method, target) = line.split_once(' ').unwrap();
        let method = Method::from_name(method).unwrap();
        let (_, permit) = admit(&policy, method, target, Some("application/json"), &web()).unwrap();
        assert!(permit.body_check().is_some(), "{line}");
        let names = crate::peek::names(body.as_bytes()).unwrap();
        assert_eq!(admits_body(&permit, &web(), &names), *wanted, "{line} {body}");
    }
}
