//! Rows that are not as this program writes them: an error, never "not known", never let in.

use std::sync::Arc;

use super::*;
use crate::clock::{Clock as _, SystemClock};
use crate::policy::decision::Lookup;
use crate::store::cache::{CacheSettings, Identities};
use crate::store::portcullis::admin::{Resolved, Revoked};

const TEXT: &str = "a text is missing";
const MAYBE: &str = "not a text";
const LIST: &str = "a list in it is not a JSON array of texts";
const NUMBER: &str = "a time in it is not a number";
const NEGATIVE: &str = "a time in it is negative";
const DIFFER: &str = "its kind and what narrows it differ";
const NARROW: &str = "what narrows it is not as this version of the gateway writes it";
const KIND: &str = "its kind is not known";
const LENGTH: &str = "its digest has not 32 bytes";
const FINGERPRINT: &str = "its fingerprint is not that of its digest";

/// What SQLite's strict tables let through.
const DAMAGE: &[(&str, &str)] = &[
    ("kind = 'admin'", KIND),
    ("kind = ''", KIND),
    ("kind = 'Bearer'", KIND),
    ("kind = 'bearer '", KIND),
    ("kind = 'bearer' || char(0)", KIND),
    ("kind = CAST(x'ff' AS TEXT)", TEXT),
    ("name = CAST(x'ff' AS TEXT)", TEXT),
    ("fingerprint = ''", FINGERPRINT),
    ("fingerprint = fingerprint || '0'", FINGERPRINT),
    ("fingerprint = CAST(x'ff' AS TEXT)", TEXT),
    ("scopes = CAST(x'ff' AS TEXT)", TEXT),
    ("organizations = ''", LIST),
    ("organizations = 'acme'", LIST),
    ("organizations = '[\"acme\"'", LIST),
    ("organizations = '[\"acme\"] x'", LIST),
    ("organizations = '[\"acme\", null]'", LIST),
    ("organizations = '[1]'", LIST),
    ("organizations = '{\"acme\": 1}'", LIST),
    ("organizations = 'null'", LIST),
    ("organizations = CAST(x'5b22ff225d' AS TEXT)", MAYBE),
    ("projects = ''", LIST),
    ("projects = '42'", LIST),
    ("projects = '[42]'", LIST),
    ("projects = '[[\"42\"]]'", LIST),
    ("projects = CAST(x'ff' AS TEXT)", MAYBE),
    ("allowed_origins = ''", LIST),
    ("allowed_origins = '*'", LIST),
    ("allowed_origins = '[true]'", LIST),
    ("allowed_origins = CAST(x'ff' AS TEXT)", TEXT),
    ("created_at = -1", NEGATIVE),
    ("expires_at = -1", NEGATIVE),
    ("expires_at = -9223372036854775808", NEGATIVE),
    ("revoked_at = -1", NEGATIVE),
    ("last_used_at = -1", NEGATIVE),
    ("rotated_from = CAST(x'ff' AS TEXT)", MAYBE),
    ("successor = CAST(x'ff' AS TEXT)", MAYBE),
    ("kind = 'canary-'", KIND),
    ("kind = 'canary-narrow-bearer'", KIND),
    ("narrow = '{}'", DIFFER),
    ("kind = 'narrow-bearer'", DIFFER),
    ("kind = 'narrow-bearer', narrow = ''", NARROW),
    ("kind = 'narrow-bearer', narrow = '[]'", NARROW),
    ("kind = 'narrow-bearer', narrow = '{\"weekdays\":[1]}'", NARROW),
    ("kind = 'narrow-', narrow = '{}'", KIND),
];

/// What they don't, should somebody copy the rows to a table that is not strict.
const LAX_DAMAGE: &[(&str, &str)] = &[
    ("kind = NULL", KIND),
    ("kind = CAST('bearer' AS BLOB)", TEXT),
    ("name = x'61'", TEXT),
    ("fingerprint = NULL", FINGERPRINT),
    ("fingerprint = CAST(fingerprint AS BLOB)", TEXT),
    ("scopes = x'61'", TEXT),
    ("organizations = x'5b5d'", MAYBE),
    ("projects = x'5b5d'", MAYBE),
    ("allowed_origins = NULL", LIST),
    ("allowed_origins = x'5b5d'", TEXT),
    ("created_at = NULL", "it has no time of creation"),
    ("created_at = 'today'", NUMBER),
    ("created_at = 1.5", NUMBER),
    ("expires_at = 'never'", NUMBER),
    ("expires_at = ''", NUMBER),
    ("expires_at = 1e300", NUMBER),
    ("expires_at = x'ff'", NUMBER),
    ("revoked_at = 'yes'", NUMBER),
    ("revoked_at = x''", NUMBER),
    ("last_used_at = 'today'", NUMBER),
    ("narrow = x'7b7d'", MAYBE),
];

