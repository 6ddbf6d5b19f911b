//! A Prometheus of the test's own, on loopback and in a temporary folder.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use portcullis::clock::{Clock as _, SystemClock};
use serde_json::Value;

use super::shipped;
use crate::client::send;

/// How long something may take that Prometheus does each second; no test depends on it being short.
const PATIENCE: Duration = Duration::from_secs(60);

/// A series at one moment: its labels, and its value.
#[derive(Clone, Debug)]
pub struct Series {
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// What may be changed of the alerts before they are used.
pub type Change = fn(&str) -> String;

/// A Prometheus that scrapes each second. It ends with this value.
pub struct Prometheus {
    address: SocketAddr,
    process: Child,
    folder: tempfile::TempDir,
}

impl Prometheus {
    /// With the shipped rules, and the alerts as `change` makes them, on these gateways.
    pub fn scraping(gateways: &[SocketAddr], change: Change) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text);
        write("portcullis.rules.yml", &shipped("portcullis.rules.yml")).unwrap();
        write("portcullis.alerts.yml", &change(&shipped("portcullis.alerts.yml"))).unwrap();
        let targets: Vec<_> = gateways.iter().map(SocketAddr::to_string).collect();
        let config = shipped("prometheus.yml")
            .replace("15s", "1s")
            .replace("targets: [\"127.0.0.1:9090\"]", &format!("targets: {targets:?}"));
        write("prometheus.yml", &config).unwrap();
        // A port that was free may be taken by now.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = port.local_addr().unwrap();
            drop(port);
            let mut process = start(&folder, address);
            if is_ready(address, &mut process) {
                return Self { address, process, folder };
            }
            let _ = process.kill();
            let _ = process.wait();
        }
        panic!("Prometheus does not start: {}", log(&folder));
    }

    /// Asks the API; the answer's `data`.
    pub fn get(&self, path: &str) -> Result<Value, String> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address);
        let reply = send(self.address, request.as_bytes()).ok_or("no answer")?;
        let json = reply.json();
        match json["status"].as_str() {
            Some("success") => Ok(json["data"].clone()),
            _ => Err(json["error"].as_str().unwrap_or_default().to_owned()),
        }
    }

    /// The series that a query has now.
    pub fn query(&self, query: &str) -> Vec<Series> {
        let found = self.try_query(query);
        found.unwrap_or_else(|error| panic!("{query}: {error}"))
    }

    /// The same; an error if it can't be read.
    pub fn try_query(&self, query: &str) -> Result<Vec<Series>, String> {
        let data = self.get(&format!("/api/v1/query?query={}", escaped(query)))?;
        let rows = data["result"].as_array().cloned().unwrap_or_default();
        let series = rows.iter().map(|row| {
            let labels = row["metric"].as_object().into_iter().flatten();
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            Series {
                labels: labels.map(|(name, value)| (name.clone(), text(value))).collect(),
                value: text(&row["value"][1]).parse().unwrap_or(f64::NAN),
            }
        });
        Ok(series.collect())
    }

    /// Waits until a query has series of which one is a number, which must be before long.
    pub fn eventually(&self, query: &str) -> Vec<Series> {
        self.eventually_so(query, |found| found.iter().any(|series| !series.value.is_nan()))
    }

    /// Waits until what a query has is as it should be, which must be before long.
    pub fn eventually_so(&self, query: &str, so: impl Fn(&[Series]) -> bool) -> Vec<Series> {
        let start = SystemClock.instant();
        loop {
            let found = self.query(query);
            if so(&found) {
                return found;
            }
            let waited = SystemClock.instant().saturating_duration_since(start);
            assert!(
                waited < PATIENCE,
                "{query}: {found:?} after {PATIENCE:?}: {}",
                log(&self.folder)
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until this gateway has been scraped, after now.
    pub fn scraped(&self, gateway: SocketAddr) {
        let now = SystemClock.now().as_millis() as f64 / 1000.0;
        let query = format!("timestamp(up{{instance=\"{gateway}\"}} == 1)");
        self.eventually_so(&query, |found| found.iter().any(|series| series.value > now));
    }

    /// The alerts that fire now.
    pub fn firing(&self) -> Vec<Series> {
        self.query("ALERTS{alertstate=\"firing\"}")
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn start(folder: &tempfile::TempDir, address: SocketAddr) -> Child {
    let log = std::fs::File::create(folder.path().join("log")).unwrap();
    Command::new("prometheus")
        .arg("--config.file=prometheus.yml")
        .arg("--storage.tsdb.path=data")
        .arg("--storage.tsdb.retention.time=1h")
        .arg(format!("--web.listen-address={address}"))
        .arg("--log.level=warn")
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("`prometheus`; run `make setup`")
}

/// Waits until it can be asked; `false` if it has ended instead.
fn is_ready(address: SocketAddr, process: &mut Child) -> bool {
    let start = SystemClock.instant();
    let ask = format!("GET /-/ready HTTP/1.1\r\nHost: {address}\r\n\r\n");
    while SystemClock.instant().saturating_duration_since(start) < PATIENCE {
        if process.try_wait().unwrap().is_some() {
            return false;
        }
        let is_there = std::net::TcpStream::connect(address).is_ok();
        if is_there && send(address, ask.as_bytes()).is_some_and(|reply| reply.status == 200) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    false
}

fn log(folder: &tempfile::TempDir) -> String {
    std::fs::read_to_string(folder.path().join("log")).unwrap_or_default()
}

/// As a value in a URL.
fn escaped(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}
