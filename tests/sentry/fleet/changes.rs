//! How a change reaches every gateway: in order, whoever makes it, and from a copy that is older.

use std::thread;
use std::time::Duration;

use portcullis::clock::{Clock as _, SystemClock};
use sha2::{Digest as _, Sha256};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _};
use tokio::runtime::Runtime;

use super::backup::copy;
use super::{all_answer, disabled, unknown};
use crate::database::{Server, runtime};
use crate::gate::Gate;
use crate::outage::{ask, fine};
use crate::revocation::are_short;
use crate::tokens::{Tokens, create, told};

/// A session of an operator's, with a transaction of its own.
struct Session(Runtime, PgConnection);

impl Session {
    fn open(tokens: &Tokens) -> Self {
        let runtime = runtime();
        let url = tokens.database.server.url(&tokens.database.name);
        let connection = runtime.block_on(PgConnection::connect(&url)).unwrap();
        Self(runtime, connection)
    }

    fn run(&mut self, sql: &str) {
        let query = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        self.0.block_on(query.execute(&mut self.1)).unwrap();
    }
}

fn revocation(id: &str) -> String {
    format!(
        "UPDATE token SET revoked_at = extract(epoch FROM clock_timestamp())::bigint * 1000 WHERE id = '{id}'"
    )
}

#[test]
fn who_took_a_revision_first_is_seen_first() {
    let tokens = Tokens::new();
    let gate = Gate::with_stores(&tokens.listening(), "");
    let [first, second] = ["first", "second"].map(|name| create(&gate, name));
    for made in [&first, &second] {
        all_answer(&[&gate], &made.secret, &fine());
    }
    let mut early = Session::open(&tokens);
    early.run("BEGIN");
    early.run(&revocation(&first.id));
    let waiting = "SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    thread::scope(|scope| {
        let late = scope.spawn(|| Session::open(&tokens).run(&revocation(&second.id)));
        // It waits, rather than be committed first with the later revision.
        gate.wait_until(|| tokens.database.value(waiting) == "1");
        assert!(!late.is_finished());
        // Another change is seen meanwhile by nobody, and look-ups go on.
        for made in [&first, &second] {
            gate.wait_until(|| ask(&gate, &made.secret) == fine());
        }
        early.run("COMMIT");
        late.join().unwrap();
    });
    for made in [&first, &second] {
        all_answer(&[&gate], &made.secret, &disabled());
    }
    // A revision that was taken back leaves a gap, which is no matter.
    let third = create(&gate, "third");
    all_answer(&[&gate], &third.secret, &fine());
    early.run("BEGIN");
    early.run("UPDATE token SET name = 'x' WHERE name = 'third'");
    early.run("ROLLBACK");
    early.run(&revocation(&third.id));
    all_answer(&[&gate], &third.secret, &disabled());
}

/// The log is cut at its end, and who was away for longer than it goes back forgets everything.
#[test]
fn the_log_does_not_grow_without_end() {
    let tokens = Tokens::new();
    let gate = Gate::with_stores(&tokens.listening(), "cache.ttl = \"1h\"");
    let made = create(&gate, "made");
    all_answer(&[&gate], &made.secret, &fine());
    // In one transaction, so that nobody keeps up with it.
    tokens.database.run(
        "BEGIN;
         UPDATE token SET revoked_at = created_at;
         INSERT INTO token (id, kind, name, digest, fingerprint, scopes, allowed_origins, created_at)
             SELECT id, 'bearer', id, sha256(id::bytea), '', '', '[]', 0
             FROM (SELECT generate_series(1, 11500)::text) AS of (id);
         COMMIT",
    );
    all_answer(&[&gate], &made.secret, &disabled());
    let kept = "SELECT (min(revision) > 1000 AND count(*) < 11500)::text FROM change";
    assert_eq!(tokens.database.value(kept), "true");
}

/// Of gateways, commands and whoever has a shell, nobody waits for another in a circle for good.
#[test]
fn a_transaction_that_is_left_open_stops_writers_and_nobody_else() {
    let tokens = Tokens::new();
    let gate = Gate::with_stores(&tokens.store(), "");
    let [one, two] = ["one", "two"].map(|name| create(&gate, name));
    let mut idle = Session::open(&tokens);
    idle.run("BEGIN");
    idle.run("UPDATE token SET name = 'another' WHERE name = 'one'");
    let refused = told(&gate.portcullis(&["token", "revoke", "two"]), 2);
    assert!(refused.contains("another transaction is in the way"), "{refused}");
    for made in [&one, &two] {
        all_answer(&[&gate], &made.secret, &fine());
    }
    // A start and what only reads wait for nobody.
    let other = Gate::with_stores(&tokens.store(), "");
    all_answer(&[&other], &two.secret, &fine());
    for words in [&["check"][..], &["token", "list"], &["block", "list"]] {
        assert_eq!(told(&other.portcullis(words), 0), "", "{words:?}");
    }
    idle.run("ROLLBACK");
    let revoked = told(&gate.portcullis(&["token", "revoke", "two"]), 0);
    assert!(revoked.contains("is revoked"), "{revoked}");
    all_answer(&[&gate, &other], &two.secret, &disabled());
}

