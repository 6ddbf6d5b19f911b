//! What `portcullis doctor` says of the role that a gateway asks Sentry's database with.

use serde_json::Value;

use crate::database::{Database, NOTIFY, PASSWORD, Server};
use crate::gate::{config, folder, portcullis};
use crate::upstream::Upstream;

/// The checks of a pair of which nothing runs but the database.
fn ask(store: &str) -> Vec<Value> {
    let upstream = Upstream::start();
    let config = config(upstream.address, "", store);
    let credential = "credential = ";
    let config = config.replacen(credential, &format!("idle_timeout = \"100ms\"\n{credential}"), 1);
    let folder = folder(&config.replace(crate::gate::HOST, "127.0.0.1:1"));
    let output = portcullis(&["doctor", "--json"], folder.path().join("portcullis.toml"));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains(PASSWORD), "{text}");
    assert_eq!(output.status.code(), Some(1), "{text}");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn check<'a>(checks: &'a [Value], name: &str) -> &'a Value {
    checks.iter().find(|check| check["check"] == name).unwrap_or_else(|| panic!("{checks:#?}"))
}

fn text<'a>(check: &'a Value, key: &str) -> &'a str {
    check[key].as_str().unwrap_or_default()
}

/// The names of the checks that are problems, but for the one that is asked of here.
fn others(checks: &[Value]) -> Vec<&str> {
    let wrong = |check: &&Value| check["verdict"] == "problem" && check["check"] != "grants.sentry";
    checks.iter().filter(wrong).map(|check| text(check, "check")).collect()
}

/// Each row is told, alone: what is said to mend the one before it did.
#[test]
fn what_the_role_has_too_much_is_told_and_mended() {
    let database = Database::recorded_on(Server::own());
    database.run(NOTIFY);
    database.run("CREATE ROLE readers; GRANT SELECT ON sentry_apikey TO readers");
    let healthy = ask(&database.store());
    assert_eq!(check(&healthy, "grants.sentry")["verdict"], "ok", "{healthy:#?}");
    assert_eq!(check(&healthy, "clock.sentry")["verdict"], "ok", "{healthy:#?}");
    // (what the owner did, what is told, what is to be run)
    let rows = [
        ("ALTER ROLE portcullis SUPERUSER", "a superuser", "ALTER ROLE portcullis NOSUPERUSER"),
        ("ALTER ROLE portcullis BYPASSRLS", "row security", "NOBYPASSRLS"),
        ("ALTER ROLE portcullis CREATEROLE", "makes roles", "NOCREATEROLE"),
        ("ALTER ROLE portcullis CREATEDB", "makes databases", "NOCREATEDB"),
        ("ALTER ROLE portcullis REPLICATION", "replicate", "NOREPLICATION"),
        (
            "GRANT readers TO portcullis",
            "it is a member of readers",
            "REVOKE readers FROM portcullis",
        ),
        (
            "GRANT pg_read_all_data TO portcullis",
            "it is a member of pg_read_all_data",
            "REVOKE pg_read_all_data FROM portcullis",
        ),
        (
            "GRANT SELECT ON sentry_apitoken TO portcullis",
            "it may SELECT sentry_apitoken",
            "REVOKE SELECT ON sentry_apitoken FROM portcullis",
        ),
        (
            "GRANT SELECT (token) ON sentry_apitoken TO portcullis",
            "it may SELECT the column token of sentry_apitoken",
            "REVOKE SELECT (token) ON sentry_apitoken FROM portcullis",
        ),
        (
            "GRANT UPDATE ON sentry_apitoken TO PUBLIC",
            "every role may UPDATE sentry_apitoken",
            "REVOKE UPDATE ON sentry_apitoken FROM PUBLIC",
        ),
        (
            "GRANT SELECT ON ALL TABLES IN SCHEMA public TO portcullis",
            "tables of the schema public",
            "REVOKE ALL ON ALL TABLES IN SCHEMA public FROM portcullis",
        ),
        (
            "GRANT CREATE ON SCHEMA public TO PUBLIC",
            "every role may create objects in the schema public",
            "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
        ),
        (
            "DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO portcullis', current_database()); END $$",
            "may create schemas",
            "REVOKE CREATE ON DATABASE",
        ),
        (
            "CREATE FUNCTION peek() RETURNS text LANGUAGE sql SECURITY DEFINER \
             AS 'SELECT token FROM public.sentry_apitoken LIMIT 1'",
            "it may call peek(), which runs as its owner",
            "REVOKE EXECUTE ON FUNCTION peek() FROM PUBLIC, portcullis",
        ),
        (
            "DO $$ BEGIN EXECUTE format('ALTER ROLE portcullis IN DATABASE %I \
             SET default_transaction_read_only = off', current_database()); END $$",
            "it may write",
            "SET default_transaction_read_only = on",
        ),
    ];
    for (done, told, mends) in rows {
        database.run(done);
        let checks = ask(&database.store());
        let grants = check(&checks, "grants.sentry");
        assert_eq!(grants["verdict"], "problem", "{done}: {grants}");
        let (seen, fix) = (text(grants, "seen"), text(grants, "fix"));
        assert!(seen.contains(told) && !seen.contains(';'), "{done}: {seen}");
        assert!(fix.contains(mends), "{done}: {fix}");
        assert_eq!(others(&checks), others(&healthy), "{done}");
        database.run(fix);
    }
    let mended = ask(&database.store());
    assert_eq!(check(&mended, "grants.sentry")["verdict"], "ok", "{mended:#?}");
}

