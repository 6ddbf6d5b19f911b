//! Attacks that worked on gateways like this one. What counts is what the upstream received.

mod frames;
mod headers;
mod keys;
mod paths;
mod secrets;
mod sentry;
mod state;

use crate::client::Connection;
use crate::gate::{Gate, HOST, UPSTREAM_TOKEN};
use crate::upstream::Seen;

/// What the upstream may have received.
enum Upstreamed {
    /// Nothing at all.
    Nothing,
    /// Exactly one request that passes.
    One(fn(&Seen)),
}
use Upstreamed::{Nothing, One};

struct Case {
    name: &'static str,
    /// `{HOST}`, `{READ}`, `{ADMIN}` and `{DSN}` are filled in.
    request: &'static str,
    /// Statuses that are safe.
    statuses: &'static [u16],
    upstream: Upstreamed,
}

fn case(
    name: &'static str,
    request: &'static str,
    statuses: &'static [u16],
    upstream: Upstreamed,
) -> Case {
    Case { name, request, statuses, upstream }
}

/// A list of issues, asked for with more header lines.
macro_rules! issues {
    ($($line:literal),*) => {
        concat!("GET /api/0/organizations/acme/issues/ HTTP/1.1\r\nHost: {HOST}\r\n",
            "Authorization: Bearer {READ}\r\n", $($line, "\r\n",)* "\r\n")
    };
}
/// A target, asked for with a token that may read.
macro_rules! get {
    ($target:literal) => {
        concat!(
            "GET ",
            $target,
            " HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {READ}\r\n\r\n"
        )
    };
}
use {get, issues};

/// The credential that was evaluated, and nothing else that speaks for the caller.
fn only_the_gateway_speaks(seen: &Seen) {
    assert_eq!(seen.value("authorization"), Some(format!("Bearer {UPSTREAM_TOKEN}").as_str()));
    assert_eq!(seen.value("host"), Some(HOST));
    assert_eq!(seen.value("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.value("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.values("x-request-id").len(), 1);
    for name in [
        "x-gateway-principal",
        "x-gateway-project",
        "forwarded",
        "x-forwarded-host",
        "x-real-ip",
        "x-http-method-override",
        "x-method-override",
        "te",
        "trailer",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "connection",
        "upgrade",
        "cookie",
        "x-sentry-subnet-organization",
        "x-sentry-relay-id",
        "x-sentry-relay-signature",
        "x-sentry-apigateway",
        "x-sentry-trusted-relay",
        "remote-user",
        "x-remote-user",
        "x-webauth-user",
        "x-sentry-auth",
        "x-viewer-context",
    ] {
        assert_eq!(seen.values(name), [""; 0], "{name} reached the upstream");
    }
    assert!(!seen.head.contains("portcullis_t_"), "{}", seen.head);
    assert!(!seen.head.contains("evil"), "{}", seen.head);
}

fn an_issue_list(seen: &Seen) {
    assert_eq!(
        (seen.method.as_str(), seen.path().as_str()),
        ("GET", "/api/0/organizations/acme/issues/")
    );
    only_the_gateway_speaks(seen);
}

/// Sends each, and looks at what came out at either end.
fn run(cases: Vec<Case>) {
    let gate = Gate::start();
    let read = gate.token("read");
    let admin = gate.token("all");
    let dsn = "9cd363c59c05141f32414694128a7c21";
    for Case { name, request, statuses, upstream } in cases {
        let text = request.replace("{HOST}", HOST).replace("{READ}", &read);
        let text = text.replace("{ADMIN}", &admin).replace("{DSN}", dsn);
        let method = text.split(' ').next().unwrap().to_owned();
        let mut connection = Connection::open(gate.address);
        connection.write(text.as_bytes());
        let reply = connection.read_reply(&method).expect(name);
        let seen = gate.upstream.take();
        assert!(statuses.contains(&reply.status), "{name}: {reply:?}");
        match upstream {
            Nothing => assert!(seen.is_empty(), "{name}: {seen:#?}"),
            One(check) => {
                assert_eq!(seen.len(), 1, "{name}: {seen:#?}");
                check(&seen[0]);
            }
        }
        if reply.status == 400 {
            assert!(connection.is_closed(), "{name}: the connection stays open");
            assert!(gate.upstream.take().is_empty(), "{name}: what followed was forwarded");
        }
    }
}
