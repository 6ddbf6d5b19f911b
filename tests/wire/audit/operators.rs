//! What operators do, by commands and at the admin listener, and what becomes of the settings.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Output};

use portcullis::clock::{Clock as _, SystemClock};
use serde_json::{Value, json};

use super::{LINE, gate, of_kind, options, records, text, wait_for};
use crate::gate::{ADMIN, Gate, Options, eventually};
use crate::upstream::Upstream;

/// Runs a command on the config of a gateway, whatever comes of it.
fn run(gate: &Gate, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.args(words).arg("--config").arg(gate.folder.path().join("portcullis.toml"));
    command.output().unwrap()
}

const CREATE: &[&str] =
    &["token", "create", "--name", "ci", "--scope", "event:read", "--expires", "1d"];

#[test]
fn commands_are_recorded_by_who_ran_them() {
    let gate = gate("");
    let secret = gate.portcullis(CREATE);
    let id = gate.id_of(secret.trim());
    gate.portcullis(&["token", "list"]);
    gate.portcullis(&["token", "revoke", "ci"]);
    // Again changes nothing.
    gate.portcullis(&["token", "revoke", &id]);
    gate.portcullis(&["block", "add", "0123abcd"]);
    gate.portcullis(&["block", "add", "0123abcd"]);
    gate.portcullis(&["block", "list"]);
    gate.portcullis(&["block", "remove", "0123abcd"]);
    let found = wait_for(&gate, "administration", 4);
    let seen: Vec<_> = found
        .iter()
        .map(|record| [&record["action"], &record["target"]].map(|field| field.as_str().unwrap()))
        .collect();
    assert_eq!(
        seen,
        [
            ["token.create", &*id],
            ["token.revoke", &id],
            ["block.add", "0123abcd"],
            ["block.remove", "0123abcd"]
        ]
    );
    let uid = fs::metadata("/proc/self").unwrap().uid();
    for record in &found {
        assert_eq!((&record["actor"], &record["uid"]), (&json!("command"), &json!(uid)));
        assert_eq!(record["result"], "done");
        assert_eq!(record["client_ip"], Value::Null);
    }
    assert!(!text(&gate).contains(secret.trim()));
}

#[test]
fn what_can_not_be_recorded_is_not_done() {
    let gate = gate("");
    let token = gate.token("read");
    let id = gate.id_of(&token);
    fs::remove_file(gate.folder.path().join("audit.log")).unwrap();
    fs::create_dir(gate.folder.path().join("audit.log")).unwrap();
    for words in [CREATE, &["token", "revoke", &id], &["block", "add", "0123abcd"]] {
        let output = run(&gate, words);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("nothing was changed: the audit can't be written to"), "{said}");
        assert!(output.stdout.is_empty());
    }
    // To look is no change.
    assert_eq!(gate.portcullis(&["token", "list"]).lines().count(), 1);
    assert_eq!(gate.portcullis(&["block", "list"]), "");
    assert_eq!(gate.bearer(LINE, &token).status, 200);
    let checked = run(&gate, &["check"]);
    let said = String::from_utf8(checked.stderr).unwrap();
    assert_eq!(checked.status.code(), Some(1), "{said}");
    assert!(said.contains("the audit can't be written to"), "{said}");
}

#[test]
fn what_is_done_and_not_recorded_is_said() {
    let gate = gate("");
    let mut command = Command::new("sh");
    wait_for(&gate, "settings", 1);
    // The store may grow, and the audit may not.
    let room = fs::metadata(gate.store()).unwrap().len() + (1 << 20);
    let file = fs::File::options().append(true).open(gate.folder.path().join("audit.log")).unwrap();
    file.set_len(room).unwrap();
    let output = command
        .args(["-c", "trap '' XFSZ; exec prlimit --fsize=\"$0\" \"$@\"", &room.to_string()])
        .arg(env!("CARGO_BIN_EXE_portcullis"))
        .args(CREATE)
        .arg("--config")
        .arg(gate.folder.path().join("portcullis.toml"))
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("is done, and the audit does not say so"), "{said}");
    // Its secret is not lost for that.
    let secret = String::from_utf8(output.stdout).unwrap();
    assert_eq!(gate.bearer(LINE, secret.trim()).status, 200);
    assert_eq!(file.metadata().unwrap().len(), room);
}

#[test]
fn what_is_asked_of_the_admin_listener_is_recorded() {
    let mut gate = gate("");
    let token = gate.token("read");
    let bearer = format!("Bearer {ADMIN}");
    let ask = |line: &str, body: &str, credential: &str| {
        gate.operator(line, &[("Authorization", credential)], body).status
    };
    let question = json!({
        "method": "GET",
        "path": "/api/0/organizations/acme/issues/?query=a",
        "token": token,
    });
    let rows = [
        (
            "POST /explain",
            question.to_string(),
            &*bearer,
            200,
            "explain",
            "done",
            json!("GET /api/0/organizations/acme/issues/"),
        ),
        ("POST /explain", "{}".to_owned(), &bearer, 400, "explain", "failed", Value::Null),
        (
            "POST /cache/purge",
            json!({ "all": true }).to_string(),
            &bearer,
            200,
            "cache.purge",
            "done",
            json!("all"),
        ),
        (
            "POST /cache/purge",
            json!({ "fingerprint": "0123abcd" }).to_string(),
            &bearer,
            200,
            "cache.purge",
            "done",
            json!("fingerprint 0123abcd"),
        ),
        (
            "POST /cache/purge",
            json!({ "store": token }).to_string(),
            &bearer,
            404,
            "cache.purge",
            "failed",
            Value::Null,
        ),
        ("POST /reload", String::new(), &bearer, 200, "config.reload", "done", Value::Null),
        (
            "POST /reload",
            String::new(),
            "Bearer guess-guess-guess",
            401,
            "admin.access",
            "refused",
            Value::Null,
        ),
    ];
    for (line, body, credential, status, ..) in &rows {
        assert_eq!(ask(line, body, credential), *status, "{line}");
    }
    // Health, metrics and lists change nothing and say nothing of anybody.
    assert_eq!(ask("GET /unmatched", "", &bearer), 200);
    let found = wait_for(&gate, "administration", rows.len());
    for ((.., action, result, target), record) in rows.iter().zip(&found) {
        assert_eq!((&record["action"], &record["result"]), (&json!(action), &json!(result)));
        assert_eq!((&record["target"], &record["actor"]), (target, &json!("admin")), "{record}");
        assert_eq!(record["client_ip"], "127.0.0.1");
        assert!(record["config_hash"].is_string());
    }
    gate.stop();
    for secret in [&*token, ADMIN, "guess-guess"] {
        assert!(!text(&gate).contains(secret), "{}", text(&gate));
    }
}