#[test]
fn triggers_that_are_missing_are_told_where_somebody_listens() {
    let database = Database::recorded();
    let quiet = database.store();
    let url = quiet.lines().find_map(|line| line.strip_prefix("url = ")).unwrap();
    let listening = format!("{quiet}listen_url = {url}\n");
    // What `check` says of it, which starts all the same.
    let note = |store: &str| {
        let folder = folder(&config(Upstream::start().address, "", store));
        let output = portcullis(&["check"], folder.path().join("portcullis.toml"));
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let told = |text: &str| text.contains("are not told");
    assert!(told(&note(&listening)) && note(&listening).contains("sentry-notify.sql"));
    assert!(!told(&note(&quiet)));
    database.run(NOTIFY);
    assert!(!told(&note(&listening)));
    let checks = ask(&listening);
    assert_eq!(check(&checks, "triggers.sentry")["verdict"], "ok", "{checks:#?}");
    assert!(ask(&quiet).iter().all(|check| check["check"] != "triggers.sentry"));
    for (broken, table) in [
        ("DROP TRIGGER portcullis_delete ON sentry_apikey", "sentry_apikey"),
        ("ALTER TABLE auth_user DISABLE TRIGGER portcullis_update", "auth_user"),
        ("DROP TRIGGER portcullis_insert ON sentry_sentryapp", "sentry_sentryapp"),
        ("DROP FUNCTION portcullis.tell_gateway() CASCADE", "sentry_organization"),
    ] {
        database.run(broken);
        let note = note(&listening);
        assert!(told(&note) && note.contains(&format!("`{table}`")), "{broken}: {note}");
        let checks = ask(&listening);
        let triggers = check(&checks, "triggers.sentry");
        assert_eq!(triggers["verdict"], "problem", "{broken}: {triggers}");
        assert!(text(triggers, "seen").contains(table), "{triggers}");
        assert!(text(triggers, "fix").contains("sentry-notify.sql"), "{triggers}");
        database.run("DROP FUNCTION IF EXISTS portcullis.tell_gateway() CASCADE");
        database.run(NOTIFY);
    }
}

#[test]
fn the_owner_of_the_tables_is_the_wrong_role() {
    let database = Database::recorded();
    // A URL with a password in it is a secret.
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), database.server.url(&database.name)).unwrap();
    let path = file.path().display();
    let checks = ask(&format!("[[store]]\nkind = \"sentry\"\nurl = {{ file = \"{path}\" }}\n"));
    let grants = check(&checks, "grants.sentry");
    assert!(text(grants, "seen").contains("it is a superuser"), "{grants}");
    assert!(text(grants, "seen").contains("it owns "), "{grants}");
    assert!(text(grants, "fix").contains("connect as another role"), "{grants}");
}

#[test]
fn a_database_that_is_not_there_is_told_once() {
    let store = "[[store]]\nkind = \"sentry\"\nurl = \"postgres://portcullis@127.0.0.1:1/sentry\"\npassword = { file = \"password\" }\n";
    let checks = ask(store);
    assert_eq!(check(&checks, "clock.sentry")["verdict"], "problem", "{checks:#?}");
    assert_eq!(check(&checks, "grants.sentry")["verdict"], "skipped", "{checks:#?}");
}

#[test]
fn a_database_whose_clock_is_off_is_told() {
    let database = Database::recorded();
    // The path is what the role finds names by: another clock before the server's own.
    database.run(
        "CREATE SCHEMA skewed; GRANT USAGE ON SCHEMA skewed TO portcullis;
         CREATE FUNCTION skewed.clock_timestamp() RETURNS timestamptz LANGUAGE sql
         AS $$SELECT pg_catalog.clock_timestamp() + interval '90 seconds'$$",
    );
    let path = |path: &str| {
        let name = &database.name;
        format!("ALTER ROLE portcullis IN DATABASE {name} SET search_path = {path}")
    };
    database.run(&path("pg_catalog, skewed, public"));
    let healthy = ask(&database.store());
    assert_eq!(check(&healthy, "clock.sentry")["verdict"], "ok", "{healthy:#?}");
    database.run(&path("skewed, pg_catalog, public"));
    let checks = ask(&database.store());
    let clock = check(&checks, "clock.sentry");
    assert_eq!(clock["verdict"], "problem", "{clock}");
    let seen = text(clock, "seen");
    let ahead = seen.strip_suffix(" s ahead of this machine: tokens expire early or late");
    assert!(
        ahead.is_some_and(|ahead| (88..=92).contains(&ahead.parse::<u32>().unwrap())),
        "{seen}"
    );
    assert!(text(clock, "fix").contains("NTP"), "{clock}");
    assert_eq!(check(&checks, "grants.sentry")["verdict"], "ok", "{checks:#?}");
}
