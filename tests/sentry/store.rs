//! Credentials of every kind and state, as Sentry's own rows have them.

use std::time::Duration;

use portcullis::policy::credential::{Authorization, Credential};
use portcullis::policy::identity::{Binding, Identity, Issuer, State};
use portcullis::policy::scope::{Scope, ScopeSet};
use portcullis::store::postgres::Address;
use portcullis::store::sentry::{OpenError, SentryStore};
use portcullis::store::{StoreError, TokenStore as _};

use crate::database::{Database, PASSWORD, Server, runtime};
use crate::gate::Gate;

fn credential(authorization: &str) -> Credential {
    match Authorization::parse(authorization.as_bytes()) {
        Authorization::Credential(credential) => credential,
        other => panic!("{authorization}: {other:?}"),
    }
}

fn address(database: &Database) -> Address {
    Address::parse(&database.url(PASSWORD)).unwrap()
}

pub fn find(database: &Database, authorization: &str) -> Result<Option<Identity>, StoreError> {
    runtime().block_on(async {
        let store = SentryStore::new("sentry", address(database), 1, Box::new(|| None));
        store.inspect().await.unwrap();
        let found = store.find((&credential(authorization)).into()).await?;
        Ok(found.map(|found| found.identity))
    })
}

fn inspect(database: &Database) -> Result<(), OpenError> {
    runtime().block_on(async {
        SentryStore::new("sentry", address(database), 1, Box::new(|| None)).inspect().await
    })
}

/// State, scopes, organisations and projects, in a line.
pub fn told(identity: &Identity) -> String {
    assert_eq!(identity.issuer, Issuer::Sentry);
    let state = match identity.state {
        State::Active => "active",
        State::NotYetValid | State::Untrusted => unreachable!("Sentry has none"),
        State::Disabled => "disabled",
    };
    let names = |binding: &Binding| match binding {
        Binding::Any => "any".to_owned(),
        Binding::Only(names) => names.join(","),
        Binding::Unknown => "unknown".to_owned(),
    };
    let scopes = match identity.scopes.names() {
        long if long.len() > 60 => "many".to_owned(),
        names => names,
    };
    let (organizations, projects) =
        (names(identity.bounds.organizations()), names(identity.bounds.projects()));
    format!("{} {state} [{scopes}] {organizations} {projects}", identity.kind)
}

pub fn basic(key: &str) -> String {
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{key}:"));
    format!("Basic {encoded}")
}

fn dsn(key: &str, project: u64) -> String {
    format!("DSN https://{key}@sentry.example.com/{project}")
}

