//! The machine under the gateway fails: no room on the disk, nobody who reads what it says, no more
//! files; and it recovers by itself.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

use portcullis::store::portcullis::TokenKind;

use crate::client::{Connection, Reply, request, send};
use crate::gate::{Gate, HOST, Options, create, eventually, new};
use crate::process;
use crate::upstream::Upstream;

const LINE: &str = "GET /api/0/organizations/acme/issues/";

fn run(words: &[&str]) {
    let done = Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(done.status.success(), "{words:?}: {done:?}");
}

/// Sets a limit of a process that runs.
fn limit(pid: u32, what: &str) {
    run(&["prlimit", "--pid", &pid.to_string(), what]);
}

/// Sends a chunked body of so many bytes.
fn chunked(gate: &Gate, token: &str, length: usize) -> Reply {
    let bearer = format!("Bearer {token}");
    let headers = [("Authorization", &*bearer), ("Transfer-Encoding", "chunked")];
    let mut bytes = request("PUT /api/0/organizations/acme/issues/", &headers, b"");
    bytes
        .extend_from_slice(format!("{length:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(length)).as_bytes());
    send(gate.address, &bytes).expect("an answer")
}

#[test]
fn a_full_disk_costs_what_has_to_be_written_and_nothing_else() {
    let tables = "[spool]\nmemory = \"1KB\"\nfolder = \".\"\n[cache]\nsnapshot = \"known\"";
    let gate =
        Gate::with(Upstream::start(), &Options { tables: tables.into(), ..Options::default() });
    let (used, unused) = (gate.token("all"), gate.token("all"));
    let snapshot = || std::fs::read_to_string(gate.folder.path().join("known")).unwrap_or_default();
    assert_eq!(gate.bearer(LINE, &used).status, 200);
    assert_eq!(chunked(&gate, &used, 100_000).status, 200);
    assert_eq!(gate.upstream.take().len(), 2);
    gate.settle();
    assert_eq!(gate.bearer(LINE, &used).status, 200);
    gate.settle();
    eventually("a snapshot", || !snapshot().is_empty());
    let before = snapshot();
    gate.upstream.take();

    limit(gate.process(), "--fsize=0:");
    let refused = chunked(&gate, &used, 100_000);
    assert_eq!((refused.status, refused.code().as_str()), (503, "spool_full"));
    assert!(refused.header("retry-after").is_some());
    assert!(gate.upstream.take().is_empty());
    eventually("a word about the disk", || {
        gate.output()
            .contains("can't be written to, so request bodies that have to be kept are refused")
    });
    // What fits into memory, and what has no body; a token that was never looked up, too.
    for reply in [chunked(&gate, &used, 500), gate.bearer(LINE, &used), gate.bearer(LINE, &unused)]
    {
        assert_eq!(reply.status, 200, "{}", gate.output());
    }
    // A revocation is seen, and the snapshot that can't be written is the old one as a whole.
    gate.portcullis(&["token", "revoke", &gate.id_of(&used)]);
    eventually("a revocation", || gate.bearer(LINE, &used).status == 401);
    eventually("a word about it", || {
        gate.output().contains("the snapshot of identities is not written")
    });
    assert_eq!(snapshot(), before);
    assert_eq!(gate.bearer(LINE, &unused).status, 200);

    limit(gate.process(), "--fsize=unlimited:");
    assert_eq!(chunked(&gate, &unused, 100_000).status, 200);
    eventually("another snapshot", || {
        snapshot() != before
            && gate.output().contains("the snapshot of identities is written again")
    });
    let lost = || gate.metric("portcullis_access_log_dropped_total", &[]);
    eventually("access lines that were lost", || lost() > 0.0);
    assert!(!gate.output().contains("panicked"), "{}", gate.output());
}

#[test]
fn without_free_files_who_is_served_is_served_and_it_recovers() {
    let options =
        Options { web: "idle_timeout = \"60s\"".into(), threads: Some(1), ..Options::default() };
    let mut gate = Gate::with(Upstream::start(), &options);
    let token = format!("Bearer {}", gate.token("all"));
    let ask = request(LINE, &[("Authorization", &token)], b"");
    let mut served = Connection::open(gate.address);
    let mut serve = || {
        served.write(&ask);
        served.read_reply("GET").expect("an answer").status
    };
    // The connection to the upstream is there, and is kept.
    assert_eq!(serve(), 200);
    let files = || -> Vec<usize> {
        let all = std::fs::read_dir(format!("/proc/{}/fd", gate.process())).unwrap();
        all.map(|file| file.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect()
    };
    let room = files().into_iter().max().unwrap() + 9;
    limit(gate.process(), &format!("--nofile={room}:"));
    let idle: Vec<_> = (0..2 * room).map(|_| TcpStream::connect(gate.address).unwrap()).collect();
    eventually("no more files", || files().len() >= room);
    let mut late = Connection::open(gate.address);
    late.write(&ask);
    for _ in 0..5 {
        assert_eq!(serve(), 200);
    }
    // A loop without a pause would take all of a core.
    let before = gate.processor_time();
    thread::sleep(Duration::from_secs(2));
    let spent = gate.processor_time() - before;
    assert!(spent < 1.0, "{spent} s of two");
    assert_eq!((files().len(), serve()), (room, 200));
    drop(idle);
    assert_eq!(late.read_reply("GET").expect("an answer").status, 200);
    assert_eq!(gate.bearer(LINE, &token["Bearer ".len()..]).status, 200);
    gate.stop();
}

/// A gateway without an upstream, whose standard output and error are pipes.
struct Piped {
    address: SocketAddr,
    admin: SocketAddr,
    process: Child,
    /// Its standard output and error, both open until this is taken.
    pipes: Option<(ChildStdout, BufReader<ChildStderr>)>,
    token: String,
    _folder: tempfile::TempDir,
}

impl Piped {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = format!(
            "public_url = \"http://{HOST}\"\n[[listen]]\naddress = \"127.0.0.1:0\"\n\
             [admin]\naddress = \"127.0.0.1:0\"\n\
             [upstream.web]\nurls = [\"http://127.0.0.1:1\"]\nhealth_interval = \"0s\"\n\
             credential = {{ file = \"sentry-token\" }}\n\
             [[store]]\nkind = \"portcullis\"\nurl = \"sqlite://tokens.db\"\n"
        );
        std::fs::write(folder.path().join("portcullis.toml"), config).unwrap();
        std::fs::write(folder.path().join("sentry-token"), "sntryu_0").unwrap();
        let token = create(&folder.path().join("tokens.db"), new("t", TokenKind::Bearer, "all"));
        let mut process = process::command(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = process.stdout.take().unwrap();
        let mut stderr = BufReader::new(process.stderr.take().unwrap());
        let (address, admin) = loop {
            let mut line = String::new();
            assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "it does not serve");
            let message: serde_json::Value = serde_json::from_str(&line).unwrap();
            if message["message"] == "serving" {
                let at =
                    |key: &str| message[key].as_str().unwrap().trim_matches(['[', ']']).parse();
                break (at("addresses").unwrap(), at("admin").unwrap());
            }
        };
        let pipes = Some((stdout, stderr));
        Self { address, admin, process, pipes, token, _folder: folder }
    }

    /// Asks so often. The upstream is down, so each is a line of the log and of the messages.
    fn ask(&self, times: usize) {
        let bearer = format!("Bearer {}", self.token);
        let bytes = request(LINE, &[("Authorization", &bearer)], b"");
        let mut connection = Connection::open(self.address);
        for _ in 0..times {
            connection.write(&bytes);
            let reply = connection.read_reply("GET").expect("an answer");
            assert_eq!((reply.status, reply.code().as_str()), (502, "upstream_unreachable"));
            if reply.closed {
                connection = Connection::open(self.address);
            }
        }
    }

    fn metric(&self, name: &str) -> f64 {
        let ask = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
        let text = String::from_utf8(send(self.admin, ask).unwrap().body).unwrap();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    fn signal(&self, name: &str) {
        run(&["kill", name, &self.process.id().to_string()]);
    }

    /// Stops it, and waits until it has ended, fine.
    fn stop(&mut self) {
        self.signal("-TERM");
        let mut code = None;
        eventually("an end", || {
            code = self.process.try_wait().unwrap().map(|status| status.code());
            code.is_some()
        });
        assert_eq!(code, Some(Some(0)));
    }
}

impl Drop for Piped {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn nobody_who_reads_what_it_says_holds_it_up() {
    let mut gate = Piped::start();
    // Either pipe is full after a part of them.
    gate.ask(1000);
    gate.stop();
    let (mut lines, mut messages) = (String::new(), String::new());
    let (mut stdout, mut stderr) = gate.pipes.take().unwrap();
    stdout.read_to_string(&mut lines).unwrap();
    stderr.read_to_string(&mut messages).unwrap();
    for text in [lines, messages] {
        let count = text.lines().count();
        assert!((1..1000).contains(&count), "{count} lines");
    }
}

#[test]
fn who_has_stopped_to_read_does_not_end_it() {
    let mut gate = Piped::start();
    drop(gate.pipes.take());
    gate.ask(50);
    for name in ["portcullis_messages_dropped_total", "portcullis_access_log_dropped_total"] {
        eventually(name, || gate.metric(name) >= 50.0);
    }
    gate.signal("-PIPE");
    gate.ask(50);
    gate.stop();
}

#[test]
fn certificates_that_are_not_there_are_refused_and_not_a_panic() {
    let gate = Gate::start();
    for (name, path) in [("SSL_CERT_FILE", "/nowhere/ca.pem"), ("SSL_CERT_DIR", "/nowhere")] {
        let output = process::command(gate.folder.path())
            .env_remove("SSL_CERT_FILE")
            .env_remove("SSL_CERT_DIR")
            .env(name, path)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(name) && said.contains(path) && said.contains("unset it"), "{said}");
        assert!(!said.contains("panicked"), "{said}");
    }
}
