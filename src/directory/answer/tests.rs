//! What is asked for, and what counts as an answer.

use super::*;

fn project(organization: &str, project: &str) -> Question {
    Question::Project { organization: organization.into(), project: project.into() }
}

fn release(version: &str) -> Question {
    Question::Release { organization: "acme".into(), version: version.into() }
}

fn issue(issue: &str) -> Question {
    Question::Issue { organization: "acme".into(), issue: issue.into() }
}

#[test]
fn a_name_is_one_segment_or_is_not_asked_for() {
    let organization = |name: &str| Question::Organization(name.into());
    for (question, wanted) in [
        (organization("acme"), Some("/api/0/organizations/acme/?detailed=0")),
        (project("acme", "web"), Some("/api/0/projects/acme/web/")),
        (release("web@1.0+2"), Some("/api/0/organizations/acme/releases/web%401.0%2B2/")),
        (release("a b?c#d%2e"), Some("/api/0/organizations/acme/releases/a%20b%3Fc%23d%252e/")),
        (issue("WEB-1"), Some("/api/0/organizations/acme/issues/WEB-1/")),
        (release(""), None),
        (release("."), None),
        (release(".."), None),
        (release("a/b"), None),
        (release("a\\b"), None),
        (release("a\nb"), None),
        (organization(""), None),
        (project("..", "web"), None),
        (issue(&"1".repeat(251)), None),
    ] {
        assert_eq!(path(&question).as_deref(), wanted, "{question:?}");
    }
}

#[test]
fn only_what_was_asked_for_is_an_answer() {
    let (ids, none) = (|ids: &[u64]| Learnt::Ids(ids.into()), Learnt::Ids([].into()));
    let web = r#"{"id": "42", "slug": "web", "organization": {"id": "1", "slug": "acme"}}"#;
    let rows = [
        (Question::Organization("acme".into()), 200, r#"{"id":"1","slug":"acme"}"#, ids(&[1])),
        (Question::Organization("acme".into()), 200, r#"{"id":1,"slug":"acme"}"#, ids(&[1])),
        // The slug has moved on to another name.
        (Question::Organization("old".into()), 200, r#"{"id":"1","slug":"acme"}"#, none.clone()),
        (
            Question::Organization("acme".into()),
            200,
            r#"{"id":"x","slug":"acme"}"#,
            Learnt::Unavailable,
        ),
        (Question::Organization("acme".into()), 200, r#"{"slug":"acme"}"#, Learnt::Unavailable),
        (project("acme", "web"), 200, web, ids(&[42])),
        (project("1", "web"), 200, web, ids(&[42])),
        (project("globex", "web"), 200, web, none.clone()),
        (project("acme", "app"), 200, web, none.clone()),
        (project("acme", "web"), 302, r#"{"slug":"new"}"#, none.clone()),
        (project("acme", "web"), 404, "{}", Learnt::Nothing),
        (project("acme", "web"), 403, "{}", none.clone()),
        (project("acme", "web"), 401, "{}", Learnt::Unavailable),
        (project("acme", "web"), 500, "", Learnt::Unavailable),
        (project("acme", "web"), 200, "<html>", Learnt::Unavailable),
        (project("acme", "web"), 204, "", Learnt::Unavailable),
        (
            release("1.0"),
            200,
            r#"{"version":"1.0","projects":[{"id":42,"slug":"web"},{"id":43,"slug":"app"}]}"#,
            ids(&[42, 43]),
        ),
        (release("1.0"), 200, r#"{"version":"1.0","projects":[]}"#, none.clone()),
        (release("1.0"), 200, r#"{"version":"1.0"}"#, Learnt::Unavailable),
        (release("latest"), 200, r#"{"version":"1.0","projects":[{"id":42,"slug":"web"}]}"#, none),
        (issue("7"), 200, r#"{"id":"7","project":{"id":"42","slug":"web"}}"#, ids(&[42])),
        (issue("7"), 200, r#"{"id":"7","project":null}"#, Learnt::Unavailable),
    ];
    for (question, status, body, wanted) in rows {
        let status = StatusCode::from_u16(status).unwrap();
        assert_eq!(
            read(&question, status, body.as_bytes()),
            wanted,
            "{question:?} {status} {body}"
        );
    }
}
