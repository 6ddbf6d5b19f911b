//! Token stores: what each kind takes, and what it does not.

use super::*;
use crate::policy::identity::{IdentityKind, KindSet};
use crate::store::introspection::Protocol;

/// The minimal config with another store.
fn with(store: &str) -> String {
    MINIMAL.replace("kind = \"portcullis\", url = \"sqlite:///tokens.db\"", store)
}

#[test]
fn each_kind_takes_what_it_needs_and_nothing_else() {
    let sqlite = "kind = \"portcullis\", url = \"sqlite:///tokens.db\"";
    let fleet = "kind = \"portcullis\", url = \"postgres://h/tokens\"";
    let sentry = "kind = \"sentry\", url = \"postgres://h/sentry\"";
    let index = "kind = \"introspection\", url = \"http://web:9000/api/0/\"";
    let file = "kind = \"file\", path = \"tokens.toml\"";
    let rows = [
        ("kind = \"redis\"", "", "kind", "is not a kind of store"),
        ("kind = \"portcullis\"", "", "url", "is missing"),
        ("kind = \"portcullis\", url = \"tokens.db\"", "", "url", "starts with `sqlite://`"),
        ("kind = \"portcullis\", url = \"sqlite:///t.db?mode=ro\"", "", "url", "more than a path"),
        (sqlite, "connections = 3", "connections", "means nothing for this `portcullis` store"),
        (sqlite, "listen_url = \"postgres://h/db\"", "listen_url", "means nothing"),
        (sqlite, "required_at_start = false", "required_at_start", "means nothing"),
        (fleet, "path = \"x\"", "path", "means nothing"),
        (fleet, "listen_url = \"redis://h\"", "listen_url", "is not a PostgreSQL URL"),
        (fleet, "listen_url = \"postgres://u:p@h/db\"", "listen_url", "holds a password"),
        ("kind = \"sentry\"", "", "url", "is missing"),
        ("kind = \"sentry\", url = \"sqlite:///t.db\"", "", "url", "is not a PostgreSQL URL"),
        (sentry, "connections = 0", "connections", "is 0"),
        (sentry, "connections = 51", "connections", "is 51"),
        (sentry, "password = { file = \"gone\" }", "password", "can't be read"),
        (sentry, "protocol = \"sentry\"", "protocol", "means nothing"),
        ("kind = \"introspection\"", "", "url", "is missing"),
        ("kind = \"introspection\", url = \"web:9000\"", "", "url", "not the URL of an endpoint"),
        ("kind = \"introspection\", url = \"ftp://web/\"", "", "url", "not the URL of an endpoint"),
        ("kind = \"introspection\", url = \"http://u:p@web/\"", "", "url", "not the URL"),
        ("kind = \"introspection\", url = \"http://:9000/\"", "", "url", "not the URL"),
        ("kind = \"introspection\", url = \"http:///api/0/\"", "", "url", "not the URL"),
        ("kind = \"introspection\", url = \"http://web/?t=1\"", "", "url", "not the URL"),
        (index, "protocol = \"oidc\"", "protocol", "`oidc` is not a protocol"),
        (index, "credential = { file = \"sentry-token\" }", "credential", "means nothing"),
        (index, "connections = 2", "connections", "means nothing"),
        ("kind = \"file\"", "", "path", "is missing"),
        (file, "url = \"sqlite:///t.db\"", "url", "means nothing"),
        (sqlite, "credentials = []", "credentials", "is empty"),
        (sqlite, "credentials = [\"org_token\"]", "credentials", "names nothing that this store"),
        (index, "credentials = [\"dsn\"]", "credentials", "names nothing that this store"),
        (sqlite, "credentials = [\"bearer\"]", "credentials", "`bearer` is not a kind"),
        (sqlite, "unknown_per_second = 0, unknown_per_client = 0", "unknown_per_second", "is 0"),
        (
            sqlite,
            "unknown_per_second = 5, unknown_per_client = 6",
            "unknown_per_client",
            "is more than",
        ),
    ];
    for (store, more, key, what) in rows {
        let more = if more.is_empty() { String::new() } else { format!(", {more}") };
        let error = parse(&with(&format!("{store}{more}")), &fake()).map(|_| ()).unwrap_err();
        let seen = &error.problems[0];
        assert_eq!(seen.at, format!("store[0].{key}"), "{store}{more}: {seen:?}");
        assert!(seen.what.contains(what), "{store}{more}: {seen:?}");
        assert!(!seen.help.is_empty());
    }
}

