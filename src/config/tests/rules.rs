//! Rule files of an operator's own, on top of others.

use super::*;
use crate::policy::method::Method;
use crate::policy::path::CanonicalPath;
use crate::policy::rules::{Access, Found, RuleTable};

/// The rules that come of an operator's own file on top of `base.toml`.
fn rules(own: &str) -> Result<RuleTable, ConfigError> {
    let base = r#"
        [[rule]]
        methods = ["GET", "PUT"]
        path = "/a/{x}/"
        scopes = ["org:read"]
        [[rule]]
        methods = ["GET"]
        path = "/b/"
        aliases = ["/c/", "/e/f/{x}/"]
        access = "public"
        [[rule]]
        methods = ["GET"]
        path = "/{wide}/"
        access = "public"
        [[rule]]
        methods = ["GET"]
        path = "/f/"
        aliases = ["/g/"]
        access = "public"
    "#;
    let mut source = fake();
    source.files.insert("base.toml".into(), base.into());
    source.files.insert("own.toml".into(), own.into());
    let rules = "[rules]\nsentry = false\nfiles = [\"base.toml\", \"own.toml\"]\n[upstream.web]";
    parse(&MINIMAL.replace("[upstream.web]", rules), &source).map(|config| config.policy.rules)
}

fn access(rules: &RuleTable, method: Method, path: &str) -> Option<Access> {
    match rules.find(&CanonicalPath::parse(path.as_bytes()).unwrap(), 0, method) {
        Found::Rule(id) => Some(rules.rule(id).access),
        Found::MethodNotAllowed(_) | Found::Nothing => None,
    }
}

#[test]
fn an_operators_file_adds_overrides_and_removes() {
    let rules = rules(
        r#"
        [[rule]]
        methods = ["GET"]
        path = "/d/"
        access = "authenticated"
        [[rule]]
        methods = ["GET"]
        path = "/a/{y}/"
        access = "not_exposed"
        override = true
        [[rule]]
        methods = ["GET"]
        path = "/f/"
        access = "authenticated"
        override = true
        [[rule]]
        methods = ["GET"]
        path = "/g/"
        access = "not_exposed"
        override = true
        [[remove]]
        path = "/c/"
    "#,
    )
    .unwrap();
    assert_eq!(access(&rules, Method::Get, "/d/"), Some(Access::Authenticated));
    assert_eq!(access(&rules, Method::Get, "/a/1/"), Some(Access::NotExposed));
    assert!(matches!(access(&rules, Method::Put, "/a/1/"), Some(Access::AnyOf(_))));
    // Closed under every path that it has, and not opened by a wider rule.
    for path in ["/b/", "/c/", "/e/f/1/", "/g/"] {
        assert_eq!(access(&rules, Method::Get, path), Some(Access::NotExposed), "{path}");
    }
    // A path that the file names itself keeps what it says there.
    assert_eq!(access(&rules, Method::Get, "/f/"), Some(Access::Authenticated));
    assert_eq!(access(&rules, Method::Get, "/elsewhere/"), Some(Access::Public));
}

