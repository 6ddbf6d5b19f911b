//! Sentry's database is there, but does not answer what the gateway asks.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::database::Database;
use crate::gate::Gate;
use crate::outage::{ask, fine, unavailable, with_role};

/// Breaks the database of a gateway that serves, mends it with this and the SQL that sets it up, and gives
/// what the messages of the gateway say meanwhile.
fn outage(database: &Database, gate: &Gate, broken: &str, mended: &str) -> String {
    // One that was asked for before would be known to be unknown.
    let stranger = || {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        ask(gate, &format!("stranger-{}", COUNT.fetch_add(1, Ordering::Relaxed)))
    };
    let metric = |series: &str| gate.metric(series).unwrap_or_default();
    let stale = || metric("portcullis_cache_requests_total{result=\"stale\"}");
    gate.wait_until(|| ask(gate, "userall") == fine());
    let (before, said) = (stale(), gate.messages().len());
    database.run(broken);
    gate.wait_until(|| stranger() == unavailable());
    // What was known is served on after its lifetime.
    gate.wait_until(|| {
        assert_eq!(ask(gate, "userall"), fine(), "{broken}");
        stale() > before
    });
    for _ in 0..3 {
        assert_eq!(stranger(), unavailable(), "{broken}");
    }
    assert_eq!(metric("portcullis_store_up{store=\"sentry\"}"), 0.0, "{broken}");
    let messages = gate.messages()[said..].to_owned();
    assert!(messages.contains("the token store does not answer"), "{broken}: {messages}");
    database.run(mended);
    database.set_up();
    gate.wait_until(|| stranger() == (401, "unknown_token".to_owned()));
    gate.wait_until(|| ask(gate, "userall") == fine());
    gate.wait_until(|| metric("portcullis_store_up{store=\"sentry\"}") == 1.0);
    messages
}

#[test]
fn what_is_missing_is_an_outage_until_it_is_back() {
    let database = Database::recorded();
    let gate = Gate::with_stores(&database.store(), "cache.ttl = \"1s\"");
    for (broken, mended, cause) in [
        (
            "ALTER TABLE sentry_apitoken RENAME TO elsewhere",
            "ALTER TABLE elsewhere RENAME TO sentry_apitoken",
            "relation \\\"public.sentry_apitoken\\\" does not exist",
        ),
        (
            "ALTER TABLE sentry_apitoken RENAME COLUMN hashed_token TO hash",
            "ALTER TABLE sentry_apitoken RENAME COLUMN hash TO hashed_token",
            "hashed_token does not exist",
        ),
        (
            "REVOKE EXECUTE ON FUNCTION portcullis.find_token(bytea) FROM portcullis",
            "",
            "permission denied for function find_token",
        ),
        ("DROP SCHEMA portcullis CASCADE", "", "schema \\\"portcullis\\\" does not exist"),
    ] {
        // Told is the first error of an outage, which is a wait of too long on a machine that is busy.
        let told = (0..5).any(|_| outage(&database, &gate, broken, mended).contains(cause));
        assert!(told, "{cause}: {}", gate.messages());
    }
}

#[test]
fn a_database_without_a_connection_to_spare_is_an_outage() {
    let database = Database::recorded();
    let gate = Gate::with_stores(&with_role(&database, "crowded"), "cache.ttl = \"1s\"");
    // Connections are tried for as long as a caller waits, so that is all that is told.
    outage(
        &database,
        &gate,
        "ALTER ROLE crowded CONNECTION LIMIT 0;
         SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'crowded'",
        "ALTER ROLE crowded CONNECTION LIMIT -1",
    );
}
