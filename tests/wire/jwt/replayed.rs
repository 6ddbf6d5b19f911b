//! What `replay` says of whom an issuer vouched for.

use std::fs;
use std::process::Command;

use super::issuer::Issuer;
use super::key::Key;
use super::{LINE, ask, told};
use crate::gate::{Gate, OWN_STORE, Options};
use crate::upstream::Upstream;

#[test]
fn a_replay_knows_by_what_somebody_was_let_in() {
    let key = Key::made("one");
    let issuer = Issuer::of(&[&key]);
    let audit = "[audit]\noutput = \"audit.log\"\ndecisions = [\"read\"]\n";
    let options = Options {
        stores: Some(String::new()),
        tables: format!("{OWN_STORE}{}{audit}", issuer.table("ci", "")),
        ..Options::default()
    };
    let mut gate = Gate::with(Upstream::start(), &options);
    assert_eq!(told(&ask(&gate, &key.sign(&issuer.claims()))), (200, String::new()));
    assert_eq!(gate.bearer(LINE, &gate.token("event:read")).status, 200);
    gate.stop();
    let path = gate.folder.path().join("portcullis.toml");
    let config = fs::read_to_string(&path).unwrap();
    let table = issuer.table("ci", "");
    assert!(config.contains(&table), "{config}");
    let gap = "let in by a JWT whose `[[issuer]]` is another now";
    let rows: &[(&str, String, i32, &str)] = &[
        ("the same", table.clone(), 0, "2 decided again: 0 flipped, 2 the same"),
        ("another name", table.replace("\"ci\"", "\"github\""), 0, "2 decided again: 0 flipped"),
        (
            "other keys",
            table.replace("[\"ES256\"]\n", "[\"ES256\"]\nrefresh = \"1h\"\n"),
            0,
            "2 decided",
        ),
        ("another repository", table.replace("acme/web", "acme/api"), 0, gap),
        ("another audience", table.replace("https://gw.", "https://other."), 0, gap),
        ("other scopes", table.replace("event:read", "org:read"), 0, gap),
        ("gone", String::new(), 1, "allow -> refuse unknown_token"),
    ];
    for (what, table_now, code, wanted) in rows {
        fs::write(&path, config.replace(&table, table_now)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command.args(["replay", "--config"]).arg(&path);
        let output = command.arg("--audit").arg(gate.folder.path().join("audit.log")).output();
        let output = output.unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(*code), "{what}: {said}{:?}", output.stderr);
        assert!(said.contains(wanted), "{what}: {said}");
        assert_eq!(said.contains(gap), *wanted == gap, "{what}: {said}");
    }
}