#[test]
fn every_kind_and_state() {
    let database = Database::recorded();
    database.run(
        "UPDATE sentry_apitoken SET scope_list = '{}', scopes = 7 WHERE token = 'userteamread';
         UPDATE sentry_apitoken SET scope_list = NULL, scopes = 0 WHERE token = 'usermemberread';
         UPDATE sentry_apitoken SET scope_list = '{org:read,org:superuser}' WHERE token = 'userorgci';
         UPDATE sentry_sentryappinstallation SET date_deleted = now() WHERE id = 2;
         INSERT INTO sentry_projectkey (id, project_id, public_key, roles, status, data)
             VALUES (9100, 132, 'dsnother', 1, 0, '{}'), (9101, 1, 'dsnhidden', 1, 0, '{}');
         UPDATE sentry_project SET status = 1 WHERE id = 1;
         UPDATE sentry_organization SET status = 1 WHERE id = 3;",
    );
    for (secret, change) in [
        (
            "strayed",
            "INSERT INTO sentry_sentryappinstallationtoken SELECT 77, id, 1 FROM sentry_apitoken WHERE token = 'strayed'",
        ),
        ("userless", "UPDATE sentry_apitoken SET user_id = 5 WHERE token = 'userless'"),
    ] {
        database.token(secret, ScopeSet::EMPTY.with(Scope::EventRead));
        database.run(change);
    }
    let bearer = |token: &str| format!("Bearer {token}");
    let rows: Vec<(String, Option<&str>)> = vec![
        (bearer("usereventread"), Some("user_token active [event:read] any any")),
        // Bits count only where there is no list; a scope that no rule knows is left out.
        (
            bearer("userteamread"),
            Some("user_token active [project:admin project:read project:write] any any"),
        ),
        (bearer("usermemberread"), Some("user_token active [] any any")),
        (bearer("userorgci"), Some("user_token active [org:read] any any")),
        // Before there was a prefix, and before there was a hash.
        (bearer("userlegacyunprefixedall"), Some("user_token active [many] any any")),
        (bearer("userlegacynohashall"), Some("user_token active [many] any any")),
        // Its user is not active.
        (bearer("usercarolinactiveall"), Some("user_token disabled [many] any any")),
        // Of an application that is, and of one that is not.
        (bearer("useroauthappall"), Some("user_token active [many] any any")),
        (bearer("useroauthinactiveappall"), Some("user_token disabled [many] any any")),
        // Of an integration: its organisation. And one that was taken away.
        (
            bearer("userseedinternal"),
            Some(
                "user_token active [event:read org:read project:read project:releases team:read] 2,acme any",
            ),
        ),
        (bearer("userseedinternaleventonly"), Some("user_token disabled [event:read]  any")),
        // Of the user of an integration, and of no application.
        (bearer("strayed"), Some("user_token disabled [event:read] 2,acme any")),
        (bearer("userless"), Some("user_token disabled [event:read]  any")),
        (bearer("sntrys_orgoatci"), Some("org_token active [org:ci] 2,acme any")),
        (bearer("sntrys_orgoatotherorg"), Some("org_token active [org:ci] 3,other any")),
        (bearer("sntrys_orgoatdeactivated"), Some("org_token disabled [org:ci] 2,acme any")),
        (basic("keyakeventread"), Some("api_key active [event:read] 2,acme any")),
        (basic("keyakdisabled"), Some("api_key disabled [many] 2,acme any")),
        (dsn("dsnp0active", 2), Some("dsn active [many] 2,acme 2,proj-000")),
        (dsn("dsnp0disabled", 2), Some("dsn disabled [many] 2,acme 2,proj-000")),
        // Of a project that is hidden, and of an organisation that is being deleted.
        (dsn("dsnhidden", 1), Some("dsn disabled [many] 1,sentry 1,internal")),
        (dsn("dsnother", 132), Some("dsn disabled [many] 3,other 132,other-proj")),
        // A secret of one kind is none of another.
        (bearer("keyakeventread"), None),
        (bearer("dsnp0active"), None),
        (basic("usereventread"), None),
        (basic("dsnp0active"), None),
        (dsn("keyakeventread", 2), None),
        (bearer("secret2"), None),
        (bearer("nobody"), None),
        // Nor is what is stored of a token the token.
        (
            bearer(&database.value("SELECT hashed_token::text FROM sentry_apitoken WHERE id = 1")),
            None,
        ),
    ];
    for (authorization, wanted) in rows {
        let found = find(&database, &authorization).unwrap();
        assert_eq!(found.as_ref().map(told).as_deref(), wanted, "{authorization}");
    }
    let expired = find(&database, "Bearer userexpiredall").unwrap().unwrap();
    let expiry = database
        .value("SELECT (extract(epoch FROM expires_at) * 1000)::bigint::text FROM sentry_apitoken WHERE token = 'userexpiredall'");
    assert_eq!(expired.expires_at.time().unwrap().as_millis().to_string(), expiry);
}

/// Sentry knows the origins that a key of its own may come from, and the gateway does not.
#[test]
fn an_origin_goes_on_beside_a_credential_of_sentrys() {
    let database = Database::recorded();
    let gate = Gate::start(&database, "", "");
    let origin = "https://app.example";
    for authorization in [basic("keyakall"), "Bearer userall".to_owned()] {
        let headers = [format!("Authorization: {authorization}"), format!("Origin: {origin}")];
        let reply = gate.send("GET /api/0/projects/", "HTTP/1.1", &headers, b"").unwrap();
        assert_eq!(reply.status, 200, "{authorization}");
        let seen = gate.upstream.take();
        let [seen] = seen.as_slice() else { panic!("{authorization}: {} requests", seen.len()) };
        assert_eq!(seen.value("origin"), Some(origin), "{authorization}");
        assert_eq!(seen.value("authorization"), Some(&*authorization));
    }
}

/// A column that newer versions of Sentry have.
#[test]
fn a_token_that_is_scoped_to_an_organisation_is_bound_to_it() {
    let database = Database::recorded();
    let token = "Bearer usereventread";
    let seen = || told(&find(&database, token).unwrap().unwrap());
    database.run("ALTER TABLE sentry_apitoken ADD COLUMN scoping_organization_id bigint");
    assert_eq!(seen(), "user_token active [event:read] any any");
    database.run("UPDATE sentry_apitoken SET scoping_organization_id = 3 WHERE id = 1");
    assert_eq!(seen(), "user_token active [event:read] 3,other any");
    // One that is gone is none that it reaches.
    database.run("UPDATE sentry_apitoken SET scoping_organization_id = 77 WHERE id = 1");
    assert_eq!(seen(), "user_token active [event:read]  any");
}

