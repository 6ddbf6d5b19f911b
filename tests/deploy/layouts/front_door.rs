//! Layout 1: the gateway has Sentry's only address.

use super::{Door, Layout, SESSION, TOKEN};

const HOST: &str = "sentry.example.com";
const DOOR: Door = Door::Gateway(0);

#[test]
fn everything_gets_where_it_belongs_by_one_address() {
    let layout = Layout::start("front-door.toml");
    layout.assert(
        DOOR,
        HOST,
        &[
            ("POST /api/2/envelope/?sentry_key=a", "", "200 relay"),
            ("POST /api/9/envelope/", "", "200 relay"),
            ("POST /api/10/store/", "", "200 relay"),
            ("POST /api/123/envelope/", "", "200 relay"),
            ("POST /api/store/", "", "200 relay"),
            ("GET /api/0/", TOKEN, "200 web"),
            ("GET /api/0/organizations/", TOKEN, "200 web"),
            ("GET /api/0/organizations/", SESSION, "200 web"),
            ("GET /api/0/organizations/", "", "401 nobody missing_credential"),
            ("GET /organizations/acme/issues/", SESSION, "200 web"),
            ("GET /auth/login/", "", "200 web"),
            // nginx serves the SDKs itself, and knows where the web service has the files of the pages.
            ("GET /_assets/app.js", "", "200 web by nginx"),
            ("GET /_static/dist/app.js", "", "200 web"),
            ("GET /js-sdk/9.1.0/bundle.min.js", "", "200 nginx"),
            ("GET /js-sdk/9.1.0/no-such.min.js", "", "404 nginx"),
            ("POST /extensions/slack/event/", "", "200 web"),
            ("POST /oauth/token/", "", "200 web"),
            // What no rule of the API knows, a session gets to and a token does not.
            ("GET /api/0/of-a-newer-sentry/", SESSION, "200 web"),
            ("GET /api/0/of-a-newer-sentry/", TOKEN, "403 nobody route_not_exposed"),
            ("POST /api/0/relays/projectconfigs/", "", "404 nobody no_such_route"),
            ("POST /api/0/relays/register/challenge/", "", "404 nobody no_such_route"),
            ("POST /api/2/projectconfigs/", "", "404 nobody no_such_route"),
            ("PUT /api/0/organizations/acme/", SESSION, "200 web"),
            // A session and a project key are two.
            (
                "PUT /api/0/organizations/acme/",
                "cookie: sentrysid=s | x-sentry-auth: Sentry a=b",
                "400 nobody multiple_credentials",
            ),
        ],
    );
    layout.refuses_tricks(DOOR, HOST);
    let told = layout.ask(DOOR, "GET /_assets/app.js?v=1", &[("Host", HOST)]);
    assert_eq!(told.arrived().target, "/_static/dist/sentry/app.js?v=1");
}

#[test]
fn a_browser_writes_as_it_did_without_a_gateway() {
    let layout = Layout::start("front-door.toml");
    let host = ("Host", HOST);
    let sent = [
        host,
        ("Cookie", "sentrysid=s; sc=c"),
        ("X-CSRFToken", "c"),
        ("Origin", "https://sentry.example.com"),
        ("Referer", "https://sentry.example.com/issues/"),
        ("X-Forwarded-For", "10.1.1.1"),
        ("X-Forwarded-Proto", "http"),
    ];
    let seen = layout.ask(DOOR, "PUT /api/0/organizations/acme/", &sent).arrived();
    for (name, wanted) in [
        ("cookie", "sentrysid=s; sc=c"),
        ("x-csrftoken", "c"),
        ("origin", "https://sentry.example.com"),
        ("referer", "https://sentry.example.com/issues/"),
        ("host", "sentry.example.com"),
        // Of the gateway's own knowledge: nginx would say `http`.
        ("x-forwarded-proto", "https"),
        ("x-forwarded-for", "127.0.0.1"),
    ] {
        assert_eq!(seen.value(name), Some(wanted), "{name}");
    }
    assert_eq!(seen.value("authorization"), None);
    // A browser logs in, and a client without its cookie sees none.
    let told = layout.ask(DOOR, "GET /auth/login/", &[host, ("Cookie", "sc=c")]);
    assert_eq!(told.reply.header("set-cookie"), Some("sentrysid=new"));
    let told = layout.ask(DOOR, "GET /auth/login/", &[host]);
    assert_eq!(told.reply.header("set-cookie"), None);
}

#[test]
fn relay_gets_what_is_its_own_untouched() {
    let layout = Layout::start("front-door.toml");
    let sent = [
        ("Host", HOST),
        ("X-Sentry-Auth", "Sentry sentry_key=a, sentry_version=7"),
        ("Authorization", "Basic YTpi"),
        ("Cookie", "sentrysid=s"),
        ("X-Sentry-Relay-Id", "forged"),
        ("Content-Encoding", "gzip"),
        ("Origin", "https://app.example.com"),
    ];
    let seen = layout.ask(DOOR, "POST /api/2/envelope/?sentry_key=a&x=%41", &sent).arrived();
    assert_eq!(seen.target, "/api/2/envelope/?sentry_key=a&x=%41");
    assert_eq!(seen.body, b"{}");
    for (name, wanted) in [
        ("x-sentry-auth", Some("Sentry sentry_key=a, sentry_version=7")),
        ("authorization", Some("Basic YTpi")),
        ("content-encoding", Some("gzip")),
        ("origin", Some("https://app.example.com")),
        ("cookie", None),
        // And nothing that is Sentry's.
        ("x-sentry-relay-id", None),
        ("x-forwarded-for", Some("127.0.0.1")),
    ] {
        assert_eq!(seen.value(name), wanted, "{name}");
    }
}
