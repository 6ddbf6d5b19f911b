//! What another config makes of records.

use serde_json::json;

use super::*;

#[test]
fn a_decision_is_made_again_or_said_not_to_be() {
    let issues = |method: &str| format!("{method} /api/0/organizations/acme/issues/");
    let get = issues("GET");
    let refuse = |reason: &str| json!({"decision": "refuse", "reason": reason});
    let of_nobody = |more| with(nobody(), more);
    let share = "/api/0/organizations/{organization_id_or_slug}/share/{share_id}/";
    let feedback = "/api/0/projects/{organization_id_or_slug}/{project_id_or_slug}/feedback/";
    let dsn = json!({"scheme": "dsn", "credential_kind": "dsn", "projects": ["7", "web"], "organizations": ["acme"]});
    // The record, what is said by the same rules, and what by those where issues ask for `event:admin`,
    // nothing is public, and `keys/` is gone.
    let gap_frame = "refused for what no record holds";
    let rows: Vec<(Entry, &str, &str)> = vec![
        (entry(&get, ISSUES, "event:read", json!({})), "same", "allow -> refuse missing_scope"),
        (entry(&get, ISSUES, "event:admin", json!({})), "same", "same"),
        (
            entry(&issues("HEAD"), ISSUES, "event:read", json!({})),
            "same",
            "allow -> refuse missing_scope",
        ),
        (entry(&issues("PUT"), ISSUES, "event:write", json!({})), "same", "same"),
        (entry(&get, ISSUES, "org:read", refuse("missing_scope")), "same", "same"),
        // It was refused, and would not be: a flip too.
        (
            entry(&get, ISSUES, "event:admin", refuse("missing_scope")),
            "refuse missing_scope -> allow",
            "refuse missing_scope -> allow",
        ),
        (
            entry(
                &get,
                ISSUES,
                "event:read",
                with(refuse("wrong_organization"), json!({"organizations": ["globex"]})),
            ),
            "same",
            "otherwise",
        ),
        (
            entry(&get, ISSUES, "event:read", json!({"organizations": ["acme"]})),
            "same",
            "allow -> refuse missing_scope",
        ),
        (
            entry(&get, ISSUES, "event:read", json!({"organizations": "unknown"})),
            "allow -> refuse binding",
            "allow -> refuse missing_scope",
        ),
        (
            entry(
                &get,
                ISSUES,
                "event:read",
                json!({"organizations": "unknown", "issuer": "sentry"}),
            ),
            "same",
            "allow -> refuse missing_scope",
        ),
        // What was only observed is refused where nobody observes.
        (
            entry(
                &get,
                ISSUES,
                "org:read",
                json!({"issuer": "sentry", "decision": "observe", "reason": "missing_scope"}),
            ),
            "observe missing_scope -> refuse missing_scope",
            "observe missing_scope -> refuse missing_scope",
        ),
        (
            entry(
                &get,
                ISSUES,
                "event:read",
                json!({"decision": "shadow", "reason": "missing_scope"}),
            ),
            "same",
            "shadow missing_scope -> refuse missing_scope",
        ),
        (
            entry(
                &get,
                ISSUES,
                "event:read",
                json!({"credential_kind": "org_token", "issuer": "sentry"}),
            ),
            "same",
            "allow -> refuse missing_scope",
        ),
        (
            entry(
                &get,
                ISSUES,
                "event:read",
                json!({"credential_kind": "api_key", "scheme": "basic"}),
            ),
            "same",
            "allow -> refuse missing_scope",
        ),
        (
            entry(&get, ISSUES, "event:read", json!({"scheme": "certificate"})),
            "same",
            "allow -> refuse missing_scope",
        ),
        (
            entry("POST /api/0/projects/acme/web/feedback/", feedback, "project:write", dsn),
            "same",
            "same",
        ),
        (
            entry(
                "GET /api/0/organizations/acme/keys/",
                &format!("{ORG}/keys/"),
                "org:read",
                json!({"issuer": "sentry"}),
            ),
            "same",
            "allow -> refuse no_such_route",
        ),
        (
            entry(
                "GET /api/0/organizations/acme/keys/",
                &format!("{ORG}/keys/"),
                "org:read",
                refuse("wrong_credential_kind"),
            ),
            "same",
            "otherwise",
        ),
        (
            entry("GET /api/0/", "/api/0/", "", nobody()),
            "same",
            "allow -> refuse missing_credential",
        ),
        (
            entry("OPTIONS /api/0/", "/api/0/", "", of_nobody(json!({"decision": "answer"}))),
            "same",
            "same",
        ),
        (
            entry(
                "GET /api/0/nothing/",
                "",
                "",
                of_nobody(with(refuse("no_such_route"), json!({"route": null}))),
            ),
            "same",
            "same",
        ),
        (
            entry(&get, "", "", of_nobody(with(refuse("no_such_route"), json!({"route": null})))),
            "nobody was looked up",
            "nobody was looked up",
        ),
        (entry(&get, ISSUES, "", of_nobody(refuse("missing_credential"))), "same", "same"),
        (
            entry(
                &get,
                ISSUES,
                "",
                with(of_nobody(refuse("unknown_token")), json!({"scheme": "bearer"})),
            ),
            "same",
            "same",
        ),
        (entry(&get, ISSUES, "event:read", refuse("expired_token")), "same", "same"),
        (entry(&get, ISSUES, "event:read", refuse("disabled_token")), "same", "same"),
        (
            entry(
                &get,
                ISSUES,
                "",
                with(of_nobody(refuse("disabled_token")), json!({"scheme": "bearer"})),
            ),
            "same",
            "same",
        ),
        (entry(&get, ISSUES, "", of_nobody(refuse("bad_path"))), gap_frame, gap_frame),
        (entry(&get, ISSUES, "event:read", refuse("too_large")), gap_frame, gap_frame),
        (entry(&get, ISSUES, "event:read", refuse("a_new_one")), gap_frame, gap_frame),
        (
            entry(&get, ISSUES, "event:read", json!({"issuer": null})),
            "recorded by a version",
            "recorded by a version",
        ),
        (
            entry(&get, ISSUES, "event:read", json!({"held": null})),
            "recorded by a version",
            "recorded by a version",
        ),
        (
            entry(&issues("other"), ISSUES, "event:read", json!({})),
            "the method is unknown",
            "the method is unknown",
        ),
        (
            entry("GET /api/0/organizations/acme/share/***/", share, "org:read", json!({})),
            "same",
            "same",
        ),
        (
            entry(
                "GET /api/0/organizations/***/issues/",
                ISSUES,
                "event:read",
                json!({"org": "***", "organizations": ["acme"]}),
            ),
            "what it turns on",
            "what it turns on",
        ),
        (
            entry(
                "GET /api/0/organizations/***/issues/",
                ISSUES,
                "event:read",
                json!({"org": "***"}),
            ),
            "same",
            "allow -> refuse missing_scope",
        ),
        (
            entry("GET /api/0/organizations/acme/iss...", ISSUES, "event:read", json!({})),
            "the method is unknown",
            "the method is unknown",
        ),
        // Another name is another gateway's.
        (
            entry(&get, ISSUES, "event:read", json!({"host": "other.example"})),
            "allow -> refuse misdirected",
            "allow -> refuse misdirected",
        ),
    ];
    let same = policy(rules());
    let narrower = rules().into_iter().filter(|rule| !rule.template.as_str().ends_with("/keys/"));
    let narrower = policy(
        narrower
            .map(|rule| match rule.template.as_str() {
                ISSUES if rule.methods.contains(Method::Get) => {
                    Rule { access: any("event:admin"), ..rule }
                }
                "/api/0/" => Rule { access: Access::Authenticated, ..rule },
                _ => rule,
            })
            .collect(),
    );
    for (index, (entry, by_the_same, by_narrower)) in rows.iter().enumerate() {
        for (policy, wanted) in [(&same, by_the_same), (&narrower, by_narrower)] {
            let seen = replayed(policy, entry);
            let is = seen == *wanted || wanted.len() > 10 && seen.starts_with(*wanted);
            assert!(is, "row {index}: {seen}, not {wanted}: {entry:?}");
        }
    }
}

