//! JWTs of trusted issuers: who is let in on them, and what the upstream gets to see.

mod algorithms;
mod assertion;
mod attacks;
mod elsewhere;
mod guesses;
pub mod issuer;
pub mod key;
mod keys;
mod names;
mod replayed;
mod samples;
mod tls;

use serde_json::{Value, json};

use crate::client::Reply;
use crate::explain::explain;
use crate::gate::{Gate, OWN_STORE, Options, UPSTREAM_TOKEN, eventually};
use crate::upstream::Upstream;
use issuer::{Issuer, now, with};
use key::Key;

/// Takes a scope about events.
const LINE: &str = "GET /api/0/organizations/acme/issues/";

/// A gateway that trusts these issuers, and has a store of its own besides.
fn gate(tables: &str) -> Gate {
    let tables = format!("{OWN_STORE}{tables}");
    Gate::with(
        Upstream::start(),
        &Options { stores: Some(String::new()), tables, ..Options::default() },
    )
}

/// Asks until the answer is not that nobody could tell, as on a machine with too much to do.
fn ask(gate: &Gate, token: &str) -> Reply {
    let mut answer = None;
    eventually("an answer of the store", || {
        let reply = gate.bearer(LINE, token);
        let told = reply.status != 503;
        answer = Some(reply);
        told
    });
    answer.unwrap()
}

/// Status and code.
fn told(reply: &Reply) -> (u16, String) {
    (reply.status, if reply.status == 200 { String::new() } else { reply.code() })
}

fn refused(gate: &Gate, token: &str, code: &str, what: &str) {
    let reply = ask(gate, token);
    assert_eq!(reply.code(), code, "{what}");
    assert_eq!(gate.upstream.take().len(), 0, "{what}");
}

#[test]
fn a_token_of_an_issuer_is_let_in_and_never_forwarded() {
    let key = Key::made("one");
    let issuer = Issuer::of(&[&key]);
    let gate = gate(&issuer.table("ci", ""));
    let token = key.sign(&issuer.claims());
    let reply = ask(&gate, &token);
    assert_eq!(told(&reply), (200, String::new()));
    let seen = gate.upstream.take_one();
    let exchanged = format!("Bearer {UPSTREAM_TOKEN}");
    assert_eq!(seen.value("authorization"), Some(exchanged.as_str()));
    assert!(!seen.head.contains(&token[..20]), "{}", seen.head);
    // The second time it is known.
    assert_eq!(ask(&gate, &token).status, 200);
    gate.counts("portcullis_store_lookups_total", &["\"ci\"", "\"found\""], 1.0);
    assert_eq!(gate.metric("portcullis_store_lookups_total", &["\"portcullis\""]), 0.0);
    gate.upstream.take();

    // A scope that it was not given.
    let reply = gate.bearer("DELETE /api/0/organizations/acme/issues/", &token);
    assert_eq!(told(&reply), (403, "missing_scope".to_owned()));
    assert_eq!(gate.upstream.take().len(), 0);
    // And the gateway's own tokens go on to be known.
    assert_eq!(gate.bearer(LINE, &gate.token("event:read")).status, 200);

    let told =
        explain(&gate, &["GET", "/api/0/organizations/acme/issues/", "--token-stdin"], &token);
    let text = String::from_utf8(told.stdout).unwrap();
    assert!(told.status.success(), "{text}");
    assert!(text.contains("ci:repo:acme/web:ref:refs/heads/main"), "{text}");
}

#[test]
fn what_is_claimed_decides() {
    let key = Key::made("one");
    let issuer = Issuer::of(&[&key]);
    let gate = gate(&issuer.table("ci", "clock_skew = \"60s\""));
    let no_policy = "no_trust_policy";
    let rows: &[(&str, Value, &str)] = &[
        ("repository", json!("acme/web2"), no_policy),
        ("repository", json!("ACME/web"), no_policy),
        ("repository", Value::Null, no_policy),
        ("repository", json!({"acme/web": true}), no_policy),
        ("ref", json!("refs/heads/a/b"), no_policy),
        ("ref", json!("refs/tags/1"), no_policy),
        ("aud", json!("https://elsewhere.example"), "unknown_token"),
        ("aud", json!(["https://elsewhere.example"]), "unknown_token"),
        ("aud", json!([]), "unknown_token"),
        ("aud", json!({"https://gw.example": 1}), "unknown_token"),
        ("aud", Value::Null, "unknown_token"),
        ("exp", Value::Null, "unknown_token"),
        ("exp", json!("9999999999"), "unknown_token"),
        ("exp", json!(-1), "unknown_token"),
        // Beyond the minute by which the clocks may differ.
        ("exp", json!(now() - 70), "expired_token"),
        ("nbf", json!("1"), "unknown_token"),
        ("sub", json!(7), "unknown_token"),
        ("sub", json!(["repo:acme/web"]), "unknown_token"),
        ("nbf", json!(now() + 300), "expired_token"),
        // Of an issuer that is not trusted: of no store.
        ("iss", json!("https://other.example"), "unknown_token"),
        ("iss", json!(format!("{}/", issuer.url)), "unknown_token"),
        ("iss", Value::Null, "unknown_token"),
    ];
    for (claim, value, code) in rows {
        let token = key.sign(&with(issuer.claims(), claim, value.clone()));
        refused(&gate, &token, code, &format!("{claim} {value}"));
    }
    let rows: &[(&str, Value)] = &[
        ("aud", json!(["https://elsewhere.example", "https://gw.example"])),
        ("nbf", json!(now() + 30)),
        ("exp", json!(now() - 10)),
        ("exp", json!(now() as f64 + 99.5)),
        ("sub", Value::Null),
    ];
    for (claim, value) in rows {
        let token = key.sign(&with(issuer.claims(), claim, value.clone()));
        assert_eq!(told(&ask(&gate, &token)), (200, String::new()), "{claim} {value}");
    }
}

