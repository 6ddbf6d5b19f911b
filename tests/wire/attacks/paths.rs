//! Paths that two readers could read differently: dots, slashes, encodings, prefixes.

use super::{Nothing, One, an_issue_list, case, get, run};
use crate::gate::{Gate, HOST, Options};
use crate::upstream::{Seen, Upstream};

/// Forwarded byte for byte, and as one segment to whoever decodes once.
fn a_slug_with_percent_signs(seen: &Seen) {
    assert_eq!(seen.target, "/api/0/organizations/acme%2525x/issues/");
}

#[test]
fn a_path_has_one_reading_or_none() {
    run(vec![
        case(
            "dots out of a public route",
            "GET /api/0/../0/api-tokens/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n",
            &[400],
            Nothing,
        ),
        case(
            "encoded dots",
            "GET /_health/%2e%2e/api/0/organizations/acme/members/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n",
            &[400],
            Nothing,
        ),
        case(
            "dots and an encoded slash",
            "GET /_health/..%2fapi/0/organizations/acme/members/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n",
            &[400],
            Nothing,
        ),
        case(
            "the same in capitals",
            "GET /_health/..%2Fapi/0/organizations/acme/members/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n",
            &[400],
            Nothing,
        ),
        case(
            "a slash in a slug",
            get!("/api/0/organizations/acme%2Fmembers/issues/"),
            &[400],
            Nothing,
        ),
        case(
            "dots that are encoded twice",
            get!("/_health/%252e%252e%252fapi/0/organizations/acme/members/"),
            &[404],
            Nothing,
        ),
        case(
            "slashes that are doubled",
            "GET //api/0//organizations/acme//members/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n",
            &[400],
            Nothing,
        ),
        case("a path like an authority", get!("//attacker.example/api/0/"), &[400], Nothing),
        case(
            "a target in headers",
            "GET /decisions HTTP/1.1\r\nHost: {HOST}\r\nX-Forwarded-Method: GET\r\nX-Forwarded-Uri: /_health/\r\nX-Real-Target: /api/0/api-tokens/\r\n\r\n",
            &[404],
            Nothing,
        ),
        case(
            "a path in the query",
            "GET /api/0/organizations/acme/members/?x=/_health/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n",
            &[401],
            Nothing,
        ),
        case("a fragment", get!("/api/0/organizations/acme/members/#/_health/"), &[400], Nothing),
        case(
            "a fragment, encoded",
            get!("/api/0/organizations/acme/members/%23/_health/"),
            &[404],
            Nothing,
        ),
        case("a dot segment", get!("/api/0/./api-tokens/"), &[400], Nothing),
        case("the route behind it", get!("/api/0/api-tokens/"), &[403], Nothing),
        case(
            "two targets in one line",
            "GET /_health/ HTTP/1.1 /api/0/api-tokens/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n",
            &[400, 404],
            Nothing,
        ),
        case(
            "no trailing slash",
            "DELETE /api/0/projects/acme/web HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {READ}\r\n\r\n",
            &[403, 404],
            Nothing,
        ),
        case(
            "the start of another route",
            "GET /_healthz-internal/dump HTTP/1.1\r\nHost: {HOST}\r\n\r\n",
            &[404],
            Nothing,
        ),
        case(
            "a route inside of another",
            get!("/api/0/internal/x/api/0/organizations/acme/issues/"),
            &[403, 404],
            Nothing,
        ),
        case("NUL in a slug", get!("/api/0/organizations/ac%00me/issues/"), &[400], Nothing),
        case(
            "encoded literal",
            get!("/%61pi/0/organizations/acme/issues/"),
            &[200],
            One(an_issue_list),
        ),
        case("path parameter", get!("/api/0/organizations/acme/issues;x=/"), &[404], Nothing),
        case(
            "dots with a path parameter",
            get!("/api/0/organizations/..;/acme/issues/"),
            &[400],
            Nothing,
        ),
        case("backslash", get!("/api/0/organizations/acme\\members/"), &[400], Nothing),
        case("overlong dots", get!("/api/0/%C0%AE%C0%AE/api-tokens/"), &[400], Nothing),
        case("half an escape", get!("/api/0/organizations/acme%2/issues/"), &[400], Nothing),
        case("dots at the end", get!("/api/0/organizations/acme/issues/.."), &[400], Nothing),
        case("dots, half encoded", get!("/api/0/organizations/.%2E/api-tokens/"), &[400], Nothing),
        case("a backslash, encoded", get!("/api/0/organizations/acme%5C..%5C/"), &[400], Nothing),
        case("a line end", get!("/api/0/organizations/acme%0D%0AX:1/issues/"), &[400], Nothing),
        case(
            "a slash at the end, twice",
            get!("/api/0/organizations/acme/issues//"),
            &[400],
            Nothing,
        ),
        case("capitals", get!("/API/0/organizations/acme/issues/"), &[404], Nothing),
        case("an empty slug", get!("/api/0/organizations//issues/"), &[400], Nothing),
        case(
            "an encoded percent sign",
            get!("/api/0/organizations/acme%2525x/issues/"),
            &[200],
            One(a_slug_with_percent_signs),
        ),
    ]);
}

#[test]
fn a_mount_point_is_stripped_after_matching() {
    // Normalise, match, strip; never strip, then normalise.
    let options = Options { public_url: Some(format!("http://{HOST}/gw")), ..Options::default() };
    let gate = Gate::with(Upstream::start(), &options);
    let read = gate.token("read");
    let rows: &[(&str, &str, u16, Option<&str>)] = &[
        ("encoded dots", "/gw/%2e%2e/api/0/api-tokens/", 400, None),
        ("dots", "/gw/../api/0/api-tokens/", 400, None),
        ("an encoded prefix and a dot", "/g%77/./api/0/organizations/acme/members/", 400, None),
        ("an encoded prefix", "/g%77/api/0/organizations/acme/issues/", 404, None),
        ("sibling", "/gwx/api/0/organizations/acme/issues/", 404, None),
        ("unmounted", "/api/0/organizations/acme/issues/", 404, None),
        (
            "plain",
            "/gw/api/0/organizations/acme/issues/?a=%2F",
            200,
            Some("/api/0/organizations/acme/issues/?a=%2F"),
        ),
        (
            "encoded slug",
            "/gw/api/0/organizations/ac%6De/issues/",
            200,
            Some("/api/0/organizations/ac%6De/issues/"),
        ),
    ];
    for (id, target, status, forwarded) in rows {
        let reply = gate.bearer(&format!("GET {target}"), &read);
        assert_eq!(reply.status, *status, "{id}: {reply:?}");
        let seen: Vec<_> = gate.upstream.take().into_iter().map(|seen| seen.target).collect();
        assert_eq!(seen, Vec::from_iter(*forwarded), "{id}");
    }
}