/// Under these the row is not found by its secret any more, but it still shows.
const DIGEST_DAMAGE: &[(&str, &str)] = &[
    ("digest = x''", LENGTH),
    ("digest = substr(digest, 1, 31)", LENGTH),
    ("digest = CAST(digest || x'00' AS BLOB)", LENGTH),
    ("digest = randomblob(32)", FINGERPRINT),
];

/// Takes the types off the table, and the log with its own.
const LAX: &str = "
    DROP TRIGGER token_changed;
    PRAGMA writable_schema = ON;
    UPDATE sqlite_schema SET sql = replace(replace(sql, 'STRICT', ''), 'NOT NULL', '')
        WHERE name = 'token';
    PRAGMA writable_schema = RESET;
    PRAGMA schema_version = 1000;";

#[track_caller]
fn assert_corrupt<T: std::fmt::Debug>(
    answer: Result<T, StoreError>,
    id: &str,
    wanted: &str,
    row: &str,
) {
    match answer {
        Err(StoreError::Corrupt { id: named, problem }) => {
            assert_eq!((named.as_str(), problem), (id, wanted), "{row}");
        }
        other => panic!("{row}: {other:?}"),
    }
}

/// Breaks one token in each of these ways, beside one that stays whole.
async fn damage(rows: &[(&str, &str)], lax: bool) {
    let desk = Desk::new().await;
    if lax {
        desk.sql(LAX).await;
    }
    let whole = desk.create(TokenKind::Bearer, "whole").await;
    for (number, (change, problem)) in rows.iter().enumerate() {
        let issued = desk.create(TokenKind::Bearer, &format!("number {number}")).await;
        let (id, presented) = (&issued.token.id, present(&issued));
        assert!(desk.identity(&presented).await.is_some(), "{change}");
        desk.sql(&format!("UPDATE token SET {change} WHERE id = '{id}'")).await;

        assert_corrupt(desk.store.find((&presented).into()).await, id, problem, change);
        assert_corrupt(desk.store.token(id).await, id, problem, change);
        let (listed, mut unreadable) = desk.store.list().await.unwrap();
        assert_eq!((listed.len(), unreadable.len()), (1, 1), "{change}");
        assert_corrupt(unreadable.pop().map_or(Ok(()), Err), id, problem, change);
        assert!(desk.identity(&present(&whole)).await.is_some(), "{change}");

        // A broken one can be told and revoked all the same.
        let shows = !change.starts_with("name") && (!lax || !change.starts_with("revoked_at"));
        if shows {
            let meant = desk.store.resolve(id).await.unwrap();
            assert!(matches!(&meant, Resolved::One(one) if one.id == *id), "{change}: {meant:?}");
        }
        if !change.starts_with("revoked_at") {
            assert_eq!(desk.store.revoke(id, NOW).await.unwrap(), Revoked::Now, "{change}");
            assert_corrupt(desk.store.find((&presented).into()).await, id, problem, change);
        }
        desk.sql(&format!("DELETE FROM token WHERE id = '{id}'")).await;
    }
}

#[tokio::test]
async fn a_damaged_row_is_an_error() {
    damage(DAMAGE, false).await;
}

#[tokio::test]
async fn a_row_of_other_types_is_an_error() {
    damage(LAX_DAMAGE, true).await;
}

/// What the reading of a row relies on: a missing text would read as an empty one.
#[tokio::test]
async fn the_table_holds_no_other_types_and_misses_nothing() {
    let desk = Desk::new().await;
    desk.create(TokenKind::Bearer, "one").await;
    let mut connection = shell(desk.store.path().unwrap()).await;
    let columns: Vec<(String, String, bool)> =
        sqlx::query_as("SELECT name, type, \"notnull\" FROM pragma_table_info('token')")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    let may_miss = [
        "organizations",
        "projects",
        "expires_at",
        "revoked_at",
        "last_used_at",
        "narrow",
        "census",
        "rotated_from",
        "successor",
    ];
    for (column, declared, not_null) in columns {
        assert_eq!(not_null, !may_miss.contains(&column.as_str()), "{column}");
        let mut wrong = vec![if declared == "BLOB" { "'text'" } else { "x'00'" }];
        wrong.extend(not_null.then_some("NULL"));
        wrong.extend((declared == "INTEGER").then_some("'text'"));
        for value in wrong {
            let text = format!("UPDATE token SET {column} = {value}");
            let refused =
                sqlx::raw_sql(AssertSqlSafe(text.as_str())).execute(&mut connection).await;
            assert!(refused.is_err(), "{text}");
        }
    }
}

