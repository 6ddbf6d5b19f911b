//! A token for one pipeline: `sentry-cli` makes a release of its project, and is told why not of another.

use std::process::Command;

use crate::client::{Client, Home};
use crate::stage::Stage;
use crate::uploads::{library, script};

const COMMIT: &str = "acme/web@deadbeefdeadbeefdeadbeefdeadbeefdeadbeef";

/// What `token create` prints for the project `web` alone.
fn token(stage: &Stage) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.args(["token", "create", "--name", "web-ci", "--profile", "ci-release"]);
    command.args(["--project", "acme/web", "--expires", "30d"]);
    command.arg("--config").arg(stage.folder.path().join("portcullis.toml"));
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let shown = told.lines().find(|line| line.starts_with('{')).unwrap();
    let shown: serde_json::Value = serde_json::from_str(shown).unwrap();
    assert_eq!((&shown["organizations"][0], &shown["projects"][0]), (&"1".into(), &"2".into()));
    assert_eq!(shown["profile"], "ci-release");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
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