#[test]
fn wrong_rules_name_their_place() {
    let rule = |rest: &str| format!("\n[[rule]]\nmethods = [\"GET\"]\n{rest}\n");
    let rows: Vec<(String, &str, &str)> = vec![
        (rule("path = \"/a/{y}/\"\naccess = \"public\""), "rules", "base.toml:4"),
        (rule("path = \"/a/{y}/\"\naccess = \"public\""), "rules", "own.toml:4"),
        (rule("path = \"/{y}/b/\"\naccess = \"public\""), "rules", "neither is more specific"),
        (rule("path = \"/d/\""), "own.toml:4", "asks for nothing"),
        (rule("path = \"/d/\"\naccess = \"open\""), "own.toml:4", "unknown access `open`"),
        (
            rule("path = \"/d/\"\naccess = \"public\"\nscopes = [\"org:read\"]"),
            "own.toml:4",
            "only one can hold",
        ),
        (rule("path = \"/d/\"\nscope = [\"org:read\"]"), "own.toml:5", "unknown field `scope`"),
        (rule("path = \"/d/\"\nscopes = []"), "own.toml:4", "empty list of scopes"),
        (rule("path = \"/d/\"\nscopes = [\"org:reed\"]"), "own.toml:4", "unknown scope `org:reed`"),
        (rule("path = \"d/\"\naccess = \"public\""), "own.toml:4", "starts with `/`"),
        (
            rule("path = \"/d/\"\naccess = \"public\"\ncredentials = [\"cookie\"]"),
            "own.toml:4",
            "unknown credential `cookie`",
        ),
        (
            rule("path = \"/d/\"\naccess = \"public\"\ncredentials = []"),
            "own.toml:4",
            "nothing can satisfy",
        ),
        (
            rule("path = \"/d/\"\naccess = \"public\"\noverride = true"),
            "own.toml:4",
            "no earlier file has it",
        ),
        (
            "[[rule]]\nmethods = [\"HEAD\"]\npath = \"/d/\"\naccess = \"public\"".into(),
            "own.toml:3",
            "`HEAD` is not a method",
        ),
        (
            "[[rule]]\nmethods = []\npath = \"/d/\"\naccess = \"public\"".into(),
            "own.toml:3",
            "no methods",
        ),
        ("[[remove]]\npath = \"/d/\"".into(), "own.toml:2", "no earlier file has it"),
        (
            "[[remove]]\npath = \"/a/{x}/\"\nmethods = [\"DELETE\"]".into(),
            "own.toml:2",
            "no earlier file has it",
        ),
        (
            rule("path = \"/d/\"\naccess = \"public\"\nsince = \"new\""),
            "own.toml:4",
            "`since`: `new`",
        ),
        (
            rule("path = \"/d/\"\naccess = \"public\"\nsince = \"26.8\"\nuntil = \"26.8\""),
            "own.toml:4",
            "for no version",
        ),
        ("[[rules]]".into(), "own.toml:1", "unknown field `rules`"),
    ];
    for (own, at, what) in rows {
        let error = rules(&own).map(|_| ()).unwrap_err();
        assert_eq!(error.problems.len(), 1, "{own}: {error}");
        let seen = &error.problems[0];
        assert_eq!(seen.at, at, "{own}: {seen:?}");
        assert!(seen.what.contains(what), "{own}: {seen:?}");
    }
}

/// Two rules may stand in one line, or in two files of one name: neither is the other's path.
#[test]
fn an_override_stays_with_the_rule_that_it_names() {
    let config = |source: &Fake| {
        let rules = "[rules]\nsentry = false\nfiles = [\"base.toml\", \"more/base.toml\", \"own.toml\"]\n[upstream.web]";
        parse(&MINIMAL.replace("[upstream.web]", rules), source).unwrap().policy.rules
    };
    let rule = |path: &str| {
        format!("{{ methods = [\"GET\"], path = \"{path}\", access = \"not_exposed\" }}")
    };
    let mut source = fake();
    let line = format!("rule = [{}, {}]", rule("/a/"), rule("/secret/"));
    source.files.insert("more/base.toml".into(), format!("rule = [{}]", rule("/hidden/")));
    source.files.insert("gw/base.toml".into(), line);
    let own = "[[rule]]\nmethods = [\"GET\"]\npath = \"/a/\"\naccess = \"public\"\noverride = true";
    source.files.insert("own.toml".into(), own.into());
    let rules = config(&source);
    assert_eq!(access(&rules, Method::Get, "/a/"), Some(Access::Public));
    for path in ["/secret/", "/hidden/"] {
        assert_eq!(access(&rules, Method::Get, path), Some(Access::NotExposed), "{path}");
    }
}

#[test]
fn whoever_lets_anybody_through_to_the_api_is_told() {
    let notes = |access: &str| {
        let mut source = fake();
        let own = format!(
            "[[rule]]\nmethods = [\"GET\"]\npath = \"/api/0/own/{{x}}/\"\naccess = \"{access}\"\n"
        );
        source.files.insert("own.toml".into(), own);
        let rules = "[rules]\nfiles = [\"own.toml\"]\n[upstream.web]";
        parse(&MINIMAL.replace("[upstream.web]", rules), &source).unwrap().notes
    };
    let told = notes("pass");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].at.starts_with("own.toml:") && told[0].what.contains("`/api/0/own/{x}/`"));
    for access in ["public", "authenticated", "not_exposed", "pass\"\nexpose = \"webhooks"] {
        let told = notes(access);
        assert!(told.is_empty(), "{access}: {told:?}");
    }
}

