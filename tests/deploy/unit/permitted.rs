//! What a gateway does in its life, as strace sees it, is what the unit permits. The filter that systemd makes
//! of it can't be put on here; that it would not be met is seen all the same.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use crate::client::{request, send};
use crate::gate::{HOST, open_folder};
use crate::process::Serving;
use crate::tool::{Tool, lossy, wait_for};
use crate::upstream::Upstream;

use super::{Unit, shipped};

const LINE: &str = "GET /api/0/organizations/acme/issues/";
/// A user without a name; root would do more, such as give files away.
const NOBODY: [&str; 4] = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups"];

/// A gateway that took over; it ends with this value.
struct Successor(String);

impl Drop for Successor {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = Command::new("kill")
            .args(["-KILL", &self.0])
            .stderr(std::process::Stdio::null())
            .status();
    }
}

#[test]
fn what_the_gateway_does_is_permitted() {
    let upstream = Upstream::start();
    let folder = open_folder();
    let (place, trace) = (folder.path().display(), folder.path().join("trace"));
    // Names are looked up, certificates read, bodies kept, and everything is written that can be.
    let config = format!(
        "public_url = \"http://{HOST}\"\n[[listen]]\naddress = \"127.0.0.1:0\"\nexpose = [\"api\", \"ingest\"]\n\
         [admin]\naddress = \"127.0.0.1:0\"\n\
         [upstream.web]\nurls = [\"http://localhost:{}\"]\ncredential = {{ file = \"credential\" }}\n\
         [upstream.relay]\nurls = [\"https://localhost:1\"]\n\
         [[store]]\nkind = \"portcullis\"\nurl = \"sqlite://{place}/tokens.db\"\n\
         [cache]\nsnapshot = \"{place}/identities.json\"\n[spool]\nfolder = \"{place}\"\nmemory = \"1KB\"\n\
         [audit]\noutput = \"{place}/audit.log\"\ndecisions = [\"refuse\", \"read\", \"write\"]\n\
         [server]\nstop_delay = \"0s\"\n",
        upstream.address.port()
    );
    fs::write(folder.path().join("portcullis.toml"), &config).unwrap();
    fs::write(folder.path().join("credential"), "a-credential-of-the-upstream").unwrap();
    let gateway = env!("CARGO_BIN_EXE_portcullis");
    // Where the sources are, somebody else may not be let in.
    let program = folder.path().join("portcullis");
    fs::copy(gateway, &program).unwrap();
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let mut words: Vec<String> = Vec::new();
    if is_root {
        Tool::new("chown").args(["-R", "54321:54321"]).args([folder.path()]).text();
        words.extend(NOBODY.map(str::to_owned));
    }
    let as_it = words.clone();
    let strace = Tool::path("strace").display().to_string();
    // As a process beside the gateway, so that it is the gateway which the test started.
    words.extend([strace.as_str(), "-D", "-f", "-q", "-o"].map(str::to_owned));
    words.extend([&trace, &program].map(|path| path.display().to_string()));

    let mut serving = Serving::start_in(folder.path(), &[], Some(&words));
    let token = token(&as_it, &program, folder.path());
    let bearer = format!("Bearer {token}");
    let get = request(LINE, &[("Authorization", &bearer)], b"");
    // The name of the upstream is looked up while it serves already.
    wait_for("an answer of the upstream", || send(serving.address, &get).unwrap().status == 200);
    let fields = [("Authorization", bearer.as_str()), ("Transfer-Encoding", "chunked")];
    let mut put = request(&LINE.replace("GET", "PUT"), &fields, b"");
    put.extend_from_slice(format!("8000\r\n{}\r\n0\r\n\r\n", "x".repeat(0x8000)).as_bytes());
    assert_eq!(send(serving.address, &put).unwrap().status, 200);
    assert_eq!(send(serving.address, &request(LINE, &[], b"")).unwrap().status, 401);
    let metrics =
        send(serving.admin, &request("GET /metrics", &[("Host", "127.0.0.1")], b"")).unwrap();
    assert!(lossy(&metrics.body).contains("process_start_time_seconds"));
    let said = |what: &str| serving.log.lock().unwrap().contains(what);
    let signal = |name: &str, id: &str| drop(Tool::new("kill").args([name, id]).text());
    let first = serving.process.id().to_string();
    signal("-HUP", &first);
    wait_for("a reload", || said("the config is unchanged"));
    signal("-USR2", &first);
    wait_for("a new process", || said("a new process serves"));
    let log = serving.log.lock().unwrap().clone();
    let mut messages =
        log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let new = messages.find(|line| line["message"] == "a new process serves").unwrap()["process"]
        .to_string();
    let second = Successor(new);
    assert_eq!(serving.process.wait().unwrap().code(), Some(0), "{log}");
    assert_eq!(send(serving.address, &get).unwrap().status, 200);
    signal("-TERM", &second.0);
    let seen = || lossy(&fs::read(&trace).unwrap());
    // Identifiers are padded, the short ones with more than one blank.
    let is_end =
        |line: &str| line.split_whitespace().eq([&*second.0, "+++", "exited", "with", "0", "+++"]);
    wait_for("the end of both", || seen().lines().any(is_end));
    hold(&seen(), folder.path());
}