#[test]
fn a_change_by_hand_is_seen_at_once() {
    let tokens = Tokens::new();
    let gate =
        Gate::with_stores(&tokens.listening(), "cache.ttl = \"1h\"\ncache.unknown_ttl = \"1h\"");
    let by_hand = "by-hand-and-known-to-nobody-else";
    let hash: String = Sha256::digest(by_hand).iter().map(|byte| format!("{byte:02x}")).collect();
    let insert = format!(
        "INSERT INTO token (id, kind, name, digest, fingerprint, scopes, allowed_origins, created_at)
         VALUES ('tok_by_hand', 'bearer', 'by hand', '\\x{hash}', '{}', 'project:read', '[]', 0)",
        &hash[..8]
    );
    let block = format!("INSERT INTO block VALUES ('{}', '', 0)", &hash[..8]);
    let lacking = (403, "missing_scope".to_owned());
    let expired = (401, "expired_token".to_owned());
    let rows = [
        ("SELECT", unknown()),
        (&insert, fine()),
        ("UPDATE token SET scopes = 'event:read'", lacking),
        ("UPDATE token SET scopes = 'project:read', expires_at = 1", expired),
        ("UPDATE token SET expires_at = NULL", fine()),
        (&block, disabled()),
        ("UPDATE block SET fingerprint = '00000000'", fine()),
        (&block, disabled()),
        ("DELETE FROM block", fine()),
        (&block, disabled()),
        ("TRUNCATE block", fine()),
        ("DELETE FROM token", unknown()),
        (&insert, fine()),
        ("UPDATE token SET revoked_at = 1", disabled()),
        ("UPDATE token SET revoked_at = NULL", fine()),
        ("TRUNCATE change", fine()),
        ("TRUNCATE token", unknown()),
        ("BEGIN; LOCK TABLE token; SELECT; COMMIT", unknown()),
        (&insert, fine()),
        // Of another name, and back.
        ("UPDATE token SET digest = sha256('x')", unknown()),
    ];
    for (sql, wanted) in &rows {
        tokens.database.run(sql);
        gate.wait_until(|| ask(&gate, by_hand) == *wanted);
    }
    for nonsense in [
        "INSERT INTO block VALUES ('0BADF00D', '', 0)",
        "INSERT INTO block VALUES ('0badf00', '', 0)",
        "INSERT INTO block VALUES ('0badf00d ', '', 0)",
        "INSERT INTO block VALUES ('nonsense', '', 0)",
        "INSERT INTO block VALUES ('0badf00d', '', -1)",
    ] {
        let refused = tokens.database.try_run(nonsense).unwrap_err().to_string();
        assert!(refused.contains("violates check constraint"), "{nonsense}: {refused}");
    }
}

/// A list that was made unreadable all the same holds up no revocation, and lets nobody in.
#[test]
fn a_block_list_that_can_not_be_read_holds_up_no_revocation() {
    let tokens = Tokens::new();
    let gate = Gate::with_stores(&tokens.listening(), "");
    let [blocked, revoked] = ["blocked", "revoked"].map(|name| create(&gate, name));
    told(&gate.portcullis(&["block", "add", &blocked.fingerprint]), 0);
    all_answer(&[&gate], &blocked.secret, &disabled());
    all_answer(&[&gate], &revoked.secret, &fine());
    tokens.database.run(
        "ALTER TABLE block DROP CONSTRAINT block_fingerprint_check;
         UPDATE block SET fingerprint = 'nonsense'",
    );
    let up = "portcullis_store_up{store=\"portcullis\"}";
    gate.wait_until(|| gate.metric(up) == Some(0.0));
    assert!(gate.messages().contains("the block list has `nonsense`, which is no fingerprint"));
    assert_eq!(ask(&gate, &blocked.secret), disabled());
    tokens.database.run(&revocation(&revoked.id));
    all_answer(&[&gate], &revoked.secret, &disabled());
    let said = told(&gate.portcullis(&["serve"]), 2);
    assert!(said.contains("the block list of `portcullis` can't be read"), "{said}");
    tokens.database.run("DELETE FROM block");
    all_answer(&[&gate], &blocked.secret, &fine());
    gate.wait_until(|| gate.metric(up) == Some(1.0));
}

