//! A gateway as a container runs it: the first process, a user without a name, nothing to write to.

use std::fs;
use std::process::Command;

use portcullis::policy::credential::Digest;

use crate::client::request;
use crate::gate::{Gate, Options, eventually, open_folder};
use crate::upstream::Upstream;

const LINE: &str = "GET /api/0/organizations/acme/issues/";
const TOKEN: &str = "a-token-of-a-file-0123456789abcdef";

/// Name spaces of its own, with a root that can't be written to.
const ISOLATED: &[&str] = &[
    "unshare",
    "--mount",
    "--pid",
    "--fork",
    "--kill-child",
    "sh",
    "-c",
    "mount -o remount,bind,ro / && exec \"$@\"",
    "sh",
];
/// A user whom nobody has given a name, and no right beyond its own.
const NOBODY: &[&str] = &[
    "setpriv",
    "--reuid=54321",
    "--regid=54321",
    "--clear-groups",
    "--no-new-privs",
    "--inh-caps=-all",
    "--bounding-set=-all",
];
/// No variable but this one.
const BARE: &[&str] = &["env", "-i", "TMPDIR=/nowhere"];

/// As much of it as the machine permits to this program: a build in a container may do neither.
fn words(program: &str) -> Vec<&'static str> {
    let mut words = Vec::new();
    for (part, what) in [
        (ISOLATED, "the first process, and a root that can't be written to"),
        (NOBODY, "a user without a name"),
    ] {
        let mut all = [&words[..], part].concat();
        all.extend([program, "--version"]);
        let tried = Command::new(all[0]).args(&all[1..]).output().unwrap();
        if tried.status.success() {
            words.extend(part);
        } else {
            let why = String::from_utf8_lossy(&tried.stderr);
            println!("skipped: {what}; this machine does not permit it: {why}");
        }
    }
    words.extend(BARE);
    words
}

/// The process in the name space, or the one that there is.
fn innermost(gate: &Gate) -> u32 {
    let own = gate.process();
    let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap();
    children.split_whitespace().next().map_or(own, |child| child.parse().unwrap())
}

#[test]
fn a_user_without_a_name_who_can_write_nowhere_serves() {
    // Where the sources are, somebody else may not be let in.
    let place = open_folder();
    let program = place.path().join("portcullis");
    fs::copy(env!("CARGO_BIN_EXE_portcullis"), &program).unwrap();
    let words = words(program.to_str().unwrap());
    let first = words.contains(&"--pid");
    let words = words.into_iter().map(str::to_owned);
    let words = words.chain([program.to_str().unwrap().to_owned()]).collect();
    let digest = Digest::of(TOKEN).hex();
    let tokens = format!(
        "[[token]]\nname = \"ci\"\ndigest = \"{digest}\"\nscopes = [\"event:read\", \"event:write\"]\n"
    );
    let mut gate = Gate::with(
        Upstream::start(),
        &Options {
            stores: Some("[[store]]\nkind = \"file\"\npath = \"tokens.toml\"\n".to_owned()),
            files: vec![("tokens.toml".to_owned(), tokens)],
            tables: "[spool]\nmemory = \"1KB\"\n".to_owned(),
            program: Some(words),
            ..Options::default()
        },
    );
    assert_eq!(gate.bearer(LINE, TOKEN).status, 200);
    assert_eq!(gate.upstream.take_one().path(), "/api/0/organizations/acme/issues/");

    // What would have to be written is refused, and it was said at the start.
    let bearer = format!("Bearer {TOKEN}");
    let fields = [("Authorization", &*bearer), ("Transfer-Encoding", "chunked")];
    let mut bytes = request("PUT /api/0/organizations/acme/issues/", &fields, b"");
    bytes.extend_from_slice(format!("800\r\n{}\r\n0\r\n\r\n", "x".repeat(0x800)).as_bytes());
    let refused = crate::client::send(gate.address, &bytes).unwrap();
    assert_eq!((refused.status, refused.code().as_str()), (503, "spool_unavailable"));
    assert!(gate.upstream.take().is_empty());
    assert!(gate.output().contains("/nowhere"), "{}", gate.output());

    let own = innermost(&gate).to_string();
    let signal = |name: &str| {
        assert!(Command::new("kill").args([name, &own]).status().unwrap().success());
    };
    signal("-HUP");
    eventually("a reload", || gate.output().contains("the config is unchanged"));
    if first {
        signal("-USR2");
        eventually("a refusal", || gate.output().contains("start another container"));
    }
    assert_eq!(gate.bearer(LINE, TOKEN).status, 200);
    signal("-TERM");
    assert_eq!(gate.wait(), Some(0), "{}", gate.output());
    assert_eq!(gate.access_lines().len(), 3);
}
