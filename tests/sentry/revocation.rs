//! What changes in Sentry's database takes effect at once where its triggers are installed, and what
//! went unheard does as soon as somebody listens again. Everything else would last for an hour here.

use std::thread;
use std::time::Duration;

use crate::database::{Database, NOTIFY, PASSWORD};
use crate::gate::Gate;

const TOP: &str = "cache.ttl = \"1h\"\ncache.unknown_ttl = \"1h\"";
const LINE: &str = "GET /api/0/projects/";

/// A gateway that listens, under a role of its own.
fn listening(database: &Database, role: &str) -> Gate {
    database.run(NOTIFY);
    database.run(&format!("CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}' IN ROLE portcullis"));
    let store = database.store().replace("portcullis@", &format!("{role}@"));
    let url = store.lines().find_map(|line| line.strip_prefix("url = ")).unwrap();
    let gate = Gate::with_stores(&format!("{store}listen_url = {url}\n"), TOP);
    gate.wait_until(|| listens(database, role));
    gate
}

/// Whether the role has a connection that does nothing but listen.
pub fn listens(database: &Database, role: &str) -> bool {
    let of = format!("usename = '{role}' AND query LIKE 'LISTEN%' AND state = 'idle'");
    let sql = format!("SELECT count(*)::text FROM pg_stat_activity WHERE {of}");
    database.value(&sql) != "0"
}

fn ask(gate: &Gate, header: &str) -> (u16, String) {
    let reply = gate.send(LINE, "HTTP/1.1", &[format!("Authorization: {header}")], b"").unwrap();
    (reply.status, if reply.status == 200 { String::new() } else { reply.code() })
}

fn is(gate: &Gate, header: &str, status: u16, code: &str) {
    gate.wait_until(|| ask(gate, header) == (status, code.to_owned()));
}

#[test]
fn a_change_in_sentry_is_heard_at_once() {
    let database = Database::recorded();
    let gate = listening(&database, "hears");
    let key = "Basic a2V5LW9mLXRoaXMtdGVzdDo=";
    database.api_key("key-of-this-test", portcullis::policy::scope::ScopeSet::ALL);
    let all = ["Bearer userall", "Bearer userprojectread", "Bearer userprojectwrite", key];
    for header in all {
        assert_eq!(ask(&gate, header).0, 200, "{header}");
    }
    let before = gate.upstream.take().len();
    assert_eq!(before, all.len());
    let hash = |secret: &str| format!("encode(sha256('{secret}'), 'hex')");
    database.run(&format!(
        "DELETE FROM sentry_apitoken WHERE hashed_token = {}",
        hash("userprojectread")
    ));
    is(&gate, all[1], 401, "unknown_token");
    database.run(&format!(
        "UPDATE sentry_apitoken SET expires_at = now() - interval '1 hour' WHERE hashed_token = {}",
        hash("userprojectwrite")
    ));
    is(&gate, all[2], 401, "expired_token");
    database.run("UPDATE sentry_apikey SET status = 1 WHERE key = 'key-of-this-test'");
    is(&gate, key, 401, "disabled_token");
    assert_eq!(ask(&gate, all[0]).0, 200);
    // All tokens of a person, who is let in again later.
    database.run("UPDATE auth_user SET is_active = false");
    is(&gate, all[0], 401, "disabled_token");
    database.run("UPDATE auth_user SET is_active = true");
    is(&gate, all[0], 200, "");
    let lag = |what: &str| gate.metric(&format!("portcullis_revocation_lag_seconds_{what}"));
    assert!(lag("count").unwrap() >= 4.0);
    let messages = gate.messages();
    assert!(!messages.contains("userall") && !messages.contains("key-of"), "{messages}");
}

#[test]
fn a_store_that_nobody_hears_of_is_not_up() {
    let database = Database::recorded();
    database.run(NOTIFY);
    database.run(&format!("CREATE ROLE ear LOGIN PASSWORD '{PASSWORD}' IN ROLE portcullis"));
    let store = database.store();
    let url = store.lines().find_map(|line| line.strip_prefix("url = ")).unwrap();
    let listen = url.replace("portcullis@", "ear@");
    let gate = Gate::with_stores(&format!("{store}listen_url = {listen}\n"), "");
    let up = || gate.metric("portcullis_store_up{store=\"sentry\"}");
    gate.wait_until(|| up() == Some(1.0));
    database.run("ALTER ROLE ear NOLOGIN");
    database.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'ear'");
    gate.wait_until(|| up() == Some(0.0));
    // It answers all the same, which is not enough.
    gate.wait_until(|| ask(&gate, "Bearer userall").0 == 200);
    assert_eq!(up(), Some(0.0));
    database.run("ALTER ROLE ear LOGIN");
    gate.wait_until(|| up() == Some(1.0));
}

