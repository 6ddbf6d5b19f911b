//! Another process takes the place of the one that runs, by hand-over or by a rolling restart, and
//! clients notice nothing; and how the gateway stops.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, RwLock};
use std::thread;
use std::time::Duration;

use crate::client::{Connection, PATIENCE, request, send};
use crate::gate::{Ending, Gate, HOST, Options, eventually, open_folder};
use crate::tls;
use crate::tls::authority::Authority;
use crate::tls::client::{Http2, Sent, run};
use crate::upstream::Upstream;

const LINE: &str = "GET /api/0/organizations/acme/issues/";
const NEW: &str = "GET /api/0/organizations/acme/new/";
const NEW_RULE: &str = "[[rule]]\nmethods = [\"GET\"]\nscopes = [\"org:read\"]\n\
                        path = \"/api/0/organizations/{organization_id_or_slug}/new/\"\n";

/// A process that took over from one that a test started; it ends with this value.
pub struct Successor(u64);

impl Successor {
    /// The one that the log names last.
    pub fn of(gate: &Gate) -> Self {
        let output = gate.output();
        let messages = output.lines().rev().filter_map(|line| serde_json::from_str(line).ok());
        let mut own =
            messages.filter(|line: &serde_json::Value| line["message"] == "a new process serves");
        Self(own.next().expect("a successor")["process"].as_u64().unwrap())
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.0.to_string()]).status().unwrap();
        assert!(status.success());
    }

    fn is_running(&self) -> bool {
        fs::read_to_string(format!("/proc/{}/stat", self.0))
            .is_ok_and(|stat| !stat.contains(") Z "))
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = Command::new("kill").args(["-KILL", &self.0.to_string()]).status();
    }
}

/// What became of requests.
#[derive(Debug, Default)]
struct Tally {
    served: AtomicU64,
    /// A kept connection ended before any byte of an answer.
    idle_ended: AtomicU64,
    failures: Mutex<Vec<String>>,
}

impl Tally {
    /// For whoever runs it with `--nocapture`.
    fn report(&self, what: &str) {
        let count = |own: &AtomicU64| own.load(Ordering::Relaxed);
        let (served, idle, failed) =
            (count(&self.served), count(&self.idle_ended), self.failures.lock().unwrap().len());
        println!("{what}: {served} served, {failed} failed, {idle} idle connections ended");
    }

    /// Requests in HTTP/2 inside TLS, on connections of a few each.
    fn over_http2(&self, address: SocketAddr, bearer: &str, stop: &AtomicBool) {
        let fields = [("Authorization", bearer)];
        let path = LINE.trim_start_matches("GET ");
        let sent = Sent { method: "GET", authority: HOST, path, headers: &fields, body: b"" };
        run(async {
            while !stop.load(Ordering::Relaxed) {
                let mut connection = Http2::open(address, HOST).await;
                for count in 0..20 {
                    match connection.send(&sent).await {
                        Ok(reply) if reply.status == 200 => {
                            self.served.fetch_add(1, Ordering::Relaxed);
                        }
                        // It was told to go before it had sent anything more.
                        Err(error) if count > 0 && (error.is_go_away() || error.is_io()) => {
                            self.idle_ended.fetch_add(1, Ordering::Relaxed);
                            break;
                        }
                        other => {
                            let other = format!("HTTP/2, request {count}: {other:?}");
                            self.failures.lock().unwrap().push(other);
                            break;
                        }
                    }
                }
            }
        });
    }

    /// One request on a connection of its own.
    fn once(&self, address: SocketAddr, request: &[u8]) {
        match send(address, request) {
            Some(reply) if reply.status == 200 => {
                self.served.fetch_add(1, Ordering::Relaxed);
            }
            other => self.failures.lock().unwrap().push(format!("a new connection: {other:?}")),
        }
    }

