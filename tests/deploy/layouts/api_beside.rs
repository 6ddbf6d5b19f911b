//! Layout 2: browsers and SDKs call nginx as ever; the API has an address of its own besides.

use super::{CI, Door, LINK, Layout, SESSION, TOKEN};

/// What API clients call.
const HOST: &str = "sentry-api.example.com";
const DOOR: Door = Door::Gateway(0);
/// What browsers and SDKs call, and Sentry believes to be its name.
const PAGES: &str = "sentry.example.com";

#[test]
fn the_address_of_the_api_is_for_the_api_alone() {
    let layout = Layout::start("api-beside.toml");
    layout.assert(
        DOOR,
        HOST,
        &[
            ("GET /api/0/organizations/", TOKEN, "200 web"),
            ("GET /api/0/organizations/", SESSION, "401 nobody missing_credential"),
            ("POST /api/2/envelope/", "", "404 nobody no_such_route"),
            ("POST /api/0/relays/projectconfigs/", "", "404 nobody no_such_route"),
            ("GET /auth/login/", "", "404 nobody no_such_route"),
            ("GET /", "", "404 nobody no_such_route"),
            ("GET /_assets/app.js", "", "404 nobody no_such_route"),
            ("GET /js-sdk/9.1.0/bundle.min.js", "", "404 nobody no_such_route"),
            ("POST /extensions/slack/event/", "", "404 nobody no_such_route"),
            ("POST /oauth/token/", "", "404 nobody no_such_route"),
        ],
    );
    layout.assert(DOOR, PAGES, &[("GET /api/0/", TOKEN, "421 nobody misdirected")]);
    layout.refuses_tricks(DOOR, HOST);
}

#[test]
fn everything_else_goes_through_nginx_as_before() {
    let layout = Layout::start("api-beside.toml");
    layout.assert(
        Door::Nginx,
        PAGES,
        &[
            ("POST /api/2/envelope/?sentry_key=a", "", "200 relay by nginx"),
            ("POST /api/store/", "", "200 relay by nginx"),
            ("POST /api/0/relays/projectconfigs/", "", "200 relay by nginx"),
            ("GET /organizations/acme/issues/", SESSION, "200 web by nginx"),
            ("GET /auth/login/", "", "200 web by nginx"),
            ("GET /_assets/app.js", "", "200 web by nginx"),
            ("GET /js-sdk/9.1.0/bundle.min.js", "", "200 nginx"),
            ("POST /extensions/slack/event/", "", "200 web by nginx"),
            ("POST /oauth/token/", "", "200 web by nginx"),
            // So is the API: this layout is no boundary.
            ("GET /api/0/organizations/", "", "200 web by nginx"),
        ],
    );
    let told = layout.ask(Door::Nginx, "GET /api/0/organizations/acme/", &[("Host", PAGES)]);
    assert_eq!(told.reply.header("link"), Some(LINK));
}

#[test]
fn what_clients_follow_stays_at_the_address_that_they_called() {
    let layout = Layout::start("api-beside.toml");
    let bearer = |token| [("Host", HOST), ("Authorization", token)];
    let told = layout.ask(DOOR, "GET /api/0/organizations/acme/", &bearer("Bearer userorgread"));
    let link = "<https://sentry-api.example.com/api/0/x/?&cursor=0:1:0>; rel=\"next\"";
    assert_eq!(told.reply.header("link"), Some(link));
    let links = &told.reply.json()["links"];
    assert_eq!(links["regionUrl"], "https://sentry-api.example.com");
    assert_eq!(links["organizationUrl"], "https://sentry-api.example.com");
    let seen = told.arrived();
    assert_eq!(seen.value("authorization"), Some("Bearer userorgread"));
    assert_eq!(seen.value("x-forwarded-proto"), Some("https"));

    let (_, token) = CI.split_once(": ").unwrap();
    let told = layout.ask(DOOR, "GET /api/0/organizations/acme/chunk-upload/", &bearer(token));
    assert_eq!(told.reply.json()["url"], "https://sentry-api.example.com/api/0/chunks/");
}
