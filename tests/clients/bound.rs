//! A token for one pipeline: `sentry-cli` makes a release of its project, and is told why not of another. And
//! one for some projects: whoever lists projects gets these, page by page.

use std::process::Command;

use crate::client::{Client, Home};
use crate::http::Seen;
use crate::lists::lists;
use crate::mcp::session;
use crate::stage::Stage;
use crate::uploads::{library, script};

const COMMIT: &str = "acme/web@deadbeefdeadbeefdeadbeefdeadbeefdeadbeef";

/// What `token create` prints with these words, and what it says of it.
fn create(stage: &Stage, words: &[&str]) -> (String, serde_json::Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.args(["token", "create", "--expires", "30d"]).args(words);
    command.arg("--config").arg(stage.folder.path().join("portcullis.toml"));
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let shown = told.lines().find(|line| line.starts_with('{')).unwrap();
    let secret = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    (secret, serde_json::from_str(shown).unwrap())
}

/// A token for the project `web` alone.
fn token(stage: &Stage) -> String {
    let words = ["--name", "web-ci", "--profile", "ci-release", "--project", "acme/web"];
    let (secret, shown) = create(stage, &words);
    assert_eq!((&shown["organizations"][0], &shown["projects"][0]), (&"1".into(), &"2".into()));
    assert_eq!(shown["profile"], "ci-release");
    secret
}

/// What changed anything at Sentry.
fn writes(stage: &Stage) -> Vec<String> {
    stage.lines().into_iter().filter(|line| !line.starts_with("GET ")).collect()
}

fn of_project(home: Home, project: &str) -> Home {
    home.set("SENTRY_PROJECT", project)
}

#[test]
fn a_pipelines_token_makes_releases_of_its_project_alone() {
    for client in [Client::SentryCli, Client::SentryCli2] {
        let stage = Stage::start();
        let token = token(&stage);
        stage.lines();
        let deploys: &[&str] = match client {
            Client::SentryCli2 => &["releases", "deploys", "1.0.0", "new"],
            _ => &["deploys", "new", "-r", "1.0.0"],
        };
        let deploys = [deploys, &["-e", "prod"]].concat();
        let rows: &[&[&str]] = &[
            &["releases", "new", "1.0.0"],
            &["releases", "set-commits", "1.0.0", "--commit", COMMIT],
            &["releases", "finalize", "1.0.0"],
            &deploys,
            &["sourcemaps", "upload", "--release", "1.0.0", "dist"],
            &["debug-files", "upload", "libboom.so"],
        ];
        let home = of_project(stage.home_with(&token), "web");
        script(&home.work().join("dist"));
        library(&home);
        for words in rows {
            home.run(client, words).fine();
            assert!(!writes(&stage).is_empty(), "{words:?}");
        }
        let home = of_project(stage.home_with(&token), "app");
        script(&home.work().join("dist"));
        library(&home);
        for words in [rows[0], rows[4], rows[5]] {
            let printed = home.run(client, words).failed();
            let told = "the token is bound to another project than `app`; use a token for it";
            assert!(printed.contains(told) && printed.contains("403"), "{words:?}: {printed}");
            let written = writes(&stage);
            // Chunks are of no project until they are assembled.
            assert!(written.iter().all(|line| line.ends_with("/chunk-upload/")), "{written:?}");
        }
        let words = ["issues", "list"];
        let printed = of_project(stage.home_with(&token), "web").run(client, &words).failed();
        assert!(printed.contains("the token is not for GET"), "{printed}");
        assert_eq!(stage.lines(), [""; 0]);
    }
}

/// Lists that begin with a list of projects, as most clients do before anything else.
#[test]
fn who_lists_projects_with_a_bound_token_gets_its_own() {
    let stage = Stage::start();
    let words = ["--name", "some", "--scope", "org:read", "--scope", "project:read"];
    let own = ["web", "api", "app"];
    let projects = own.map(|slug| format!("--project=acme/{slug}"));
    let projects: Vec<_> = projects.iter().map(String::as_str).collect();
    let (token, shown) = create(&stage, &[&words[..], &projects].concat());
    assert_eq!(shown["projects"], serde_json::json!(["2", "3", "4"]));
    // Two pages of it, and each asked for by id: the one that is added, and the one that `Link` repeats.
    let of_clients = || {
        let own =
            |seen: &Seen| seen.header("user-agent").is_some_and(|a| a.starts_with("portcullis/"));
        stage.seen().into_iter().filter(|seen| !own(seen)).collect::<Vec<_>>()
    };
    let pages = || {
        let seen = of_clients();
        assert_eq!(seen.len(), 2, "{seen:#?}");
        for seen in &seen {
            assert_eq!(seen.line(), "GET /api/0/organizations/acme/projects/");
            let search = seen.parameter("query").unwrap().replace("%3A", ":").replace('+', "%20");
            assert_eq!(search, "id:2%20id:3%20id:4");
            assert_eq!(seen.query().matches("query=").count(), 1, "{}", seen.query());
        }
    };
    stage.lines();
    for client in [Client::SentryCli, Client::SentryCli2] {
        lists(&stage.home_with(&token), client, "projects list", &own);
        pages();
    }
    lists(&stage.home_with(&token), Client::Sentry, "project list acme/", &own);
    pages();
    let home = stage
        .home()
        .set("QSENTRY_AUTH_TOKEN", &token)
        .set("QSENTRY_HOST_URL", &stage.url)
        .set("QSENTRY_ORG_SLUG", "acme");
    lists(&home, Client::Qsentry, "get projects --attrs slug", &own);
    pages();
    // The server for agents reads one page.
    let arguments = serde_json::json!({ "organizationSlug": "acme" });
    let answers = session(&stage, &token, &[("find_projects", arguments)]);
    assert!(!answers[0].0 && answers[0].1.contains("**web**"), "{answers:?}");
    assert!(!answers[0].1.contains("**job**"), "{answers:?}");
    let seen = of_clients();
    assert_eq!(seen[0].parameter("query"), Some("id:2%20id:3%20id:4"), "{seen:#?}");
}