    /// Requests on one connection, until it is ended or `stop`.
    fn kept(&self, address: SocketAddr, request: &[u8], stop: &AtomicBool) {
        let mut connection = Connection::open(address);
        for count in 0_u64.. {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let sent = connection.try_write(request);
            let reply = if sent { connection.read_reply("GET") } else { None };
            match reply {
                Some(reply) if reply.status == 200 => {
                    self.served.fetch_add(1, Ordering::Relaxed);
                    if reply.header("connection") == Some("close") {
                        return;
                    }
                }
                None if count > 0 => {
                    self.idle_ended.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                other => {
                    self.failures.lock().unwrap().push(format!("a kept connection: {other:?}"));
                    return;
                }
            }
        }
    }

    fn assert_none_failed(&self) {
        let failures = self.failures.lock().unwrap();
        assert!(failures.is_empty(), "{} of {failures:?}", failures.len());
    }
}

fn bearer(token: &str) -> Vec<u8> {
    request(LINE, &[("Authorization", &format!("Bearer {token}"))], b"")
}

#[test]
fn another_process_takes_over_and_nobody_is_refused() {
    // As a package is upgraded: the file is replaced, under the name that the gateway was started by.
    let place = open_folder();
    let copy = |name: &str| {
        let path = place.path().join(name);
        fs::copy(env!("CARGO_BIN_EXE_portcullis"), &path).unwrap();
        path
    };
    let program = copy("portcullis");
    let (tls, files) = tls::files(&[&Authority::new("ours").certificate(&format!("DNS:{HOST}"))]);
    let tables = format!("[[listen]]\naddress = \"127.0.0.1:0\"\ntls = {{ {tls} }}");
    let words = Some(vec![program.display().to_string()]);
    let mut gate = Gate::with(
        Upstream::start(),
        &Options { tables, files, program: words, ..Options::default() },
    );
    let token = gate.token("all");
    let (request, address, over_tls) = (bearer(&token), gate.address, gate.addresses()[1]);
    let (tally, stop) = (Tally::default(), AtomicBool::new(false));
    fs::write(gate.folder.path().join("own.toml"), NEW_RULE).unwrap();
    let mut successor = None;
    thread::scope(|scope| {
        let _ending = Ending(&stop);
        scope.spawn(|| tally.over_http2(over_tls, &format!("Bearer {token}"), &stop));
        // One that has begun, and is not there whole before another process serves.
        let mut upload = Connection::open(address);
        let body = [b'x'; 1 << 20];
        let put = LINE.replace("GET", "PUT");
        let bytes =
            crate::client::request(&put, &[("Authorization", &format!("Bearer {token}"))], &body);
        let (begun, rest) = bytes.split_at(bytes.len() - 1000);
        upload.write(begun);
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    tally.once(address, &request);
                }
            });
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    tally.kept(address, &request, &stop);
                }
            });
        }
        let more = |count: u64| {
            let before = tally.served.load(Ordering::Relaxed);
            eventually("requests", || tally.served.load(Ordering::Relaxed) >= before + count);
        };
        more(100);
        fs::rename(copy("new"), &program).unwrap();
        gate.signal("-USR2");
        eventually("a process that serves", || gate.output().contains("a new process serves"));
        successor = Some(Successor::of(&gate));
        assert_eq!(gate.try_wait(), None, "it waits for the rest of a body");
        upload.write(rest);
        assert_eq!(upload.read_reply("PUT").expect("an answer to an upload").status, 200);
        assert_eq!(gate.wait(), Some(0), "{}", gate.output());
        more(100);
    });
    tally.report("an upgrade under load");
    tally.assert_none_failed();
    let runs = fs::read_link(format!("/proc/{}/exe", successor.as_ref().unwrap().0)).unwrap();
    assert_eq!(runs, program, "it runs the file that was replaced");
    assert_eq!(gate.bearer(NEW, &token).status, 200, "it has read the config");
    let seen = gate.upstream.take().len() as u64;
    assert!(seen > tally.served.load(Ordering::Relaxed), "each was served by the upstream");
    assert!(!gate.output().contains("cut off"), "{}", gate.output());
    // The admin listener is the new one's too, and it can be replaced in turn.
    assert_eq!(gate.admin("/readyz").unwrap().status, 200);
    let first = successor.unwrap();
    first.signal("-USR2");
    eventually("its end", || !first.is_running());
    let second = Successor::of(&gate);
    assert_ne!(first.0, second.0);
    assert_eq!(gate.bearer(NEW, &token).status, 200);
    second.signal("-TERM");
    eventually("its end", || !second.is_running());
    assert!(TcpStream::connect(address).is_err(), "nobody holds the socket");
}

#[test]
fn without_a_process_that_serves_the_old_one_goes_on() {
    let gate = Gate::start();
    let token = gate.token("read");
    fs::write(gate.folder.path().join("portcullis.toml"), "nonsense").unwrap();
    gate.signal("-USR2");
    eventually("a word of it", || gate.output().contains("no new process takes over"));
    assert_eq!(gate.bearer(LINE, &token).status, 200);
    assert_eq!(gate.admin("/readyz").unwrap().status, 200);
    assert_eq!(gate.upstream.take_one().method, "GET");
    // It is not asked for more than once.
    gate.signal("-USR2");
    eventually("the same again", || gate.output().matches("no new process").count() == 2);
    assert_eq!(gate.bearer(LINE, &token).status, 200);
}

