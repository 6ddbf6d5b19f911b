//! A database behind PgBouncer in transaction mode, where one statement of a connection may be
//! answered by another server process than the last.

use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::database::{Database, NOBODY, PASSWORD, Server};
use crate::gate::Gate;

/// PgBouncer in front of a database, with two server connections for everybody.
pub struct Pooler {
    pub port: u16,
    process: Child,
    _folder: tempfile::TempDir,
}

/// Ends with its standard input, and so with the test.
const RUN: &str =
    r#"pgbouncer "$1" & pooler=$!; read -r _ || true; kill -INT "$pooler"; wait "$pooler""#;

impl Pooler {
    /// In front of this server, for this role alone.
    pub fn start(server: &Server, role: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let path = folder.path().display();
        let config = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = scram-sha-256\n\
             auth_file = {path}/users\npool_mode = transaction\ndefault_pool_size = 2\n\
             logfile = {path}/log\npidfile = {path}/pid\n",
            server.address.port()
        );
        std::fs::write(folder.path().join("pgbouncer.ini"), config).unwrap();
        let users = format!("\"{role}\" \"{PASSWORD}\"\n");
        std::fs::write(folder.path().join("users"), users).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", RUN, "sh"]).arg(folder.path().join("pgbouncer.ini"));
        if chown(folder.path(), Some(NOBODY), Some(NOBODY)).is_ok() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command.current_dir("/").stdin(Stdio::piped()).stderr(Stdio::null());
        let process = command.spawn().unwrap();
        let pooler = Self { port, process, _folder: folder };
        for _ in 0..400 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return pooler;
            }
            thread::sleep(Duration::from_millis(25));
        }
        panic!("PgBouncer did not start");
    }

    /// What names this server, so that it goes through here instead.
    pub fn through(&self, server: &Server, text: &str) -> String {
        text.replace(&server.address.to_string(), &format!("127.0.0.1:{}", self.port))
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

fn ask(gate: &Gate, line: &str, header: &str) -> u16 {
    gate.send(line, "HTTP/1.1", &[header], b"").unwrap().status
}

#[test]
fn a_pooler_in_transaction_mode_is_no_obstacle() {
    let database = Database::recorded();
    let pooler = Pooler::start(database.server, "portcullis");
    let gate = Gate::with_stores(&pooler.through(database.server, &database.store()), "");
    // More at once than there are server connections, all of them first uses.
    thread::scope(|scope| {
        for client in 0..8 {
            let gate = &gate;
            scope.spawn(move || {
                for number in 0..10 {
                    let header = format!("Authorization: Bearer nobody-{client}-{number}");
                    let line = "GET /api/0/projects/";
                    // A busy machine may let one wait for too long; what fails for another reason
                    // goes on failing.
                    gate.wait_until(|| ask(gate, line, &header) == 401);
                    let token = ["userall", "userprojectread", "userprojectwrite"][number % 3];
                    let header = format!("Authorization: Bearer {token}");
                    gate.wait_until(|| ask(gate, line, &header) == 200);
                }
            });
        }
    });
    let lookups = "portcullis_store_lookups_total{result=\"error\",store=\"sentry\"}";
    // Of more than eighty; a busy machine may be too slow for some.
    assert!(gate.metric(lookups).unwrap() < 40.0);
}
