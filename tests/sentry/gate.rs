//! A gateway in a process of its own, in front of a stand-in for Sentry, that knows callers whose
//! credentials are Sentry's own.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use async_trait::async_trait;
use portcullis::clock::Timestamp;
use portcullis::config::{Config, Machine};
use portcullis::policy::credential::{Credential, Digest};
use portcullis::policy::identity::{Binding, Identity, IdentityKind, Issuer, KindSet, State};
use portcullis::policy::scope::{Scope, ScopeSet};
use portcullis::server::{AccessSink, Server};
use portcullis::store::{Found, StoreError, TokenStore};
use portcullis::telemetry::diagnostics;
use serde::{Deserialize, Serialize};

use crate::client::{Connection, Reply, send};
use crate::upstream::Upstream;

/// The public name; not where it listens.
pub const HOST: &str = "sentry.example.com";
/// Where the process of the gateway finds its config and its callers.
const FOLDER: &str = "PORTCULLIS_TEST_FOLDER";

/// Who a credential is.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Known {
    pub name: String,
    pub secret: String,
    pub kind: String,
    pub scopes: Vec<String>,
    #[serde(default)]
    pub expired: bool,
    #[serde(default)]
    pub disabled: bool,
    #[serde(default)]
    pub orgs: Vec<String>,
    #[serde(default)]
    pub projects: Vec<String>,
    /// Whether the gateway issued it, and not Sentry.
    #[serde(default)]
    pub of_gateway: bool,
}

impl Known {
    /// A credential of Sentry's own with exactly these scopes.
    pub fn with(secret: &str, kind: IdentityKind, scopes: ScopeSet) -> Self {
        Self {
            name: secret.to_owned(),
            secret: secret.to_owned(),
            kind: kind.to_string(),
            scopes: scopes.iter().map(|scope| scope.to_string()).collect(),
            expired: false,
            disabled: false,
            orgs: Vec::new(),
            projects: Vec::new(),
            of_gateway: false,
        }
    }

    fn identity(&self) -> Identity {
        let binding = |names: &[String]| match names {
            [] => Binding::Any,
            names => Binding::Only(names.iter().map(|name| name.as_str().into()).collect()),
        };
        Identity {
            id: self.name.as_str().into(),
            kind: IdentityKind::from_name(&self.kind).unwrap(),
            issuer: if self.of_gateway { Issuer::Gateway } else { Issuer::Sentry },
            state: if self.disabled { State::Disabled } else { State::Active },
            // A few that Sentry has are asked for by no route.
            scopes: self.scopes.iter().filter_map(|name| name.parse::<Scope>().ok()).collect(),
            organizations: binding(&self.orgs),
            projects: binding(&self.projects),
            expires_at: self.expired.then(|| Timestamp::from_millis(1)),
            allowed_origins: Box::new([]),
        }
    }
}

/// Callers by the digest of their secrets, as a store of Sentry's database has them.
#[derive(Debug)]
struct Callers(HashMap<Digest, Arc<Identity>>);

#[async_trait]
impl TokenStore for Callers {
    fn name(&self) -> &str {
        "sentry"
    }

    fn takes(&self) -> KindSet {
        IdentityKind::ALL.iter().copied().collect()
    }

    async fn find(&self, presented: &Credential) -> Result<Option<Found>, StoreError> {
        let found = self.0.get(&presented.digest);
        Ok(found.map(|identity| Found { identity: Arc::clone(identity), usage: None }))
    }
}

pub struct Gate {
    pub address: SocketAddr,
    pub admin: SocketAddr,
    pub upstream: Upstream,
    folder: tempfile::TempDir,
    process: Child,
    log: Arc<Mutex<String>>,
}