/// The gateway has been told to stop while it waits for a process that never says a word.
#[test]
fn at_a_stop_a_process_that_does_not_serve_is_ended_too() {
    let place = open_folder();
    let program = place.path().join("portcullis");
    fs::copy(env!("CARGO_BIN_EXE_portcullis"), &program).unwrap();
    let words = Some(vec![program.display().to_string()]);
    let mut gate = Gate::with(Upstream::start(), &Options { program: words, ..Options::default() });
    let (new, noted) = (place.path().join("new"), place.path().join("noted"));
    let script = format!(
        "#!/bin/sh\necho $$ >{0}.part\nmv {0}.part {0}\nexec sleep 1000\n",
        noted.display()
    );
    fs::write(&new, script).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(new, &program).unwrap();
    gate.signal("-USR2");
    eventually("a new process", || noted.exists());
    let hangs = Successor(fs::read_to_string(noted).unwrap().trim().parse().unwrap());
    assert!(hangs.is_running());
    gate.stop();
    eventually("its end", || !hangs.is_running());
    assert!(TcpStream::connect(gate.address).is_err(), "nobody holds the socket");
    assert!(!gate.output().contains("this one goes on"), "{}", gate.output());
}

fn answers_ready(admin: SocketAddr) -> bool {
    let probe = b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    TcpStream::connect(admin).is_ok_and(|mut stream| {
        let mut text = String::new();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(probe).is_ok()
            && stream.read_to_string(&mut text).is_ok()
            && text.starts_with("HTTP/1.1 200")
    })
}

#[test]
fn a_rolling_restart_under_load_fails_nothing() {
    let options = Options { server: "stop_delay = \"5s\"".into(), ..Options::default() };
    let upstream = Upstream::start();
    let url = Some(format!("http://{}", upstream.address));
    let options = Options { upstream_url: url, ..options };
    let start = || Gate::with(Upstream::start(), &options);
    let mut gates = [start(), start()];
    // What a balancer does: it sends to those that said they are ready a moment ago.
    let known = |gates: &[Gate; 2]| -> Vec<_> {
        gates.iter().map(|gate| (gate.address, gate.admin, bearer(&gate.token("read")))).collect()
    };
    let known_now = RwLock::new(known(&gates));
    let (tally, stop) = (Tally::default(), AtomicBool::new(false));
    let ready: Vec<_> = known_now.read().unwrap().iter().cloned().map(Some).collect();
    let ready = RwLock::new(ready);
    thread::scope(|scope| {
        let _ending = Ending(&stop);
        // Each by itself, so that none waits for another.
        for number in 0..2 {
            let (stop, ready, known_now) = (&stop, &ready, &known_now);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let own = known_now.read().unwrap()[number].clone();
                    let is_ready = answers_ready(own.1);
                    let mut all = ready.write().unwrap();
                    all[number] = is_ready.then_some(own);
                    drop(all);
                    thread::sleep(Duration::from_millis(50));
                }
            });
        }
        for number in 0..4_usize {
            let (tally, stop, ready) = (&tally, &stop, &ready);
            scope.spawn(move || {
                for count in number.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let all: Vec<_> = ready.read().unwrap().iter().flatten().cloned().collect();
                    let Some((address, _, request)) = all.get(count % all.len().max(1)) else {
                        thread::sleep(Duration::from_millis(10));
                        continue;
                    };
                    if number % 2 == 0 {
                        tally.once(*address, request);
                    } else {
                        let end = AtomicBool::new(false);
                        thread::scope(|scope| {
                            scope.spawn(|| {
                                thread::sleep(Duration::from_millis(200));
                                end.store(true, Ordering::Relaxed);
                            });
                            tally.kept(*address, request, &end);
                        });
                    }
                }
            });
        }
        for round in 0..4 {
            let before = tally.served.load(Ordering::Relaxed);
            eventually("requests", || tally.served.load(Ordering::Relaxed) >= before + 50);
            gates[round % 2].stop();
            gates[round % 2] = start();
            *known_now.write().unwrap() = known(&gates);
        }
    });
    tally.report("a rolling restart under load");
    tally.assert_none_failed();
    assert!(tally.served.load(Ordering::Relaxed) > 200);
}

