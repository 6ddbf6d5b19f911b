//! What is the operators', and who is none.

use crate::client::{Reply, request, send};
use crate::gate::{ADMIN, Gate, HOST, Options, UPSTREAM_TOKEN};
use crate::upstream::Upstream;

const OPERATOR: (&str, &str) = ("Authorization", "Bearer an-admin-credential-of-a-test");
const QUESTION: &str = r#"{"method": "GET", "path": "/api/0/organizations/acme/issues/"}"#;
/// Everything that the admin listener has.
const LINES: &[&str] = &[
    "GET /",
    "GET /status",
    "GET /livez",
    "GET /readyz",
    "GET /metrics",
    "GET /unmatched",
    "GET /tokens",
    "GET /.well-known/jwks.json",
    "POST /explain",
    "POST /cache/purge",
    "POST /reload",
    "POST /tokens",
    "DELETE /tokens/tok_x",
];

fn body(line: &str) -> &'static [u8] {
    if line.starts_with("POST") { QUESTION.as_bytes() } else { b"" }
}

/// AC-119.
#[test]
fn no_name_and_no_path_leads_there_from_outside() {
    let options = Options {
        admin: "credential = { file = \"admin-credential\" }".into(),
        listen: "expose = [\"api\", \"ingest\", \"relays\", \"webhooks\", \"oauth\"]".into(),
        tables: "[upstream.relay]\nurls = [\"http://127.0.0.1:1\"]\nhealth_interval = \"0s\"\n[assertion]\n".into(),
        ..Options::default()
    };
    let gate = Gate::with(Upstream::start(), &options);
    let admin = gate.admin.to_string();
    let hosts = [HOST, &admin, "127.0.0.1:9090", "localhost:9090", "admin", "gw.example:9090"];
    for line in LINES {
        let (method, path) = line.split_once(' ').unwrap();
        let tail = path.trim_start_matches('/');
        let targets = [
            path.to_owned(),
            format!("/admin{path}"),
            format!("/_health/..%2f{tail}"),
            format!("/_health/../{tail}"),
            format!("/%2e%2e{path}"),
            format!("//{admin}{path}"),
            format!("http://{admin}{path}"),
        ];
        for target in &targets {
            for host in hosts {
                let headers = [("Host", host), OPERATOR, ("X-Forwarded-Host", &*admin)];
                let bytes = request(&format!("{method} {target}"), &headers, body(line));
                let reply = send(gate.address, &bytes).expect("an answer");
                let expected = if host == HOST { &[400, 404][..] } else { &[400, 421] };
                assert!(expected.contains(&reply.status), "{line} {target} {host}: {reply:?}");
                let text = String::from_utf8_lossy(&reply.body).into_owned();
                assert!(!text.contains("portcullis_"), "{line} {target} {host}: {text}");
            }
        }
    }
    assert!(gate.upstream.take().is_empty());
    let output = gate.output();
    assert!(!output.contains(ADMIN), "{output}");
}

/// AC-119: nothing is there by default but on this machine, and nothing but health and metrics without a credential.
#[test]
fn by_default_it_listens_to_this_machine_and_tells_nobody_anything() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("portcullis.toml");
    let config = format!(
        "public_url = \"http://{HOST}\"\n[[listen]]\naddress = \"127.0.0.1:0\"\n[upstream.web]\n\
         urls = [\"http://127.0.0.1:1\"]\ncanonical_url = \"https://sentry.internal\"\n\
         credential = {{ file = \"sentry-token\" }}\n[[store]]\nkind = \"file\"\npath = \"tokens.toml\"\n"
    );
    std::fs::write(folder.path().join("tokens.toml"), "").unwrap();
    std::fs::write(folder.path().join("sentry-token"), UPSTREAM_TOKEN).unwrap();
    std::fs::write(&path, config).unwrap();
    let config = portcullis::config::Config::load(&path, &portcullis::config::Machine).unwrap();
    assert!(config.admin.ip().is_loopback(), "{}", config.admin);
    assert!(config.admin_credential.is_none());

    let gate = Gate::start();
    for line in LINES {
        let reply = gate.operator(line, &[OPERATOR], std::str::from_utf8(body(line)).unwrap());
        let open = ["GET /livez", "GET /readyz", "GET /metrics"].contains(line);
        assert_eq!(reply.status, if open { 200 } else { 404 }, "{line}: {reply:?}");
    }
}

