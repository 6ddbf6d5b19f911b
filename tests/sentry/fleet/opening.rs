//! How the tables come to be, and what is refused and left alone.

use std::path::{Path, PathBuf};
use std::thread;

use portcullis::store::TokenStore as _;
use portcullis::store::portcullis::PortcullisStore;
use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection};

use super::{all_answer, disabled};
use crate::database::{PASSWORD, runtime};
use crate::gate::Gate;
use crate::outage::{ask, fine};
use crate::pooler::Pooler;
use crate::tokens::{Tokens, command, create, printed, revoke, told};

/// What leaves a store as the first version of it was.
const FIRST: &str = "DROP TABLE block; DELETE FROM _sqlx_migrations WHERE version = 2;";
const FUNCTION: &str = "DROP FUNCTION block_changed();";

const CREATE: [&str; 7] =
    ["token", "create", "--name", "new", "--scope", "project:read", "--no-expiry"];

/// What a version of the program that is not known here did.
fn future(description: &str) -> String {
    format!(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (1000, '{description}', TRUE, '', 0)"
    )
}

fn sqlite(path: &Path, sql: &str) {
    runtime().block_on(async {
        let url = format!("sqlite://{}?mode=rwc", path.display());
        let mut connection = SqliteConnection::connect(&url).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    });
}

/// A file for tokens, and its `[[store]]`.
fn file() -> (tempfile::TempDir, PathBuf, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.db");
    let store =
        format!("[[store]]\nkind = \"portcullis\"\nurl = \"sqlite://{}\"\n", path.display());
    (folder, path, store)
}

#[test]
fn many_open_an_empty_database_at_once() {
    for round in 0..3 {
        let tokens = Tokens::new();
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    runtime().block_on(async {
                        let address = tokens.address();
                        let locate = Box::new(move || Some(address.clone()));
                        let store = PortcullisStore::at(tokens.address(), 2, locate);
                        // A busy machine may let one wait for too long.
                        let mut tries = 0;
                        while let Err(error) = store.prepare().await {
                            tries += 1;
                            assert!(tries < 10, "{round}: {error}");
                        }
                        assert!(store.list().await.unwrap().0.is_empty());
                        store.close().await;
                    });
                });
            }
        });
        let steps = "SELECT string_agg(version::text, ' ' ORDER BY version) FROM _sqlx_migrations";
        assert_eq!(tokens.database.value(steps), "1 2 3 4");
    }
    let tokens = Tokens::new();
    thread::scope(|scope| {
        for number in 0..8 {
            let store = tokens.store();
            scope.spawn(move || {
                let name = format!("of {number}");
                let mut words = CREATE;
                words[3] = &name;
                printed(&command(&store, &words), 0);
            });
        }
    });
    let store = tokens.store();
    assert_eq!(printed(&command(&store, &["token", "list"]), 0).lines().count(), 8);
}

/// An old store, and what a start makes of it.
fn upgrade(store: &str, make_old: &dyn Fn()) {
    let secret = printed(&command(store, &CREATE), 0).trim().to_owned();
    make_old();
    command(store, &["check"]);
    let gate = Gate::with_stores(store, "");
    assert_eq!(printed(&gate.portcullis(&["block", "list"]), 0), "");
    gate.wait_until(|| ask(&gate, &secret) == fine());
    let shown = printed(&gate.portcullis(&["token", "show", "new"]), 0);
    let fingerprint = shown.split("\"fingerprint\":\"").nth(1).unwrap().split('"').next().unwrap();
    told(&gate.portcullis(&["block", "add", fingerprint]), 0);
    all_answer(&[&gate], &secret, &disabled());
}

#[test]
fn an_old_store_is_brought_up_to_date_with_its_tokens() {
    let tokens = Tokens::new();
    let store = tokens.store();
    upgrade(&store, &|| {
        tokens.database.run(&format!("{FIRST} {FUNCTION}"));
        let before = tokens.objects();
        let checked = told(&command(&store, &["check"]), 0);
        assert!(checked.contains("a start of the gateway brings them up to date"), "{checked}");
        let explain = ["explain", "--token-stdin", "GET", "/api/0/projects/"];
        let explained = told(&command(&store, &explain), 2);
        assert!(explained.contains("a start of the gateway brings"), "{explained}");
        assert_eq!(tokens.objects(), before);
    });
    let (_folder, path, store) = file();
    upgrade(&store, &|| sqlite(&path, FIRST));
}