fn token(as_it: &[String], program: &Path, folder: &Path) -> String {
    let mut words = as_it.to_vec();
    words.push(program.display().to_string());
    let options =
        ["--name", "ci", "--scope", "event:read", "--scope", "event:write", "--expires", "1d"];
    let text = Tool::new(&words[0])
        .args(&words[1..])
        .args(["token", "create", "--config"])
        .args([folder.join("portcullis.toml")])
        .args(options)
        .text();
    text.split_whitespace().find(|word| word.starts_with("portcullis_")).unwrap().to_owned()
}

/// Every line of a trace against the unit.
fn hold(trace: &str, folder: &Path) {
    let unit = Unit::read(&shipped().join("portcullis.service"));
    let calls = unit.calls();
    assert!(calls.contains("openat") && !calls.contains("mount"), "{calls:?}");
    let families = unit.one("RestrictAddressFamilies");
    let families: Vec<_> = families.split(' ').collect();
    let mut seen = std::collections::BTreeSet::new();
    for line in trace.lines() {
        let Some((_, what)) = line.trim_start().split_once(' ') else { continue };
        let what = what.trim_start();
        // Signals, ends, and the rest of a call whose beginning is another line.
        if what.starts_with("---") || what.starts_with("+++") || what.starts_with("<...") {
            continue;
        }
        let (name, arguments) = what.split_once('(').unwrap_or_else(|| panic!("{line}"));
        // The first of all is strace's own, before there is a filter.
        assert!(calls.contains(name), "SystemCallFilter refuses: {line}");
        seen.insert(name);
        match name {
            "socket" | "socketpair" => {
                let family = arguments.split([',', ')']).next().unwrap();
                assert!(families.contains(&family), "RestrictAddressFamilies refuses: {line}");
            }
            "mmap" | "mprotect" => {
                let both = arguments.contains("PROT_WRITE") && arguments.contains("PROT_EXEC");
                assert!(!both, "MemoryDenyWriteExecute refuses: {line}");
            }
            "clone" | "clone3" => {
                assert!(!arguments.contains("CLONE_NEW"), "RestrictNamespaces refuses: {line}");
            }
            "open" | "openat" | "mkdir" | "unlink" | "rename" | "chmod" => {
                let writes = name != "openat" && name != "open"
                    || ["O_WRONLY", "O_RDWR", "O_CREAT"].iter().any(|own| arguments.contains(own));
                let path = arguments.split('"').nth(1).unwrap_or_default();
                let own = Path::new(path).starts_with(folder) || path == "/dev/null";
                assert!(!writes || own, "ProtectSystem refuses: {line}");
            }
            _ => {}
        }
    }
    // It was looked at: an empty trace would be permitted too.
    for name in ["accept4", "connect", "execve", "fsync", "mmap", "recvmsg", "sendmsg", "socket"] {
        assert!(seen.contains(name), "{name} was not seen: {seen:?}");
    }
}