/// AC-120: whatever a page has, and whatever it is called.
#[test]
fn a_page_of_somebody_else_is_no_operator() {
    let gate = Gate::with_admin();
    let own = gate.admin.to_string();
    let rows: &[(&[(&str, &str)], u16)] = &[
        // Another page, which calls this machine.
        (&[("Host", &own), ("Origin", "https://evil.example")], 403),
        (&[("Host", &own), ("Origin", "null")], 403),
        (&[("Host", &own), ("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "cors")], 403),
        (&[("Host", &own), ("Sec-Fetch-Site", "same-site"), ("Sec-Fetch-Mode", "no-cors")], 403),
        // Another page, whose own name leads here.
        (&[("Host", "evil.example:9090"), ("Origin", "http://evil.example:9090")], 421),
        (&[("Host", "evil.example:9090"), ("Sec-Fetch-Site", "same-origin")], 421),
    ];
    let closed = ["GET /livez", "GET /readyz", "GET /metrics", "GET /.well-known/jwks.json"];
    let closed = LINES.iter().filter(|line| !closed.contains(line));
    for line in closed {
        for (headers, status) in rows {
            for headers in [headers.to_vec(), [*headers, &[OPERATOR]].concat()] {
                let reply = send(gate.admin, &request(line, &headers, body(line))).unwrap();
                assert_eq!(reply.status, *status, "{line} {headers:?}: {reply:?}");
                // And it may not read that either.
                assert_eq!(reply.header("access-control-allow-origin"), None);
                assert_eq!(reply.headers("www-authenticate").count(), 0, "{line}: a prompt");
            }
        }
        // A browser asks before it sends what a page may not: that is no leave.
        let path = line.split(' ').nth(1).unwrap();
        let asks = [
            ("Host", own.as_str()),
            ("Origin", "https://evil.example"),
            ("Access-Control-Request-Method", "POST"),
            ("Access-Control-Request-Headers", "authorization"),
        ];
        let reply = send(gate.admin, &request(&format!("OPTIONS {path}"), &asks, b"")).unwrap();
        assert_eq!(reply.status, 403, "{path}");
        assert_eq!(reply.header("access-control-allow-origin"), None, "{path}");
    }
    // A program, by whatever name it reaches the listener.
    let by_name = [("Host", "portcullis.monitoring.svc:9090"), OPERATOR];
    let reply = send(gate.admin, &request("GET /unmatched", &by_name, b"")).unwrap();
    assert_eq!(reply.status, 200, "{reply:?}");
}

/// AC-133.
#[test]
fn no_token_of_a_client_opens_it() {
    let gate = Gate::with_admin();
    let own = format!("Bearer {}", gate.token("all"));
    let sentrys = format!("Bearer {UPSTREAM_TOKEN}");
    let open = ["GET /livez", "GET /readyz", "GET /metrics"];
    for line in LINES.iter().filter(|line| !open.contains(line)) {
        for value in [own.as_str(), &sentrys, "Basic YTpi", "Bearer ", ""] {
            let text = std::str::from_utf8(body(line)).unwrap();
            let host = [("Host", "127.0.0.1"), ("Authorization", value)];
            let reply = gate.operator(line, &host, text);
            assert_eq!(reply.status, 401, "{line} {value}: {reply:?}");
        }
    }
    // Nor is the operators' one of a client.
    let reply = gate.send("GET /api/0/organizations/acme/issues/", &[OPERATOR]);
    assert_eq!((reply.status, &*reply.code()), (401, "unknown_token"));
    assert!(gate.upstream.take().is_empty());
}

/// AC-084: whoever may see everything sees no secret.
#[test]
fn no_answer_holds_a_secret() {
    let gate = Gate::with_admin();
    let token = gate.token("event:read");
    assert_eq!(gate.bearer("GET /api/0/organizations/acme/issues/?q=SEKRET", &token).status, 200);
    gate.bearer("GET /api/0/organizations/acme/members/", &token);
    gate.bearer(&format!("GET /nothing/{token}/"), "SEKRET-of-nobody");
    gate.counts("portcullis_requests_total", &[], 3.0);
    let question = format!(
        r#"{{"method": "GET", "path": "/api/0/organizations/acme/issues/", "token": "{token}"}}"#
    );
    let wrong = format!(r#"{{"method": "GET", "token": "{token}", "tokn": 1}}"#);
    let id = gate.id_of(&token);
    let one = format!("GET /tokens/{id}");
    let mut asked: Vec<(&str, &str)> =
        LINES.iter().filter(|line| line.starts_with("GET")).map(|line| (*line, "")).collect();
    asked.extend([
        (one.as_str(), ""),
        ("POST /explain", &question),
        ("POST /explain", &wrong),
        ("POST /cache/purge", &wrong),
        ("POST /tokens", &wrong),
        ("POST /reload", ""),
    ]);
    for (line, body) in asked {
        let reply: Reply = gate.operator(line, &[OPERATOR], body);
        let told = format!("{:?} {}", reply.headers, String::from_utf8_lossy(&reply.body));
        for secret in [ADMIN, UPSTREAM_TOKEN, &*token, "SEKRET"] {
            assert!(!told.contains(secret), "{line}: {secret} in {told}");
        }
    }
    let output = gate.output();
    for secret in [ADMIN, UPSTREAM_TOKEN, &*token, "SEKRET"] {
        assert!(!output.contains(secret), "{secret} in {output}");
    }
}
