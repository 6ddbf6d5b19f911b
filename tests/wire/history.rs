//! From what callers did to narrower tokens, and from a config to the next: `suggest` and `replay` on the
//! audit of a gateway that served.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::gate::{Gate, Options, UPSTREAM_TOKEN};
use crate::upstream::Upstream;

const READ: &str = "GET /api/0/organizations/acme/issues/";
const WRITE: &str = "PUT /api/0/organizations/acme/issues/";
const PROJECTS: &str = "GET /api/0/organizations/acme/projects/";
/// What nobody asked for.
const OUTSIDE: &[&str] = &[
    "DELETE /api/0/organizations/acme/issues/",
    "GET /api/0/organizations/globex/issues/",
    "GET /api/0/organizations/acme/members/",
    "GET /api/0/organizations/",
];

fn gate(decisions: &str, rules: &str) -> Gate {
    let options = Options {
        tables: format!("[audit]\noutput = \"audit.log\"\n{decisions}\n"),
        rules: rules.to_owned(),
        threads: Some(1),
        ..Options::default()
    };
    Gate::with(Upstream::start(), &options)
}

const ALL: &str = "decisions = [\"refuse\", \"write\", \"read\"]";

fn run(words: &[&str], config: &Path, audits: &[&Path]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.args(words).arg("--config").arg(config);
    for audit in audits {
        command.arg("--audit").arg(audit);
    }
    command.output().unwrap()
}

