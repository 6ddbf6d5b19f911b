//! Tables over the rule table.

use super::*;

fn rule(methods: &[Method], template: &str) -> Rule {
    Rule {
        place: format!("test:{template}").into(),
        ..Rule::new(
            methods.iter().copied().collect(),
            template.parse().unwrap(),
            Access::Authenticated,
        )
    }
}

fn table(templates: &[&str]) -> RuleTable {
    let rules = templates.iter().map(|template| rule(&[Method::Get], template)).collect();
    RuleTable::build(rules).unwrap()
}

fn find(table: &RuleTable, path: &str, method: Method) -> String {
    let path = CanonicalPath::parse(path.as_bytes()).unwrap();
    match table.find(&path, 0, method) {
        Found::Rule(id) => table.rule(id).template.to_string(),
        Found::MethodNotAllowed(id) => format!("405 {}", table.rule(id).template),
        Found::Nothing => "404".to_owned(),
    }
}

#[test]
fn the_most_specific_template_wins() {
    let table = table(&[
        "/api/0/",
        "/api/0/organizations/{org}/",
        "/api/0/organizations/{org}/issues/{issue_id}/",
        "/api/0/organizations/{org}/issues/count/",
        "/api/0/organizations/{org}/issues/{n:digits}/",
        "/api/0/organizations/{org}/issues/{issue_id}/events/{event_id}/",
        "/api/0/organizations/{org}/issues/{issue_id}/events/latest/",
        "/api/0/organizations/{org}/store/{key:path}",
        "/api/0/organizations/{org}/store/",
        "/api/0/organizations/{org}/scim/v2/Users",
    ]);
    let rows = [
        ("/api/0/", "/api/0/"),
        ("/api/0", "404"),
        ("/", "404"),
        ("/api/0/organizations/", "404"),
        ("/api/0/organizations/acme/", "/api/0/organizations/{org}/"),
        ("/api/0/organizations/acme", "404"),
        ("/api/0/organizations/acme/issues/count/", "/api/0/organizations/{org}/issues/count/"),
        ("/api/0/organizations/acme/issues/%63ount/", "/api/0/organizations/{org}/issues/count/"),
        ("/api/0/organizations/acme/issues/12/", "/api/0/organizations/{org}/issues/{n:digits}/"),
        ("/api/0/organizations/acme/issues/%31/", "/api/0/organizations/{org}/issues/{n:digits}/"),
        ("/api/0/organizations/acme/issues/W-1/", "/api/0/organizations/{org}/issues/{issue_id}/"),
        (
            "/api/0/organizations/acme/issues/Count/",
            "/api/0/organizations/{org}/issues/{issue_id}/",
        ),
        (
            "/api/0/organizations/acme/issues/count/events/latest/",
            "/api/0/organizations/{org}/issues/{issue_id}/events/latest/",
        ),
        (
            "/api/0/organizations/acme/issues/12/events/1/",
            "/api/0/organizations/{org}/issues/{issue_id}/events/{event_id}/",
        ),
        ("/api/0/organizations/acme/store/", "/api/0/organizations/{org}/store/"),
        ("/api/0/organizations/acme/store/a", "/api/0/organizations/{org}/store/{key:path}"),
        ("/api/0/organizations/acme/store/a/b/", "/api/0/organizations/{org}/store/{key:path}"),
        ("/api/0/organizations/acme/scim/v2/Users", "/api/0/organizations/{org}/scim/v2/Users"),
        ("/api/0/organizations/acme/scim/v2/Users/", "404"),
        ("/API/0/", "404"),
    ];
    for (path, wanted) in rows {
        assert_eq!(find(&table, path, Method::Get), wanted, "{path}");
    }
}

#[test]
fn methods_have_rules_of_their_own() {
    let rules = vec![
        rule(&[Method::Get], "/a/{x}/"),
        rule(&[Method::Put, Method::Delete], "/a/{y}/"),
        rule(&[Method::Get], "/a/b/"),
    ];
    let table = RuleTable::build(rules).unwrap();
    let rows = [
        (Method::Get, "/a/1/", "/a/{x}/"),
        (Method::Head, "/a/1/", "/a/{x}/"),
        (Method::Put, "/a/1/", "/a/{y}/"),
        (Method::Post, "/a/1/", "405 /a/{x}/"),
        (Method::Patch, "/a/1/", "405 /a/{x}/"),
        // The more specific route decides, even where only the other one has the method.
        (Method::Put, "/a/b/", "405 /a/b/"),
    ];
    for (method, path, wanted) in rows {
        assert_eq!(find(&table, path, method), wanted, "{method} {path}");
    }
    let path = CanonicalPath::parse(b"/a/1/").unwrap();
    assert_eq!(
        table.methods_of(&path, 0, Timestamp::from_millis(0)).to_string(),
        "GET, HEAD, PUT, DELETE, OPTIONS"
    );
    let path = CanonicalPath::parse(b"/b/").unwrap();
    assert!(table.methods_of(&path, 0, Timestamp::from_millis(0)).is_empty());
}

#[test]
fn two_rules_that_could_both_win_are_refused_with_both_places() {
    let rows: &[(&str, &str, Option<ConflictKind>)] = &[
        ("/a/{x}/", "/a/{y}/", Some(ConflictKind::Same)),
        ("/a/{x}/c/", "/a/b/{y}/", Some(ConflictKind::Ambiguous)),
        ("/a/{x}/c/", "/a/{y:digits}/{z}/", Some(ConflictKind::Ambiguous)),
        ("/{x}/b/{y:path}", "/a/{z:path}", Some(ConflictKind::Ambiguous)),
        ("/a/{x}/c/", "/a/{y}/{z}/", None),
        ("/a/{x}/", "/a/{x}", None),
    ];
    for (first, second, wanted) in rows {
        let rules = vec![rule(&[Method::Get], first), rule(&[Method::Get], second)];
        match (RuleTable::build(rules), wanted) {
            (Ok(_), None) => {}
            (Err(conflicts), Some(how)) => {
                assert_eq!(conflicts.len(), 1, "{first} {second}: {conflicts:?}");
                assert_eq!(conflicts[0].how, *how, "{first} {second}");
                let text = conflicts[0].to_string();
                for part in [format!("test:{first}"), format!("test:{second}")] {
                    assert!(text.contains(&part), "{text} lacks {part}");
                }
            }
            (built, wanted) => panic!("{first} {second}: {built:?}, wanted {wanted:?}"),
        }
    }
}

#[test]
fn an_empty_table_refuses_everything() {
    let table = RuleTable::build(Vec::new()).unwrap();
    assert!(table.is_empty());
    assert_eq!(find(&table, "/", Method::Get), "404");
    assert_eq!(find(&table, "/api/0/", Method::Get), "404");
}
