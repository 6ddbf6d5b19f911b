//! What Sentry's database tells the gateway when a credential was changed or taken away.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};
use sqlx::postgres::PgListener;
use tokio::runtime::Runtime;

use crate::database::{Database, NOTIFY, PASSWORD, Server, runtime};

/// Listens as the gateway does, with its role.
struct Listener<'a> {
    database: &'a Database,
    runtime: Runtime,
    listener: Option<PgListener>,
    /// Of each digest, the secret.
    secrets: BTreeMap<String, String>,
    since: u64,
}

/// The names of all secrets in the recorded rows.
const SECRETS: &str =
    "SELECT string_agg(secret, ' ') FROM (SELECT token FROM sentry_apitoken UNION ALL
     SELECT key FROM sentry_apikey UNION ALL SELECT public_key FROM sentry_projectkey) AS of (secret)";

fn digest(secret: &str) -> String {
    Sha256::digest(secret).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl<'a> Listener<'a> {
    fn start(database: &'a Database) -> Self {
        let runtime = runtime();
        let listener = runtime.block_on(async {
            let mut listener = PgListener::connect(&database.url(PASSWORD)).await.unwrap();
            listener.listen("portcullis_sentry").await.unwrap();
            Some(listener)
        });
        let known = database.value(SECRETS) + " sntrys_orgoatci sntrys_orgoatotherorg";
        let secrets = known.split(' ').map(|secret| (digest(secret), secret.to_owned())).collect();
        let since = now(database);
        Self { database, runtime, listener, secrets, since }
    }

    /// The secrets whose digests were told since the last time, or `all`.
    fn told(&mut self) -> BTreeSet<String> {
        // Transactions are told in the order of their commits: after this one nothing is under way.
        self.database.run("NOTIFY portcullis_sentry, 'end'");
        let mut told = BTreeSet::new();
        loop {
            let notification =
                self.runtime.block_on(self.listener.as_mut().unwrap().recv()).unwrap();
            let payload = notification.payload();
            if payload == "end" {
                self.since = now(self.database);
                return told;
            }
            let (what, millis) = payload.split_once(' ').unwrap();
            let millis: u64 = millis.parse().unwrap();
            assert!((self.since..=now(self.database)).contains(&millis), "{payload}");
            // So it is no secret either.
            let is_digest = what.len() == 64 && what.bytes().all(|byte| byte.is_ascii_hexdigit());
            assert!(what == "all" || is_digest, "{payload}");
            told.insert(self.secrets.get(what).map_or(what, |secret| secret).to_owned());
        }
    }
}

impl Drop for Listener<'_> {
    fn drop(&mut self) {
        // It spawns what ends its connection.
        let _inside = self.runtime.enter();
        drop(self.listener.take());
    }
}