#[test]
fn an_upgrade_goes_through_a_pooler() {
    let tokens = Tokens::new();
    let pooler = Pooler::start(tokens.database.server, &tokens.role);
    let store = pooler.through(tokens.database.server, &tokens.store());
    for round in 0..3 {
        let name = format!("of {round}");
        let mut words = CREATE;
        words[3] = &name;
        printed(&command(&store, &words), 0);
        tokens.database.run(&format!("{FIRST} {FUNCTION}"));
    }
    assert_eq!(printed(&command(&store, &["token", "list"]), 0).lines().count(), 3);
}

#[test]
fn a_newer_store_is_used_if_what_is_newer_is_additive() {
    let tokens = Tokens::new();
    let (_folder, path, file) = file();
    let run = |sql: &str| {
        tokens.database.run(sql);
        sqlite(&path, sql);
    };
    let stores = [tokens.store(), file.clone()];
    for store in &stores {
        printed(&command(store, &CREATE), 0);
    }
    run(&future("labels (additive)"));
    run("ALTER TABLE token ADD COLUMN label text");
    for store in &stores {
        assert_eq!(told(&command(store, &["check"]), 0), "");
        let gate = Gate::with_stores(store, "");
        let made = create(&gate, "another");
        all_answer(&[&gate], &made.secret, &fine());
        revoke(&gate, "another");
        all_answer(&[&gate], &made.secret, &disabled());
    }
    run("DELETE FROM _sqlx_migrations WHERE version = 1000");
    run(&future("other tokens"));
    for store in &stores {
        for (words, code) in
            [(&["check"][..], 1), (&["serve"], 2), (&["token", "list"], 2), (&CREATE, 2)]
        {
            let told = told(&command(store, words), code);
            assert!(told.contains("has schema version 1000"), "{words:?}: {told}");
        }
    }
}

#[test]
fn a_database_of_something_else_is_refused_and_left_alone() {
    let notes = "CREATE TABLE _sqlx_migrations (version bigint PRIMARY KEY, description text NOT NULL,
        installed_on timestamptz NOT NULL DEFAULT now(), success boolean NOT NULL, checksum bytea NOT NULL,
        execution_time bigint NOT NULL);";
    let theirs = format!(
        "{notes} CREATE TABLE token (id text); INSERT INTO _sqlx_migrations
         VALUES (1, 'users', now(), true, '', 1), (2, 'token', now(), true, '', 1)"
    );
    for sql in [
        "CREATE TABLE token (id text)",
        notes,
        &theirs,
        "CREATE TABLE parts (id int) PARTITION BY RANGE (id)",
        include_str!("../schema.sql"),
    ] {
        let tokens = Tokens::new();
        tokens.database.run(sql);
        tokens
            .database
            .run(&format!("GRANT ALL ON ALL TABLES IN SCHEMA public TO {}", tokens.role));
        let before = tokens.objects();
        for (words, code) in
            [(&["check"][..], 1), (&["serve"], 2), (&["token", "list"], 2), (&CREATE, 2)]
        {
            let told = told(&command(&tokens.store(), words), code);
            assert!(told.contains("has tables of something else"), "{words:?}: {told}");
        }
        assert_eq!(tokens.objects(), before, "{sql}");
    }
}

#[test]
fn a_store_that_was_changed_by_another_hand_is_refused() {
    let tokens = Tokens::new();
    printed(&command(&tokens.store(), &CREATE), 0);
    tokens.database.run("UPDATE _sqlx_migrations SET checksum = '' WHERE version = 2");
    let told = told(&command(&tokens.store(), &["check"]), 1);
    assert!(told.contains("migration 2 was previously applied but has been modified"), "{told}");
}