#[test]
fn what_a_verdict_tells_of_names_and_networks_is_used_and_no_more() {
    let project = "/api/0/projects/{organization_id_or_slug}/{project_id_or_slug}/";
    let (get, web) = ("GET /api/0/organizations/acme/issues/", "GET /api/0/projects/acme/web/");
    let (read, write) =
        ("GET /api/0/organizations/acme/events/", "PUT /api/0/organizations/acme/events/");
    let refuse = |reason: &str| json!({"decision": "refuse", "reason": reason});
    let (allow, networks) = (json!({}), json!({"networks": ["10.0.0.0/8"]}));
    let ids = |more| with(more, json!({"organizations": ["1"], "org": "acme"}));
    let of_web = |more| with(ids(more), json!({"projects": ["42"], "project": "web"}));
    let of_one = |more| with(ids(more), json!({"projects": ["42"]}));
    let (unsaid, unseen) = ("the token is bound to ids", "the token is bound to projects");
    let rows: Vec<(Entry, &str)> = vec![
        // By ids, and the path has slugs.
        (entry(get, ISSUES, "event:read", ids(allow.clone())), "same"),
        (entry(get, ISSUES, "org:read", ids(allow.clone())), "allow -> refuse missing_scope"),
        (entry(get, ISSUES, "event:read", ids(refuse("wrong_organization"))), "same"),
        (entry(get, ISSUES, "org:read", ids(refuse("missing_scope"))), "same"),
        (entry(get, ISSUES, "event:read", ids(refuse("missing_scope"))), unsaid),
        (entry(web, project, "project:read", of_web(allow.clone())), "same"),
        (entry(web, project, "project:read", of_web(refuse("binding"))), unsaid),
        (entry(web, project, "project:read", of_web(refuse("wrong_organization"))), "same"),
        // Of a path that names something else than the record says, nothing is told.
        (
            entry(get, ISSUES, "event:read", with(ids(allow.clone()), json!({"org": "globex"}))),
            unsaid,
        ),
        // By a query, which is not recorded.
        (entry(read, EVENTS, "event:read", of_one(allow.clone())), "same"),
        (entry(read, EVENTS, "event:read", of_one(refuse("binding"))), unseen),
        (entry(write, EVENTS, "event:write", of_one(allow.clone())), unseen),
        (entry(write, EVENTS, "event:write", of_one(refuse("binding"))), "same"),
        // Where the client was is what the verdict says.
        (entry(get, ISSUES, "event:read", networks.clone()), "same"),
        (entry(get, ISSUES, "event:read", with(refuse("network"), networks.clone())), "same"),
        (
            entry(get, "", "event:read", with(refuse("no_such_route"), networks)),
            "refuse no_such_route -> allow",
        ),
    ];
    let policy = policy(rules());
    for (index, (entry, wanted)) in rows.iter().enumerate() {
        let seen = replayed(&policy, entry);
        assert!(seen.starts_with(*wanted), "row {index}: {seen}, not {wanted}: {entry:?}");
    }
}

