//! What real clients send, sent again through a running gateway: with exactly one of the scopes that
//! a call needs it is let through, byte for byte, and with all others it is refused, with all of
//! those named.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis::policy::scope::{Scope, ScopeSet};
use serde::Deserialize;

use crate::database::Database;
use crate::gate::{Gate, HOST};

/// A request as it was on the wire, without its credential.
#[derive(Deserialize)]
struct Request {
    client: String,
    command: String,
    method: String,
    path: String,
    headers: Vec<String>,
    /// The scheme of its credential.
    scheme: Option<String>,
    /// The scopes of which it needs one; nothing where it is not for the Web API.
    scopes: Option<Vec<String>>,
    /// How often it was recorded.
    recorded: usize,
}

impl Request {
    fn about(&self) -> String {
        let Self { client, command, method, path, .. } = self;
        format!("{client} ({command}): {method} {path}")
    }

    fn needed(&self) -> ScopeSet {
        let names = self.scopes.iter().flatten();
        names.map(|name| name.parse::<Scope>().unwrap()).collect()
    }

    /// The body that its `Content-Length` promises.
    fn body(&self) -> Vec<u8> {
        let length = self.headers.iter().find_map(|header| {
            let (name, value) = header.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length").then(|| value.parse().unwrap())
        });
        vec![b'x'; length.unwrap_or_default()]
    }

    /// Sends it with this secret, as its client presents one.
    fn send(&self, gate: &Gate, secret: &str) -> (u16, serde_json::Value) {
        let authorization = match self.scheme.as_deref() {
            Some("basic") => {
                format!("Basic {}", STANDARD.encode(format!("{}:", key(secret))))
            }
            Some("bearer") | None => format!("Bearer {secret}"),
            Some("dsn") => "DSN http://dsnp0active@127.0.0.1:9000/2".to_owned(),
            Some(other) => panic!("{other}"),
        };
        let mut headers = self.headers.clone();
        headers.push(format!("Authorization: {authorization}"));
        let line = format!("{} {}", self.method, self.path);
        let reply = gate.send(&line, "HTTP/1.1", &headers, &self.body()).expect("an answer");
        let seen = gate.upstream.take();
        if reply.status == 200 {
            assert_eq!(seen.len(), 1, "{}", self.about());
            assert_eq!((&seen[0].method, &seen[0].target), (&self.method, &self.path));
            assert_eq!(seen[0].value("authorization"), Some(&*authorization));
            assert_eq!(seen[0].value("host"), Some(HOST));
            assert_eq!(seen[0].body, self.body(), "{}", self.about());
        } else {
            assert!(seen.is_empty(), "{}: {seen:?}", self.about());
        }
        let told = serde_json::from_slice(&reply.body).unwrap_or_default();
        (reply.status, told)
    }
}

/// A user token and an API key with these scopes.
fn both(database: &Database, name: &str, scopes: ScopeSet) {
    database.token(name, scopes);
    database.api_key(&key(name), scopes);
}

/// An API key has at most 32 characters.
fn key(name: &str) -> String {
    format!("k-{name}")
}

fn only(scope: Scope) -> String {
    format!("only-{}", scope.as_str().replace(':', "-"))
}

#[test]
fn every_recorded_request_needs_one_of_its_scopes_and_no_other() {
    let requests: Vec<Request> = super::lines("clients.jsonl");
    // A credential for each scope, and one for all but each set that a request needs.
    let database = Database::recorded();
    // As its clients called it.
    database.run("UPDATE public.sentry_project SET slug = 'web' WHERE id = 2");
    let mut without: BTreeMap<String, String> = BTreeMap::new();
    for scope in Scope::ALL {
        both(&database, &only(*scope), ScopeSet::EMPTY.with(*scope));
    }
    for request in &requests {
        let next = format!("without-{}", without.len());
        without.entry(request.needed().names()).or_insert_with(|| {
            both(&database, &next, ScopeSet::ALL.without(request.needed()));
            next
        });
    }
    let gate = Gate::start(&database, "", "");

    let (mut recorded, mut elsewhere) = (0, 0);
    for request in &requests {
        recorded += request.recorded;
        let (about, needed) = (request.about(), request.needed());
        let refused = request.send(&gate, &without[&needed.names()]);
        match (&request.scopes, request.scheme.as_deref()) {
            // Ingestion, the log-in of a browser and OAuth are not the Web API.
            (None, _) => {
                elsewhere += request.recorded;
                assert_eq!(
                    (refused.0, &refused.1["code"]),
                    (404, &"no_such_route".into()),
                    "{about}"
                );
            }
            // A project key holds what a project key holds.
            (Some(_), Some("dsn")) => assert_eq!(refused.0, 200, "{about}"),
            (Some(names), _) if names.is_empty() => assert_eq!(refused.0, 200, "{about}"),
            (Some(names), _) => {
                for scope in needed.iter() {
                    let (status, told) = request.send(&gate, &only(scope));
                    assert_eq!(status, 200, "{about} with {scope:?}: {told}");
                }
                assert_eq!(refused.0, 403, "{about}");
                // An answer to `HEAD` has no body.
                if request.method != "HEAD" {
                    assert_eq!(refused.1["code"], "missing_scope", "{about}");
                    assert_eq!(refused.1["required"], serde_json::json!(names), "{about}");
                }
            }
        }
    }
    assert_eq!((recorded, elsewhere), (215, 21));
}

/// One client sends the name of a parameter where its value belongs: an event that nobody has. It is
/// a segment like any other, and Sentry answers that there is none.
#[test]
fn a_parameter_that_was_not_filled_in_is_a_value() {
    let requests: Vec<Request> = super::lines("clients.jsonl");
    let literal: Vec<_> =
        requests.iter().filter(|request| request.path.contains("%7Bevent_id%7D")).collect();
    assert_eq!(literal.len(), 1);
    assert_eq!(
        literal[0].scopes.as_ref().unwrap(),
        &["project:admin", "project:read", "project:write"]
    );
}
