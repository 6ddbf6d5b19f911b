//! Layout 3: the Internet gets to ingestion and webhooks, and the network inside to everything.

use super::{Door, Layout, SESSION, TOKEN};
use crate::gate::eventually;

const EDGE: Door = Door::Gateway(0);
const EDGE_HOST: &str = "ingest.example.com";
const INSIDE: Door = Door::Gateway(1);
const INSIDE_HOST: &str = "sentry.internal.example.com";

const KEY: &str = "x-sentry-auth: Sentry sentry_key=dsnp0active, sentry_version=7";

#[test]
fn the_internet_gets_to_events_and_webhooks_alone() {
    let layout = Layout::start("public-edge.toml");
    layout.assert(
        EDGE,
        EDGE_HOST,
        &[
            ("POST /api/2/envelope/", KEY, "200 relay"),
            ("POST /api/2/envelope/?sentry_key=dsnp0active", "", "200 relay"),
            // Two that could be a key are one too many, as they are to Relay.
            (
                "POST /api/2/envelope/?sentry_key=dsnp0active",
                "authorization: Basic YTpi",
                "400 nobody multiple_credentials",
            ),
            ("OPTIONS /api/2/envelope/", "origin: https://app.example.com", "200 relay"),
            ("POST /api/3/envelope/", KEY, "401 nobody unknown_token"),
            ("POST /api/2/envelope/?sentry_key=dsnp0disabled", "", "401 nobody disabled_token"),
            ("POST /api/2/envelope/?sentry_key=nobodys", "", "401 nobody unknown_token"),
            ("POST /api/2/envelope/", "", "401 nobody missing_credential"),
            ("POST /extensions/slack/event/", SESSION, "200 web"),
            ("POST /api/hooks/release/builtin/2/signature/", "", "200 web"),
            ("GET /api/0/", "", "404 nobody no_such_route"),
            ("GET /api/0/organizations/", TOKEN, "404 nobody no_such_route"),
            ("GET /api/0/organizations/", SESSION, "404 nobody no_such_route"),
            ("GET /auth/login/", "", "404 nobody no_such_route"),
            ("GET /organizations/acme/issues/", SESSION, "404 nobody no_such_route"),
            ("GET /", "", "404 nobody no_such_route"),
            ("GET /_assets/app.js", "", "404 nobody no_such_route"),
            ("POST /oauth/token/", "", "404 nobody no_such_route"),
            ("POST /api/0/relays/projectconfigs/", "", "404 nobody no_such_route"),
            ("POST /api/2/projectconfigs/", "", "404 nobody no_such_route"),
            ("GET /_health/", "", "404 nobody no_such_route"),
            ("GET /metrics", "", "404 nobody no_such_route"),
        ],
    );
    layout.refuses_tricks(EDGE, EDGE_HOST);
    // Nor does the name of the inside open it.
    layout.assert(
        EDGE,
        INSIDE_HOST,
        &[("GET /api/0/organizations/", TOKEN, "404 nobody no_such_route")],
    );

    // Lines are written in batches, and name where a request went, but no key of a project.
    let access = layout.folder.path().join("access.log");
    let said = || std::fs::read_to_string(&access).unwrap();
    let told = |path: &str, upstream: &str| {
        said().lines().any(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
            line["path"] == path && line["upstream"] == upstream
        })
    };
    eventually("both in the access log", || {
        told("/api/2/envelope/", "relay") && told("/extensions/slack/event/", "web")
    });
    let said = said() + &layout.serving.log.lock().unwrap();
    assert!(!said.contains("dsnp0"), "{said}");
}

#[test]
fn the_network_inside_gets_to_everything() {
    let layout = Layout::start("public-edge.toml");
    layout.assert(
        INSIDE,
        INSIDE_HOST,
        &[
            ("POST /api/2/envelope/", KEY, "200 relay"),
            ("GET /api/0/organizations/", TOKEN, "200 web"),
            ("GET /api/0/organizations/", "", "401 nobody missing_credential"),
            ("GET /organizations/acme/issues/", SESSION, "200 web"),
            ("GET /_assets/app.js", "", "200 web by nginx"),
            ("GET /js-sdk/9.1.0/bundle.min.js", "", "200 nginx"),
            ("POST /extensions/slack/event/", "", "200 web"),
            ("POST /oauth/token/", "", "200 web"),
            ("POST /api/0/relays/projectconfigs/", "", "200 relay"),
            ("POST /api/0/relays/projectids/", "", "403 nobody route_not_exposed"),
            ("POST /api/0/relays/x/", "", "403 nobody route_not_exposed"),
        ],
    );
    layout.refuses_tricks(INSIDE, INSIDE_HOST);
    let signed = [("Host", INSIDE_HOST), ("X-Sentry-Relay-Signature", "s")];
    let seen = layout.ask(INSIDE, "POST /api/0/relays/register/challenge/", &signed).arrived();
    assert_eq!(seen.value("x-sentry-relay-signature"), Some("s"));
}
