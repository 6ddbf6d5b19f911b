//! An upstream over TLS: whom the gateway believes, who it says it is, and what is said when it does not
//! get through.

mod authority;
mod confided;
mod http2;
mod server;

use std::path::Path;

use crate::client::Reply;
use crate::gate::{CANONICAL, Gate, HOST, Options, UPSTREAM_TOKEN, eventually};
use crate::upstream::Upstream;
use authority::{Authority, HERE, Leaf, quoted};
use server::{Act, Secure, Setup};

const LINE: &str = "GET /api/0/organizations/acme/issues/";
const LEFT_OUT: &str = "an address of the upstream's is left out";
const NO_ANSWER: &str = "a permitted request got no answer of the upstream's";

/// `ca = "…"`.
fn believes(authority: &Authority) -> String {
    format!("ca = {}", quoted(&authority.root()))
}

fn presents(leaf: &Leaf) -> String {
    format!("certificate = {}, key = {}", quoted(&leaf.certificate), quoted(&leaf.key))
}

/// A gateway before this upstream, with this in its `tls` and more lines of `[upstream.web]`.
fn gate(upstream: &Secure, tls: &str, web: &str) -> Gate {
    gate_at(&format!("https://{}", upstream.address), tls, web)
}

fn gate_at(url: &str, tls: &str, web: &str) -> Gate {
    let web = format!("tls = {{ {tls} }}\n{web}");
    let options = Options { web, upstream_url: Some(url.to_owned()), ..Options::default() };
    Gate::with(Upstream::start(), &options)
}

fn ask(gate: &Gate) -> Reply {
    gate.bearer(LINE, &gate.token("read"))
}

/// It is refused in the words of any upstream that can't be reached, and the operator is told why.
fn is_refused(gate: &Gate, upstream: &Secure, told: &str, cause: &str) {
    let before = upstream.connections();
    let reply = ask(gate);
    assert_eq!((reply.status, reply.code().as_str()), (502, "upstream_unreachable"), "{cause}");
    assert!(upstream.connections() > before, "{cause}");
    assert!(upstream.take().is_empty(), "{cause}");
    let said = |log: &str| log.lines().any(|line| line.contains(told) && line.contains(cause));
    eventually(cause, || said(&gate.output()));
    let log = gate.output();
    assert!(!log.contains(UPSTREAM_TOKEN) && !log.contains("PRIVATE KEY"), "{log}");
    let failures =
        || gate.metric("portcullis_upstream_failures_total", &["\"upstream_unreachable\""]);
    eventually("a failure that is counted", || failures() == 1.0);
}

#[test]
fn an_upstream_that_proves_who_it_is_is_asked() {
    let ours = Authority::new("ours");
    let upstream = Secure::start(&Setup::new(ours.leaf("server", HERE)));
    let gate = gate(&upstream, &believes(&ours), "");
    let reply = ask(&gate);
    assert_eq!((reply.status, reply.body.as_slice()), (200, b"{\"ok\":true}".as_slice()));
    let seen = upstream.take_one();
    assert_eq!((seen.protocol, seen.certified, &seen.server_name), ("http/1.1", false, &None));
    assert_eq!(seen.authority.as_deref(), Some(HOST));
    assert_eq!(seen.value("authorization"), Some(&*format!("Bearer {UPSTREAM_TOKEN}")));
    // Connections are kept.
    let mut asked = 1;
    eventually("a connection that is used twice", || {
        assert_eq!(ask(&gate).status, 200);
        asked += 1;
        upstream.connections() < asked
    });
}

#[test]
fn an_upstream_that_does_not_is_sent_nothing() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let elsewhere = Setup::new(ours.leaf("elsewhere", "DNS:elsewhere.example"));
    let rows = [
        (
            Setup::new(other.leaf("server", HERE)),
            believes(&ours),
            "invalid peer certificate: UnknownIssuer",
        ),
        // The machine's certificates don't count beside it, nor it without being named.
        (Setup::new(ours.leaf("server", HERE)), String::new(), "UnknownIssuer"),
        (elsewhere.clone(), believes(&ours), "certificate not valid for name \\\"127.0.0.1\\\""),
        (
            elsewhere,
            format!("{}, server_name = \"web.example\"", believes(&ours)),
            "certificate not valid for name \\\"web.example\\\"",
        ),
        (Setup::new(ours.expired("expired", HERE)), believes(&ours), "certificate expired"),
    ];
    for (setup, tls, cause) in rows {
        let upstream = Secure::start(&setup);
        is_refused(&gate(&upstream, &tls, ""), &upstream, LEFT_OUT, cause);
    }
}

