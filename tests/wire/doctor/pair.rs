//! A gateway, and a stand-in for its Sentry that can be wrong in each way that a doctor looks for.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use portcullis::clock::{Clock as _, SystemClock};
use serde_json::{Value, json};

use crate::client::{PATIENCE, send};
use crate::process::Serving;
use crate::upstream::{Seen, Upstream, ok, reply};

pub const CREDENTIAL: &str = "sntryu_of-the-gateway";
pub const PUBLIC: &str = "http://gw.example";

/// What is wrong with Sentry; by default nothing.
#[derive(Clone, Debug)]
pub struct Sentry {
    pub health: &'static str,
    pub relay_health: &'static str,
    /// The base in `Link`; of `""` there is no host.
    pub link: Option<String>,
    pub region: Option<String>,
    pub upload: Option<String>,
    /// How far its clock is ahead, in seconds.
    pub ahead: i64,
    pub refuses_host: bool,
    pub redirects: bool,
    /// That, unless it is told that the client called by `https`.
    pub redirects_http: bool,
    pub refuses_credential: bool,
    pub scopes: Vec<&'static str>,
    pub email: Option<&'static str>,
    pub closes_idle: bool,
    /// Where Relay should be, the web service answers.
    pub relay_is_web: bool,
    /// What it takes besides the gateway's credential.
    pub token: Option<String>,
}

impl Default for Sentry {
    fn default() -> Self {
        Self {
            health: "200 OK",
            relay_health: "200 OK",
            link: None,
            region: None,
            upload: None,
            ahead: 0,
            refuses_host: false,
            redirects: false,
            redirects_http: false,
            refuses_credential: false,
            scopes: vec!["org:read", "project:read", "event:read"],
            email: None,
            closes_idle: false,
            relay_is_web: false,
            token: None,
        }
    }
}

impl Sentry {
    /// Answers as the web service; `canonical` is its `system.url-prefix`.
    pub fn web(&self, canonical: &str, seen: &Seen, stream: &mut TcpStream) {
        let date = http_date(self.ahead);
        let headers = [("Date", date.as_str())];
        let not_found = || json!({"detail": "The requested resource does not exist"}).to_string();
        if seen.target == "/_health/" {
            reply(stream, self.health, &headers, b"ok");
            if self.closes_idle && seen.value("connection").is_none() {
                stream.shutdown(Shutdown::Both).unwrap();
            }
            return;
        }
        let https = seen.value("x-forwarded-proto") == Some("https");
        if self.refuses_host {
            return reply(stream, "400 Bad Request", &headers, b"<h1>Bad Request (400)</h1>");
        }
        if self.redirects || (self.redirects_http && !https) {
            let location = format!("https://{}{}", seen.value("host").unwrap(), seen.target);
            return reply(stream, "301 Moved Permanently", &[("Location", &location)], b"");
        }
        let presented = seen.value("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let known = |token| {
            (token == CREDENTIAL && !self.refuses_credential)
                || Some(token) == self.token.as_deref()
        };
        if presented.is_some_and(|token| !known(token)) {
            let body = json!({"detail": "Invalid token"}).to_string();
            return reply(stream, "401 Unauthorized", &headers, body.as_bytes());
        }
        let of = |base: &Option<String>| base.clone().unwrap_or_else(|| canonical.to_owned());
        let user = self.email.map(|email| json!({"id": "7", "email": email}));
        match (seen.target.split('?').next().unwrap(), presented) {
            ("/api/0/", who) => {
                let auth = who.map(|_| json!({"scopes": self.scopes}));
                let user = who.and(user);
                let body = json!({"version": "0", "auth": auth, "user": user}).to_string();
                ok(stream, &headers, body.as_bytes());
            }
            ("/api/0/organizations/", Some(_)) => {
                let base = of(&self.link);
                let link = |rel: &str| {
                    format!(
                        "<{base}/api/0/organizations/?per_page=1&cursor=0:1:0>; rel=\"{rel}\"; results=\"false\"; cursor=\"0:1:0\""
                    )
                };
                let link = format!("{}, {}", link("previous"), link("next"));
                let links =
                    json!({"organizationUrl": of(&self.region), "regionUrl": of(&self.region)});
                let body = json!([{"id": "1", "slug": "acme", "links": links}]).to_string();
                ok(stream, &[("Date", &date), ("Link", &link)], body.as_bytes());
            }
            ("/api/0/organizations/acme/chunk-upload/", Some(_)) => {
                let url = format!("{}/api/0/organizations/acme/chunk-upload/", of(&self.upload));
                ok(stream, &headers, json!({"url": url}).to_string().as_bytes());
            }
            (_, None) => {
                let body = json!({"detail": "Authentication credentials were not provided."});
                reply(stream, "401 Unauthorized", &headers, body.to_string().as_bytes());
            }
            (_, Some(_)) => reply(stream, "404 Not Found", &headers, not_found().as_bytes()),
        }
    }