impl Gate {
    /// Starts a gateway that knows these callers; `top` are more lines of its config.
    pub fn start(known: &[Known], top: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let upstream = Upstream::start();
        let config = config(upstream.address, top);
        std::fs::write(folder.path().join("portcullis.toml"), config).unwrap();
        std::fs::write(folder.path().join("token"), "sntryu_of-the-gateway").unwrap();
        std::fs::write(folder.path().join("known.json"), serde_json::to_string(known).unwrap())
            .unwrap();
        let access = std::fs::File::create(folder.path().join("access.log")).unwrap();
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture", "gate::the_gateway"])
            .env(FOLDER, folder.path())
            .stdin(Stdio::null())
            .stdout(access)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (sender, addresses) = mpsc::channel();
        let (stderr, lines) = (process.stderr.take().unwrap(), Arc::clone(&log));
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines() {
                let line = line.unwrap();
                lines.lock().unwrap().push_str(&format!("{line}\n"));
                let Ok(told) = serde_json::from_str::<serde_json::Value>(&line) else { continue };
                if told["message"] == "serving" {
                    let text =
                        |key: &str| told[key].as_str().unwrap().trim_matches(['[', ']']).to_owned();
                    let _ = sender.send((text("addresses"), text("admin")));
                }
            }
        });
        let (address, admin) =
            addresses.recv_timeout(Duration::from_secs(60)).expect("a gateway that serves");
        let (address, admin) = (address.parse().unwrap(), admin.parse().unwrap());
        let gate = Self { address, admin, upstream, folder, process, log };
        gate.wait_until(|| gate.admin("/readyz").is_some_and(|reply| reply.status == 200));
        gate
    }

    pub fn wait_until(&self, condition: impl Fn() -> bool) {
        for _ in 0..2_000 {
            if condition() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("not within 20 s: {}", self.messages());
    }

    /// Sends a request whose header lines are these, the public name before them if they have none.
    pub fn send(
        &self,
        line: &str,
        version: &str,
        headers: &[impl AsRef<str>],
        body: &[u8],
    ) -> Option<Reply> {
        let has = |name: &str| {
            headers.iter().any(|own| {
                own.as_ref().split(':').next().is_some_and(|own| own.eq_ignore_ascii_case(name))
            })
        };
        let mut text = format!("{line} {version}\r\n");
        if !has("host") {
            text.push_str(&format!("Host: {HOST}\r\n"));
        }
        for header in headers {
            text.push_str(&format!("{}\r\n", header.as_ref()));
        }
        if !body.is_empty() && !has("content-length") && !has("transfer-encoding") {
            text.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        let mut connection = Connection::open(self.address);
        connection.write(&[format!("{text}\r\n").as_bytes(), body].concat());
        let method = line.split(' ').next().unwrap();
        // `100 Continue` comes before the answer.
        loop {
            let reply = connection.read_reply(method)?;
            if reply.status >= 200 {
                return Some(reply);
            }
        }
    }

    pub fn admin(&self, path: &str) -> Option<Reply> {
        std::net::TcpStream::connect(self.admin).ok()?;
        send(self.admin, format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())
    }

    pub fn messages(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Its access lines so far.
    pub fn access_lines(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.folder.path().join("access.log")).unwrap();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn config(upstream: SocketAddr, top: &str) -> String {
    format!(
        r#"public_url = "https://{HOST}"
{top}
[[listen]]
address = "127.0.0.1:0"
[admin]
address = "127.0.0.1:0"
[upstream.web]
urls = ["http://{upstream}"]
credential = {{ file = "token" }}
[[store]]
kind = "portcullis"
url = "sqlite://not-opened.db"
[server]
threads = 2
"#
    )
}

#[test]
#[ignore = "the other tests run it, as the gateway that they ask"]
#[expect(clippy::disallowed_methods, reason = "how a test process is told what it is for")]
fn the_gateway() {
    let Ok(folder) = std::env::var(FOLDER).map(PathBuf::from) else { return };
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let known: Vec<Known> = serde_json::from_str(&read("known.json")).unwrap();
    let callers = known.iter().map(|known| (Digest::of(&known.secret), Arc::new(known.identity())));
    let callers = Callers(callers.collect());
    let path: &Path = &folder.join("portcullis.toml");
    let config = Config::load(path, &Machine).unwrap();
    diagnostics::start(config.log.level);
    for note in &config.notes {
        tracing::warn!("{note}");
    }
    Server::build_over(config, vec![Arc::new(callers)], AccessSink::Stdout).unwrap().run();
}
