//! A token store that asks whoever issued a credential: what the endpoint gets to see, and what becomes
//! of what it answers.

mod budget;
mod connections;
mod first_uses;
mod misbehaving;
mod oauth;
mod own;
mod recorded;
mod secrets;
mod tls;

use std::net::SocketAddr;

use crate::client::Reply;
use crate::gate::{Gate, Options, eventually};
use crate::upstream::{Upstream, ok, reply};

/// Takes a scope about events.
pub const LINE: &str = "GET /api/0/organizations/acme/issues/";
/// What Sentry says of a token of a user.
const INDEX: &str = r#"{"version":"0","auth":{"scopes":["event:read"]},"user":{"id":"7"}}"#;
/// What an OAuth 2.0 server says of one.
const ACTIVE: &str = r#"{"active":true,"scope":"event:read","sub":"ci"}"#;

/// The `[[store]]` that asks a Sentry there.
pub fn sentry_store(endpoint: SocketAddr, lines: &str) -> String {
    format!("[[store]]\nkind = \"introspection\"\nurl = \"http://{endpoint}/api/0/\"\n{lines}\n")
}

/// The `[[store]]` that asks an OAuth 2.0 server there.
fn oauth_store(endpoint: SocketAddr, lines: &str) -> String {
    let store = sentry_store(endpoint, "protocol = \"rfc7662\"");
    store.replace("/api/0/", "/oauth2/introspect") + lines + "\n"
}

/// A gateway with these stores alone.
fn gate(stores: String, tables: &str) -> Gate {
    let tables = tables.to_owned();
    Gate::with(Upstream::start(), &Options { stores: Some(stores), tables, ..Options::default() })
}

/// A Sentry that knows what has `good` in it.
pub fn sentry() -> Upstream {
    Upstream::answering(|seen, stream| {
        if seen.value("authorization").is_some_and(|value| value.contains("good")) {
            ok(stream, &[], INDEX.as_bytes());
        } else {
            reply(stream, "401 Unauthorized", &[], b"{\"detail\":\"Invalid token\"}");
        }
    })
}

/// How often the stores could not tell.
fn errors(gate: &Gate) -> f64 {
    gate.metric("portcullis_store_lookups_total", &["\"error\""])
}

/// Asks until the answer is not that the store was too slow, as on a machine with too much to do.
fn ask(gate: &Gate, line: &str, headers: &[(&str, &str)]) -> Reply {
    let mut answer = None;
    eventually("an answer of the store", || {
        let reply = gate.send(line, headers);
        let told = reply.status != 503;
        answer = Some(reply);
        told
    });
    answer.unwrap()
}

fn ask_bearer(gate: &Gate, token: &str) -> Reply {
    ask(gate, LINE, &[("Authorization", &format!("Bearer {token}"))])
}

/// Status and code.
fn told(reply: &Reply) -> (u16, String) {
    (reply.status, if reply.status == 200 { String::new() } else { reply.code() })
}

/// Refused for now, as nobody can tell who calls.
fn is_outage(reply: &Reply, what: &str) {
    assert_eq!(told(reply), (503, "store_unavailable".to_owned()), "{what}");
    assert_eq!(reply.header("retry-after"), Some("1"), "{what}");
    assert_eq!(reply.header("www-authenticate"), None, "{what}");
}