fn now(database: &Database) -> u64 {
    let millis = "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint::text";
    database.value(millis).parse().unwrap()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn set_up() -> Database {
    let database = Database::recorded();
    database.run(NOTIFY);
    database
}

const BOB: &[&str] = &["userbobprojectread", "userboball", "userboborgread"];

/// A change, and the secrets that are told. Each starts with what the ones before it left.
const CHANGES: &[(&str, &[&str])] = &[
    // Tokens, with and without a hash.
    (
        "UPDATE sentry_apitoken SET scope_list = '{}' WHERE token = 'usereventread'",
        &["usereventread"],
    ),
    (
        "UPDATE sentry_apitoken SET expires_at = now() WHERE token IN ('userlegacynohashall', 'userall')",
        &["userlegacynohashall", "userall"],
    ),
    ("UPDATE sentry_apitoken SET user_id = 2 WHERE token = 'userteamread'", &["userteamread"]),
    ("UPDATE sentry_apitoken SET id = 77 WHERE token = 'userorgci'", &["userorgci"]),
    ("DELETE FROM sentry_apitoken WHERE token = 'userteamread'", &["userteamread"]),
    (
        "UPDATE sentry_apitoken SET token = 'next', hashed_token = encode(sha256('next'), 'hex') WHERE token = 'userclilike'",
        &["userclilike"],
    ),
    // Sentry adds a hash to a row when it is used.
    (
        "UPDATE sentry_apitoken SET hashed_token = encode(sha256(token::bytea), 'hex') WHERE hashed_token IS NULL",
        &[],
    ),
    ("UPDATE sentry_apitoken SET name = 'another', scopes = scopes", &[]),
    ("DELETE FROM sentry_apitoken WHERE id = 0", &[]),
    ("BEGIN; DELETE FROM sentry_apitoken; ROLLBACK", &[]),
    (
        "INSERT INTO sentry_apitoken (id, scopes, token, date_added, user_id) VALUES (78, 1, 'new', now(), 1)",
        &[],
    ),
    // Columns that other versions of Sentry have.
    (
        "ALTER TABLE sentry_apitoken ADD COLUMN scoping_organization_id bigint, ADD COLUMN date_last_used timestamptz",
        &[],
    ),
    ("UPDATE sentry_apitoken SET date_last_used = now()", &[]),
    (
        "UPDATE sentry_apitoken SET scoping_organization_id = 3 WHERE token = 'userorgread'",
        &["userorgread"],
    ),
    // Tokens of organisations.
    ("UPDATE sentry_orgauthtoken SET date_last_used = now(), project_last_used_id = 2", &[]),
    ("UPDATE sentry_orgauthtoken SET date_deactivated = now() WHERE id = 1", &["sntrys_orgoatci"]),
    ("DELETE FROM sentry_orgauthtoken WHERE id = 3", &["sntrys_orgoatotherorg"]),
    // Keys.
    ("UPDATE sentry_apikey SET label = 'another'", &[]),
    ("UPDATE sentry_apikey SET status = 1 WHERE key = 'keyakall'", &["keyakall"]),
    ("DELETE FROM sentry_apikey WHERE key = 'keyakeventread'", &["keyakeventread"]),
    ("UPDATE sentry_projectkey SET label = 'another'", &[]),
    ("UPDATE sentry_projectkey SET public_key = 'rotated' WHERE id = 1", &["other1"]),
    ("UPDATE sentry_projectkey SET status = 1 WHERE id = 3", &["dsnp1active"]),
    ("DELETE FROM sentry_projectkey WHERE id = 9001", &["dsnp1disabled"]),
    (
        "INSERT INTO sentry_projectkey (id, project_id, roles, status, data) VALUES (9100, 1, 1, 0, '{}')",
        &[],
    ),
    ("DELETE FROM sentry_projectkey WHERE public_key IS NULL", &[]),
    // Users.
    ("UPDATE auth_user SET last_active = now(), last_login = now()", &[]),
    ("UPDATE auth_user SET is_active = false WHERE id = 2", BOB),
    ("UPDATE auth_user SET is_sentry_app = true WHERE id = 2", BOB),
    ("DELETE FROM auth_user WHERE id = 2", BOB),
    // Applications.
    ("UPDATE sentry_apiapplication SET name = 'another'", &[]),
    (
        "UPDATE sentry_apiapplication SET status = 2 WHERE id = 1",
        &["useroauthappall"],
    ),
    ("DELETE FROM sentry_apiapplication WHERE id = 1", &["useroauthappall"]),
    // Integrations.
    ("UPDATE sentry_sentryapp SET name = 'another', popularity = 7, date_updated = now()", &[]),
    ("UPDATE sentry_sentryapp SET scope_list = '{}' WHERE id = 1", &["userseedinternal"]),
    ("UPDATE sentry_sentryapp SET scopes = 7 WHERE id = 2", &["userseedinternaleventonly"]),
    ("UPDATE sentry_sentryapp SET date_deleted = now() WHERE id = 1", &["userseedinternal"]),
    // The applications of before and of after.
    (
        "UPDATE sentry_sentryapp SET application_id = 2, proxy_user_id = NULL WHERE id = 1",
        &["userseedinternal", "useroauthinactiveappall"],
    ),
    ("DELETE FROM sentry_sentryapp WHERE id = 1", &["useroauthinactiveappall"]),
    (
        "INSERT INTO sentry_sentryapp (id, scopes, name, slug, status, uuid, is_alertable, schema, date_added, date_updated, owner_id, proxy_user_id, verify_install)
            VALUES (7, 0, 'x', 'x', 2, 'x', false, '', now(), now(), 2, 4, false)",
        &["userseedinternal"],
    ),
    ("UPDATE sentry_sentryappinstallation SET date_updated = now(), status = 0", &[]),
    // By the token that it names, and by the one that names it.
    (
        "UPDATE sentry_sentryappinstallation SET date_deleted = now() WHERE id = 1",
        &["userseedinternal"],
    ),
    (
        "UPDATE sentry_sentryappinstallation SET api_token_id = 2 WHERE id = 1",
        &["userseedinternal", "userprojectread"],
    ),
    (
        "DELETE FROM sentry_sentryappinstallation WHERE id = 1",
        &["userseedinternal", "userprojectread"],
    ),
    (
        "INSERT INTO sentry_sentryappinstallation (id, uuid, date_added, date_updated, organization_id, sentry_app_id, api_token_id, status)
            VALUES (7, 'x', now(), now(), 2, 2, 2, 1)",
        &["userprojectread"],
    ),
    (
        "INSERT INTO sentry_sentryappinstallationtoken VALUES (7, 2, 7)",
        &["userprojectread"],
    ),
    (
        "UPDATE sentry_sentryappinstallationtoken SET api_token_id = 24 WHERE id = 7",
        &["userprojectread", "userseedinternal"],
    ),
    ("DELETE FROM sentry_sentryappinstallationtoken WHERE id = 7", &["userseedinternal"]),
    // Projects and organisations.
    ("UPDATE sentry_project SET name = 'another', first_event = now()", &[]),
    ("UPDATE sentry_project SET status = 2 WHERE id = 2", &["dsnp0active", "dsnp0disabled"]),
    ("UPDATE sentry_project SET slug = 'x' WHERE id = 3", &["dsnp1active"]),
    ("UPDATE sentry_project SET organization_id = 2 WHERE id = 132", &["other132"]),
    ("DELETE FROM sentry_project WHERE id = 2", &["dsnp0active", "dsnp0disabled"]),
    ("UPDATE sentry_organization SET name = 'another', flags = 7", &[]),
    ("UPDATE sentry_organization SET slug = 'another' WHERE id = 2", &["all"]),
    ("UPDATE sentry_organization SET status = 1 WHERE id = 3", &["all"]),
    ("DELETE FROM sentry_organization WHERE id = 3", &["all"]),
    // Too many, by themselves and by what they lead to.
    (
        "INSERT INTO sentry_apitoken (id, scopes, token, date_added, user_id) SELECT id, 0, 'many' || id, now(), 3 FROM generate_series(1000, 1500) AS id",
        &[],
    ),
    ("UPDATE sentry_apitoken SET scopes = 7 WHERE id >= 1000", &["all"]),
    ("UPDATE auth_user SET is_active = true WHERE id = 3", &["all"]),
    ("TRUNCATE sentry_apikey", &["all"]),
];

#[test]
fn every_change_that_takes_access_away_is_told() {
    let database = set_up();
    let mut listener = Listener::start(&database);
    for (change, wanted) in CHANGES {
        database.run(change);
        assert_eq!(listener.told(), set(wanted), "{change}");
    }
    database.run("UPDATE sentry_apitoken SET scopes = 8 WHERE id > 1000");
    let told = listener.told();
    let wanted: BTreeSet<_> = (1001..=1500).map(|id| digest(&format!("many{id}"))).collect();
    assert_eq!(told, wanted);
}

/// Sentry's statement goes through whatever became of what the trigger asks, and everybody is forgotten.
#[test]
fn what_can_not_be_told_apart_is_everybody() {
    let database = set_up();
    let mut listener = Listener::start(&database);
    for (broken, change, changed, mended) in [
        (
            "ALTER TABLE sentry_apitoken RENAME TO elsewhere",
            "UPDATE auth_user SET is_active = false WHERE id = 2",
            "SELECT (NOT is_active)::text FROM auth_user WHERE id = 2",
            "",
        ),
        (
            "",
            "UPDATE elsewhere SET scopes = 7 WHERE id = 1",
            "SELECT (scopes = 7)::text FROM elsewhere WHERE id = 1",
            "ALTER TABLE elsewhere RENAME TO sentry_apitoken",
        ),
        (
            "ALTER TABLE sentry_apitoken RENAME COLUMN hashed_token TO hash",
            "UPDATE sentry_apitoken SET scopes = 8 WHERE id = 1",
            "SELECT (scopes = 8)::text FROM sentry_apitoken WHERE id = 1",
            "ALTER TABLE sentry_apitoken RENAME COLUMN hash TO hashed_token",
        ),
        (
            "ALTER FUNCTION portcullis.digest(text) RENAME TO gone",
            "DELETE FROM sentry_apikey WHERE id = 1",
            "SELECT (count(*) = 0)::text FROM sentry_apikey WHERE id = 1",
            "ALTER FUNCTION portcullis.gone(text) RENAME TO digest",
        ),
        (
            "ALTER TABLE sentry_projectkey DROP COLUMN public_key",
            "UPDATE sentry_project SET status = 1 WHERE id = 2",
            "SELECT (status = 1)::text FROM sentry_project WHERE id = 2",
            "",
        ),
    ] {
        database.run(broken);
        database.run(change);
        assert_eq!(database.value(changed), "true", "{change}");
        assert_eq!(listener.told(), set(&["all"]), "{change}");
        database.run(mended);
    }
    // While a migration has the tokens.
    database.run("BEGIN; LOCK TABLE sentry_apitoken IN ACCESS EXCLUSIVE MODE");
    database.try_run("UPDATE auth_user SET is_active = true WHERE id = 2").unwrap();
    database.run("COMMIT");
    assert_eq!(listener.told(), set(&["all"]));
}

/// A queue that could fail a commit is left alone.
#[test]
fn nobody_is_told_when_the_queue_is_full() {
    let database = Database::recorded();
    let full = NOTIFY.replace("pg_notification_queue_usage() < 0.5", "1.0 < 0.5");
    assert_ne!(full, NOTIFY);
    database.run(&full);
    let mut listener = Listener::start(&database);
    database.run("DELETE FROM sentry_apitoken WHERE id = 1");
    assert_eq!(listener.told(), set(&[]));
}

/// Whoever writes Sentry's rows needs no right for it, and gets none by it.
#[test]
fn a_role_that_only_writes_is_not_disturbed() {
    let database = set_up();
    let mut listener = Listener::start(&database);
    database.run(
        "CREATE ROLE writer LOGIN;
         GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO writer",
    );
    let as_writer = |sql: &str| database.try_run(&format!("SET ROLE writer; {sql}"));
    let wanted = [
        ("UPDATE sentry_orgauthtoken SET date_deactivated = now()", 4),
        ("UPDATE sentry_apikey SET status = 2", 4),
        ("UPDATE sentry_projectkey SET status = 2", 6),
        ("UPDATE auth_user SET is_active = false", 24),
        ("DELETE FROM sentry_sentryappinstallationtoken", 2),
        ("UPDATE sentry_organization SET status = 2", 1),
        ("DELETE FROM sentry_apitoken", 25),
    ];
    for (sql, count) in wanted {
        as_writer(sql).unwrap();
        assert_eq!(listener.told().len(), count, "{sql}");
    }
    as_writer("INSERT INTO sentry_sentryappinstallationtoken VALUES (7, 24, 1)").unwrap();
    for sql in [
        "SELECT token FROM sentry_apitoken",
        "CREATE TEMPORARY TABLE x (id int); CREATE TRIGGER x AFTER INSERT ON x EXECUTE FUNCTION portcullis.tell_gateway()",
    ] {
        let error = as_writer(sql).unwrap_err();
        assert!(error.to_string().contains("permission denied"), "{sql}: {error}");
    }
    database.run("DROP OWNED BY writer; DROP ROLE writer");
}

#[test]
fn it_can_be_run_again_and_taken_away() {
    let database = set_up();
    let triggers = "SELECT count(*)::text FROM pg_trigger WHERE tgname LIKE 'portcullis_%'";
    let mut listener = Listener::start(&database);
    for _ in 0..2 {
        database.set_up();
        database.run(NOTIFY);
        assert_eq!(database.value(triggers), "36");
    }
    database.run("DELETE FROM sentry_apikey WHERE key = 'keyakall'");
    assert_eq!(listener.told(), set(&["keyakall"]));
    // Sentry's migrations are not in its way, nor it in theirs.
    database.run(
        "ALTER TABLE sentry_organization ALTER COLUMN slug TYPE text;
         ALTER TABLE sentry_sentryapp DROP COLUMN date_deleted;
         ALTER TABLE sentry_apitoken ALTER COLUMN hashed_token TYPE text, ALTER COLUMN token TYPE text",
    );
    database.run("DELETE FROM sentry_apitoken WHERE id = 1");
    assert_eq!(listener.told(), set(&["usereventread"]));

    for away in
        ["DROP FUNCTION portcullis.tell_gateway() CASCADE", "DROP SCHEMA portcullis CASCADE"]
    {
        database.run(away);
        assert_eq!(database.value(triggers), "0");
        database.run("UPDATE sentry_apitoken SET scopes = scopes + 1");
        assert_eq!(listener.told(), set(&[]));
        if away.contains("FUNCTION") {
            database.run(NOTIFY);
        }
    }
}

#[test]
fn it_is_made_only_upon_what_is_of_the_same_role() {
    let database = Database::bare(Server::shared());
    let said = || database.try_run(NOTIFY).unwrap_err().to_string();
    assert!(said().contains("the schema portcullis is not set up"), "{}", said());
    database.set_up();
    database.run(NOTIFY);
    database.run(
        "CREATE ROLE notifying_stranger;
         ALTER FUNCTION portcullis.tell_gateway() OWNER TO notifying_stranger",
    );
    assert!(said().contains("is not of postgres"), "{}", said());
    database.run(
        "ALTER FUNCTION portcullis.tell_gateway() OWNER TO postgres; DROP ROLE notifying_stranger",
    );
    database.run(NOTIFY);
}