#[test]
fn another_name_than_that_of_the_url_is_asked_for_and_checked() {
    let ours = Authority::new("ours");
    let upstream = Secure::start(&Setup::new(ours.leaf("server", "DNS:sentry.internal")));
    let tls = format!("{}, server_name = \"sentry.internal\"", believes(&ours));
    for url in [format!("https://{}", upstream.address), {
        format!("https://localhost:{}", upstream.address.port())
    }] {
        let gate = gate_at(&url, &tls, "");
        assert_eq!(ask(&gate).status, 200, "{url}: {}", gate.output());
        let seen = upstream.take_one();
        assert_eq!(seen.server_name.as_deref(), Some("sentry.internal"), "{url}");
        // The name of the certificate is no name of the gateway.
        assert_eq!(seen.authority.as_deref(), Some(HOST), "{url}");
    }
}

#[test]
fn the_gateway_says_who_it_is_where_it_is_asked() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let setup = Setup::new(ours.leaf("server", HERE)).for_clients_of(&ours);
    let upstream = Secure::start(&setup);
    let own = ours.leaf("gateway", "DNS:gateway.internal");
    let known = gate(&upstream, &format!("{}, {}", believes(&ours), presents(&own)), "");
    assert_eq!(ask(&known).status, 200, "{}", known.output());
    assert!(upstream.take_one().certified);

    // With TLS 1.3 it is told after the handshake.
    let cause = "ReadError: received fatal alert: CertificateRequired";
    is_refused(&gate(&upstream, &believes(&ours), ""), &upstream, NO_ANSWER, cause);
    let strange = other.leaf("gateway", "DNS:gateway.internal");
    let tls = format!("{}, {}", believes(&ours), presents(&strange));
    let cause = "ReadError: received fatal alert: UnknownCA";
    is_refused(&gate(&upstream, &tls, ""), &upstream, NO_ANSWER, cause);
}

#[test]
fn checks_are_made_as_requests_are() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let setup = Setup::new(ours.leaf("server", "DNS:sentry.internal")).for_clients_of(&ours);
    let own = ours.leaf("gateway", "DNS:gateway.internal");
    for (http2, protocol) in [("", "http/1.1"), ("http2 = true", "h2")] {
        let upstream = Secure::start(&setup);
        let tls =
            format!("{}, {}, server_name = \"sentry.internal\"", believes(&ours), presents(&own));
        let web = format!("{http2}\nhealth_interval = \"50ms\"\nhealth_path = \"/_health/?full\"");
        let gate = gate(&upstream, &tls, &web);
        let mut checks = Vec::new();
        eventually("checks", || {
            checks.extend(upstream.take());
            checks.len() > 3
        });
        for check in &checks {
            assert_eq!((check.method.as_str(), &*check.target), ("GET", "/_health/?full"));
            assert_eq!((check.protocol, check.certified), (protocol, true));
            assert_eq!(check.server_name.as_deref(), Some("sentry.internal"));
            assert_eq!(check.authority, Some(upstream.address.to_string()));
            assert_eq!(check.values("authorization"), [""; 0]);
        }
        // Each on a connection of its own: whether one can be made is what is asked.
        let mut own: Vec<_> = checks.iter().map(|check| check.connection).collect();
        own.dedup();
        assert_eq!(own.len(), checks.len(), "{checks:?}");
        gate.counts("portcullis_upstream_addresses", &["state=\"up\""], 1.0);
    }
    let upstream = Secure::start(&setup);
    let web = "health_interval = \"50ms\"";
    let gate = gate(&upstream, &format!("{}, {}", believes(&other), presents(&own)), web);
    eventually("an address that is down", || {
        gate.metric("portcullis_upstream_addresses", &["state=\"down\""]) == 1.0
    });
    assert!(gate.output().contains("invalid peer certificate: UnknownIssuer"), "{}", gate.output());
    assert!(upstream.take().is_empty());
}

/// What `portcullis check` says of this in `[upstream.web]`, and its exit code.
fn checked(folder: &Path, urls: &str, web: &str) -> (Option<i32>, String) {
    run(folder, &["check"], urls, web)
}

/// What `portcullis` says, and its exit code.
fn run(folder: &Path, words: &[&str], urls: &str, web: &str) -> (Option<i32>, String) {
    let config = format!(
        "public_url = \"http://{HOST}\"\nlisten = [{{ address = \"127.0.0.1:0\" }}]\n\
         store = [{{ kind = \"portcullis\", url = \"sqlite://tokens.db\" }}]\n\
         [upstream.web]\nurls = {urls}\ncanonical_url = \"{CANONICAL}\"\n\
         credential = {{ file = \"sentry-token\" }}\n{web}\n"
    );
    std::fs::write(folder.join("portcullis.toml"), config).unwrap();
    std::fs::write(folder.join("sentry-token"), UPSTREAM_TOKEN).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.args(words).arg("--config").arg(folder.join("portcullis.toml"));
    let output = command.output().unwrap();
    let told = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(told).unwrap())
}