#[test]
fn flips_are_counted_and_the_most_frequent_shown() {
    let policy = policy(rules());
    let mut replay = Replay::new(&policy, NOW);
    let line = "GET /api/0/organizations/acme/issues/";
    for (principal, count) in [("a", 1), ("b\u{1b}[2J", 3), ("c", 2)] {
        for _ in 0..count {
            replay.add(&entry(line, ISSUES, "org:read", json!({"principal": principal})));
        }
    }
    assert_eq!((replay.flipped(), replay.decided()), (6, 6));
    let text = replay.table(2).to_string();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    // What a record says does not reach the terminal as it is.
    assert!(lines[0].starts_with("      3  ") && lines[0].ends_with("b\\u{1b}[2J"), "{text}");
    assert!(lines[1].starts_with("      2  ") && lines[2].starts_with("      1  more"), "{text}");
    assert_eq!(lines[3], "6 decided again: 6 flipped, 0 the same");
}

#[test]
fn who_an_issuer_vouched_for_is_decided_on_again_where_it_would_let_in_by_the_same() {
    use crate::policy::issuers::TrustedIssuer;
    let get = "GET /api/0/organizations/acme/issues/";
    let gone = "GET /api/0/organizations/acme/nothing/";
    let jwt = |more| with(json!({"principal": "ci:repo:acme/web", "trust_hash": "0badcafe"}), more);
    let refused = json!({"decision": "refuse", "reason": "missing_scope"});
    let gap = "let in by a JWT whose `[[issuer]]` is another now";
    let unknown = "allow -> refuse unknown_token";
    let file = json!({"principal": "of:a:file", "trust_hash": null});
    // The record; what is said where the issuer is as it was, goes by another name, is another, and is gone.
    let rows: Vec<(Entry, [&str; 4])> = vec![
        (entry(get, ISSUES, "event:read", jwt(json!({}))), ["same", "same", gap, unknown]),
        (entry(get, ISSUES, "", jwt(refused)), ["same", "same", gap, "otherwise"]),
        // By an older gateway.
        (
            entry(get, ISSUES, "event:read", jwt(json!({"trust_hash": null}))),
            [gap, "same", gap, "same"],
        ),
        // Who calls does not matter.
        (entry(gone, ISSUES, "event:read", jwt(json!({}))), ["allow -> refuse no_such_route"; 4]),
        (entry(get, ISSUES, "event:read", file), ["same"; 4]),
        (entry(get, ISSUES, "event:read", json!({})), ["same"; 4]),
    ];
    let issuers = [Some(("ci", "0badcafe")), Some(("github", "0badcafe")), Some(("ci", "1")), None];
    for (record, said) in rows {
        for (issuer, wanted) in issuers.iter().zip(said) {
            let named = |(name, hash): (&str, &str)| TrustedIssuer {
                name: name.into(),
                issuer: "https://ci.example".into(),
                hash: hash.into(),
            };
            let mut policy = policy(rules());
            policy.issuers = issuer.map(named).into_iter().collect();
            let said = replayed(&policy, &record);
            assert!(said.starts_with(wanted), "{issuer:?} {record:?}: {said}, not {wanted}");
        }
    }
}
