//! Attacks that worked on gateways like this one. What counts is what the upstream received.
//!
//! What one request from outside shows is in the corpus that `portcullis attack` sends (`src/attack/cases.toml`);
//! what needs more than that has tests of its own, here and elsewhere: [`ledger`] says which.

mod admin;
mod chain;
mod command;
mod corpus;
mod fuzz;
mod fuzz_http2;
mod headers;
mod keys;
mod ledger;
mod nginx;
mod paths;
mod reference;
mod secrets;
mod sentry;
mod state;

use crate::gate::{HOST, UPSTREAM_TOKEN};
use crate::upstream::Seen;

/// The credential that was evaluated, and nothing else that speaks for the caller.
fn only_the_gateway_speaks(seen: &Seen) {
    assert_eq!(seen.value("authorization"), Some(format!("Bearer {UPSTREAM_TOKEN}").as_str()));
    nobody_else_speaks(seen);
}

/// Nothing that a client could have said of itself.
fn nobody_else_speaks(seen: &Seen) {
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
