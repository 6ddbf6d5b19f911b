//! A token store that is away, slow, damaged or flooded: who is still let in, and what the others
//! are told. A store that can't answer is never taken for one that says no.

use std::sync::{Arc, Barrier};
use std::thread;

use portcullis::clock::{Clock as _, SystemClock};
use portcullis::policy::credential::Digest;
use portcullis::store::portcullis::TokenKind;

use crate::client::{Connection, Reply, request};
use crate::gate::{Gate, Options, UPSTREAM_TOKEN, create, eventually, new};
use crate::upstream::Upstream;

const LINE: &str = "GET /api/0/organizations/acme/issues/";
/// The store answers every question with an error from here on; what changed is still told.
const AWAY: &str = "ALTER TABLE token RENAME TO token_away";
const BACK: &str = "ALTER TABLE token_away RENAME TO token";
/// Every question counts for a while first.
const SLOW: &str = "ALTER TABLE token RENAME TO token_away; \
    CREATE VIEW token AS SELECT token_away.* FROM token_away, \
    (WITH RECURSIVE count(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM count WHERE n < 100000) \
    SELECT max(n) AS n FROM count) WHERE n > 0";
const FOUND: &[&str] = &["\"found\""];

fn with_cache(lines: &str) -> Gate {
    let tables = format!("[cache]\n{lines}\n");
    Gate::with(Upstream::start(), &Options { tables, ..Options::default() })
}

fn lookups(gate: &Gate, labels: &[&str]) -> f64 {
    gate.metric("portcullis_store_lookups_total", labels)
}

/// Refused because nobody can tell, and not because somebody said no.
fn is_refused_for_now(reply: &Reply, what: &str) {
    assert_eq!((reply.status, reply.code().as_str()), (503, "store_unavailable"), "{what}");
    let seconds: u64 = reply.header("retry-after").expect(what).parse().expect(what);
    assert!(seconds > 0, "{what}");
    assert_eq!(reply.header("www-authenticate"), None, "{what}");
}

#[test]
fn an_outage_bridges_who_is_known_and_tells_everyone_else_to_come_back() {
    let gate = with_cache("ttl = \"1s\"");
    let (known, unused) = (gate.token("read"), gate.token("read"));
    gate.settle();
    assert_eq!(gate.bearer(LINE, &known).status, 200);
    gate.counts("portcullis_store_up", &[], 1.0);
    gate.sql(AWAY);

    // First as one that is remembered, then as one that should have been asked for again.
    eventually("an identity past its lifetime", || {
        assert_eq!(gate.bearer(LINE, &known).status, 200);
        gate.metric("portcullis_cache_requests_total", &["\"stale\""]) > 0.0
    });
    let seen = gate.upstream.take();
    assert!(seen.len() > 1, "{seen:#?}");
    let own = format!("Bearer {UPSTREAM_TOKEN}");
    assert!(seen.iter().all(|seen| seen.value("authorization") == Some(&own)), "{seen:#?}");

    for token in [unused.as_str(), "sntryu_of-nobody"] {
        is_refused_for_now(&gate.bearer(LINE, token), token);
    }
    let basic = [("Authorization", "Basic c29tZS1rZXk6")];
    is_refused_for_now(&gate.send(LINE, &basic), "a key");
    assert!(gate.upstream.take().is_empty());
    gate.counts("portcullis_store_up", &[], 0.0);
    let refused = &["refuse", "store_unavailable"];
    eventually("three refusals", || gate.metric("portcullis_decisions_total", refused) == 3.0);
    assert_eq!(gate.admin("/livez").unwrap().status, 200);

    gate.sql(BACK);
    eventually("the token that was not used before", || gate.bearer(LINE, &unused).status == 200);
    gate.counts("portcullis_store_up", &[], 1.0);
    assert_eq!(gate.upstream.take_one().value("authorization"), Some(own.as_str()));
    let reply = gate.bearer(LINE, "sntryu_of-nobody");
    assert_eq!((reply.status, reply.code().as_str()), (401, "unknown_token"));
    let log = gate.output();
    assert!(log.contains("does not answer") && log.contains("answers again"), "{log}");
}