/// The share of the lags that were a second at most, and how many there were.
pub fn lags(gate: &Gate) -> (f64, f64) {
    let of = |what: &str| gate.metric(&format!("portcullis_revocation_lag_seconds_{what}"));
    (of("bucket{le=\"1\"}").unwrap_or(0.0), of("count").unwrap_or(0.0))
}

/// Revokes one after the other, until the lags of some in a row were all short: on a machine that is busy
/// any of them may be too slow to tell.
pub fn are_short(gate: &Gate, revocations: impl Iterator<Item = impl FnOnce()>) {
    let (mut row, mut seen) = (0, Vec::new());
    for revoke in revocations {
        let (short, all) = lags(gate);
        revoke();
        gate.wait_until(|| lags(gate).1 > all);
        let now = lags(gate);
        let is_short = now.0 - short == now.1 - all;
        row = if is_short { row + 1 } else { 0 };
        seen.push(is_short);
        if row == 3 {
            return;
        }
    }
    panic!("no three lags in a row of a second at most: {seen:?}");
}

#[test]
fn a_revocation_in_sentry_takes_less_than_a_second() {
    let database = Database::recorded();
    let gate = listening(&database, "prompt");
    are_short(
        &gate,
        (0..12).map(|number| {
            let (gate, database) = (&gate, &database);
            move || {
                let secret = format!("revoked-{number}");
                database.token(&secret, portcullis::policy::scope::ScopeSet::ALL);
                gate.wait_until(|| ask(gate, &format!("Bearer {secret}")).0 == 200);
                database.run(&format!("DELETE FROM sentry_apitoken WHERE token = '{secret}'"));
                is(gate, &format!("Bearer {secret}"), 401, "unknown_token");
            }
        }),
    );
}

#[test]
fn what_went_unheard_is_asked_again() {
    let database = Database::recorded();
    let gate = listening(&database, "deaf");
    for token in ["Bearer userall", "Bearer userprojectread"] {
        assert_eq!(ask(&gate, token).0, 200, "{token}");
    }
    let role = |sql: &str| database.run(&sql.replace("ROLE", "ROLE deaf"));
    role("ALTER ROLE NOLOGIN");
    database.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'deaf'");
    gate.wait_until(|| gate.messages().contains("are not heard"));
    database.run("DELETE FROM sentry_apitoken WHERE token = 'userprojectread'");
    // Nobody heard of it, so for now it is served as it was.
    assert_eq!(ask(&gate, "Bearer userprojectread").0, 200);
    role("ALTER ROLE LOGIN");
    is(&gate, "Bearer userprojectread", 401, "unknown_token");
    assert_eq!(ask(&gate, "Bearer userall").0, 200);
    assert!(gate.messages().contains("are heard again"));
}

#[test]
fn notifications_of_anybody_cost_little() {
    let database = Database::recorded();
    let gate = listening(&database, "patient");
    assert_eq!(ask(&gate, "Bearer userall").0, 200);
    let lookups = || {
        let series = "portcullis_store_lookups_total{result=\"found\",store=\"sentry\"}";
        gate.metric(series).unwrap_or(0.0)
    };
    assert_eq!(lookups(), 1.0);
    // Of tokens that nobody has, and what is nothing at all.
    database.run(
        "SELECT pg_notify('portcullis_sentry', encode(sha256(n::text::bytea), 'hex') || ' 1')
            FROM generate_series(1, 20000) n;
         SELECT pg_notify('portcullis_sentry', text)
            FROM unnest(ARRAY['', 'x', 'ALL 1', repeat('0', 7000), '; DROP TABLE token']) text",
    );
    // And everything is forgotten as often as somebody wants, but not more often than once a second.
    for _ in 0..200 {
        database.run("SELECT pg_notify('portcullis_sentry', 'all ' || clock_timestamp())");
        assert_eq!(ask(&gate, "Bearer userall").0, 200);
        thread::sleep(Duration::from_millis(5));
    }
    assert!(lookups() < 100.0, "{} look-ups", lookups());
    // It still listens.
    gate.wait_until(|| ask(&gate, "Bearer userprojectread").0 == 200);
    database.run("DELETE FROM sentry_apitoken WHERE token = 'userprojectread'");
    is(&gate, "Bearer userprojectread", 401, "unknown_token");
}
