//! `portcullis ready`, as a health check runs it.

use std::process::{Command, Output};

use crate::gate::{Gate, eventually};

fn ready(admin: &str) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(["ready", "--admin", admin])
        .output()
        .unwrap();
    assert!(stderr.is_empty(), "{}", String::from_utf8_lossy(&stderr));
    (status.code(), String::from_utf8(stdout).unwrap())
}

#[test]
fn it_says_what_the_gateway_says_of_itself() {
    let mut gate = Gate::start();
    let admin = format!("http://{}", gate.admin);
    assert_eq!(ready(&admin), (Some(0), "ok\n".to_owned()));
    // A config that is refused does not make it sick.
    std::fs::write(gate.folder.path().join("portcullis.toml"), "nonsense = ").unwrap();
    gate.signal("-HUP");
    eventually("a refusal", || {
        let (code, said) = ready(&admin);
        assert_eq!(code, Some(0), "{said}");
        said.contains("config")
    });

    gate.terminate();
    eventually("a gateway that is not ready", || {
        let (code, said) = ready(&admin);
        code == Some(1) && (said.contains("stop") || said.contains("does not answer"))
    });
    assert_eq!(gate.wait(), Some(0));
    let (code, said) = ready(&admin);
    assert_eq!(code, Some(1));
    assert!(said.starts_with(&format!("{admin} does not answer: ")), "{said}");
}

#[test]
fn without_words_it_asks_where_the_admin_listener_is_by_default() {
    let help = Command::new(env!("CARGO_BIN_EXE_portcullis")).args(["ready", "--help"]).output();
    let help = String::from_utf8(help.unwrap().stdout).unwrap();
    // Lines are broken as the terminal is wide.
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let default = portcullis::config::reference::reference();
    assert!(help.contains("[default: http://127.0.0.1:9090]"), "{help}");
    assert!(default.contains("`\"127.0.0.1:9090\"`"));
}
