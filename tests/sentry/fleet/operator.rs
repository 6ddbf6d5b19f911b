//! What an operator gets wrong, and what a gateway then says and does.

use std::thread;

use super::backup::{dump, read_back};
use super::{all_answer, disabled, unknown};
use crate::database::PASSWORD;
use crate::gate::{Gate, config, folder, portcullis};
use crate::outage::{ask, fine, unavailable};
use crate::tokens::{Tokens, command, create, told};

const LIST: [&str; 2] = ["token", "list"];

#[test]
fn what_is_wrong_is_named_at_the_start() {
    let tokens = Tokens::new();
    let (database, role) = (&tokens.database, &tokens.role);
    database.run(&format!("CREATE ROLE {role}_wrong LOGIN PASSWORD 'another'"));
    let address = database.server.address.to_string();
    let store = tokens.store();
    let rows = [
        (tokens.store_of(&format!("{role}_wrong")), "password authentication failed for user"),
        (tokens.store_of("nobody_at_all"), "password authentication failed for user"),
        (store.replace(&format!("/{}\"", database.name), "/elsewhere\""), "does not exist"),
        (store.replace(&address, "127.0.0.1:1"), "Connection refused"),
        (store.replace(&address, "no-such-host.invalid"), "failed to lookup address information"),
    ];
    for (store, named) in rows {
        for (words, code) in [(&["check"][..], 1), (&["serve"], 2), (&LIST, 2)] {
            let said = told(&command(&store, words), code);
            let known = said.contains(named) || said.contains("timed out");
            assert!(known && said.contains("check its URL, its password"), "{words:?}: {said}");
            assert!(!said.contains(PASSWORD) && !said.contains("migrations"), "{said}");
        }
    }
    for (url, named) in [
        (format!("postgres://{role}:{PASSWORD}@{address}/x"), "holds a password"),
        (
            format!("postgres://{role}@{address}/x?options=-csearch_path%3Dx"),
            "has a parameter that",
        ),
        (format!("mysql://{role}@{address}/x"), "starts with `sqlite://`"),
    ] {
        let store = format!("[[store]]\nkind = \"portcullis\"\nurl = \"{url}\"\n");
        for (words, code) in [(&["check"][..], 1), (&LIST, 2)] {
            let said = told(&command(&store, words), code);
            assert!(said.contains(named) && !said.contains(PASSWORD), "{said}");
        }
    }
    let mut given = std::process::Command::new(env!("CARGO_BIN_EXE_portcullis"));
    let url = format!("postgres://{role}:{PASSWORD}@{address}/x");
    let said = told(&given.args(LIST).args(["--store", &url]).output().unwrap(), 2);
    assert!(said.contains("a PostgreSQL is named in a config"), "{said}");
    assert!(!said.contains(PASSWORD), "{said}");
}

/// The password is read again when the server refuses it, by whoever asks and by whoever listens.
#[test]
fn a_password_is_rotated_without_a_restart() {
    let tokens = Tokens::new();
    let store = format!("{}required_at_start = false\n", tokens.listening());
    let folder = folder(&config(([127, 0, 0, 1], 9).into(), "", &store));
    std::fs::write(folder.path().join("password"), "a-wrong-one").unwrap();
    let refused = portcullis(&["serve"], {
        let needed = config(([127, 0, 0, 1], 9).into(), "", &tokens.listening());
        std::fs::write(folder.path().join("needed.toml"), needed).unwrap();
        folder.path().join("needed.toml")
    });
    assert!(told(&refused, 2).contains("password authentication failed"), "{refused:?}");

    let gate = Gate::with_stores(&store, "");
    let made = create(&gate, "one");
    all_answer(&[&gate], &made.secret, &fine());
    let next = "the-next-password";
    tokens.database.run(&format!("ALTER ROLE {} PASSWORD '{next}'", tokens.role));
    tokens.cut();
    gate.wait_until(|| ask(&gate, "nobody") == unavailable());
    gate.wait_until(|| gate.messages().contains("notifications of revocations are not heard"));
    std::fs::write(gate.folder.path().join("password"), format!("{next}\n")).unwrap();
    gate.wait_until(|| ask(&gate, "another") == unknown());
    gate.wait_until(|| gate.messages().contains("notifications of revocations are heard again"));
    told(&gate.portcullis(&["token", "revoke", "one"]), 0);
    all_answer(&[&gate], &made.secret, &disabled());
    let messages = gate.messages();
    assert!(!messages.contains(next) && !messages.contains(PASSWORD), "{messages}");
}

