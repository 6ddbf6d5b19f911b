//! `portcullis ready`, as a health check runs it.

use std::process::{Command, Output};

use crate::gate::{Gate, eventually};

fn ready(gate: &Gate, more: &[&str]) -> (Option<i32>, String, String) {
    let config = gate.folder.path().join("portcullis.toml");
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(["ready", "--config"])
        .arg(config)
        .args(more)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn it_says_what_the_gateway_says_of_itself() {
    let mut gate = Gate::start();
    let admin = format!("http://{}", gate.admin);
    let asked = ready(&gate, &["--admin", &admin]);
    assert_eq!(asked, (Some(0), "ready\n".to_owned(), String::new()));
    // The config takes any free port.
    let (code, said, error) = ready(&gate, &[]);
    assert_eq!((code, &*said), (Some(2), ""));
    assert!(error.contains("`admin.address`") && error.contains("--admin"), "{error}");
    // Secrets are not looked at, and of the rest of the config nothing but that it can be read.
    let path = gate.folder.path().join("portcullis.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(gate.folder.path().join("sentry-token")).unwrap();
    let moved = text.replacen("127.0.0.1:0\"", &format!("{}\"", gate.admin), usize::MAX);
    std::fs::write(&path, moved).unwrap();
    assert_eq!(ready(&gate, &[]).0, Some(0));

    gate.terminate();
    eventually("a gateway that is not ready", || {
        let (code, said, _) = ready(&gate, &[]);
        code == Some(1) && (said.contains("stop") || said.contains("does not answer"))
    });
    assert_eq!(gate.wait(), Some(0));
    let (code, said, _) = ready(&gate, &[]);
    assert_eq!(code, Some(1));
    assert!(said.starts_with(&format!("{admin} does not answer: ")), "{said}");
}
