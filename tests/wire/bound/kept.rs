//! What Sentry said of names, over a reload of the config.

use super::{bound, send, sentry};
use crate::gate::{Gate, Options};
use crate::reload::{edit, reloaded, write};
use crate::upstream::{Seen, Upstream};
use portcullis::policy::identity::Narrowing;

const RULE: &str = "[[rule]]\nmethods = [\"GET\"]\nscopes = [\"org:read\"]\n\
                    path = \"/api/0/organizations/{organization_id_or_slug}/new/\"\n";

/// A gateway that believes what Sentry says for longer than any test takes.
fn gate() -> Gate {
    let options = Options {
        admin: "credential = { file = \"admin-credential\" }".to_owned(),
        tables: "[cache]\ndirectory_ttl = \"1h\"\n".to_owned(),
        ..Options::default()
    };
    Gate::with(sentry(), &options)
}

/// The questions of the gateway's own that this upstream gets for a request by slugs, each with the
/// credential that it came with.
fn questions(gate: &Gate, token: &str, upstream: &Upstream) -> Vec<(String, String)> {
    let reply = send(gate, "GET /api/0/projects/acme/web/issues/", token, "");
    assert_eq!(reply.status, 200, "{reply:?}");
    let seen = upstream.take();
    let own =
        |seen: &&Seen| seen.value("user-agent").is_some_and(|own| own.starts_with("portcullis/"));
    let told = |seen: &Seen| {
        (seen.target.clone(), seen.value("authorization").unwrap_or_default().to_owned())
    };
    assert_eq!(seen.iter().filter(|seen| !own(seen)).count(), 1, "{seen:#?}");
    seen.iter().filter(own).map(told).collect()
}

#[test]
fn a_reload_keeps_what_is_known_where_sentry_is_asked_in_the_same_way() {
    let gate = gate();
    let token = bound(&gate, Narrowing::NONE);
    let ask = || questions(&gate, &token, &gate.upstream);
    let both = |credential: &str| {
        ["/api/0/organizations/acme/?detailed=0", "/api/0/projects/acme/web/"]
            .map(|target| (target.to_owned(), format!("Bearer {credential}")))
    };
    assert_eq!(ask(), both(crate::gate::UPSTREAM_TOKEN));
    assert_eq!(ask(), []);

    // Another rule, another level of the log: Sentry is asked as before.
    write(&gate, "own.toml", RULE);
    reloaded(&gate, "loaded");
    assert_eq!(ask(), []);
    edit(&gate, "[server]", "[log]\nlevel = \"debug\"\n[server]");
    reloaded(&gate, "loaded");
    assert_eq!(ask(), []);
    // What is refused changes nothing.
    write(&gate, "own.toml", "what?");
    reloaded(&gate, "refused");
    assert_eq!(ask(), []);
    write(&gate, "own.toml", RULE);
    reloaded(&gate, "unchanged");
    assert_eq!(ask(), []);

    // Another account may be shown something else.
    write(&gate, "sentry-token", "sntryu_another-credential");
    reloaded(&gate, "loaded");
    assert_eq!(ask(), both("sntryu_another-credential"));
    assert_eq!(ask(), []);
    // Another time for which answers are believed is for all of them.
    edit(&gate, "directory_ttl = \"1h\"", "directory_ttl = \"2h\"");
    reloaded(&gate, "loaded");
    assert_eq!(ask().len(), 2);
    assert_eq!(ask(), []);
    // Another address may be another Sentry.
    let other = sentry();
    let (from, to) = (gate.upstream.address.to_string(), other.address.to_string());
    edit(&gate, &from, &to);
    reloaded(&gate, "loaded");
    assert_eq!(questions(&gate, &token, &other), both("sntryu_another-credential"));
    assert_eq!(questions(&gate, &token, &other), []);
    assert!(gate.upstream.take().is_empty());
}