#[test]
fn files_are_checked_before_anything_is_served() {
    let ours = Authority::new("ours");
    let (own, old) = (ours.leaf("own", HERE), ours.expired("old", HERE));
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        quoted(&path)
    };
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    let secret = read(&own.key);
    let (certificate, key) = (quoted(&own.certificate), quoted(&own.key));
    let other_key = quoted(&old.key);
    let empty = file("empty", "");
    let text = read(&own.certificate);
    let broken = file("broken", &format!("{text}{}", text.replacen("MII", "AAA", 1)));
    let encrypted =
        file("encrypted", &read(&own.key).replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"));
    let nonsense =
        file("nonsense", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    let https = "[\"https://web:9443\"]";
    let http = "[\"http://web:9000\"]";
    // URLs, lines, and what is said: each in a problem of its own.
    let rows: &[(&str, String, &[&str])] = &[
        (https, format!("tls = {{ certificate = {certificate}, key = {key} }}\nhttp2 = true"), &[]),
        (https, "tls = {}".into(), &[]),
        (
            https,
            format!("tls = {{ ca = \"gone.pem\", certificate = {empty}, key = {encrypted} }}"),
            &[
                "upstream.web.tls.ca: `gone.pem` can't be read: No such file",
                "upstream.web.tls.certificate: `",
                "holds no certificate in PEM",
                "upstream.web.tls.key: `",
                "holds no key in PEM, or an encrypted one",
            ],
        ),
        (
            https,
            format!("tls = {{ ca = {broken}, certificate = {key}, key = {nonsense} }}"),
            &[
                "broken` holds a certificate that can't be read, the 2. of it",
                "own.key` holds no certificate in PEM",
                "nonsense` holds a key that can't be used",
            ],
        ),
        (
            https,
            format!("tls = {{ certificate = {certificate}, key = {other_key} }}"),
            &["upstream.web.tls.key: `", "old.key` is the key of another certificate"],
        ),
        (
            https,
            format!("tls = {{ certificate = {certificate} }}"),
            &["upstream.web.tls.key: is missing, and there is a `certificate`"],
        ),
        (
            https,
            format!("tls = {{ key = {key}, server_name = \"a b\" }}"),
            &[
                "upstream.web.tls.certificate: is missing, and there is a `key`",
                "upstream.web.tls.server_name: `a b` is not the name of a server",
            ],
        ),
        (
            http,
            format!("tls = {{ ca = {certificate} }}\nhttp2 = true"),
            &["upstream.web.tls: is for `https://` URLs", "upstream.web.http2: is for `https://`"],
        ),
        (https, "tls = { verify = false }".into(), &["unknown field `verify`"]),
        (
            "[\"https://web-.example\"]",
            "tls = {}".into(),
            &["upstream.web.urls[0]: no certificate can be for `web-.example`"],
        ),
    ];
    for (urls, web, wanted) in rows {
        let (code, told) = checked(folder.path(), urls, web);
        assert_eq!(code, Some(i32::from(!wanted.is_empty())), "{web}: {told}");
        for words in *wanted {
            assert!(told.contains(words), "{web}: {words}: {told}");
        }
        assert!(!told.contains(secret.lines().nth(1).unwrap()), "{told}");
    }
    // What has ended is told, and served with all the same.
    let web = format!("tls = {{ {} }}", presents(&old));
    let (code, told) = checked(folder.path(), https, &web);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("holds a certificate that ended at 2020-02-01T00:00:00"), "{told}");
}

#[test]
fn the_doctor_asks_as_the_gateway_does() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let setup = Setup::new(ours.leaf("server", "DNS:sentry.internal")).for_clients_of(&ours);
    let upstream = Secure::acting(&setup, |_| Act::Answer("ok".into()));
    let own = presents(&ours.leaf("gateway", "DNS:gateway.internal"));
    let name = "server_name = \"sentry.internal\"";
    let rows = [
        (format!("{}, {own}, {name}", believes(&ours)), None),
        (format!("{}, {own}", believes(&ours)), Some("not valid for name")),
        (format!("{}, {own}, {name}", believes(&other)), Some("UnknownIssuer")),
        (format!("{own}, {name}"), Some("UnknownIssuer")),
        (format!("{}, {name}", believes(&ours)), Some("CertificateRequired")),
    ];
    for (tls, wanted) in rows {
        let folder = tempfile::tempdir().unwrap();
        let urls = format!("[\"https://{}\"]", upstream.address);
        let web = format!("tls = {{ {tls} }}\n[admin]\naddress = \"127.0.0.1:1\"");
        let (_, told) = run(folder.path(), &["doctor"], &urls, &web);
        let line = told.lines().find(|line| line.contains(" upstream.web ")).expect(&told);
        match wanted {
            None => assert!(line.starts_with("ok ") && line.ends_with("200, healthy"), "{told}"),
            Some(cause) => {
                assert!(line.starts_with("problem ") && line.contains(cause), "{tls}: {told}");
                assert!(told.contains("correct `urls` or `tls` of `[upstream.web]`"), "{told}");
            }
        }
        let certified = upstream.take();
        assert_eq!(certified.is_empty(), wanted.is_some(), "{tls}");
        assert!(certified.iter().all(|seen| seen.certified), "{certified:?}");
    }
}