#[test]
fn a_store_that_is_away_takes_no_other_with_it() {
    let tables = "[[store]]\nkind = \"portcullis\"\nurl = \"sqlite://other.db\"\nname = \"other\"";
    let options = Options { tables: tables.to_owned(), ..Options::default() };
    let gate = Gate::with(Upstream::start(), &options);
    let other = gate.folder.path().join("other.db");
    let first = gate.token("read");
    let second = create(&other, new("second", TokenKind::Bearer, "read"));
    let wide = create(&other, new("wide", TokenKind::Bearer, "all"));
    for (token, store) in [(&first, "\"portcullis\""), (&second, "\"other\"")] {
        assert_eq!(gate.bearer(LINE, token).status, 200, "{store}");
        assert!(lookups(&gate, &["\"found\"", store]) > 0.0, "{store}");
    }
    // Each with the scopes that its own store says.
    let write = "PUT /api/0/organizations/acme/issues/";
    assert_eq!(gate.bearer(write, &second).code(), "missing_scope");
    assert_eq!(gate.bearer(write, &wide).status, 200);
    assert_eq!(gate.upstream.take().len(), 3);

    gate.sql(AWAY);
    let late = create(&other, new("late", TokenKind::Bearer, "read"));
    assert_eq!(gate.bearer(LINE, &late).status, 200);
    assert_eq!(gate.upstream.take().len(), 1);
    // The second store does not know it, and the first one can't tell.
    is_refused_for_now(&gate.bearer(LINE, "sntryu_of-nobody"), "of nobody");
    assert!(gate.upstream.take().is_empty());
    gate.counts("portcullis_store_up", &["\"portcullis\""], 0.0);
    gate.counts("portcullis_store_up", &["\"other\""], 1.0);
}

#[test]
fn a_row_that_cannot_be_read_is_never_allowed_and_harms_no_other() {
    let gate = Gate::start();
    let neighbour = gate.token("read");
    let rows = [
        ("organisations that are no list", "organizations = 'acme'"),
        ("projects that are no texts", "projects = '[1]'"),
        ("origins that are no list", "allowed_origins = '{}'"),
        ("a kind that nobody knows", "kind = 'root'"),
        ("an expiry before all time", "expires_at = -1"),
        ("a revocation before all time", "revoked_at = -1"),
        ("a fingerprint of something else", "fingerprint = '00000000'"),
    ];
    for (what, damage) in rows {
        let token = gate.token("all");
        gate.sql(&format!("UPDATE token SET {damage} WHERE digest = {}", digest(&token)));
        is_refused_for_now(&gate.bearer(LINE, &token), what);
        assert!(gate.upstream.take().is_empty(), "{what}");
        assert_eq!(gate.bearer(LINE, &neighbour).status, 200, "{what}");
        assert_eq!(gate.upstream.take().len(), 1, "{what}");
        let log = gate.output();
        assert!(!log.contains(&token), "{what}");
    }
    // Once each, or again where a change of tokens came between the question and the answer.
    assert!(gate.output().matches("a stored token can't be read").count() >= rows.len());
}

#[test]
fn damage_to_a_token_that_is_remembered_is_noticed() {
    let gate = Gate::start();
    let token = gate.token("all");
    gate.settle();
    assert_eq!(gate.bearer(LINE, &token).status, 200);
    gate.sql(&format!("UPDATE token SET projects = 'x' WHERE digest = {}", digest(&token)));
    eventually("a refusal", || gate.bearer(LINE, &token).status != 200);
    gate.upstream.take();
    for _ in 0..10 {
        is_refused_for_now(&gate.bearer(LINE, &token), "once it was noticed");
    }
    assert!(gate.upstream.take().is_empty());
}

