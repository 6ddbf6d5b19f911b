//! A gateway in a process of its own, in front of a stand-in for Sentry, that reads who its callers are
//! from Sentry's database.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::client::{Connection, Reply, send};
use crate::database::{Database, PASSWORD};
use crate::process::Serving;
use crate::upstream::Upstream;

/// The public name; not where it listens.
pub const HOST: &str = "sentry.example.com";

pub struct Gate {
    pub address: SocketAddr,
    pub admin: SocketAddr,
    pub upstream: Upstream,
    pub folder: tempfile::TempDir,
    serving: Serving,
}

impl Gate {
    /// Starts a gateway that asks this database; `top` are more lines of its config, and `tables` more
    /// tables.
    pub fn start(database: &Database, top: &str, tables: &str) -> Self {
        Self::with_stores(&(database.store() + tables), top)
    }

    /// Starts a gateway with these stores.
    pub fn with_stores(stores: &str, top: &str) -> Self {
        let gate = Self::starting(stores, top);
        gate.wait_until(|| gate.admin("/readyz").is_some_and(|reply| reply.status == 200));
        gate
    }

    /// Starts a gateway with these stores, which may not be ready for a while.
    pub fn starting(stores: &str, top: &str) -> Self {
        Self::before(Upstream::start(), |address| config(address, top, stores))
    }

    /// Starts a gateway that is not ready.
    pub fn unready(config: &str) -> Self {
        Self::before(Upstream::start(), |_| config.to_owned())
    }

    fn before(upstream: Upstream, config: impl Fn(SocketAddr) -> String) -> Self {
        let folder = folder(&config(upstream.address));
        let serving = Serving::start(folder.path());
        let (address, admin) = (serving.address, serving.admin);
        Self { address, admin, upstream, folder, serving }
    }

    pub fn wait_until(&self, condition: impl Fn() -> bool) {
        assert!(eventually(condition), "not within 20 s: {}", self.messages());
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

    /// Runs another `portcullis` on the same config.
    pub fn portcullis(&self, words: &[&str]) -> Output {
        portcullis(words, self.folder.path().join("portcullis.toml"))
    }

    /// The same, which reads this from its standard input.
    pub fn portcullis_reading(&self, input: &str, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command.args(words).arg("--config").arg(self.folder.path().join("portcullis.toml"));
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = pipes.spawn().unwrap();
        // It may end without reading.
        let _ = process.stdin.take().unwrap().write_all(input.as_bytes());
        process.wait_with_output().unwrap()
    }

    /// The value of a series, with its labels.
    pub fn metric(&self, series: &str) -> Option<f64> {
        let text = String::from_utf8(self.admin("/metrics")?.body).unwrap();
        let value = |line: &str| line.strip_prefix(series)?.trim().parse().ok();
        text.lines().find_map(value)
    }

    pub fn messages(&self) -> String {
        self.serving.log.lock().unwrap().clone()
    }

    /// Its access lines so far.
    pub fn access_lines(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.folder.path().join("access.log")).unwrap();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

/// Whether a condition holds within 20 s.
pub fn eventually(condition: impl Fn() -> bool) -> bool {
    for _ in 0..2_000 {
        if condition() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

/// Runs `portcullis` on a config.
pub fn portcullis(words: &[&str], config: PathBuf) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.args(words).arg("--config").arg(config).output().unwrap()
}

/// A folder with a config, and the secrets that it names.
pub fn folder(config: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("portcullis.toml", config);
    write("token", "sntryu_of-the-gateway");
    write("password", PASSWORD);
    folder
}

pub fn config(upstream: SocketAddr, top: &str, tables: &str) -> String {
    format!(
        r#"public_url = "https://{HOST}"
{top}
[[listen]]
address = "127.0.0.1:0"
[admin]
address = "127.0.0.1:0"
[upstream.web]
urls = ["http://{upstream}"]
health_interval = "0s"
credential = {{ file = "token" }}
[server]
threads = 2
{tables}
"#
    )
}