    fn relay(&self, seen: &Seen, stream: &mut TcpStream) {
        if seen.target == "/api/relay/healthcheck/ready/" {
            let body = json!({"is_healthy": self.relay_health == "200 OK"}).to_string();
            return reply(stream, self.relay_health, &[], body.as_bytes());
        }
        if self.relay_is_web {
            let page = b"<title>CSRF verification failed</title>";
            return reply(stream, "403 Forbidden", &[("X-Frame-Options", "deny")], page);
        }
        let body = json!({"detail": "empty request body"}).to_string();
        reply(stream, "400 Bad Request", &[], body.as_bytes());
    }
}

fn http_date(ahead: i64) -> String {
    let now = SystemClock.now().as_millis().saturating_add_signed(ahead * 1000);
    let text = portcullis::clock::Timestamp::from_millis(now).to_string();
    let month: usize = text[5..7].parse().unwrap();
    let names = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let month = &names[month * 3 - 3..month * 3];
    format!("Mon, {} {month} {} {} GMT", &text[8..10], &text[..4], &text[11..19])
}

/// What a test changes besides Sentry.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Instead of [`PUBLIC`].
    pub public_url: Option<&'static str>,
    /// Lines at the top level.
    pub top: String,
    /// Instead of a host that nobody reaches.
    pub canonical: Option<String>,
    /// More addresses of the web service, as the list goes on.
    pub more_urls: &'static str,
    /// More of `[[listen]]`.
    pub listen: &'static str,
    /// An own rule file.
    pub rules: &'static str,
    /// What stands in front of the gateway makes of its answers.
    pub front: Option<fn(String) -> String>,
    /// Whether that passes metrics on.
    pub publishes_metrics: bool,
}

pub struct Pair {
    is: Arc<Mutex<Sentry>>,
    pub sentry: Upstream,
    pub relay: Upstream,
    /// Sentry's own host, which nobody reaches unless a test says so.
    pub canonical: Upstream,
    pub folder: tempfile::TempDir,
    front: Option<Upstream>,
    serving: Serving,
}

impl Pair {
    pub fn healthy() -> Self {
        Self::start(Sentry::default(), Options::default())
    }

    /// Has Sentry be this one from now on.
    pub fn becomes(&self, sentry: Sentry) -> &Self {
        *self.is.lock().unwrap() = sentry;
        self
    }

    pub fn start(wrong: Sentry, options: Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let canonical = Upstream::by_hand(drop);
        let base = options.canonical.unwrap_or_else(|| format!("http://{}", canonical.address));
        let is = Arc::new(Mutex::new(wrong));
        let (web, relay, prefix) = (Arc::clone(&is), Arc::clone(&is), base.clone());
        let now = |is: &Mutex<Sentry>| is.lock().unwrap().clone();
        let sentry = Upstream::answering(move |seen, stream| now(&web).web(&prefix, seen, stream));
        let relay = Upstream::answering(move |seen, stream| now(&relay).relay(seen, stream));
        std::fs::write(folder.path().join("sentry-token"), CREDENTIAL).unwrap();
        let public = options.public_url.unwrap_or(PUBLIC);
        let (top, web, relay_at) = (options.top, sentry.address, relay.address);
        let (more, listen) = (options.more_urls, options.listen);
        std::fs::write(folder.path().join("own.toml"), options.rules).unwrap();
        let config = format!(
            r#"public_url = "{public}"
{top}
[[listen]]
address = "127.0.0.1:0"
expose = ["api", "ingest"]
{listen}
[admin]
address = "127.0.0.1:0"
[upstream.web]
urls = ["http://{web}"{more}]
canonical_url = "{base}"
credential = {{ file = "sentry-token" }}
idle_timeout = "100ms"
[upstream.relay]
urls = ["http://{relay_at}"]
idle_timeout = "100ms"
[[store]]
kind = "portcullis"
url = "sqlite://tokens.db"
[[store]]
kind = "introspection"
url = "http://{web}/api/0/"
[rules]
files = ["own.toml"]
[server]
threads = 2
"#
        );
        std::fs::write(folder.path().join("portcullis.toml"), config).unwrap();
        let serving = Serving::start(folder.path());
        let (address, admin) = (serving.address, serving.admin);
        let publishes = options.publishes_metrics;
        let front = options.front.map(|change| front(address, admin, publishes, change));
        let pair = Self { is, sentry, relay, canonical, folder, front, serving };
        pair.wait_until_ready();
        pair
    }

