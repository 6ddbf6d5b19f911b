//! The programs that `.ci/deploy-tools` installs, and how they are run.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

pub const ROOT: &str = env!("CARGO_MANIFEST_DIR");

const LOCKS: [&[u8]; 2] =
    [include_bytes!("../versions/python.txt"), include_bytes!("../versions/kubectl.txt")];

/// YAML to JSON, as a list of documents.
const TO_JSON: &str =
    "import sys, json, yaml; json.dump(list(yaml.safe_load_all(sys.stdin)), sys.stdout)";

/// Where `.ci/deploy-tools` has installed them.
fn installed() -> &'static Path {
    static HOME: OnceLock<PathBuf> = OnceLock::new();
    HOME.get_or_init(|| {
        crate::installed::installed("deploy-tools", "the tools of these tests are", &LOCKS)
    })
}

/// A program of these, which knows of no cluster and of nothing in the home of who runs the tests.
pub fn tool(name: &str) -> Command {
    static HOME: OnceLock<tempfile::TempDir> = OnceLock::new();
    let home = HOME.get_or_init(|| tempfile::tempdir().unwrap()).path();
    let folder = match name {
        "helm" | "kubectl" => "bin",
        _ => "python/bin",
    };
    let mut command = Command::new(installed().join(folder).join(name));
    command.env_clear().env("HOME", home).env("PATH", "/usr/bin:/bin").current_dir(ROOT);
    command
}

/// Runs it, and wants it to succeed.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// What it wrote.
pub fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text)).concat()
}

/// The documents of a text in YAML that have something in them.
pub fn documents(yaml: &str) -> Vec<Value> {
    let mut python = tool("python");
    python.args(["-c", TO_JSON]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = python.spawn().unwrap();
    child.stdin.take().unwrap().write_all(yaml.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{yaml}");
    let all: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    all.into_iter().filter(|document| !document.is_null()).collect()
}
