//! The sample layouts as processes on loopback in their own topology: the gateway with the config that is
//! shipped, a real nginx that is configured as self-hosted's, a real PostgreSQL, and stand-ins for the web
//! service and Relay that remember what they received. What each layout promises is a table.

mod api_beside;
mod front_door;
mod public_edge;

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use crate::client::{Reply, request, send};
use crate::database::{Database, PASSWORD};
use crate::gate::{eventually, open_folder};
use crate::nginx::Nginx;
use crate::process::Serving;
use crate::upstream::{Seen, Upstream, ok};

/// The names of Sentry's own in what it answers, by the default of the samples.
const LINK: &str = "<https://sentry.example.com/api/0/x/?&cursor=0:1:0>; rel=\"next\"";
const TOKEN: &str = "authorization: Bearer userorgread";
const CI: &str = "authorization: Bearer userorgci";
const SESSION: &str = "cookie: sentrysid=of-a-browser";

/// A running layout.
struct Layout {
    serving: Serving,
    web: Upstream,
    relay: Upstream,
    nginx: Nginx,
    _database: Database,
    folder: tempfile::TempDir,
}

/// Whom a client calls.
#[derive(Clone, Copy, Debug)]
enum Door {
    /// A listener of the gateway, in the order of the sample.
    Gateway(usize),
    Nginx,
}

impl Layout {
    /// Starts a sample; addresses and secrets, and nothing else of it, are those of the test.
    fn start(name: &str) -> Self {
        let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/layouts");
        let mut text = std::fs::read_to_string(samples.join(name)).unwrap();
        let database = Database::recorded();
        let [web, relay] = std::array::from_fn(|_| Upstream::answering(answer));
        let nginx = Nginx::start(web.address, relay.address);
        let store = database.store();
        let url = store.lines().find(|line| line.starts_with("url")).unwrap();
        for (sample, own) in [
            ("0.0.0.0:8080", "127.0.0.1:0".to_owned()),
            ("0.0.0.0:8081", "127.0.0.1:0".to_owned()),
            ("http://web:9000", format!("http://{}", web.address)),
            ("http://relay:3000", format!("http://{}", relay.address)),
            ("http://nginx:80", format!("http://{}", nginx.address)),
            ("url = \"postgres://portcullis@postgres/postgres\"", url.to_owned()),
            ("/run/secrets/portcullis-db", "password".to_owned()),
            ("/run/secrets/sentry-token", "token".to_owned()),
            ("sqlite:///var/lib/portcullis/", "sqlite://".to_owned()),
        ] {
            text = text.replace(sample, &own);
        }
        for left in ["/run/", "/var/", "\"0.0.0.0:", "http://web", "http://relay", "http://nginx"] {
            assert!(!text.contains(left), "{text}");
        }
        let folder = open_folder();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("portcullis.toml", &format!("{text}\n[admin]\naddress = \"127.0.0.1:0\"\n"));
        write("token", "sntryu_of-the-gateway");
        write("password", PASSWORD);
        std::fs::copy(samples.join("sessions.toml"), folder.path().join("sessions.toml")).unwrap();
        let mut check = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        check.args(["check", "--config"]).arg(folder.path().join("portcullis.toml"));
        let checked = check.output().unwrap();
        assert_eq!(checked.status.code(), Some(0), "{checked:?}");
        let serving = Serving::start(folder.path());
        let layout = Self { serving, web, relay, nginx, _database: database, folder };
        let ready = b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n";
        let admin = layout.serving.admin;
        eventually("a gateway that is ready", || {
            TcpStream::connect(admin).is_ok()
                && send(admin, ready).is_some_and(|reply| reply.status == 200)
        });
        layout
    }

    fn address(&self, door: Door) -> SocketAddr {
        match door {
            Door::Gateway(index) => self.serving.addresses[index],
            Door::Nginx => self.nginx.address,
        }
    }

