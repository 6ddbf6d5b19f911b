//! Whatever is wrong with Sentry's database at a start: `check` and `serve` say it, and a gateway that may
//! start without it serves as soon as it is mended.

use std::thread;

use crate::database::{Database, PASSWORD, Server};
use crate::gate::{Gate, config, folder, portcullis};
use crate::outage::{ask, fine, unavailable, with_role};
use crate::pooler::Pooler;

/// What is wrong, what mends it, and what is said of it.
struct Case<'a> {
    broken: &'a dyn Fn(),
    mended: &'a dyn Fn(),
    told: &'a str,
}

/// Breaks what this store asks, and has it mended under a gateway that waits for it.
fn stage(what: &str, store: &str, case: &Case<'_>) {
    (case.broken)();
    let upstream = std::net::SocketAddr::from(([127, 0, 0, 1], 9));
    let needed = folder(&config(upstream, "", store));
    let path = needed.path().join("portcullis.toml");
    thread::scope(|scope| {
        let commands = [("check", 1), ("serve", 2)].map(|(command, code)| {
            let path = path.clone();
            (command, code, scope.spawn(move || portcullis(&[command], path)))
        });
        for (command, code, output) in commands {
            let output = output.join().unwrap();
            assert_eq!(output.status.code(), Some(code), "{what}: {command}: {output:?}");
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(said.contains(case.told), "{what}: {command}: {said}");
            assert!(!said.contains(PASSWORD), "{what}: {command}: {said}");
        }
    });
    let gate = Gate::starting(&format!("{store}required_at_start = false\n"), "");
    let ready = || gate.admin("/readyz").map(|reply| reply.status);
    let up = || gate.metric("portcullis_store_up{store=\"sentry\"}");
    assert_eq!((ready(), up()), (Some(503), Some(0.0)), "{what}");
    assert_eq!(ask(&gate, "userall"), unavailable(), "{what}");
    gate.wait_until(|| gate.messages().contains("the token store can't be asked yet"));
    (case.mended)();
    gate.wait_until(|| ready() == Some(200));
    gate.wait_until(|| ask(&gate, "userall") == fine());
    gate.wait_until(|| ask(&gate, "nobody") == (401, "unknown_token".to_owned()));
    assert_eq!(up(), Some(1.0), "{what}");
    assert!(gate.messages().contains("the token store can be asked"), "{what}");
}

#[test]
fn whatever_is_wrong_at_a_start_is_told_and_mended_without_another() {
    let database = Database::recorded();
    let store = with_role(&database, "starts");
    let sql = |text: &'static str| {
        let database = &database;
        move || database.run(text)
    };
    let again = || database.set_up();
    let rows = [
        (
            "no schema of the gateway's",
            "DROP SCHEMA portcullis CASCADE",
            None,
            "run deploy/postgres/sentry-store.sql there",
        ),
        (
            "no table",
            "ALTER TABLE sentry_apitoken RENAME TO elsewhere",
            Some("ALTER TABLE elsewhere RENAME TO sentry_apitoken"),
            "relation \"public.sentry_apitoken\" does not exist",
        ),
        (
            "no column",
            "ALTER TABLE sentry_apitoken RENAME COLUMN hashed_token TO hash",
            Some("ALTER TABLE sentry_apitoken RENAME COLUMN hash TO hashed_token"),
            "hashed_token does not exist",
        ),
        (
            "a slow database",
            "BEGIN; LOCK TABLE sentry_apitoken IN ACCESS EXCLUSIVE MODE",
            Some("ROLLBACK"),
            "Sentry's database can't be reached",
        ),
        (
            "no connection to spare",
            "ALTER ROLE starts CONNECTION LIMIT 0",
            Some("ALTER ROLE starts CONNECTION LIMIT -1"),
            "Sentry's database can't be reached",
        ),
        (
            "another password",
            "ALTER ROLE starts PASSWORD 'another'",
            Some("ALTER ROLE starts PASSWORD 'password-of-the-gateway'"),
            "Sentry's database can't be reached",
        ),
    ];
    for (what, broken, mended, told) in rows {
        let mended: Box<dyn Fn()> = match mended {
            Some(text) => Box::new(sql(text)),
            None => Box::new(again),
        };
        stage(what, &store, &Case { broken: &sql(broken), mended: &*mended, told });
    }
}

#[test]
fn a_pooler_whose_server_is_down_is_told_and_waited_for() {
    let server = Server::own();
    let database = Database::recorded_on(server);
    let pooler = Pooler::start(server, "portcullis");
    let store = pooler.through(server, &database.store());
    let case = Case {
        broken: &|| server.down(),
        mended: &|| server.up(),
        told: "Sentry's database can't be reached",
    };
    stage("a pooler alone", &store, &case);
    server.stop();
}