#[tokio::test]
async fn every_column_is_damaged_here() {
    let desk = Desk::new().await;
    let mut connection = shell(desk.store.path().unwrap()).await;
    let columns: Vec<String> = sqlx::query_scalar("SELECT name FROM pragma_table_info('token')")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    assert!(columns.len() > 10, "{columns:?}");
    // The census lets nobody in: what can't be read of it begins anew.
    for column in columns.iter().filter(|column| !["id", "census"].contains(&column.as_str())) {
        let rows = [DAMAGE, LAX_DAMAGE, DIGEST_DAMAGE].concat();
        let damaged = rows.iter().any(|(change, _)| change.starts_with(&format!("{column} = ")));
        assert!(damaged, "{column}");
    }
}

#[tokio::test]
async fn a_damaged_digest_lets_nobody_in_and_shows() {
    let desk = Desk::new().await;
    for (number, (change, problem)) in DIGEST_DAMAGE.iter().enumerate() {
        let issued = desk.create(TokenKind::ApiKey, &format!("number {number}")).await;
        let id = &issued.token.id;
        desk.sql(&format!("UPDATE token SET {change} WHERE id = '{id}'")).await;
        assert!(desk.identity(&present(&issued)).await.is_none(), "{change}");
        assert_corrupt(desk.store.token(id).await, id, problem, change);
        assert_eq!(desk.store.list().await.unwrap().1.len(), 1, "{change}");
        let mut connection = shell(desk.store.path().unwrap()).await;
        let digest: Vec<u8> = sqlx::query_scalar("SELECT digest FROM token")
            .fetch_one(&mut connection)
            .await
            .unwrap();
        if let Ok(digest) = digest.try_into() {
            // The holder of whatever secret has this digest.
            let holder = under(Scheme::Basic, Digest::from_bytes(digest));
            assert_corrupt(desk.store.find((&holder).into()).await, id, problem, change);
        }
        desk.sql("DELETE FROM token").await;
    }
}

#[tokio::test]
async fn a_row_without_a_readable_id_is_an_error() {
    for (change, lax) in [("CAST(x'ff' AS TEXT)", false), ("x'ff'", true)] {
        let desk = Desk::new().await;
        if lax {
            desk.sql(LAX).await;
        }
        let issued = desk.create(TokenKind::Bearer, "one").await;
        desk.sql(&format!("UPDATE token SET id = {change}")).await;
        let found = desk.store.find((&present(&issued)).into()).await;
        assert!(matches!(found, Err(StoreError::Unavailable(_))), "{change}: {found:?}");
        let (listed, unreadable) = desk.store.list().await.unwrap();
        assert_eq!((listed.len(), unreadable.len()), (0, 1), "{change}");
        assert!(desk.store.resolve("one").await.is_err(), "{change}");
    }
}

#[tokio::test]
async fn a_kind_that_is_not_known_is_an_error_under_every_scheme() {
    let desk = Desk::new().await;
    let issued = desk.create(TokenKind::Bearer, "one").await;
    desk.sql("UPDATE token SET kind = 'session'").await;
    for scheme in Scheme::ALL {
        let found = desk.store.find((&under(*scheme, issued.token.digest)).into()).await;
        assert_corrupt(found, &issued.token.id, KIND, scheme.as_str());
    }
}

#[tokio::test]
async fn the_holder_of_a_damaged_token_is_told_that_the_store_fails() {
    let desk = Desk::new().await;
    let issued = desk.create(TokenKind::Dsn, "one").await;
    desk.sql("UPDATE token SET expires_at = -1").await;
    let store: Arc<dyn TokenStore> = Arc::new(desk.again().await);
    let settings = CacheSettings::default();
    let cache = Identities::new(
        vec![store.into()],
        settings,
        Arc::new(SystemClock),
        Arc::new(()),
        tokio::runtime::Handle::current(),
    );
    let answer = cache.lookup(&present(&issued), SystemClock.now()).await;
    assert!(matches!(answer.lookup, Lookup::Unavailable), "{answer:?}");
}

#[tokio::test]
async fn a_scope_that_is_not_known_gives_nothing() {
    let desk = Desk::new().await;
    let issued = desk.create(TokenKind::Bearer, "one").await;
    // A newer version may have written it; to leave it out can only narrow.
    let rows = [
        ("event:read org:root", "event:read"),
        ("org:root", ""),
        ("", ""),
        ("*", ""),
        ("EVENT:READ", ""),
        ("event:read,org:admin", ""),
        ("event:read\torg:admin", ""),
        ("[\"org:admin\"]", ""),
        // What a scope implies was written when it was issued; it is not added again.
        ("  org:admin  ", "org:admin"),
    ];
    for (stored, wanted) in rows {
        desk.sql(&format!("UPDATE token SET scopes = '{stored}'")).await;
        let identity = desk.identity(&present(&issued)).await.unwrap();
        assert_eq!(identity.scopes.names(), wanted, "{stored:?}");
    }
}