#[test]
fn every_config_is_recorded_and_the_end_of_an_audit_too() {
    let mut gate = gate("");
    let path = gate.folder.path().join("portcullis.toml");
    let config = fs::read_to_string(&path).unwrap();
    let reload = |text: &str, result: &str| {
        fs::write(&path, text).unwrap();
        let reply =
            gate.operator("POST /reload", &[("Authorization", &format!("Bearer {ADMIN}"))], "");
        assert_eq!(reply.json()["result"], result, "{}", reply.json());
    };
    reload(&config, "unchanged");
    reload(&config.replace("drain = \"10s\"", "drain = 1"), "refused");
    let now = humantime_day();
    reload(&format!("mode = \"observe\"\nobserve_until = \"{now}\"\n{config}"), "loaded");
    let other = config.replace("audit.log", "other.log");
    reload(&other, "loaded");
    assert_eq!(gate.send(LINE, &[]).status, 401);
    reload(&other.replace("[audit]\noutput = \"other.log\"", ""), "loaded");
    assert_eq!(gate.send(LINE, &[]).status, 401);
    gate.stop();
    let other = fs::read_to_string(gate.folder.path().join("other.log")).unwrap();
    let settings = |text: &str| -> Vec<String> {
        let fields = |record: &Value| {
            ["action", "because", "result", "problems"].map(|key| record[key].to_string()).join(" ")
        };
        of_kind(text, "settings").iter().map(fields).collect()
    };
    let loaded = "\"reload\" \"operator\" \"loaded\" null";
    let own = of_kind(&text(&gate), "settings");
    assert_eq!(
        settings(&text(&gate)),
        ["\"start\" null null null", "\"reload\" \"operator\" \"refused\" 1", loaded, loaded]
    );
    assert_eq!(own[0]["config_hash"], own[1]["config_hash"], "a refused one is not in force");
    assert_eq!(own[2]["observe_until"], format!("{now}T00:00:00.000Z"));
    assert_eq!(own[3]["observe_until"], Value::Null);
    assert_eq!(settings(&other), [loaded, loaded]);
    assert_eq!(of_kind(&other, "decision").len(), 1);
    assert!(of_kind(&text(&gate), "decision").is_empty());
}

/// A day that is ahead, and not too far.
fn humantime_day() -> String {
    crate::gate::hours(24 * 30).to_string()[..10].to_owned()
}

#[test]
fn the_last_record_is_of_the_end() {
    let mut gate = Gate::with(Upstream::start(), &options(""));
    gate.send(LINE, &[]);
    gate.stop();
    let found = records(&text(&gate));
    let seen: Vec<_> = found.iter().map(|record| record["kind"].as_str().unwrap()).collect();
    assert_eq!(seen, ["settings", "decision", "settings"]);
    assert_eq!(found[2]["action"], "stop");
}

#[test]
fn an_audit_that_can_not_be_opened_is_no_start_and_no_config() {
    let gate =
        Gate::with(Upstream::start(), &Options { admin: options("").admin, ..Options::default() });
    let path = gate.folder.path().join("portcullis.toml");
    let config = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{config}[audit]\noutput = \"none/audit.log\"\n")).unwrap();
    gate.signal("-HUP");
    eventually("a refusal", || {
        gate.output().contains("none/audit.log") && gate.output().contains("stays in force")
    });
    assert_eq!(gate.send(LINE, &[]).status, 401);
    let output = run(&gate, &["serve"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
}

#[test]
fn who_has_not_the_credential_fills_no_disk_and_is_not_forgotten() {
    let gate = gate("");
    let asked = 200;
    let began = SystemClock.instant();
    for number in 0..asked {
        let line = ["GET /unmatched", "POST /reload", "GET /tokens"][number % 3];
        assert_eq!(gate.operator(line, &[], "").status, 401);
    }
    // A record with a count stands for those that had none.
    let count = |record: &Value| record["left_out"].as_u64().unwrap_or(1);
    let mut records = Vec::new();
    eventually("all of them", || {
        // Whoever asks next has what was counted recorded.
        assert!(gate.admin("/livez").is_some());
        let text = text(&gate);
        records = if text.ends_with('\n') { of_kind(&text, "administration") } else { Vec::new() };
        records.iter().map(count).sum::<u64>() == asked as u64
    });
    let seconds = SystemClock.instant().saturating_duration_since(began).as_secs();
    assert!(records.len() as u64 <= seconds + 2, "{} in {seconds} s", records.len());
    for record in records {
        assert_eq!(
            (&record["action"], &record["result"]),
            (&json!("admin.access"), &json!("refused"))
        );
        assert_eq!(record["client_ip"], "127.0.0.1");
    }
}