#[test]
fn many_first_uses_of_one_token_ask_the_store_once() {
    const CLIENTS: usize = 200;
    const EACH: usize = 5;
    let gate = Gate::start();
    let token = gate.token("read");
    gate.settle();
    gate.sql(SLOW);
    let wire = request(LINE, &[("Authorization", &format!("Bearer {token}"))], b"");
    let (start, address) = (Arc::new(Barrier::new(CLIENTS)), gate.address);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (wire, start) = (wire.clone(), Arc::clone(&start));
            thread::spawn(move || {
                let mut connection = Connection::open(address);
                start.wait();
                let status = |_| {
                    connection.write(&wire);
                    connection.read_reply("GET").map(|reply| reply.status)
                };
                (0..EACH).map(status).collect::<Vec<_>>()
            })
        })
        .collect();
    for client in clients {
        assert_eq!(client.join().unwrap(), [Some(200); EACH]);
    }
    gate.counts("portcullis_store_lookups_total", &[], 1.0);
    gate.counts("portcullis_store_lookups_total", FOUND, 1.0);
    let seen = gate.upstream.take();
    assert_eq!(seen.len(), CLIENTS * EACH);
    let own = format!("Bearer {UPSTREAM_TOKEN}");
    assert!(seen.iter().all(|seen| seen.value("authorization") == Some(&own)));
    // The test shows something only if the store was slow enough to be asked twice.
    let took = gate.metric("portcullis_store_lookup_duration_seconds_sum", &[]);
    assert!(took > 0.005, "the store took {took} s");
}

#[test]
fn a_flood_of_unknown_tokens_pushes_no_known_one_out() {
    const CLIENTS: usize = 4;
    const EACH: usize = 500;
    const RATE: f64 = 20.0;
    // With room for ten identities, strangers would find no room but that of the known one.
    let options = Options {
        tables: "[cache]\nttl = \"1h\"\ncapacity = 10".to_owned(),
        store: format!("unknown_per_client = {RATE}\n"),
        ..Options::default()
    };
    let gate = Gate::with(Upstream::start(), &options);
    let known = gate.token("read");
    gate.settle();
    assert_eq!(gate.bearer(LINE, &known).status, 200);
    gate.counts("portcullis_store_lookups_total", FOUND, 1.0);
    let (address, began) = (gate.address, SystemClock.instant());
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            thread::spawn(move || {
                let mut connection = Connection::open(address);
                for number in 0..EACH {
                    let token = format!("Bearer sntryu_{client}-{number}");
                    connection.write(&request(LINE, &[("Authorization", &token)], b""));
                    let reply = connection.read_reply("GET").expect(&token);
                    // A machine with too much to do may make the store too slow to answer.
                    match reply.code().as_str() {
                        "unknown_token" | "store_unavailable" => {}
                        "guessing_limited" => {
                            assert_eq!(
                                (reply.status, reply.header("retry-after")),
                                (429, Some("1"))
                            );
                        }
                        other => panic!("{other}"),
                    }
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    let asked = lookups(&gate, &["\"unknown\""]);
    let elapsed = SystemClock.instant().saturating_duration_since(began);
    let seconds = elapsed.as_secs_f64();
    assert!(asked <= (seconds + 1.0) * RATE, "{asked} in {seconds} s");
    assert_eq!(gate.bearer(LINE, &known).status, 200);
    assert_eq!(lookups(&gate, FOUND), 1.0, "the known token was asked for again");
    assert_eq!(gate.upstream.take().len(), 2);
    // And a token that was not used before is let in again.
    let late = gate.token("read");
    eventually("the late one", || gate.bearer(LINE, &late).status == 200);
}

#[test]
fn a_revocation_by_another_process_is_measured_and_final() {
    let gate = Gate::start();
    let (token, neighbour) = (gate.token("read"), gate.token("read"));
    gate.settle();
    let counted = || gate.metric("portcullis_revocation_lag_seconds_count", &[]);
    let before = counted();
    assert_eq!(gate.bearer(LINE, &token).status, 200);
    assert_eq!(gate.bearer(LINE, &neighbour).status, 200);
    gate.portcullis(&["token", "revoke", &gate.id_of(&token)]);
    eventually("a refusal", || gate.bearer(LINE, &token).code() == "disabled_token");
    assert_eq!(counted(), before + 1.0);
    gate.upstream.take();
    for _ in 0..20 {
        let reply = gate.bearer(LINE, &token);
        assert_eq!((reply.status, reply.code().as_str()), (401, "disabled_token"));
    }
    assert!(gate.upstream.take().is_empty());
    assert_eq!(gate.bearer(LINE, &neighbour).status, 200);
    assert_eq!(counted(), before + 1.0);
}

/// How SQL writes the digest of a token.
fn digest(token: &str) -> String {
    let digest = Digest::of(token);
    let hex: String = digest.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("x'{hex}'")
}
