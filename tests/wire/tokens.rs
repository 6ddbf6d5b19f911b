//! How tokens are used, as the gateway tells it; rotation; and tokens that nobody is to use.

mod api;
mod canary;

use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::gate::{Gate, Options, eventually};
use crate::upstream::Upstream;

const ISSUES: &str = "/api/0/organizations/{organization_id_or_slug}/issues/";
const LINE: &str = "GET /api/0/organizations/acme/issues/";

/// What `token show` says of one.
fn shown(gate: &Gate, token: &str) -> Value {
    serde_json::from_str(&gate.portcullis(&["token", "show", token])).unwrap()
}

/// The ids of what `token list` says.
fn listed(gate: &Gate, words: &[&str]) -> Vec<String> {
    let text = gate.portcullis(&[&["token", "list"], words].concat());
    let id = |line: &str| {
        let token: Value = serde_json::from_str(line).unwrap();
        token["id"].as_str().unwrap().to_owned()
    };
    text.lines().map(id).collect()
}

/// Runs a command on the config of a gateway, whatever comes of it.
fn run(gate: &Gate, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.args(words).arg("--config").arg(gate.folder.path().join("portcullis.toml"));
    command.output().unwrap()
}

fn ask(gate: &Gate, line: &str, token: &str, agent: &str) -> u16 {
    let bearer = format!("Bearer {token}");
    gate.send(line, &[("Authorization", &bearer), ("User-Agent", agent)]).status
}