/// A gateway makes tables when it starts, and never under its own feet.
#[test]
fn a_database_that_is_dropped_is_an_outage_until_it_is_restored() {
    let tokens = Tokens::new();
    let (server, name) = (tokens.database.server, tokens.database.name.clone());
    let gate = Gate::with_stores(&tokens.listening(), "cache.ttl = \"1s\"");
    let [known, fresh, _] = ["known", "fresh", "last"].map(|name| create(&gate, name));
    // Changes are taken in order, and until that of its creation was, a token is forgotten once more.
    told(&gate.portcullis(&["token", "revoke", "last"]), 0);
    let taken = "portcullis_revocation_lag_seconds_count";
    gate.wait_until(|| gate.metric(taken) == Some(1.0));
    all_answer(&[&gate], &known.secret, &fine());
    let backup = dump(&tokens);
    let run = |sql: &str| server.try_run("postgres", sql).unwrap();
    let away = |secret: &str| {
        gate.wait_until(|| ask(&gate, secret) == unavailable());
        for _ in 0..3 {
            assert_eq!(ask(&gate, secret), unavailable());
            assert_eq!(ask(&gate, &fresh.secret), unavailable());
            assert_eq!(ask(&gate, &known.secret), fine());
        }
    };
    run(&format!("DROP DATABASE {name} WITH (FORCE)"));
    away("dropped");
    run(&format!("CREATE DATABASE {name} OWNER {}", tokens.role));
    let up = "portcullis_store_up{store=\"portcullis\"}";
    let reached = format!(
        "DO $$ BEGIN ASSERT EXISTS (SELECT FROM pg_stat_activity WHERE usename = '{}'
         AND datname = '{name}'); END $$",
        tokens.role
    );
    gate.wait_until(|| {
        assert_eq!(ask(&gate, "empty"), unavailable());
        server.try_run("postgres", &reached).is_ok()
    });
    away("empty");
    assert_eq!(gate.metric(up), Some(0.0));
    let tables =
        "DO $$ BEGIN ASSERT NOT EXISTS (SELECT FROM pg_tables WHERE schemaname = 'public'); END $$";
    server.try_run(&name, tables).unwrap();
    read_back(&server.url(&name), &backup);
    gate.wait_until(|| ask(&gate, "restored") == unknown());
    all_answer(&[&gate], &fresh.secret, &fine());
    all_answer(&[&gate], &known.secret, &fine());
    gate.wait_until(|| gate.metric(up) == Some(1.0));
}

#[test]
fn two_stores_in_one_database_are_one() {
    let tokens = Tokens::new();
    let stores =
        format!("{}name = \"one\"\n{}name = \"two\"\n", tokens.listening(), tokens.store());
    let gate = Gate::with_stores(&stores, "");
    let made = create(&gate, "made");
    all_answer(&[&gate], &made.secret, &fine());
    told(&gate.portcullis(&["block", "add", &made.fingerprint]), 0);
    all_answer(&[&gate], &made.secret, &disabled());
    told(&gate.portcullis(&["block", "remove", &made.fingerprint]), 0);
    all_answer(&[&gate], &made.secret, &fine());
    told(&gate.portcullis(&["token", "revoke", "made"]), 0);
    all_answer(&[&gate], &made.secret, &disabled());
    for name in ["one", "two"] {
        let up = format!("portcullis_store_up{{store=\"{name}\"}}");
        assert_eq!(gate.metric(&up), Some(1.0), "{name}");
    }
}

#[test]
fn what_can_not_be_blocked_is_refused_without_repeating_it() {
    let tokens = Tokens::new();
    let store = tokens.store();
    let long = "f".repeat(100_000);
    for fingerprint in ["0badf00", "0badf00dd", "0badf00g", "", "+badf00d", &long] {
        for action in ["add", "remove"] {
            let said = told(&command(&store, &["block", action, fingerprint]), 2);
            assert!(said.contains("that is not a fingerprint"), "{said:.200}");
        }
    }
    // A new store would be one that no gateway reads.
    let said = told(&command(&store, &["block", "add", "0badf00d"]), 2);
    assert!(said.contains("no token store yet"), "{said}");
    let create = ["token", "create", "--name", "one", "--scope", "org:read", "--no-expiry"];
    told(&command(&store, &create), 0);
    let reason = "x".repeat(201);
    let said = told(&command(&store, &["block", "add", "0badf00d", "--reason", &reason]), 2);
    assert!(said.contains("longer than 200 characters"), "{said}");
    told(&command(&store, &["block", "add", "0BADF00D", "--reason", "it's; \u{1f980} $1"]), 0);
    told(&command(&store, &["block", "add", "0badf00d", "ffffffff"]), 0);
    let listed = command(&store, &["block", "list"]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert_eq!(listed.lines().count(), 2, "{listed}");
    assert!(listed.contains("it's; \u{1f980} $1") && listed.contains("\"0badf00d\""), "{listed}");
    // One that is missing does not keep the others on it.
    told(&command(&store, &["block", "remove", "00000000", "0badf00d", "FFFFFFFF"]), 1);
    assert_eq!(tokens.database.value("SELECT count(*)::text FROM block"), "0");
}

/// Gateways write down the same tokens at the same time, and get into nobody's way.
#[test]
fn uses_are_written_by_several_at_once() {
    let tokens = Tokens::new();
    let gates: Vec<_> = (0..3).map(|_| Gate::with_stores(&tokens.store(), "")).collect();
    let made: Vec<_> = (0..12).map(|number| create(&gates[0], &format!("of {number}"))).collect();
    let used = "SELECT count(*)::text FROM token WHERE last_used_at IS NOT NULL";
    for _ in 0..2 {
        tokens.database.run("UPDATE token SET last_used_at = NULL");
        let written = || tokens.database.value(used) == "12";
        thread::scope(|scope| {
            for gate in &gates {
                scope.spawn(|| {
                    gate.wait_until(|| {
                        for made in &made {
                            gate.wait_until(|| ask(gate, &made.secret) == fine());
                        }
                        written()
                    });
                });
            }
        });
    }
    for gate in &gates {
        let messages = gate.messages();
        assert!(!messages.contains("uses of tokens can't be written"), "{messages}");
        assert!(!messages.contains("deadlock"), "{messages}");
    }
}