#[test]
fn the_first_policy_that_fits_counts_and_no_other() {
    let key = Key::made("one");
    let issuer = Issuer::of(&[&key]);
    let policy = |claims: &str, scope: &str| {
        format!("[[issuer.trust]]\nclaims = {{ {claims} }}\nscopes = [\"{scope}\"]\n")
    };
    let narrow = policy("repository = \"acme/web\", ref = \"refs/heads/main\"", "event:read");
    let wide = policy("repository = \"acme/web\"", "event:admin");
    let table = issuer.table("ci", "");
    let (table, _) = table.split_once("[[issuer.trust]]").unwrap();
    let delete = "DELETE /api/0/organizations/acme/issues/";
    let (main, other) = (issuer.claims(), with(issuer.claims(), "ref", json!("refs/heads/x")));
    let (none, missing) = ((200, ""), (403, "missing_scope"));
    for (policies, of_main) in [(narrow.clone() + &wide, missing), (wide.clone() + &narrow, none)] {
        let gate = gate(&format!("{table}{policies}"));
        for (claims, wanted) in [(&main, of_main), (&other, none)] {
            let token = key.sign(claims);
            assert_eq!(ask(&gate, &token).status, 200, "{policies} {claims}");
            let reply = gate.bearer(delete, &token);
            let wanted = (wanted.0, wanted.1.to_owned());
            assert_eq!(told(&reply), wanted, "{policies} {claims}");
        }
    }
}

/// It is known by its digest, and its end is known with it.
#[test]
fn a_token_that_is_known_is_refused_from_its_end_on() {
    let key = Key::made("one");
    let issuer = Issuer::of(&[&key]);
    let gate = gate(&issuer.table("ci", "clock_skew = \"0s\""));
    let mut token = String::new();
    eventually("one in its time", || {
        token = key.sign(&with(issuer.claims(), "exp", json!(now() + 4)));
        ask(&gate, &token).status == 200
    });
    eventually("its end", || told(&ask(&gate, &token)) == (401, "expired_token".to_owned()));
    gate.upstream.take();
    refused(&gate, &token, "expired_token", "again");
}

/// A policy that gave something may give it no more after a restart.
#[test]
fn no_snapshot_has_whom_an_issuer_vouches_for() {
    let key = Key::made("one");
    let issuer = Issuer::of(&[&key]);
    let gate = gate(&(issuer.table("ci", "") + "[cache]\nsnapshot = \"known\"\n"));
    let own = gate.token("event:read");
    let id = gate.id_of(&own);
    let snapshot = || std::fs::read_to_string(gate.folder.path().join("known")).unwrap_or_default();
    let vouched = key.sign(&issuer.claims());
    eventually("a snapshot with the token of the gateway", || {
        assert_eq!(ask(&gate, &vouched).status, 200);
        assert_eq!(ask(&gate, &own).status, 200);
        gate.settle();
        snapshot().contains(&id)
    });
    let snapshot = snapshot();
    let known: Vec<_> = snapshot.lines().filter(|line| line.starts_with("{\"known\"")).collect();
    assert_eq!(known.len(), 1, "{snapshot}");
    assert!(known[0].contains(&id), "{snapshot}");
}

#[test]
fn a_changed_policy_holds_for_whom_it_had_let_in() {
    let key = Key::made("one");
    let issuer = Issuer::of(&[&key]);
    let admin = "credential = { file = \"admin-credential\" }".to_owned();
    let tables = format!("{OWN_STORE}{}", issuer.table("ci", ""));
    let options = Options { admin, stores: Some(String::new()), tables, ..Options::default() };
    let gate = Gate::with(Upstream::start(), &options);
    let token = key.sign(&issuer.claims());
    assert_eq!(ask(&gate, &token).status, 200);
    let path = gate.folder.path().join("portcullis.toml");
    let config = std::fs::read_to_string(&path).unwrap().replace("acme/web\"", "acme/api\"");
    std::fs::write(&path, config).unwrap();
    let operator = [("Authorization", format!("Bearer {}", crate::gate::ADMIN))];
    let headers = [(operator[0].0, operator[0].1.as_str())];
    let reply = gate.operator("POST /reload", &headers, "");
    assert_eq!(reply.status, 200, "{:?}", String::from_utf8_lossy(&reply.body));
    gate.upstream.take();
    refused(&gate, &token, "no_trust_policy", "after the reload");
}
