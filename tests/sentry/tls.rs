//! Sentry's database over TLS: whom the gateway believes, and what becomes of it when that changes.

use std::net::SocketAddr;
use std::process::Command;

use crate::database::{Certificate, Database, PASSWORD, Server};
use crate::gate::{Gate, config, folder, portcullis};
use crate::outage::{ask, fine, unavailable};

/// Whoever holds it makes certificates that its own is the root of.
struct Authority {
    folder: tempfile::TempDir,
}

/// With a P-256 key each. What the machine's own settings of OpenSSL say does not count.
const RUN: &str = r#"
set -e
cd "$1"
new() { openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -config "$@" 2>&1; }
if [ "$2" = root ]; then
    printf '[req]\ndistinguished_name = n\nprompt = no\n[n]\nCN = %s\n[x]\nbasicConstraints = critical, CA:true\nkeyUsage = critical, keyCertSign\n' "$3" >root
    new root -x509 -extensions x -days 2 -keyout root.key -out root.pem
else
    printf '[req]\ndistinguished_name = n\nprompt = no\n[n]\nCN = %s\n[x]\nsubjectAltName = %s\n' server "$3" >leaf
    new leaf -keyout leaf.key -out leaf.csr
    openssl x509 -req -in leaf.csr -CA root.pem -CAkey root.key -CAcreateserial -days 2 \
        -extfile leaf -extensions x -out leaf.pem 2>&1
fi
"#;

impl Authority {
    fn new(name: &str) -> Self {
        let authority = Self { folder: tempfile::tempdir().unwrap() };
        authority.openssl("root", name);
        authority
    }

    fn openssl(&self, what: &str, name: &str) {
        let mut command = Command::new("sh");
        command.args(["-c", RUN, "sh"]).arg(self.folder.path()).args([what, name]);
        let made = command.output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
    }

    /// A certificate for a name, such as `IP:127.0.0.1`.
    fn certificate(&self, name: &str) -> Certificate {
        self.openssl("leaf", name);
        let read = |name: &str| std::fs::read_to_string(self.folder.path().join(name)).unwrap();
        Certificate { certificate: read("leaf.pem"), key: read("leaf.key") }
    }

    /// What has a URL of a database believe it.
    fn verify(&self, mode: &str) -> String {
        format!("?sslmode={mode}&sslrootcert={}", self.folder.path().join("root.pem").display())
    }
}

/// Where the tests' servers are.
const HERE: &str = "IP:127.0.0.1";
const ELSEWHERE: &str = "DNS:elsewhere.example";

/// The `[[store]]` of this database, with these parameters in its URL.
fn store(database: &Database, parameters: &str) -> String {
    let name = format!("/{}\"", database.name);
    let store = database.store();
    assert!(store.contains(&name), "{store}");
    store.replace(&name, &format!("/{}{parameters}\"", database.name))
}

/// What a start says about this database; nothing if it is fine.
fn told(database: &Database, parameters: &str) -> String {
    // On a busy machine it may take longer than a start waits.
    let mut all = (0..10).map(|_| told_once(database, parameters));
    all.find(|told| !told.contains("timed out")).unwrap()
}

fn told_once(database: &Database, parameters: &str) -> String {
    let upstream = SocketAddr::from(([127, 0, 0, 1], 9));
    let folder = folder(&config(upstream, "", &store(database, parameters)));
    let run = |command: &str| portcullis(&[command], folder.path().join("portcullis.toml"));
    let checked = run("check");
    let told = String::from_utf8(checked.stderr).unwrap();
    if checked.status.code() == Some(0) {
        return told;
    }
    assert_eq!(checked.status.code(), Some(1), "{parameters}: {told}");
    let served = run("serve");
    let both = told + &String::from_utf8(served.stderr).unwrap();
    assert_eq!(served.status.code(), Some(2), "{parameters}: {both}");
    for named in ["error: store[0] `sentry`", "the store `sentry` can't be opened"] {
        assert!(both.contains(named), "{parameters}: {both}");
    }
    assert!(!both.contains(PASSWORD), "{parameters}: {both}");
    both
}

#[test]
fn a_database_that_can_not_prove_who_it_is_is_refused() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let database = Database::recorded_on(Server::with_tls(&ours.certificate(HERE)));
    let plain = Database::recorded();
    let unknown = "invalid peer certificate: UnknownIssuer";
    let unencrypted = "no encryption";
    let rows = |rows: &[(&Database, String, Option<&str>)]| {
        for (database, parameters, wanted) in rows {
            let told = told(database, parameters);
            match wanted {
                Some(cause) => assert!(told.contains(cause), "{parameters}: {told}"),
                None => assert_eq!(told, "", "{parameters}"),
            }
        }
    };
    rows(&[
        (&database, ours.verify("verify-full"), None),
        (&database, other.verify("verify-full"), Some(unknown)),
        // The machine's certificates are not enough.
        (&database, "?sslmode=verify-full".to_owned(), Some(unknown)),
        (&database, "?sslmode=require".to_owned(), None),
        (&database, String::new(), None),
        (&database, "?sslmode=disable".to_owned(), Some(unencrypted)),
        (&plain, "?sslmode=require".to_owned(), Some("server does not support TLS")),
        (&plain, ours.verify("verify-full"), Some("server does not support TLS")),
    ]);
    database.present(&ours.certificate(ELSEWHERE));
    rows(&[(&database, ours.verify("verify-full"), Some("not valid for name"))]);
    database.server.stop();
}

#[test]
fn a_certificate_is_replaced_without_a_restart() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let database = Database::recorded_on(Server::with_tls(&ours.certificate(HERE)));
    let store = store(&database, &ours.verify("verify-full"));
    let gate =
        Gate::with_stores(&format!("{store}required_at_start = false\n"), "cache.ttl = \"1s\"");
    gate.wait_until(|| ask(&gate, "userall") == fine());
    let encrypted = "SELECT string_agg(DISTINCT ssl::text, ' ') FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
        WHERE usename = 'portcullis' AND datname = current_database()";
    assert_eq!(database.value(encrypted), "true");

    // Another one of the same root is no matter.
    database.present(&ours.certificate(HERE));
    database.cut();
    gate.wait_until(|| ask(&gate, "nobody").0 == 401);

    database.present(&other.certificate(HERE));
    database.cut();
    gate.wait_until(|| ask(&gate, "another") == unavailable());
    let stale = || gate.metric("portcullis_cache_requests_total{result=\"stale\"}").unwrap();
    let before = stale();
    gate.wait_until(|| {
        assert_eq!(ask(&gate, "userall"), fine());
        stale() > before
    });
    for secret in ["a-third", "userprojectread"] {
        assert_eq!(ask(&gate, secret), unavailable());
    }
    gate.wait_until(|| {
        let checked = gate.portcullis(&["check"]);
        assert_eq!(checked.status.code(), Some(1), "{checked:?}");
        String::from_utf8(checked.stderr).unwrap().contains("UnknownIssuer")
    });

    database.present(&ours.certificate(HERE));
    gate.wait_until(|| ask(&gate, "userprojectread") == fine());
    gate.wait_until(|| ask(&gate, "a-third").0 == 401);
    assert_eq!(database.value(encrypted), "true");
    database.server.stop();
}
