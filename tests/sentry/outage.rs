//! Sentry's database goes away, is slow, or changes its password, under a gateway that serves.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::database::{Database, PASSWORD};
use crate::gate::{Gate, config, folder, portcullis};

const PROJECTS: &str = "GET /api/0/projects/";

pub fn ask(gate: &Gate, secret: &str) -> (u16, String) {
    let header = format!("Authorization: Bearer {secret}");
    let reply = gate.send(PROJECTS, "HTTP/1.1", &[header], b"").unwrap();
    let code = if reply.status == 200 { String::new() } else { reply.code() };
    (reply.status, code)
}

pub fn fine() -> (u16, String) {
    (200, String::new())
}

pub fn unavailable() -> (u16, String) {
    (503, "store_unavailable".to_owned())
}

/// A role of its own: others use the gateway's.
pub fn with_role(database: &Database, role: &str) -> String {
    database.run(&format!(
        "CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}' IN ROLE portcullis;
         ALTER ROLE {role} SET statement_timeout = '2s'"
    ));
    database.store().replace("portcullis@", &format!("{role}@"))
}

#[test]
fn an_outage_is_never_taken_for_an_unknown_token() {
    let database = Database::recorded();
    let gate = Gate::with_stores(&with_role(&database, "away"), "cache.ttl = \"1s\"");
    assert_eq!(ask(&gate, "userall"), fine());
    assert_eq!(ask(&gate, "nobody"), (401, "unknown_token".to_owned()));
    database.run("ALTER ROLE away NOLOGIN");
    database.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'away'");
    gate.wait_until(|| ask(&gate, "another") == unavailable());
    // What was known is served on, though its lifetime is over.
    thread::sleep(std::time::Duration::from_millis(1_200));
    assert_eq!(ask(&gate, "userall"), fine());
    assert_eq!(ask(&gate, "userprojectread"), unavailable());
    gate.wait_until(|| gate.metric("portcullis_store_up{store=\"sentry\"}") == Some(0.0));
    database.run("ALTER ROLE away LOGIN");
    gate.wait_until(|| ask(&gate, "userprojectread") == fine());
    assert_eq!(ask(&gate, "nobody"), (401, "unknown_token".to_owned()));
    gate.wait_until(|| gate.metric("portcullis_store_up{store=\"sentry\"}") == Some(1.0));
}

#[test]
fn a_slow_database_is_an_outage() {
    let database = Database::recorded();
    let gate = Gate::start(&database, "", "");
    assert_eq!(ask(&gate, "userall"), fine());
    database.run("BEGIN; LOCK TABLE sentry_apitoken IN ACCESS EXCLUSIVE MODE");
    assert_eq!(ask(&gate, "userprojectread"), unavailable());
    assert_eq!(ask(&gate, "userall"), fine());
    database.run("ROLLBACK");
    gate.wait_until(|| ask(&gate, "userprojectread") == fine());
}

#[test]
fn a_password_is_rotated_without_a_restart() {
    let database = Database::recorded();
    let gate = Gate::with_stores(&with_role(&database, "rotated"), "");
    assert_eq!(ask(&gate, "userall"), fine());
    database.run("ALTER ROLE rotated PASSWORD 'the-next-password'");
    database
        .run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'rotated'");
    gate.wait_until(|| ask(&gate, "another") == unavailable());
    std::fs::write(gate.folder.path().join("password"), "the-next-password\n").unwrap();
    gate.wait_until(|| ask(&gate, "userprojectread") == fine());
    let messages = gate.messages();
    assert!(!messages.contains("the-next-password") && !messages.contains(PASSWORD), "{messages}");
}

#[test]
fn a_start_needs_the_database_unless_told_otherwise() {
    let database = Database::recorded();
    let store = with_role(&database, "late");
    database.run("ALTER ROLE late NOLOGIN");
    let upstream = SocketAddr::from(([127, 0, 0, 1], 9));
    let needed = folder(&config(upstream, "", &store));
    let path = || needed.path().join("portcullis.toml");
    for (command, code) in [("check", 1), ("serve", 2)] {
        let told = portcullis(&[command], path());
        assert_eq!(told.status.code(), Some(code), "{command} {told:?}");
        let told = String::from_utf8(told.stderr).unwrap();
        assert!(told.contains("Sentry's database can't be reached; check"), "{told}");
        assert!(!told.contains(PASSWORD), "{told}");
    }
    let late = format!("{store}required_at_start = false\n");
    let gate = Gate::unready(&config(upstream, "", &late));
    let ready = || {
        let reply = gate.admin("/readyz").unwrap();
        (reply.status, String::from_utf8(reply.body).unwrap())
    };
    gate.wait_until(|| ready() == (503, "a token store can't be asked yet\n".to_owned()));
    let metric = "portcullis_store_up{store=\"sentry\"}";
    gate.wait_until(|| ask(&gate, "nobody") == unavailable() && gate.metric(metric) == Some(0.0));
    database.run("ALTER ROLE late LOGIN");
    gate.wait_until(|| ready() == (200, "ok\n".to_owned()));
    // The outage of a moment ago is remembered for a moment.
    gate.wait_until(|| ask(&gate, "nobody") == (401, "unknown_token".to_owned()));
    assert!(gate.messages().contains("the token store can be asked"));
}

/// Passes bytes on, until told to fall silent on every connection that there is.
struct Proxy {
    port: u16,
    generation: Arc<AtomicUsize>,
}

impl Proxy {
    fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let generation = Arc::new(AtomicUsize::new(0));
        let current = Arc::clone(&generation);
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), TcpStream::connect(server).unwrap());
                let mine = current.load(Ordering::SeqCst);
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let current = Arc::clone(&current);
                    thread::spawn(move || {
                        pass(from, to, || current.load(Ordering::SeqCst) == mine)
                    });
                }
            }
        });
        Self { port, generation }
    }

    fn fall_silent(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
    }
}

/// Copies until a side ends. A silent one stays open and says nothing.
fn pass(mut from: TcpStream, mut to: TcpStream, speaks: impl Fn() -> bool) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if !speaks() {
            // Kept open with the process.
            std::mem::forget((from, to));
            return;
        }
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}

#[test]
fn connections_that_fell_silent_are_given_up() {
    let database = Database::recorded();
    let proxy = Proxy::before(database.server.address);
    let (direct, proxied) =
        (database.server.address.to_string(), format!("127.0.0.1:{}", proxy.port));
    let gate = Gate::with_stores(&database.store().replace(&direct, &proxied), "");
    let ask_all = |name: &str| {
        thread::scope(|scope| {
            let asked: Vec<_> = (0..8)
                .map(|number| {
                    let (gate, secret) = (&gate, format!("{name}-{number}"));
                    scope.spawn(move || ask(gate, &secret).0)
                })
                .collect();
            asked.into_iter().map(|asked| asked.join().unwrap()).collect::<Vec<_>>()
        })
    };
    // Every connection that there may be is in use.
    gate.wait_until(|| ask_all("before") == [401; 8]);
    proxy.fall_silent();
    assert!(ask_all("silent").contains(&503));
    gate.wait_until(|| ask_all("after") == [401; 8]);
}