#[test]
fn a_rule_in_shadow_is_in_force_from_its_date_on() {
    let own = |end: &str, access: &str| {
        format!(
            "[[rule]]\nmethods = [\"GET\"]\npath = \"/b/\"\n{access}\noverride = true\nshadow_until = {end}\n\
             [[rule]]\nmethods = [\"GET\"]\npath = \"/new/{{x}}/\"\naccess = \"not_exposed\"\nshadow_until = \"2026-12-20\"\n"
        )
    };
    let with = |own: &str| {
        let mut source = fake();
        source.files.insert("own.toml".into(), own.into());
        let base = "[[rule]]\nmethods = [\"GET\"]\npath = \"/b/\"\naliases = [\"/c/\"]\naccess = \"public\"\n";
        source.files.insert("base.toml".into(), base.into());
        let rules =
            "[rules]\nsentry = false\nfiles = [\"base.toml\", \"own.toml\"]\n[upstream.web]";
        parse(&MINIMAL.replace("[upstream.web]", rules), &source)
    };
    let at = |date: &str| {
        Timestamp::from(humantime::parse_rfc3339(&format!("{date}T00:00:00Z")).unwrap())
    };
    let config = with(&own("\"2026-12-10\"", "scopes = [\"org:read\"]")).unwrap();
    let rules = &config.policy.rules;
    let governs = |path: &str, date: &str| match rules.find_at(
        &CanonicalPath::parse(path.as_bytes()).unwrap(),
        0,
        Method::Get,
        at(date),
    ) {
        Found::Rule(id) => Some(rules.rule(id).access.as_str()),
        Found::MethodNotAllowed(_) | Found::Nothing => None,
    };
    // Under every path that the earlier rule has, each from its own date on.
    for (path, date, wanted) in [
        ("/b/", "2026-12-09", Some("public")),
        ("/c/", "2026-12-09", Some("public")),
        ("/b/", "2026-12-10", Some("scopes")),
        ("/c/", "2026-12-10", Some("scopes")),
        ("/new/1/", "2026-12-10", None),
        ("/new/1/", "2026-12-20", Some("not_exposed")),
    ] {
        assert_eq!(governs(path, date), wanted, "{path} on {date}");
    }
    assert_eq!((rules.len(), rules.in_shadow().count()), (2, 3));
    let mut notes: Vec<_> = config
        .notes
        .iter()
        .map(|note| (&*note.at, note.what.contains("is in shadow until")))
        .collect();
    notes.sort_unstable();
    assert_eq!(notes, [("own.toml:3", true), ("own.toml:9", true)], "{:?}", config.notes);

    // A date that has passed: it is in force, and a restart does not fail for that.
    let config = with(&own("2026-11-23", "scopes = [\"org:read\"]")).unwrap();
    assert_eq!(
        access(&config.policy.rules, Method::Get, "/b/").map(Access::as_str),
        Some("scopes")
    );
    let ended = config.notes.iter().filter(|note| note.what.contains("ended at 2026-11-23"));
    assert_eq!(ended.count(), 1, "{:?}", config.notes);

    for (end, asks, what) in [
        ("\"2027-02-23\"", "scopes = [\"org:read\"]", "more than 90 days ahead"),
        ("\"soon\"", "scopes = [\"org:read\"]", "a date such as"),
        ("\"2026-12-10\"", "access = \"public\"", "with the access `public` can't be in shadow"),
        ("\"2026-12-10\"", "access = \"pass\"", "with the access `pass` can't be in shadow"),
        ("\"2026-12-10\"", "access = \"project_key\"", "can't be in shadow"),
    ] {
        let error = with(&own(end, asks)).unwrap_err();
        assert_eq!(error.problems.len(), 1, "{error}");
        assert!(error.problems[0].what.contains(what), "{error}");
    }
    // Without `override` two rules govern the same, in shadow too.
    let twice = own("\"2026-12-10\"", "scopes = [\"org:read\"]").replace("override = true\n", "");
    let error = with(&twice).unwrap_err();
    assert_eq!(error.problems.len(), 1, "{error}");
    assert!(error.problems[0].what.contains("govern the same route and method"), "{error}");
}