#[test]
fn the_role_can_do_nothing_else() {
    let database = Database::recorded();
    let tables = include_str!("schema.sql").lines().filter_map(|line| {
        line.strip_prefix("CREATE TABLE public.").and_then(|rest| rest.split(' ').next())
    });
    let mut refused = 0;
    for table in tables {
        for sql in [
            format!("SELECT id FROM {table}"),
            format!("SELECT * FROM {table} LIMIT 1"),
            format!("DELETE FROM {table}"),
            format!("UPDATE {table} SET id = id"),
        ] {
            let error = database.run_as_gateway(&sql).unwrap_err();
            let code = error.as_database_error().unwrap().code().unwrap().into_owned();
            assert!(code == "42501" || code == "25006", "{sql}: {error}");
            refused += 1;
        }
    }
    assert_eq!(refused, 44);
    for sql in [
        "CREATE TABLE portcullis.x (id int)",
        "CREATE FUNCTION portcullis.find_token(text) RETURNS text LANGUAGE sql AS 'SELECT 1'",
        "SET default_transaction_read_only = off; DELETE FROM sentry_apitoken",
    ] {
        assert!(database.run_as_gateway(sql).is_err(), "{sql}");
    }
    database.run_as_gateway("SELECT portcullis.find_token('\\x00')").unwrap();
}

/// The server may have other databases, in which a role of this name has other work.
#[test]
fn the_roles_settings_are_for_this_database_alone() {
    let database = Database::recorded();
    let other = Database::empty(database.server);
    let settings = "DO $$ BEGIN ASSERT current_setting('default_transaction_read_only') = '{1}'
        AND (current_setting('statement_timeout') = '2s') = {2}; END $$";
    let expect =
        |read_only: &str, bounded: &str| settings.replace("{1}", read_only).replace("{2}", bounded);
    database.run_as_gateway(&expect("on", "true")).unwrap();
    other.run_as_gateway(&expect("off", "false")).unwrap();
}

#[test]
fn what_is_missing_is_named() {
    let said = |database: &Database| inspect(database).unwrap_err();
    let bare = Database::bare(Server::shared());
    // Of a role that another database made there is nothing here.
    Database::recorded();
    let error = said(&bare);
    assert!(matches!(error, OpenError::NotSetUp(_)), "{error}");
    assert!(error.to_string().contains("sentry-store.sql"), "{error}");

    let database = Database::recorded();
    inspect(&database).unwrap();
    for (broken, mended, named) in [
        (
            "ALTER TABLE sentry_apitoken RENAME COLUMN hashed_token TO hash",
            "ALTER TABLE sentry_apitoken RENAME COLUMN hash TO hashed_token",
            "hashed_token",
        ),
        (
            "ALTER TABLE sentry_orgauthtoken RENAME TO elsewhere",
            "ALTER TABLE elsewhere RENAME TO sentry_orgauthtoken",
            "sentry_orgauthtoken",
        ),
        (
            "ALTER TABLE sentry_project RENAME COLUMN status TO state",
            "ALTER TABLE sentry_project RENAME COLUMN state TO status",
            "status",
        ),
    ] {
        database.run(broken);
        let error = said(&database);
        assert!(matches!(error, OpenError::Schema(_)), "{broken}: {error}");
        assert!(error.to_string().contains(named), "{broken}: {error}");
        database.run(mended);
        inspect(&database).unwrap();
    }
    database.run("REVOKE EXECUTE ON FUNCTION portcullis.find_api_key(bytea) FROM portcullis");
    let error = said(&database);
    assert!(matches!(error, OpenError::Forbidden(_)), "{error}");
    assert!(error.to_string().contains("find_api_key"), "{error}");
    // Running it again mends what can be mended.
    database.set_up();
    inspect(&database).unwrap();
    database.run(
        "CREATE OR REPLACE FUNCTION portcullis.version() RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT 9'",
    );
    assert!(matches!(said(&database), OpenError::Version { found: 9 }));
    let gone = Address::parse("postgres://portcullis:x@127.0.0.1:1/sentry").unwrap();
    let error = runtime().block_on(async {
        SentryStore::new("sentry", gone, 1, Box::new(|| None)).inspect().await.unwrap_err()
    });
    assert!(matches!(error, OpenError::Unreachable(_)), "{error}");
}

