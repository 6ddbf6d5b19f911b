//! The sample layouts as processes on loopback in the same topology: what each promises, seen from
//! outside and from what the web service, Relay and nginx received.

use std::net::SocketAddr;
use std::path::Path;

use crate::client::{Reply, request, send};
use crate::database::Database;
use crate::gate::{eventually, folder, portcullis};
use crate::process::Serving;
use crate::upstream::{Seen, Upstream, ok};

/// A running layout. Its listeners are in the order of the sample.
struct Layout {
    serving: Serving,
    web: Upstream,
    relay: Upstream,
    nginx: Upstream,
    _database: Database,
    folder: tempfile::TempDir,
}

impl Layout {
    /// Starts a sample; addresses and secrets, and nothing else of it, are those of the test.
    fn start(name: &str) -> Self {
        let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/layouts");
        let mut text = std::fs::read_to_string(samples.join(name)).unwrap();
        let database = Database::recorded();
        let link = |seen: &Seen, stream: &mut std::net::TcpStream| {
            let link = "<https://sentry.example.com/api/0/x/?&cursor=0:1:0>; rel=\"next\"";
            let secret = seen.value("cookie").map(|_| ("Set-Cookie", "sentrysid=new"));
            let headers: Vec<_> = [("Link", link)].into_iter().chain(secret).collect();
            ok(stream, &headers, br#"{"url":"https://sentry.example.com/api/0/chunks/"}"#);
        };
        let [web, relay, nginx] = std::array::from_fn(|_| Upstream::answering(link));
        let store = database.store();
        let url = store.lines().find(|line| line.starts_with("url")).unwrap();
        for (sample, own) in [
            ("0.0.0.0:8080", "127.0.0.1:0".to_owned()),
            ("0.0.0.0:8081", "127.0.0.1:0".to_owned()),
            ("http://web:9000", format!("http://{}", web.address)),
            ("http://relay:3000", format!("http://{}", relay.address)),
            ("http://nginx:80", format!("http://{}", nginx.address)),
            ("url = \"postgres://portcullis@postgres/sentry\"", url.to_owned()),
            ("/run/secrets/portcullis-db", "password".to_owned()),
            ("/run/secrets/sentry-token", "token".to_owned()),
            ("sqlite:///var/lib/portcullis/", "sqlite://".to_owned()),
        ] {
            text = text.replace(sample, &own);
        }
        assert!(!text.contains("/run/") && !text.contains("\"0.0.0.0:"), "{text}");
        let folder = folder(&format!("{text}\n[admin]\naddress = \"127.0.0.1:0\"\n"));
        std::fs::copy(samples.join("sessions.toml"), folder.path().join("sessions.toml")).unwrap();
        let checked = portcullis(&["check"], folder.path().join("portcullis.toml"));
        assert_eq!(checked.status.code(), Some(0), "{checked:?}");
        let serving = Serving::start(folder.path());
        let layout = Self { serving, web, relay, nginx, _database: database, folder };
        let ready = b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n";
        let is_ready =
            || send(layout.serving.admin, ready).is_some_and(|reply| reply.status == 200);
        assert!(eventually(is_ready), "{}", layout.serving.log.lock().unwrap());
        layout
    }

    fn listener(&self, index: usize) -> SocketAddr {
        self.serving.addresses[index]
    }

    /// Where a request to a listener got, and with which status; with what it was there.
    fn ask(&self, listener: usize, line: &str, headers: &[(&str, &str)]) -> (String, Option<Seen>) {
        let (reply, seen) = self.reply(listener, line, headers);
        let code = if seen.is_some() { String::new() } else { reply.code() };
        let places = ["web", "relay", "nginx"];
        let place = seen.as_ref().map_or("nobody", |(place, _)| places[*place]);
        let status = reply.status;
        (format!("{status} {place} {code}").trim().to_owned(), seen.map(|(_, seen)| seen))
    }

    fn reply(
        &self,
        listener: usize,
        line: &str,
        headers: &[(&str, &str)],
    ) -> (Reply, Option<(usize, Seen)>) {
        let body: &[u8] = if line.starts_with("POST") { b"{}" } else { b"" };
        let reply = send(self.listener(listener), &request(line, headers, body)).unwrap();
        let mut seen = Vec::new();
        for (place, upstream) in [&self.web, &self.relay, &self.nginx].into_iter().enumerate() {
            // The gateway asks by itself how they are.
            let of_clients = upstream.take().into_iter().filter(|seen| {
                !["/_health/", "/api/relay/healthcheck/ready/"].contains(&&*seen.target)
            });
            seen.extend(of_clients.map(|seen| (place, seen)));
        }
        assert!(seen.len() <= 1, "{seen:?}");
        (reply, seen.pop())
    }

    /// Sends each row with this `Host` and asserts where it got.
    fn assert(&self, listener: usize, host: &str, rows: &[(&str, &str, &str)]) {
        for (line, header, wanted) in rows {
            let mut headers = vec![("Host", host)];
            headers.extend(header.split(" | ").filter_map(|header| header.split_once(": ")));
            let (seen, _) = self.ask(listener, line, &headers);
            assert_eq!(seen, *wanted, "{line} [{header}]");
        }
    }
}

/// What nobody gets by any listener of any layout.
const TRICKS: &[&str] = &[
    "GET //api/0/",
    "GET /api/0/../0/",
    "GET /api/1/envelope/../../0/",
    "POST /api/1/envelope/../../0/organizations/",
    "POST /api/1/envelope%2f..%2f..%2f0%2f",
    "GET /api/0%2f",
    "GET /api%2f0/",
    "POST /extensions/../api/0/organizations/",
    "GET /extensions/%2e%2e/api/0/",
    "GET /_assets/..%2f..%2fapi/0/",
    "GET /js-sdk/../api/0/organizations/",
    "POST /api/1//envelope/",
    "POST /api/\\1/envelope/",
];

fn no_trick_works(layout: &Layout, listener: usize, host: &str) {
    for line in TRICKS {
        let (seen, _) = layout.ask(listener, line, &[("Host", host), ("Cookie", "sentrysid=a")]);
        assert_eq!(seen, "400 nobody bad_path", "{line}");
    }
}

const TOKEN: &str = "authorization: Bearer userorgread";
const SESSION: &str = "cookie: sentrysid=of-a-browser";

#[test]
fn the_front_door_has_the_only_address() {
    let layout = Layout::start("front-door.toml");
    layout.assert(
        0,
        "sentry.example.com",
        &[
            ("POST /api/2/envelope/?sentry_key=a", "", "200 relay"),
            ("POST /api/9/envelope/", "", "200 relay"),
            ("POST /api/10/store/", "", "200 relay"),
            ("GET /api/0/organizations/", TOKEN, "200 web"),
            ("GET /api/0/organizations/", SESSION, "200 web"),
            ("GET /api/0/organizations/", "", "401 nobody missing_credential"),
            ("GET /organizations/acme/issues/", SESSION, "200 web"),
            ("GET /auth/login/", "", "200 web"),
            ("GET /_assets/app.js", "", "200 nginx"),
            ("GET /_static/dist/app.js", "", "200 web"),
            ("GET /js-sdk/1/bundle.min.js", "", "200 nginx"),
            ("POST /extensions/slack/event/", "", "200 web"),
            ("POST /oauth/token/", "", "200 web"),
            // What no rule of the API knows, a session gets to and a token does not.
            ("GET /api/0/of-a-newer-sentry/", SESSION, "200 web"),
            ("GET /api/0/of-a-newer-sentry/", TOKEN, "403 nobody route_not_exposed"),
            ("POST /api/0/relays/projectconfigs/", "", "404 nobody no_such_route"),
            ("POST /api/2/projectconfigs/", "", "404 nobody no_such_route"),
        ],
    );
    no_trick_works(&layout, 0, "sentry.example.com");

    let host = ("Host", "sentry.example.com");
    let (_, seen) = layout.ask(
        0,
        "POST /api/0/organizations/acme/issues/",
        &[
            host,
            ("Cookie", "sentrysid=s; sc=c"),
            ("X-CSRFToken", "c"),
            ("Origin", "https://sentry.example.com"),
            ("Referer", "https://sentry.example.com/issues/"),
            ("X-Forwarded-For", "10.1.1.1"),
            ("X-Sentry-Auth", "Sentry a=b"),
        ],
    );
    // A session and a project key are two.
    assert!(seen.is_none());
    let (_, seen) = layout.ask(
        0,
        "PUT /api/0/organizations/acme/",
        &[
            host,
            ("Cookie", "sentrysid=s; sc=c"),
            ("X-CSRFToken", "c"),
            ("Origin", "https://sentry.example.com"),
            ("Referer", "https://sentry.example.com/issues/"),
            ("X-Forwarded-For", "10.1.1.1"),
        ],
    );
    let seen = seen.unwrap();
    for (name, wanted) in [
        ("cookie", "sentrysid=s; sc=c"),
        ("x-csrftoken", "c"),
        ("origin", "https://sentry.example.com"),
        ("referer", "https://sentry.example.com/issues/"),
        ("host", "sentry.example.com"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-for", "127.0.0.1"),
    ] {
        assert_eq!(seen.value(name), Some(wanted), "{name}");
    }
    assert_eq!(seen.value("authorization"), None);

    // To Relay all that is its own, and nothing that is Sentry's.
    let sent = [
        host,
        ("X-Sentry-Auth", "Sentry sentry_key=a, sentry_version=7"),
        ("Authorization", "Basic YTpi"),
        ("Cookie", "sentrysid=s"),
        ("X-Sentry-Relay-Id", "forged"),
        ("Content-Encoding", "gzip"),
        ("Origin", "https://app.example.com"),
    ];
    let (_, seen) = layout.ask(0, "POST /api/2/envelope/?sentry_key=a&x=%41", &sent);
    let seen = seen.unwrap();
    assert_eq!(seen.target, "/api/2/envelope/?sentry_key=a&x=%41");
    assert_eq!(seen.body, b"{}");
    for (name, wanted) in [
        ("x-sentry-auth", Some("Sentry sentry_key=a, sentry_version=7")),
        ("authorization", Some("Basic YTpi")),
        ("content-encoding", Some("gzip")),
        ("origin", Some("https://app.example.com")),
        ("cookie", None),
        ("x-sentry-relay-id", None),
        ("x-forwarded-for", Some("127.0.0.1")),
    ] {
        assert_eq!(seen.value(name), wanted, "{name}");
    }
    // A browser logs in, and a client without its cookie sees none.
    let (reply, _) = layout.reply(0, "GET /auth/login/", &[host, ("Cookie", "sc=c")]);
    assert_eq!(reply.header("set-cookie"), Some("sentrysid=new"));
}

#[test]
fn the_api_beside_the_pages_is_the_api_alone() {
    let layout = Layout::start("api-beside.toml");
    let host = "sentry-api.example.com";
    layout.assert(
        0,
        host,
        &[
            ("GET /api/0/organizations/", TOKEN, "200 web"),
            ("GET /api/0/organizations/", SESSION, "401 nobody missing_credential"),
            ("POST /api/2/envelope/", "", "404 nobody no_such_route"),
            ("GET /auth/login/", "", "404 nobody no_such_route"),
            ("GET /", "", "404 nobody no_such_route"),
            ("POST /extensions/slack/event/", "", "404 nobody no_such_route"),
            ("POST /oauth/token/", "", "404 nobody no_such_route"),
        ],
    );
    layout.assert(0, "sentry.example.com", &[("GET /api/0/", TOKEN, "421 nobody misdirected")]);
    no_trick_works(&layout, 0, host);
    let headers = [("Host", host), ("Authorization", "Bearer userorgread")];
    let (reply, seen) = layout.reply(0, "GET /api/0/organizations/acme/", &headers);
    let link = "<https://sentry-api.example.com/api/0/x/?&cursor=0:1:0>; rel=\"next\"";
    assert_eq!(reply.header("link"), Some(link));
    assert_eq!(seen.unwrap().1.value("authorization"), Some("Bearer userorgread"));
}

#[test]
fn the_public_edge_lets_in_events_and_webhooks_alone() {
    let layout = Layout::start("public-edge.toml");
    let key = "x-sentry-auth: Sentry sentry_key=dsnp0active, sentry_version=7";
    layout.assert(
        0,
        "ingest.example.com",
        &[
            ("POST /api/2/envelope/", key, "200 relay"),
            ("POST /api/2/envelope/?sentry_key=dsnp0active", "", "200 relay"),
            ("OPTIONS /api/2/envelope/", "origin: https://app.example.com", "200 relay"),
            ("POST /api/3/envelope/", key, "401 nobody unknown_token"),
            ("POST /api/2/envelope/?sentry_key=dsnp0disabled", "", "401 nobody disabled_token"),
            ("POST /api/2/envelope/?sentry_key=nobodys", "", "401 nobody unknown_token"),
            ("POST /api/2/envelope/", "", "401 nobody missing_credential"),
            ("POST /extensions/slack/event/", SESSION, "200 web"),
            ("POST /api/hooks/release/builtin/2/signature/", "", "200 web"),
            ("GET /api/0/", "", "404 nobody no_such_route"),
            ("GET /api/0/organizations/", TOKEN, "404 nobody no_such_route"),
            ("GET /api/0/organizations/", SESSION, "404 nobody no_such_route"),
            ("GET /auth/login/", "", "404 nobody no_such_route"),
            ("GET /", "", "404 nobody no_such_route"),
            ("POST /oauth/token/", "", "404 nobody no_such_route"),
            ("POST /api/0/relays/projectconfigs/", "", "404 nobody no_such_route"),
            ("GET /metrics", "", "404 nobody no_such_route"),
        ],
    );
    no_trick_works(&layout, 0, "ingest.example.com");
    layout.assert(
        1,
        "sentry.internal.example.com",
        &[
            ("GET /api/0/organizations/", TOKEN, "200 web"),
            ("GET /organizations/acme/issues/", SESSION, "200 web"),
            ("POST /oauth/token/", "", "200 web"),
            ("POST /api/0/relays/projectconfigs/", "", "200 relay"),
            ("POST /api/0/relays/projectids/", "", "403 nobody route_not_exposed"),
            ("POST /api/0/relays/x/", "", "403 nobody route_not_exposed"),
        ],
    );
    no_trick_works(&layout, 1, "sentry.internal.example.com");
    let signed = [("Host", "sentry.internal.example.com"), ("X-Sentry-Relay-Signature", "s")];
    let (_, seen) = layout.ask(1, "POST /api/0/relays/register/challenge/", &signed);
    assert_eq!(seen.unwrap().value("x-sentry-relay-signature"), Some("s"));
    // Lines are written in batches, and name where a request went, but no key of a project.
    let access = layout.folder.path().join("access.log");
    let said = || std::fs::read_to_string(&access).unwrap();
    let told = |path: &str, upstream: &str| {
        said().lines().any(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
            line["path"] == path && line["upstream"] == upstream
        })
    };
    let both = || told("/api/2/envelope/", "relay") && told("/extensions/slack/event/", "web");
    assert!(eventually(both), "{}", said());
    let said = said() + &layout.serving.log.lock().unwrap();
    assert!(!said.contains("dsnp0"), "{said}");
}
