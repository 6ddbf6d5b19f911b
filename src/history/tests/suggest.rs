//! What is proposed for records.

use serde_json::json;

use super::*;
use crate::history::suggest::{Proposal, Suggest, profiles};

fn proposals(policy: &Policy, entries: &[Entry]) -> Vec<Proposal> {
    let mut suggest = Suggest::new(policy, NOW, [], None);
    entries.iter().for_each(|entry| suggest.add(entry));
    suggest.proposals()
}

/// What is proposed for what was let through: (line, route).
fn proposed(policy: &Policy, done: &[(&str, &str)], held: &str) -> Proposal {
    let named = |line: &str| {
        let parts: Vec<_> = line.split('/').collect();
        let project = parts.get(5).filter(|_| parts[3] == "projects");
        let org = parts.get(4).filter(|name| !name.is_empty());
        json!({"org": org, "project": project})
    };
    let entries: Vec<_> =
        done.iter().map(|(line, route)| entry(line, route, held, named(line))).collect();
    proposals(policy, &entries).remove(0)
}

const PROJECT: &str = "/api/0/projects/{organization_id_or_slug}/{project_id_or_slug}/";

#[test]
fn the_narrowest_token_is_proposed() {
    let policy = policy(rules());
    let issues = ("GET /api/0/organizations/acme/issues/", ISSUES);
    let delete = ("DELETE /api/0/organizations/acme/issues/", ISSUES);
    let project = ("GET /api/0/projects/acme/web/", PROJECT);
    let saved = format!("{ORG}/saved/");
    let saved = ("POST /api/0/organizations/acme/saved/", &*saved);
    let keys = format!("{ORG}/keys/");
    let keys = ("GET /api/0/organizations/acme/keys/", &*keys);
    let list = ("GET /api/0/organizations/", "/api/0/organizations/");
    let whoami = ("GET /api/0/whoami/", "/api/0/whoami/");
    let odd = ("GET /api/0/organizations/$(id)/issues/", ISSUES);
    let other = ("GET /api/0/projects/globex/api/", PROJECT);
    let numbers = ("GET /api/0/projects/acme/7/", PROJECT);
    let others = ("GET /api/0/projects/globex/8/", PROJECT);
    let dash = ("GET /api/0/organizations/--no-expiry/issues/", ISSUES);
    // What was done; the scopes, the organizations, the projects, whether it only read, and what is not possible.
    type Row<'a> =
        (&'a [(&'a str, &'a str)], &'a [&'a str], &'a [&'a str], &'a [&'a str], bool, usize);
    let rows: &[Row<'_>] = &[
        (&[issues], &["event:read"], &["acme"], &[], true, 0),
        (&[issues, issues, delete], &["event:write"], &["acme"], &[], false, 0),
        (&[project], &["project:read"], &["acme"], &["web"], true, 0),
        // A slug is a project's own only within an organization; a number is everywhere.
        (&[project, other], &["project:read"], &["acme", "globex"], &[], true, 0),
        (&[numbers, other], &["project:read"], &["acme", "globex"], &[], true, 0),
        (&[numbers, others], &["project:read"], &["acme", "globex"], &["7", "8"], true, 0),
        (&[project, issues], &["event:read", "project:read"], &["acme"], &[], true, 0),
        (&[issues, list], &["event:read", "org:read"], &[], &[], true, 0),
        (&[issues, whoami], &["event:read"], &[], &[], true, 0),
        (&[whoami], &["org:read"], &[], &[], true, 0),
        // With the upstream's credential a read scope writes nothing.
        (&[issues, saved], &["event:read"], &["acme"], &[], false, 1),
        (&[issues, keys], &["event:read"], &["acme"], &[], true, 1),
        (&[("GET /api/0/", "/api/0/")], &[], &[], &[], true, 0),
        // What is no slug is in no command.
        (&[issues, odd], &["event:read"], &[], &[], true, 0),
        (&[dash], &["event:read"], &[], &[], true, 0),
    ];
    for (done, scopes, organizations, projects, read_only, impossible) in rows {
        let seen = proposed(&policy, done, "org:read org:admin event:admin");
        let lists = (&*seen.scopes, &*seen.organizations, &*seen.projects);
        let organizations: Vec<_> = organizations.iter().map(ToString::to_string).collect();
        let projects: Vec<_> = projects.iter().map(ToString::to_string).collect();
        assert_eq!(lists, (*scopes, &*organizations, &*projects), "{done:?}");
        let dropped = done.contains(&other);
        let why = seen.unbound.as_deref().unwrap_or_default();
        assert_eq!(why.contains("to projects: it named 2 of 2 organizations"), dropped, "{why}");
        assert_eq!(seen.told("gw").to_string().contains("unbound"), seen.unbound.is_some());
        assert_eq!((seen.read_only, seen.impossible.len()), (*read_only, *impossible), "{done:?}");
        assert_eq!(seen.requests, done.len() as u64);
        let is_shell = |c: char| c.is_ascii_alphanumeric() || " -_:/".contains(c);
        let command = seen.command("gw");
        assert!(command.chars().all(is_shell), "{command}");
        assert_eq!(command.matches("--project ").count(), projects.len(), "{command}");
        // And it would have been let through.
        let bound = (!organizations.is_empty()).then_some(organizations);
        for (line, route) in *done {
            let held = scopes.join(" ");
            let again = entry(line, route, &held, json!({"organizations": bound}));
            let is_possible = !seen
                .impossible
                .contains_key(&format!("{} {route}", line.split(' ').next().unwrap()));
            let same = replayed(&policy, &again) == "same";
            assert_eq!(same, is_possible, "{line} with {held}");
        }
    }
}

#[test]
fn only_what_was_let_through_counts_and_what_is_not_used_is_told() {
    let policy = policy(rules());
    let issues = "GET /api/0/organizations/acme/issues/";
    let done = [
        entry(
            issues,
            ISSUES,
            "event:read team:admin",
            json!({"org": "acme", "ts": "2026-10-01T00:00:00.000Z"}),
        ),
        entry(
            issues,
            ISSUES,
            "event:read team:admin",
            json!({"org": "acme", "decision": "shadow", "reason": "missing_scope"}),
        ),
        entry(
            "DELETE /api/0/organizations/acme/issues/",
            ISSUES,
            "event:read team:admin",
            json!({"decision": "refuse", "reason": "missing_scope"}),
        ),
        entry("GET /api/0/gone/", "/api/0/gone/", "event:read team:admin", json!({})),
        entry(
            issues,
            ISSUES,
            "event:read",
            json!({"principal": "tok_2", "token_fp": "1", "org": "acme"}),
        ),
        entry(
            issues,
            ISSUES,
            "event:read",
            json!({"principal": "tok_3", "decision": "refuse", "reason": "binding"}),
        ),
        entry("GET /api/0/", "/api/0/", "", nobody()),
    ];
    let seen = proposals(&policy, &done);
    assert_eq!(seen.len(), 2, "one was let through with nothing: {seen:?}");
    assert_eq!((seen[0].requests, &*seen[0].scopes), (3, &["event:read"][..]));
    assert_eq!(seen[0].unneeded, ["team:admin"]);
    assert_eq!(seen[0].refused.get("missing_scope"), Some(&1));
    assert!(seen[0].elsewhere.contains("GET /api/0/gone/"));
    assert_eq!((&*seen[0].first, seen[0].days), ("2026-10-01T00:00:00.000Z", 62));
    assert_eq!(
        seen[0].command("/etc/it's.toml"),
        "portcullis token create --config '/etc/it'\\''s.toml' --name narrow-tok-1 --scope event:read --organization acme --read-only --expires 62d"
    );
    // What needs the same has one profile.
    let text = profiles(&seen);
    let parsed: toml::Table = text.parse().unwrap();
    let profile = &parsed["profile"]["suggested-1"];
    assert_eq!(parsed["profile"].as_table().unwrap().len(), 1, "{text}");
    assert_eq!(profile["scopes"].as_array().unwrap(), &["event:read".into()]);
    assert_eq!(profile["rules"].as_array().unwrap(), &[format!("GET {ISSUES}").into()]);
    assert_eq!(profile["read_only"], true.into());
    assert!(text.contains("# tok_1\n# tok_2\n"), "{text}");

    for (only, since, wanted) in [
        (vec!["tok_2"], None, vec!["tok_2"]),
        (vec!["0badcafe"], None, vec!["tok_1"]),
        (vec![], Some("2026-10-15T00:00:00Z"), vec!["tok_1", "tok_2"]),
        (vec![], Some("2026-12-15T00:00:00Z"), vec![]),
        (vec!["nobody"], None, vec![]),
    ] {
        let since = since.map(|text| Timestamp::from(humantime::parse_rfc3339(text).unwrap()));
        let mut suggest = Suggest::new(&policy, NOW, only.iter().map(ToString::to_string), since);
        done.iter().for_each(|entry| suggest.add(entry));
        let ids: Vec<_> = suggest.proposals().iter().map(|one| one.principal.clone()).collect();
        assert_eq!(ids, wanted, "{only:?} since {since:?}");
    }
}

#[test]
fn an_audit_without_reads_is_said_to_be_one() {
    let policy = policy(rules());
    let warned = |entries: &[Entry]| {
        let mut suggest = Suggest::new(&policy, NOW, [], None);
        entries.iter().for_each(|entry| suggest.add(entry));
        suggest.warnings().concat()
    };
    let read = entry("GET /api/0/organizations/acme/issues/", ISSUES, "event:read", json!({}));
    let write = entry("PUT /api/0/organizations/acme/issues/", ISSUES, "event:write", json!({}));
    assert!(warned(std::slice::from_ref(&write)).contains("the audit has no read"));
    assert!(warned(&[]).contains("nothing that was let through"));
    assert_eq!(warned(&[write, read]), "");
}