#[test]
fn what_is_left_out_has_a_default() {
    let store = |text: &str| parse(&with(text), &fake()).unwrap().stores[0].clone();
    let all: KindSet = IdentityKind::ALL.iter().copied().collect();
    let one = store("kind = \"sentry\", url = \"postgres://h/sentry\"");
    assert_eq!((one.name.as_str(), one.credentials), ("sentry", all));
    assert_eq!((one.unknown.total, one.unknown.per_client), (1000, 250));
    match one.kind {
        StoreKind::Sentry(server) => {
            assert_eq!((server.connections, server.required_at_start), (4, true));
            assert!(server.listen.is_none());
        }
        other => panic!("{other:?}"),
    }
    let two = store(
        "kind = \"introspection\", url = \"http://web:9000/api/0/\", credentials = [\"user_token\"]",
    );
    assert_eq!(two.credentials, KindSet::EMPTY.with(IdentityKind::UserToken));
    assert_eq!((two.unknown.total, two.unknown.per_client), (50, 13));
    match two.kind {
        StoreKind::Introspection(endpoint) => {
            assert!(matches!(endpoint.protocol, Protocol::Sentry));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_endpoint_of_rfc_7662_is_asked_with_a_credential_of_its_own() {
    let mut source = fake();
    source.files.insert("client".into(), "gateway:s3cret".into());
    // `gw%40x:a%2Bb%2Fc%3D%25%3A`: servers decode both (RFC 6749, section 2.3.1).
    source.files.insert("odd".into(), "gw@x:a+b/c=%:".into());
    let text = "kind = \"introspection\", protocol = \"rfc7662\", url = \"http://login/introspect\", credential = { file = \"FILE\" }";
    for (file, wanted) in [
        ("client", "Basic Z2F0ZXdheTpzM2NyZXQ="),
        ("odd", "Basic Z3clNDB4OmElMkJiJTJGYyUzRCUyNSUzQQ=="),
        ("sentry-token", "Bearer sntryu_0123"),
    ] {
        let config = parse(&with(&text.replace("FILE", file)), &source).unwrap();
        let StoreKind::Introspection(endpoint) = &config.stores[0].kind else { panic!("{file}") };
        let Protocol::Rfc7662(Some(own)) = &endpoint.protocol else { panic!("{endpoint:?}") };
        assert_eq!(own, wanted);
        assert!(own.is_sensitive());
        assert!(config.notes.iter().any(|note| note.what.contains("without TLS")));
    }
}

/// The blocks of TOML in a page.
fn blocks(page: &str) -> Vec<&str> {
    let parts = page.split("```").skip(1).step_by(2);
    parts.filter_map(|block| block.strip_prefix("toml\n")).collect()
}

#[test]
fn what_the_page_about_stores_shows_is_a_config() {
    let mut source = fake();
    for name in ["sentry-db", "portcullis-db", "introspection"] {
        source.files.insert(name.into(), "s3cret".into());
    }
    let base =
        MINIMAL.replace("store = [{ kind = \"portcullis\", url = \"sqlite:///tokens.db\" }]", "");
    let blocks = blocks(include_str!("../../../config/stores.md"));
    let stores = blocks.iter().filter(|block| block.starts_with("[[store]]"));
    let kinds: Vec<_> = stores
        .map(|block| parse(&format!("{base}\n{block}"), &source).unwrap().stores[0].kind.clone())
        .collect();
    assert_eq!(kinds.len(), 6, "{kinds:?}");
}

#[test]
fn tokens_of_a_file_are_sent_to_nobody() {
    let index = "kind = \"introspection\", url = \"http://web:9000/api/0/\"";
    let file = "kind = \"file\", path = \"tokens.toml\"";
    let both = |first: &str, second: &str| with(&format!("{first} }}, {{ {second}"));
    let seen = problem(&both(index, file), &fake());
    assert_eq!(seen.at, "store[1]");
    assert!(seen.what.contains("would be sent its tokens"), "{seen:?}");
    assert_eq!(parse(&both(file, index), &fake()).unwrap().stores.len(), 2);
}