    /// Sends a request; gives its answer, and who got it, as what. `nginx` is whoever answers itself, and
    /// who `by nginx` was sent what it got.
    fn ask(&self, door: Door, line: &str, headers: &[(&str, &str)]) -> Told {
        let body: &[u8] = if line.starts_with("POST") { b"{}" } else { b"" };
        let reply = send(self.address(door), &request(line, headers, body)).unwrap();
        let mut seen = Vec::new();
        for (place, upstream) in [("web", &self.web), ("relay", &self.relay)] {
            // The gateway asks by itself how they are.
            let of_clients = upstream.take().into_iter().filter(|seen| {
                !["/_health/", "/api/relay/healthcheck/ready/"].contains(&&*seen.target)
            });
            seen.extend(of_clients.map(|seen| (place, seen)));
        }
        assert!(seen.len() <= 1, "{seen:?}");
        let seen = seen.pop();
        let place = match &seen {
            // It is called by HTTP, and says so whatever it was told.
            Some((place, seen)) if seen.value("x-forwarded-proto") == Some("http") => {
                format!("{place} by nginx")
            }
            Some((place, _)) => (*place).to_owned(),
            None if reply.header("server") == Some("nginx") => "nginx".to_owned(),
            None => format!("nobody {}", reply.code()),
        };
        let place = format!("{} {place}", reply.status);
        Told { place, reply, seen: seen.map(|(_, seen)| seen) }
    }

    /// Sends each row with this `Host` and asserts where it got. A row is a request, header lines between
    /// ` | `, and the status, the place, and where that is nobody the code of the refusal.
    fn assert(&self, door: Door, host: &str, rows: &[(&str, &str, &str)]) {
        for (line, header, wanted) in rows {
            let mut headers = vec![("Host", host)];
            headers.extend(header.split(" | ").filter_map(|header| header.split_once(": ")));
            let told = self.ask(door, line, &headers);
            assert_eq!(told.place, *wanted, "{door:?}: {line} [{header}]");
        }
    }

    /// What nobody gets by any listener of any layout.
    fn refuses_tricks(&self, door: Door, host: &str) {
        for line in TRICKS {
            let headers = [("Host", host), ("Cookie", "sentrysid=a")];
            assert_eq!(self.ask(door, line, &headers).place, "400 nobody bad_path", "{line}");
        }
    }
}

/// An answer, and what led to it.
struct Told {
    place: String,
    reply: Reply,
    seen: Option<Seen>,
}

impl Told {
    /// As what the request arrived.
    #[track_caller]
    fn arrived(self) -> Seen {
        self.seen.unwrap_or_else(|| panic!("nobody got it: {}", self.place))
    }
}

/// Answers with Sentry's own name wherever clients follow one, and a new session to whoever sends a cookie.
fn answer(seen: &Seen, stream: &mut TcpStream) {
    let secret = seen.value("cookie").map(|_| ("Set-Cookie", "sentrysid=new"));
    let headers: Vec<_> = [("Link", LINK)].into_iter().chain(secret).collect();
    let links = r#"{"organizationUrl":"https://sentry.example.com","regionUrl":"https://sentry.example.com"}"#;
    let body = format!(r#"{{"url":"https://sentry.example.com/api/0/chunks/","links":{links}}}"#);
    ok(stream, &headers, body.as_bytes());
}

const TRICKS: &[&str] = &[
    "GET //api/0/",
    "GET /api/0/../0/",
    "GET /api/./0/",
    "GET /api/1/envelope/../../0/",
    "POST /api/1/envelope/../../0/organizations/",
    "POST /api/1/envelope%2f..%2f..%2f0%2f",
    "GET /api/0%2f",
    "GET /api%2f0/",
    "GET /api%5c0/",
    "GET /api/%30%2e%2e%2f0/",
    "POST /extensions/../api/0/organizations/",
    "GET /extensions/%2e%2e/api/0/",
    "GET /_assets/..%2f..%2fapi/0/",
    "GET /js-sdk/../api/0/organizations/",
    "POST /api/1//envelope/",
    "POST /api/\\1/envelope/",
];