#[test]
fn new_connections_are_welcome_until_everybody_knows_of_the_stop() {
    let options = Options { server: "stop_delay = \"1h\"".into(), ..Options::default() };
    let mut gate = Gate::with(Upstream::start(), &options);
    let token = gate.token("read");
    let mut kept = Connection::open(gate.address);
    kept.write(&bearer(&token));
    assert_ne!(kept.read_reply("GET").unwrap().header("connection"), Some("close"));
    gate.terminate();
    eventually("a word of it", || gate.admin("/readyz").unwrap().status == 503);
    // On a connection that there is, and on a new one; each is the last on it.
    kept.write(&bearer(&token));
    let reply = kept.read_reply("GET").unwrap();
    assert_eq!((reply.status, reply.header("connection")), (200, Some("close")));
    assert!(kept.is_closed());
    let reply = gate.bearer(LINE, &token);
    assert_eq!((reply.status, reply.header("connection")), (200, Some("close")));
    assert_eq!(gate.upstream.take().len(), 3);
    // A second signal ends the wait.
    gate.terminate();
    assert_eq!(gate.wait(), Some(0), "{}", gate.output());
}

#[test]
fn systemd_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let environment = vec![("NOTIFY_SOCKET".to_owned(), path.display().to_string())];
    let mut gate = Gate::with(Upstream::start(), &Options { environment, ..Options::default() });
    let told = || {
        let mut buffer = [0; 1024];
        let size = socket.recv(&mut buffer).expect("a word");
        String::from_utf8(buffer[..size].to_vec()).unwrap()
    };
    assert_eq!(told(), format!("MAINPID={}\nREADY=1\n", gate.process()));
    gate.signal("-HUP");
    let text = told();
    assert!(text.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{text}");
    assert!(told().contains("READY=1"));
    gate.signal("-USR2");
    let text = told();
    assert_eq!(gate.wait(), Some(0), "{}", gate.output());
    let successor = Successor::of(&gate);
    assert_eq!(text, format!("MAINPID={}\nREADY=1\n", successor.0));
    successor.signal("-TERM");
    assert_eq!(told(), "STOPPING=1\n", "the first one only made way");
    eventually("its end", || !successor.is_running());
}

#[test]
fn what_has_not_ended_in_time_is_cut_off() {
    let (_silent, word) = std::sync::mpsc::channel::<()>();
    let word = Mutex::new(word);
    let upstream = Upstream::answering(move |_, _| {
        // Until the test ends.
        let _ = word.lock().unwrap().recv();
    });
    let options = Options { server: "drain = \"1s\"".into(), ..Options::default() };
    let mut gate = Gate::with(upstream, &options);
    let mut connection = Connection::open(gate.address);
    connection.write(&bearer(&gate.token("read")));
    eventually("a request upstream", || !gate.upstream.take().is_empty());
    gate.terminate();
    assert_eq!(gate.wait(), Some(0), "{}", gate.output());
    assert!(gate.output().contains("requests are cut off"), "{}", gate.output());
    assert!(connection.is_closed());
}

/// Nobody serves yet, and nobody is waited for: a store that does not answer would be, at a start.
#[test]
fn a_signal_ends_a_gateway_that_is_starting() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    silent.set_nonblocking(true).unwrap();
    let folder = open_folder();
    let store = "[[store]]\nkind = \"sentry\"\nurl = { file = \"url\" }\n";
    let config = format!(
        "public_url = \"http://{HOST}\"\n[[listen]]\naddress = \"127.0.0.1:0\"\n\
         [admin]\naddress = \"127.0.0.1:0\"\n\
         [upstream.web]\nurls = [\"http://127.0.0.1:1\"]\ncanonical_url = \"https://sentry.internal\"\n{store}"
    );
    fs::write(folder.path().join("portcullis.toml"), config).unwrap();
    let url = format!("postgres://u:p@{}/sentry", silent.local_addr().unwrap());
    fs::write(folder.path().join("url"), url).unwrap();
    let mut process =
        crate::process::command(folder.path()).stderr(Stdio::piped()).spawn().unwrap();
    // The store is being asked.
    let mut asked = None;
    eventually("somebody who asks", || {
        asked = silent.accept().ok();
        asked.is_some()
    });
    let id = process.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    let mut said = String::new();
    process.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(process.wait().unwrap().code(), Some(2), "{said}");
    assert!(said.contains("a signal ended it"), "{said}");
}