/// How often the log of changes was looked at.
fn looks(server: &Server) -> usize {
    server.log().matches("execute <unnamed>: SELECT coalesce((SELECT min(revision)").count()
}

#[test]
fn a_revocation_takes_less_than_a_second() {
    let tokens = Tokens::new();
    let gate = Gate::with_stores(&tokens.listening(), "");
    are_short(
        &gate,
        (0..12).map(|number| {
            let gate = &gate;
            move || {
                let made = create(gate, &format!("revoked-{number}"));
                all_answer(&[gate], &made.secret, &fine());
                told(&gate.portcullis(&["token", "revoke", &made.id]), 0);
                all_answer(&[gate], &made.secret, &disabled());
            }
        }),
    );
}

/// A gateway that only polls looks once a second; one that listens, when there is something to see.
#[test]
fn a_notification_is_answered_by_a_look() {
    let tokens = Tokens::on(Server::own());
    let server = tokens.database.server;
    let gate = Gate::with_stores(&tokens.listening(), "");
    let listens = "SELECT count(*)::text FROM pg_stat_activity WHERE query IN ('LISTEN \"portcullis_change\"', 'SELECT 1')";
    gate.wait_until(|| tokens.database.value(listens) == "1");
    // On a machine that is busy a window may be too slow to tell.
    let told = (0..20).any(|_| {
        let (began, before) = (SystemClock.instant(), looks(server));
        for _ in 0..10 {
            let seen = looks(server);
            tokens.database.run("NOTIFY portcullis_change");
            gate.wait_until(|| looks(server) > seen);
        }
        let by_polling = SystemClock.instant().duration_since(began).as_secs() as usize + 2;
        looks(server) - before > by_polling
    });
    assert!(told, "{}", gate.messages());
    server.stop();
}

/// The server fails over to a copy that lacks the last changes: whatever was known is asked again.
#[test]
fn an_older_copy_makes_everything_forgotten() {
    // With as many other changes since as the gateway saw, and with fewer.
    for others in [true, false] {
        let tokens = Tokens::new();
        let server = tokens.database.server;
        let gate = Gate::with_stores(
            &tokens.listening(),
            "cache.ttl = \"1h\"\ncache.unknown_ttl = \"1h\"",
        );
        let [revoked, blocked] = ["revoked", "blocked"].map(|name| create(&gate, name));
        let older = copy(&tokens);
        let lost = create(&gate, "lost");
        told(&gate.portcullis(&["token", "revoke", "revoked"]), 0);
        told(&gate.portcullis(&["block", "add", &blocked.fingerprint]), 0);
        all_answer(&[&gate], &lost.secret, &fine());
        all_answer(&[&gate], &revoked.secret, &disabled());
        all_answer(&[&gate], &blocked.secret, &disabled());
        let revision = "SELECT max(revision)::text FROM change";
        let seen = tokens.database.value(revision);
        if others {
            for name in ["1", "2", "3"] {
                older
                    .database
                    .run(&format!("UPDATE token SET name = '{name}' WHERE name <> 'blocked'"));
            }
            assert_eq!(older.database.value(revision), seen);
        }
        let (name, older) = (tokens.database.name.clone(), older.database.name.clone());
        drop(tokens);
        for sql in [
            format!("ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false"),
            format!("ALTER DATABASE {older} WITH ALLOW_CONNECTIONS false"),
            format!(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname IN ('{name}', '{older}')"
            ),
        ] {
            server.try_run("postgres", &sql).unwrap();
        }
        let rename = format!("ALTER DATABASE {name} RENAME TO {name}_gone");
        // Until the sessions have ended.
        gate.wait_until(|| server.try_run("postgres", &rename).is_ok());
        let rename = format!("ALTER DATABASE {older} RENAME TO {name}");
        gate.wait_until(|| server.try_run("postgres", &rename).is_ok());
        thread::sleep(Duration::from_millis(100));
        server
            .try_run("postgres", &format!("ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true"))
            .unwrap();
        all_answer(&[&gate], &lost.secret, &unknown());
        all_answer(&[&gate], &revoked.secret, &fine());
        all_answer(&[&gate], &blocked.secret, &fine());
    }
}