#[test]
fn it_is_known_how_a_token_is_used() {
    let tables = "[privacy]\nuser_agent = \"full\"".to_owned();
    let gate = Gate::with(Upstream::start(), &Options { tables, ..Options::default() });
    let token = gate.token("event:read");
    gate.settle();
    let id = gate.id_of(&token);
    assert_eq!(shown(&gate, &id)["use"]["requests"], 0);
    assert_eq!(ask(&gate, LINE, &token, "cli/1"), 200);
    assert_eq!(ask(&gate, LINE, &token, "cli/1 sntryu_0123456789abcdef"), 200);
    let delete = "DELETE /api/0/organizations/acme/issues/";
    assert_eq!(ask(&gate, delete, &token, "curl/8\t\u{e9}"), 403);
    assert_eq!(ask(&gate, "GET /api/0/organizations/acme/nothing/", &token, "curl/8"), 404);
    // Written within seconds, and not with each request.
    eventually("it written down", || shown(&gate, &id)["use"]["requests"] == 3);
    let told = shown(&gate, &id);
    let used = &told["use"];
    assert_eq!((&used["first_route"], &used["last_route"]), (&json!(ISSUES), &json!(ISSUES)));
    assert_eq!(used["last_network"], "127.0.0.0/24");
    assert_eq!(used["refusals"]["missing_scope"]["count"], 1);
    assert_eq!(used["refusals"].as_object().unwrap().len(), 1);
    let agents: Vec<_> = used["user_agents"].as_array().unwrap().iter().collect();
    let mut names: Vec<_> = agents.iter().map(|agent| agent["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["cli/1", "cli/1 ***", "curl/8???"]);
    assert!(told["last_used_at"].is_string() && used["first_used_at"].is_string());
    gate.counts("portcullis_token_use_writes_total", &["result=\"failed\""], 0.0);
    assert!(gate.metric("portcullis_token_use_writes_total", &["result=\"written\""]) >= 1.0);
    // It is no change of the token: nothing is forgotten for it.
    gate.counts("portcullis_store_lookups_total", &["result=\"found\""], 1.0);
}

#[test]
fn privacy_holds_for_what_is_kept_too() {
    let tables = "[privacy]\nclient_address = \"off\"\nuser_agent = \"shortened\"".to_owned();
    let gate = Gate::with(Upstream::start(), &Options { tables, ..Options::default() });
    let token = gate.token("event:read");
    gate.settle();
    assert_eq!(ask(&gate, LINE, &token, "cli/1 (of somebody)"), 200);
    let id = gate.id_of(&token);
    eventually("it written down", || shown(&gate, &id)["use"]["requests"] == 1);
    let used = shown(&gate, &id)["use"].clone();
    assert_eq!(used["last_network"], Value::Null);
    assert_eq!(used["user_agents"][0]["name"], "cli/1");
    let tables = "[privacy]\nuser_agent = \"off\"".to_owned();
    let gate = Gate::with(Upstream::start(), &Options { tables, ..Options::default() });
    let token = gate.token("event:read");
    gate.settle();
    assert_eq!(ask(&gate, LINE, &token, "cli/1"), 200);
    let id = gate.id_of(&token);
    eventually("it written down", || shown(&gate, &id)["use"]["requests"] == 1);
    assert_eq!(shown(&gate, &id)["use"]["user_agents"], json!([]));
}

/// An upload may go on for long: it is a use from its decision on.
#[test]
fn an_upload_counts_before_it_ends() {
    let gate = Gate::start();
    let token = gate.token("project:releases");
    gate.settle();
    let id = gate.id_of(&token);
    let mut client = crate::client::Connection::open(gate.address);
    let line = "POST /api/0/organizations/acme/releases/1.0/files/ HTTP/1.1";
    let head = format!(
        "{line}\r\nHost: gw.example\r\nAuthorization: Bearer {token}\r\n\
         User-Agent: sentry-cli/3\r\nContent-Length: 1000\r\n\r\npart"
    );
    client.write(head.as_bytes());
    eventually("it written down", || shown(&gate, &id)["use"]["requests"] == 1);
    let told = shown(&gate, &id);
    assert!(told["last_used_at"].is_string(), "{told}");
    assert_eq!(told["use"]["user_agents"][0]["name"], "sentry-cli/3");
    assert_eq!(listed(&gate, &["--unused-for", "0s"]).len(), 1);
    assert!(listed(&gate, &["--unused-for", "90d"]).is_empty());
}

#[test]
fn tokens_are_listed_by_how_they_are_used_and_by_their_end() {
    let gate = Gate::start();
    let mut ids = Vec::new();
    for (name, expires) in [("soon", "1d"), ("later", "60d")] {
        let words = ["token", "create", "--name", name, "--scope", "read", "--expires", expires];
        let words: Vec<_> =
            words.iter().map(|word| if *word == "read" { "org:read" } else { word }).collect();
        ids.push(gate.id_of(gate.portcullis(&words).trim()));
    }
    let words = ["token", "create", "--name", "ever", "--scope", "org:read", "--no-expiry"];
    ids.push(gate.id_of(gate.portcullis(&words).trim()));
    assert_eq!(listed(&gate, &["--expires-within", "14d"]), ids[..1]);
    assert_eq!(listed(&gate, &["--expires-within", "90d"]), ids[..2]);
    assert!(listed(&gate, &["--unused-for", "1d"]).is_empty());
    // Created, or used, a hundred days ago.
    let days = crate::gate::hours(-100 * 24).as_millis();
    gate.sql(&format!("UPDATE token SET created_at = {days} WHERE id = '{}'", ids[0]));
    gate.sql(&format!("UPDATE token SET last_used_at = {days} WHERE id = '{}'", ids[1]));
    assert_eq!(listed(&gate, &["--unused-for", "90d"]), ids[..2]);
    assert_eq!(listed(&gate, &["--unused-for", "90d", "--expires-within", "14d"]), ids[..1]);
    assert!(listed(&gate, &["--unused-for", "101d"]).is_empty());
    // What is laid out is not to be used, and what is revoked is no matter any more.
    gate.portcullis(&["token", "create", "--canary", "--name", "bait"]);
    gate.sql(&format!("UPDATE token SET created_at = {days} WHERE name IN ('bait', 'later')"));
    gate.portcullis(&["token", "revoke", "later"]);
    assert_eq!(listed(&gate, &["--unused-for", "90d"]), ids[..1]);
    gate.portcullis(&["token", "revoke", "bait"]);
    gate.sql("DELETE FROM token WHERE name = 'bait'");
    assert_eq!(listed(&gate, &[]).len(), 3);
}

#[test]
fn a_rotated_token_and_its_successor_work_until_the_overlap_is_over() {
    let gate = Gate::start();
    let create = ["token", "create", "--name", "ci", "--scope", "event:read", "--expires", "30d"];
    let old = gate.portcullis(&create).trim().to_owned();
    gate.settle();
    assert_eq!(gate.bearer(LINE, &old).status, 200);
    let new = gate.portcullis(&["token", "rotate", "ci", "--overlap", "1h"]).trim().to_owned();
    let [first, second] = [&old, &new].map(|token| gate.id_of(token));
    eventually("the new one", || gate.bearer(LINE, &new).status == 200);
    assert_eq!(gate.bearer(LINE, &old).status, 200);
    assert_eq!(shown(&gate, "ci")["id"], json!(second));
    assert_eq!(shown(&gate, &second)["rotated_from"], json!(first));
    assert_eq!(shown(&gate, &first)["successor"], json!(second));

    let again = run(&gate, &["token", "rotate", "ci"]);
    let said = String::from_utf8(again.stderr).unwrap();
    assert_eq!(again.status.code(), Some(2), "{said}");
    assert!(said.contains(&first) && said.contains("revoke it first, or wait"), "{said}");
    assert!(again.stdout.is_empty());
    // Its overlap is over: so a clock that goes on would have it.
    gate.sql(&format!("UPDATE token SET expires_at = 1 WHERE id = '{first}'"));
    eventually("its end", || gate.bearer(LINE, &old).code() == "expired_token");
    assert_eq!(gate.bearer(LINE, &new).status, 200);

    // Without an overlap it ends at once.
    let third = gate.portcullis(&["token", "rotate", "ci", "--overlap", "0s"]).trim().to_owned();
    eventually("its end", || gate.bearer(LINE, &new).code() == "disabled_token");
    eventually("the third one", || gate.bearer(LINE, &third).status == 200);
    // By its name it is revoked with the one before it.
    let fourth = gate.portcullis(&["token", "rotate", "ci"]).trim().to_owned();
    eventually("the fourth one", || gate.bearer(LINE, &fourth).status == 200);
    gate.portcullis(&["token", "revoke", "ci"]);
    for token in [&third, &fourth] {
        eventually("its end", || gate.bearer(LINE, token).code() == "disabled_token");
    }
}
