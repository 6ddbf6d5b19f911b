//! The server of the tokens goes away under gateways that serve, and comes back.

use std::sync::atomic::{AtomicU32, Ordering};

use super::{all_answer, disabled, unknown};
use crate::database::Server;
use crate::gate::Gate;
use crate::outage::{ask, fine, unavailable};
use crate::pooler::Pooler;
use crate::tokens::{Made, Tokens, create, revoke, told};

const UP: &str = "portcullis_store_up{store=\"portcullis\"}";

/// Asks with a token that nobody has asked with before.
fn stranger(gate: &Gate) -> (u16, String) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    ask(gate, &format!("stranger-{}", COUNT.fetch_add(1, Ordering::Relaxed)))
}

/// While the server is away: who is known is served, nobody else is, and nobody is called unknown.
fn is_bridged(gates: &[&Gate], known: &Made, fresh: &Made) {
    for gate in gates {
        gate.wait_until(|| stranger(gate) == unavailable());
        let stale = || gate.metric("portcullis_cache_requests_total{result=\"stale\"}").unwrap();
        let before = stale();
        gate.wait_until(|| {
            assert_eq!(ask(gate, &known.secret), fine());
            stale() > before
        });
        for _ in 0..3 {
            assert_eq!(stranger(gate), unavailable());
            assert_eq!(ask(gate, &fresh.secret), unavailable());
        }
        gate.wait_until(|| gate.metric(UP) == Some(0.0));
    }
}

fn is_over(gates: &[&Gate], known: &Made, fresh: &Made) {
    for gate in gates {
        gate.wait_until(|| stranger(gate) == unknown());
        gate.wait_until(|| ask(gate, &fresh.secret) == fine());
        gate.wait_until(|| ask(gate, &known.secret) == fine());
        gate.wait_until(|| gate.metric(UP) == Some(1.0));
        // The whole way is open again.
        let made = create(gate, &format!("made at {}", gate.address));
        all_answer(gates, &made.secret, &fine());
        revoke(gate, &made.id);
        all_answer(gates, &made.secret, &disabled());
    }
}

#[test]
fn a_server_that_restarts_is_bridged() {
    let tokens = Tokens::on(Server::own());
    let server = tokens.database.server;
    let gates = [tokens.listening(), tokens.store()]
        .map(|store| Gate::with_stores(&store, "cache.ttl = \"1s\""));
    let gates: Vec<_> = gates.iter().collect();
    let [known, fresh] = ["known", "fresh"].map(|name| create(gates[0], name));
    all_answer(&gates, &known.secret, &fine());
    server.down();
    is_bridged(&gates, &known, &fresh);
    let refused = told(&gates[0].portcullis(&["token", "revoke", "known"]), 2);
    assert!(refused.contains("can't be opened"), "{refused}");
    server.up();
    is_over(&gates, &known, &fresh);
    server.stop();
}

#[test]
fn a_pooler_whose_server_restarts_is_bridged() {
    let tokens = Tokens::on(Server::own());
    let server = tokens.database.server;
    let pooler = Pooler::start(server, &tokens.role);
    let stores =
        format!("{}listen_url = \"{}\"\n", pooler.through(server, &tokens.store()), tokens.url());
    let gate = Gate::with_stores(&stores, "cache.ttl = \"1s\"");
    let [known, fresh] = ["known", "fresh"].map(|name| create(&gate, name));
    all_answer(&[&gate], &known.secret, &fine());
    server.down();
    is_bridged(&[&gate], &known, &fresh);
    server.up();
    is_over(&[&gate], &known, &fresh);
    server.stop();
}

/// What was revoked while nobody could be told takes effect as soon as somebody can.
#[test]
fn a_revocation_during_an_outage_is_caught_up_with() {
    let tokens = Tokens::new();
    // Long lifetimes: nobody is asked again by the way.
    let top = "cache.ttl = \"1h\"\ncache.unknown_ttl = \"1h\"";
    let gates = [tokens.listening(), tokens.store()].map(|store| Gate::with_stores(&store, top));
    let gates: Vec<_> = gates.iter().collect();
    let made = ["one", "two", "three"].map(|name| create(gates[0], name));
    for made in &made {
        all_answer(&gates, &made.secret, &fine());
    }
    for round in 0..3 {
        let role = &tokens.role;
        tokens.database.run(&format!("ALTER ROLE {role} NOLOGIN"));
        tokens.cut();
        for gate in &gates {
            gate.wait_until(|| gate.metric(UP) == Some(0.0));
        }
        let revoked = &made[round];
        tokens.database.run(&format!(
            "UPDATE token SET revoked_at = created_at + 1 WHERE id = '{}'",
            revoked.id
        ));
        for gate in &gates {
            assert_eq!(ask(gate, &revoked.secret), fine());
        }
        tokens.database.run(&format!("ALTER ROLE {role} LOGIN"));
        all_answer(&gates, &revoked.secret, &disabled());
        for made in &made[round + 1..] {
            all_answer(&gates, &made.secret, &fine());
        }
    }
}

/// Connections that are cut now and then are nobody's concern.
#[test]
fn cut_connections_are_replaced() {
    let tokens = Tokens::new();
    let gate = Gate::with_stores(&tokens.listening(), "cache.ttl = \"1s\"");
    let known = create(&gate, "known");
    all_answer(&[&gate], &known.secret, &fine());
    for round in 0..5 {
        tokens.cut();
        // A connection that is cut while it is asked fails; the next does not.
        gate.wait_until(|| {
            assert_eq!(ask(&gate, &known.secret), fine(), "{round}");
            let answer = stranger(&gate);
            assert!(answer == unknown() || answer == unavailable(), "{answer:?}");
            answer == unknown()
        });
        let made = create(&gate, &format!("round {round}"));
        all_answer(&[&gate], &made.secret, &fine());
        revoke(&gate, &made.name);
        all_answer(&[&gate], &made.secret, &disabled());
    }
}