fn text(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn what_is_suggested_lets_through_what_was_done_and_nothing_else() {
    // Deleting asks for more than Sentry does, so that a write is not a deletion.
    let rules = "[[rule]]\nmethods = [\"DELETE\"]\nscopes = [\"event:admin\"]\noverride = true\n\
        path = \"/api/0/organizations/{organization_id_or_slug}/issues/\"\n";
    let mut gate = gate(ALL, rules);
    let (broad, idle) = (gate.token("all"), gate.token("org:read"));
    let id = gate.id_of(&broad);
    for line in [READ, READ, WRITE, PROJECTS] {
        assert_eq!(gate.bearer(line, &broad).status, 200, "{line}");
    }
    assert_eq!(gate.bearer(READ, &idle).status, 403);
    assert_eq!(gate.bearer(READ, "nobody").status, 401);
    gate.stop();
    let (config, audit) =
        (gate.folder.path().join("portcullis.toml"), gate.folder.path().join("audit.log"));
    let (code, said, notes) = text(&run(&["suggest", "--json"], &config, &[&audit]));
    assert_eq!(code, Some(0), "{notes}");
    let proposals: Vec<Value> =
        said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(proposals.len(), 1, "{said}");
    let proposal = &proposals[0];
    assert_eq!(proposal["principal"], *id);
    assert_eq!((&proposal["requests"], &proposal["read_only"]), (&4.into(), &false.into()));
    assert_eq!(proposal["organizations"], serde_json::json!(["acme"]));
    assert_eq!(proposal["rules"].as_object().unwrap().len(), 3, "{proposal}");
    assert!(proposal["unneeded"].as_array().unwrap().contains(&"org:admin".into()), "{proposal}");
    assert!(
        notes.contains(&format!("`{}`", gate.id_of(&idle))) && notes.contains("did nothing here"),
        "{notes}"
    );
    assert!(!notes.contains("warning"), "{notes}");

    // As it is printed.
    let command = proposal["command"].as_str().unwrap().to_owned();
    let words: Vec<_> = command.split(' ').collect();
    let made = Command::new(env!("CARGO_BIN_EXE_portcullis")).args(&words[1..]).output().unwrap();
    let narrow = text(&made).1.trim().to_owned();
    assert_eq!(made.status.code(), Some(0), "{command}");
    let (_, people, _) = text(&run(&["suggest", "--no-store"], &config, &[&audit]));
    assert!(people.contains(&command) && people.contains("[profile.suggested-1]"), "{people}");
    for secret in [&*broad, &idle, &narrow, UPSTREAM_TOKEN] {
        let audit = fs::read_to_string(&audit).unwrap();
        assert!(![&audit, &said, &people, &notes].iter().any(|text| text.contains(secret)));
    }

    // The same rules before the same store.
    let store = format!(
        "[[store]]\nkind = \"portcullis\"\nurl = \"sqlite://{}\"\n",
        gate.store().display()
    );
    let options = Options { rules: rules.to_owned(), stores: Some(store), ..Options::default() };
    let other = Gate::with(Upstream::start(), &options);
    for line in [READ, WRITE, PROJECTS] {
        assert_eq!(other.bearer(line, &narrow).status, 200, "{line}");
        assert_eq!(other.upstream.take().len(), 1);
    }
    for line in OUTSIDE {
        assert_eq!(other.bearer(line, &narrow).status, 403, "{line}");
        assert_eq!(other.upstream.take().len(), 0, "{line}");
    }
}

#[test]
fn an_audit_that_lacks_reads_is_warned_of() {
    let mut gate = gate("", "");
    let token = gate.token("event:write");
    for line in [READ, WRITE] {
        assert_eq!(gate.bearer(line, &token).status, 200);
    }
    gate.stop();
    let (config, audit) =
        (gate.folder.path().join("portcullis.toml"), gate.folder.path().join("audit.log"));
    let (code, said, notes) = text(&run(&["suggest"], &config, &[&audit]));
    assert_eq!(code, Some(0), "{notes}");
    assert!(
        notes.contains("warning: the audit has no read") && said.contains("--scope event:write"),
        "{notes}"
    );
}

#[test]
fn a_replay_flips_exactly_what_another_config_decides_otherwise() {
    let mut gate = gate(ALL, "");
    let (writer, reader) = (gate.token("event:write"), gate.token("event:read org:read"));
    let rows = [
        (READ, &writer, 200),
        (WRITE, &writer, 200),
        (WRITE, &writer, 200),
        (READ, &reader, 200),
        (WRITE, &reader, 403),
        (PROJECTS, &reader, 200),
        (PROJECTS, &writer, 403),
    ];
    for (line, token, status) in rows {
        assert_eq!(gate.bearer(line, token).status, status, "{line}");
    }
    assert_eq!(gate.send(READ, &[]).status, 401);
    assert_eq!(gate.bearer(READ, "nobody").status, 401);
    assert_eq!(gate.bearer("GET /api/0/nothing/", &reader).status, 404);
    assert_eq!(gate.bearer("GET /api/0/organizations/a%2Fb/issues/", &reader).status, 400);
    gate.stop();
    let folder = gate.folder.path();
    let (config, audit) = (folder.join("portcullis.toml"), folder.join("audit.log"));
    let (code, said, notes) = text(&run(&["replay"], &config, &[&audit]));
    assert_eq!(code, Some(0), "{said}{notes}");
    assert!(
        said.starts_with(
            "10 decided again: 0 flipped, 10 the same\n1 not decided again: refused for"
        ),
        "{said}"
    );

    // Two files of it, and half a line at the end of one, as when it is being written.
    let whole = fs::read_to_string(&audit).unwrap();
    let (rotated, torn) = (folder.join("audit.log.1"), folder.join("torn.log"));
    let (first, rest) = whole.split_at(whole.find('\n').unwrap() + 1);
    fs::write(&rotated, first).unwrap();
    fs::write(&torn, format!("{}no record\n{rest}", &first[..40]) + &first[..80]).unwrap();
    // One rule that is narrower, and one that is wider.
    let narrower = "[[rule]]\nmethods = [\"PUT\"]\nscopes = [\"event:admin\"]\noverride = true\n\
        path = \"/api/0/organizations/{organization_id_or_slug}/issues/\"\n\
        [[rule]]\nmethods = [\"GET\"]\nscopes = [\"event:write\", \"org:read\"]\noverride = true\n\
        path = \"/api/0/organizations/{organization_id_or_slug}/projects/\"\n";
    fs::write(folder.join("own.toml"), narrower).unwrap();
    let (code, said, notes) = text(&run(&["replay"], &config, &[&rotated, &torn]));
    // Nobody knows what the line would have said.
    assert_eq!(code, Some(2), "{said}{notes}");
    assert!(notes.contains("1 lines are no records"), "{notes}");
    let route = "/api/0/organizations/{organization_id_or_slug}/";
    let writer = gate.id_of(&writer);
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(
        lines[..3],
        [
            format!("      2  allow -> refuse missing_scope  PUT {route}issues/  {writer}"),
            format!("      1  refuse missing_scope -> allow  GET {route}projects/  {writer}"),
            "10 decided again: 3 flipped, 7 the same".to_owned(),
        ],
        "{said}"
    );
    assert!(
        notes.contains("torn.log:1: no record") && notes.contains("the last line is not whole"),
        "{notes}"
    );
    // One that is only not finished is none of those.
    fs::write(&torn, format!("{rest}{}", &first[..80])).unwrap();
    let (code, _, notes) = text(&run(&["replay"], &config, &[&rotated, &torn]));
    assert_eq!(code, Some(1), "{notes}");
    assert!(notes.contains("the last line is not whole"), "{notes}");
    // A rule in shadow flips nothing.
    let shadow = narrower.replace("override = true\n", "override = true\nshadow_until = \"END\"\n");
    let ahead = std::time::Duration::from_secs(3600);
    use portcullis::clock::{Clock as _, SystemClock};
    let shadow = shadow.replace("END", &SystemClock.now().after(ahead).to_string());
    fs::write(folder.join("own.toml"), shadow).unwrap();
    let (code, said, notes) = text(&run(&["replay"], &config, &[&audit]));
    assert_eq!(code, Some(0), "{said}{notes}");
}

#[test]
fn what_can_not_be_replayed_is_no_success() {
    let gate = gate(ALL, "");
    let folder = gate.folder.path();
    let (config, other) = (folder.join("portcullis.toml"), folder.join("other.log"));
    for (text, said) in [
        (None, "can't be read"),
        (Some(""), "no record of a decision"),
        (Some("{\"msg\":\"request\",\"path\":\"/\"}\n"), "no record of a decision"),
        (
            Some(
                "{\"msg\":\"audit\",\"kind\":\"decision\",\"decision\":\"refuse\",\"reason\":\"bad_path\"}\n",
            ),
            "can be decided again",
        ),
    ] {
        match text {
            Some(text) => fs::write(&other, text).unwrap(),
            None => fs::remove_file(&other).unwrap_or_default(),
        }
        let output = run(&["replay"], &config, &[&other]);
        let notes = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            (output.status.code(), notes.contains(said)),
            (Some(2), true),
            "{text:?}: {notes}"
        );
    }
    fs::write(&other, "x = 1").unwrap();
    assert_eq!(run(&["replay"], &other, &[&other]).status.code(), Some(2));
}