    fn wait_until_ready(&self) {
        let ready = || {
            TcpStream::connect(self.serving.admin).is_ok_and(|_| {
                send(self.serving.admin, b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
                    .is_some_and(|reply| reply.status == 200)
            })
        };
        crate::gate::eventually("a gateway that is ready", ready);
        self.take();
    }

    /// Everything that Sentry has received.
    pub fn take(&self) -> Vec<Seen> {
        [&self.sentry, &self.relay].into_iter().flat_map(Upstream::take).collect()
    }

    /// A token of the gateway with these scopes.
    pub fn token(&self, scopes: &[&str]) -> String {
        self.token_named("t", scopes)
    }

    pub fn token_named(&self, name: &str, scopes: &[&str]) -> String {
        let mut words = vec!["token", "create", "--name", name, "--expires", "1h"];
        scopes.iter().for_each(|scope| words.extend(["--scope", scope]));
        let made = self.portcullis(&words, "");
        assert!(made.status.success(), "{made:?}");
        String::from_utf8(made.stdout).unwrap().trim().to_owned()
    }

    pub fn portcullis(&self, words: &[&str], input: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command.args(words).arg("--config").arg(self.folder.path().join("portcullis.toml"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        // It may end without reading.
        let _ = process.stdin.take().unwrap().write_all(input.as_bytes());
        process.wait_with_output().unwrap()
    }

    /// Asks the doctor, of the gateway where it is.
    pub fn ask(&self, words: &[&str], input: &str) -> Told {
        let at = self.front.as_ref().map_or(self.serving.address, |front| front.address);
        self.ask_at(at, words, input)
    }

    /// The table that people read.
    pub fn table(&self, input: &str) -> String {
        let (gateway, admin) = (self.serving.address, self.serving.admin);
        let (gateway, admin) = (format!("http://{gateway}"), format!("http://{admin}"));
        let words = ["doctor", "--token-stdin", "--gateway", &gateway, "--admin", &admin];
        String::from_utf8(self.portcullis(&words, input).stdout).unwrap()
    }

    pub fn ask_at(&self, at: SocketAddr, words: &[&str], input: &str) -> Told {
        let (gateway, admin) = (format!("http://{at}"), format!("http://{}", self.serving.admin));
        let mut all = vec!["doctor", "--json", "--gateway", &gateway, "--admin", &admin];
        all.extend(words);
        if !input.is_empty() {
            all.push("--token-stdin");
        }
        Told::of(&self.portcullis(&all, input))
    }
}

/// What the doctor said.
#[derive(Debug)]
pub struct Told {
    pub code: Option<i32>,
    pub checks: Vec<Value>,
    pub text: String,
}

impl Told {
    pub fn of(output: &Output) -> Self {
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        let checks = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let text = text + &String::from_utf8(output.stderr.clone()).unwrap();
        Self { code: output.status.code(), checks, text }
    }

    pub fn check(&self, name: &str) -> &Value {
        let found = self.checks.iter().find(|check| check["check"] == name);
        found.unwrap_or_else(|| panic!("no `{name}` in {}", self.text))
    }

    /// The checks with this verdict.
    pub fn with(&self, verdict: &str) -> Vec<&str> {
        let of = |check: &&Value| check["verdict"] == verdict;
        self.checks.iter().filter(of).map(|check| check["check"].as_str().unwrap()).collect()
    }
}

/// What stands in front of a gateway: it passes on what it gets, and changes the answers.
fn front(
    gateway: SocketAddr,
    admin: SocketAddr,
    metrics: bool,
    change: fn(String) -> String,
) -> Upstream {
    Upstream::answering(move |seen, stream| {
        let to = if metrics && seen.target == "/metrics" { admin } else { gateway };
        let mut behind = TcpStream::connect(to).unwrap();
        behind.set_read_timeout(Some(PATIENCE)).unwrap();
        behind.write_all(seen.head.as_bytes()).unwrap();
        let mut answer = Vec::new();
        behind.read_to_end(&mut answer).unwrap();
        let answer = change(String::from_utf8(answer).unwrap());
        let _ = stream.write_all(answer.as_bytes());
        let _ = stream.shutdown(Shutdown::Both);
    })
}
