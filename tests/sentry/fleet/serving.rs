//! Commands and two gateways on one database: by polling, by notification, and through PgBouncer.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::{all_answer, disabled};
use crate::gate::Gate;
use crate::outage::{ask, fine};
use crate::pooler::Pooler;
use crate::tokens::{Made, Tokens, command, create, create_with, printed, revoke, told};

const PROJECTS: &str = "GET /api/0/projects/";

/// Sees to it that a gateway lets a request in, and that Sentry gets another credential for it.
fn is_exchanged(gate: &Gate, made: &Made, header: &str) {
    // On a busy machine the first question may take too long.
    gate.wait_until(|| gate.send(PROJECTS, "HTTP/1.1", &[header], b"").unwrap().status == 200);
    gate.upstream.take();
    let reply = gate.send(PROJECTS, "HTTP/1.1", &[header], b"").unwrap();
    assert_eq!(reply.status, 200, "{header}: {}", gate.messages());
    let seen = gate.upstream.take_one();
    assert_eq!(seen.value("authorization"), Some("Bearer sntryu_of-the-gateway"));
    for secret in [made.secret.as_str(), made.fingerprint.as_str()] {
        assert!(!seen.head.contains(secret), "{}", seen.head);
    }
}

fn bearer(made: &Made) -> String {
    format!("Authorization: Bearer {}", made.secret)
}

/// All that an operator does, with these stores of which the first is empty yet.
fn exercise(tokens: &Tokens, stores: &str) -> [Gate; 2] {
    let checked = told(&command(stores, &["check"]), 0);
    assert!(checked.contains("no token store yet; a start of the gateway makes it"), "{checked}");
    let listed = told(&command(stores, &["token", "list"]), 2);
    assert!(listed.contains("has no token store yet"), "{listed}");
    assert_eq!(tokens.objects(), "0");

    let gates = [Gate::with_stores(stores, ""), Gate::with_stores(stores, "")];
    let [one, two] = &gates;
    assert_eq!(told(&one.portcullis(&["check"]), 0), "");
    let made = create(one, "triage");
    let key = create_with(two, "key", &["--kind", "api-key"]);
    for gate in &gates {
        is_exchanged(gate, &made, &bearer(&made));
        let basic = STANDARD.encode(format!("{}:", key.secret));
        is_exchanged(gate, &key, &format!("Authorization: Basic {basic}"));
    }
    let taken = told(
        &two.portcullis(&[
            "token",
            "create",
            "--name",
            "key",
            "--scope",
            "org:read",
            "--no-expiry",
        ]),
        2,
    );
    assert!(taken.contains("a token named `key` is in force"), "{taken}");

    let listed = printed(&one.portcullis(&["token", "list"]), 0);
    let ids: Vec<Value> = listed
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].clone())
        .collect();
    assert_eq!(ids, [made.id.clone(), key.id.clone()]);
    for text in [&made.id, &made.name, &made.fingerprint] {
        let shown = printed(&two.portcullis(&["token", "show", text]), 0);
        let shown: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!((&shown["id"], &shown["state"]), (&made.id.clone().into(), &"active".into()));
    }
    let explain = ["explain", "--token-stdin", "GET", "/api/0/projects/"];
    printed(&one.portcullis_reading(&made.secret, &explain), 0);

    revoke(two, "triage");
    all_answer(&[one, two], &made.secret, &disabled());
    for gate in &gates {
        gate.wait_until(|| gate.metric("portcullis_revocation_lag_seconds_count") == Some(1.0));
    }
    let again = told(&one.portcullis(&["token", "revoke", "triage"]), 0);
    assert!(again.contains("was revoked already"), "{again}");
    let explained = printed(&one.portcullis_reading(&made.secret, &explain), 1);
    assert!(explained.contains("disabled_token"), "{explained}");
    // The name is free again.
    let next = create(one, "triage");
    all_answer(&[one, two], &next.secret, &fine());

    blocks(&gates, &next);
    gates
}

/// The block list, by commands.
fn blocks([one, two]: &[Gate; 2], made: &Made) {
    let fingerprint = &made.fingerprint;
    let added =
        told(&one.portcullis(&["block", "add", fingerprint, "--reason", "seen in a log"]), 0);
    assert!(added.contains("is blocked"), "{added}");
    let added = told(&two.portcullis(&["block", "add", fingerprint]), 0);
    assert!(added.contains("was blocked already"), "{added}");
    all_answer(&[one, two], &made.secret, &disabled());
    let listed: Value =
        serde_json::from_str(&printed(&two.portcullis(&["block", "list"]), 0)).unwrap();
    assert_eq!(listed["fingerprint"], fingerprint.as_str());
    assert_eq!(listed["reason"], "seen in a log");
    let explain = ["explain", "--token-stdin", "GET", "/api/0/projects/"];
    let explained = printed(&one.portcullis_reading(&made.secret, &explain), 1);
    assert!(explained.contains("disabled_token"), "{explained}");
    told(&two.portcullis(&["block", "remove", fingerprint]), 0);
    all_answer(&[one, two], &made.secret, &fine());
    let absent = told(&one.portcullis(&["block", "remove", fingerprint]), 1);
    assert!(absent.contains("is not blocked"), "{absent}");
    assert_eq!(printed(&two.portcullis(&["block", "list"]), 0), "");
}

#[test]
fn two_gateways_share_a_database_that_they_poll() {
    let tokens = Tokens::new();
    exercise(&tokens, &tokens.store());
}

#[test]
fn two_gateways_share_a_database_that_notifies_them() {
    let tokens = Tokens::new();
    let gates = exercise(&tokens, &tokens.listening());
    let listeners = "SELECT count(*)::text FROM pg_stat_activity WHERE query IN ('LISTEN \"portcullis_change\"', 'SELECT 1') AND datname = current_database()";
    gates[0].wait_until(|| tokens.database.value(listeners) == "2");
    // The uses are written down, the last one by the second gateway, and are no change.
    let used = "SELECT count(*)::text FROM token WHERE last_used_at >= created_at";
    gates[0].wait_until(|| tokens.database.value(used) == "3");
    assert_eq!(tokens.database.value("SELECT max(revision)::text FROM change"), "6");
}

#[test]
fn a_pooler_in_transaction_mode_is_no_obstacle() {
    let tokens = Tokens::new();
    let pooler = Pooler::start(tokens.database.server, &tokens.role);
    let pooled = pooler.through(tokens.database.server, &tokens.store());
    let stores = format!("{pooled}listen_url = \"{}\"\n", tokens.url());
    let gates = exercise(&tokens, &stores);
    let made = create(&gates[1], "pooled");
    assert_eq!(ask(&gates[0], &made.secret), fine());
}

/// PgBouncer takes a `LISTEN` and hands on nothing: that is said, and changes are looked for.
#[test]
fn who_listens_through_a_pooler_is_told_that_it_hears_nothing() {
    let tokens = Tokens::new();
    let pooler = Pooler::start(tokens.database.server, &tokens.role);
    let stores = pooler.through(tokens.database.server, &tokens.listening());
    let gate = Gate::with_stores(&stores, "");
    let made = create(&gate, "made");
    all_answer(&[&gate], &made.secret, &fine());
    gate.wait_until(|| gate.messages().contains("name the server itself in `listen_url`"));
    revoke(&gate, "made");
    all_answer(&[&gate], &made.secret, &disabled());
    assert!(!gate.messages().contains("are heard again"), "{}", gate.messages());
}
