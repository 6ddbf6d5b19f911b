//! Paths that two readers could read differently, where it takes more than one request to see it.

use crate::gate::{Gate, HOST, Options};
use crate::upstream::Upstream;

#[test]
fn a_percent_sign_is_forwarded_as_it_came() {
    // As one segment to whoever decodes once, and whoever decodes twice.
    let gate = Gate::start();
    let target = "/api/0/organizations/acme%2525x/issues/";
    assert_eq!(gate.bearer(&format!("GET {target}"), &gate.token("read")).status, 200);
    assert_eq!(gate.upstream.take_one().target, target);
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