/// Whatever is asked, PostgreSQL's log has no secret and the look-ups have an index.
#[test]
fn no_secret_is_logged_and_every_look_up_has_an_index() {
    let database = Database::recorded_on(Server::own());
    // The owner's own statements have secrets in them: what came before does not count.
    let before = database.server.log().len();
    let secrets = ["userlegacynohashall", "usereventread", "sntrys_orgoatci"];
    for secret in secrets {
        find(&database, &format!("Bearer {secret}")).unwrap().unwrap();
    }
    find(&database, &basic("keyakeventread")).unwrap().unwrap();
    find(&database, &dsn("dsnp0active", 2)).unwrap().unwrap();
    let log = database.server.log()[before..].to_owned();
    assert!(log.contains("portcullis.find_token") && log.contains("find_project_key"), "{log}");
    for secret in secrets.iter().chain(&["keyakeventread", "dsnp0active"]) {
        assert!(!log.contains(secret), "{secret}");
    }

    // On tables this small a scan would be cheaper.
    database.run("SET enable_seqscan = off");
    for (function, secret) in [
        ("find_token", "userlegacynohashall"),
        ("find_api_key", "keyakeventread"),
        ("find_project_key", "dsnp0active"),
    ] {
        let digest = format!("sha256('{secret}'::bytea)");
        assert!(
            database.value(&format!("SELECT portcullis.{function}({digest})::text")).contains("id")
        );
    }
    let used = "SELECT string_agg(indexrelname, ' ' ORDER BY indexrelname)::text FROM pg_stat_user_indexes WHERE indexrelname LIKE 'portcullis_%' AND idx_scan > 0";
    let wanted = "portcullis_apikey_digest portcullis_apitoken_digest portcullis_projectkey_digest";
    let mut seen = String::new();
    for _ in 0..200 {
        // Counts are handed in when a session is idle.
        database.run("SELECT pg_stat_force_next_flush(); SELECT pg_stat_clear_snapshot()");
        seen = database.value(used);
        if seen == wanted {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(seen, wanted);
    database.server.stop();
}

/// Nothing that somebody else made in the schema is taken over, and nobody else may call anything.
#[test]
fn strangers_are_kept_out() {
    let database = Database::recorded();
    database.run(
        "CREATE ROLE stranger LOGIN;
         GRANT EXECUTE ON FUNCTION portcullis.find_token(bytea) TO stranger;",
    );
    database.set_up();
    let may = "SELECT has_function_privilege('stranger', 'portcullis.find_token(bytea)', 'EXECUTE')::text";
    assert_eq!(database.value(may), "false");
    database.run("ALTER FUNCTION portcullis.digest(text) OWNER TO stranger");
    let error = database.try_set_up().unwrap_err();
    assert!(error.to_string().contains("is not of postgres"), "{error}");
    database.run("ALTER FUNCTION portcullis.digest(text) OWNER TO postgres; DROP ROLE stranger");
    database.set_up();
}

/// Sentry writes its tables as before, whoever does.
#[test]
fn sentry_is_not_disturbed() {
    let database = Database::recorded();
    database.run(
        "CREATE ROLE sentry_of_its_own LOGIN;
         GRANT ALL ON ALL TABLES IN SCHEMA public TO sentry_of_its_own;
         SET ROLE sentry_of_its_own;
         INSERT INTO sentry_apikey (id, organization_id, label, key, scopes, status, date_added)
             VALUES (77, 2, 'x', E'odd \\\\ \\' key', 1, 0, now());
         UPDATE sentry_projectkey SET public_key = 'another' WHERE id = 1;
         INSERT INTO sentry_apitoken (id, scopes, token, date_added, user_id) VALUES (77, 1, 'unhashed', now(), 1);
         RESET ROLE;
         DROP OWNED BY sentry_of_its_own; DROP ROLE sentry_of_its_own;",
    );
    assert!(find(&database, "Bearer unhashed").unwrap().is_some());
    // And it can be taken away.
    database.run("DROP SCHEMA portcullis CASCADE");
    let left = "SELECT count(*)::text FROM pg_indexes WHERE indexname LIKE 'portcullis%'";
    assert_eq!(database.value(left), "0");
}