/// A role that may read and write rows is enough, once the tables are there.
#[test]
fn a_role_that_makes_no_tables_can_serve_and_write() {
    let tokens = Tokens::new();
    let role = format!("{}_writer", tokens.role);
    tokens.database.run(&format!("CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'"));
    let store = tokens.store_of(&role);
    for (words, code) in [(&["check"][..], 1), (&["serve"], 2), (&CREATE, 2)] {
        let told = told(&command(&store, words), code);
        assert!(told.contains("grant it CREATE on the schema, or start"), "{words:?}: {told}");
    }
    assert_eq!(tokens.objects(), "0");
    printed(&command(&tokens.store(), &CREATE), 0);
    let grants = |rights: &str| {
        tokens.database.run(&format!(
            "REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {role};
             GRANT SELECT ON _sqlx_migrations TO {role};
             GRANT {rights} ON token, block TO {role}"
        ));
    };
    // What it lacks is named at the start, before anybody is refused for it.
    for (rights, named) in [
        ("INSERT", "permission denied for table"),
        ("INSERT, UPDATE, DELETE", "permission denied for table"),
    ] {
        grants(rights);
        for (words, code) in [(&["check"][..], 1), (&["serve"], 2)] {
            let told = told(&command(&store, words), code);
            assert!(told.contains(named), "{rights}: {told}");
        }
    }
    grants("SELECT, INSERT, UPDATE, DELETE");
    // Of the log of changes it reads alone.
    tokens.database.run(&format!("GRANT SELECT ON change TO {role}"));
    assert_eq!(told(&command(&store, &["check"]), 0), "");
    let gate =
        Gate::with_stores(&format!("{store}listen_url = \"{}\"\n", tokens.url_of(&role)), "");
    let made = create(&gate, "another");
    all_answer(&[&gate], &made.secret, &fine());
    told(&gate.portcullis(&["block", "add", &made.fingerprint]), 0);
    all_answer(&[&gate], &made.secret, &disabled());
    told(&gate.portcullis(&["block", "remove", &made.fingerprint]), 0);
    all_answer(&[&gate], &made.secret, &fine());
    revoke(&gate, "another");
    all_answer(&[&gate], &made.secret, &disabled());
    let used = "SELECT count(*)::text FROM token WHERE last_used_at IS NOT NULL";
    gate.wait_until(|| tokens.database.value(used) == "1");
    // Who may only read can't take anything away, and hears of it.
    let as_role = |sql: &str| tokens.database.try_run(&format!("SET ROLE {role}; {sql}"));
    for sql in ["DELETE FROM change", "SELECT note_change('', 1)", "TRUNCATE token"] {
        let refused = as_role(sql).unwrap_err().to_string();
        assert!(refused.contains("permission denied"), "{sql}: {refused}");
    }
    tokens.database.run(&format!("REVOKE INSERT, UPDATE, DELETE ON token, block FROM {role}"));
    let refused = told(&gate.portcullis(&["token", "revoke", "new"]), 2);
    assert!(refused.contains("permission denied for table token"), "{refused}");
}

/// The tables may be in a schema of their own, whatever it is called and whatever path a role has.
#[test]
fn a_schema_of_its_own_is_found_whatever_its_name() {
    let tokens = Tokens::new();
    let (role, database) = (&tokens.role, &tokens.database);
    let writer = format!("{role}_writer");
    database.run(&format!(
        "CREATE SCHEMA \"{role}\" AUTHORIZATION {role};
         CREATE SCHEMA \"Odd, 'one\"; CREATE TABLE public.of_something_else (id int)"
    ));
    printed(&command(&tokens.store(), &CREATE), 0);
    database.run(&format!(
        "CREATE ROLE {writer} LOGIN PASSWORD '{PASSWORD}';
         ALTER ROLE {writer} SET search_path = '{role}';
         GRANT USAGE ON SCHEMA \"{role}\" TO {writer};
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA \"{role}\" TO {writer}"
    ));
    // The triggers find their tables by the path of whoever made them.
    let mut words = CREATE;
    words[3] = "of the writer";
    printed(&command(&tokens.store_of(&writer), &words), 0);
    told(&command(&tokens.store_of(&writer), &["token", "revoke", "new"]), 0);
    assert_eq!(database.value(&format!("SELECT max(revision)::text FROM \"{role}\".change")), "3");

    let odd = format!("{role}_odd");
    database.run(&format!(
        "CREATE ROLE {odd} LOGIN PASSWORD '{PASSWORD}';
         ALTER ROLE {odd} SET search_path = \"Odd, 'one\";
         GRANT ALL ON SCHEMA \"Odd, 'one\" TO {odd}"
    ));
    for name in ["one", "two"] {
        words[3] = name;
        printed(&command(&tokens.store_of(&odd), &words), 0);
    }
    assert_eq!(printed(&command(&tokens.store_of(&odd), &["token", "list"]), 0).lines().count(), 2);
    database.run("CREATE TABLE \"Odd, 'one\".more (id int); DROP TABLE \"Odd, 'one\".token");
    let told = told(&command(&tokens.store_of(&odd), &["check"]), 1);
    assert!(told.contains("has tables of something else"), "{told}");
}
