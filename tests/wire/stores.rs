//! A file of digests as a token store, and a snapshot of who was known.

use std::fs;
use std::path::Path;

use portcullis::policy::credential::Digest;

use crate::gate::{Gate, Options, UPSTREAM_TOKEN, eventually};
use crate::upstream::{Upstream, ok};

const LINE: &str = "GET /api/0/organizations/acme/issues/";
const INDEX: &str = r#"{"version":"0","auth":{"scopes":["event:read"]},"user":{"id":"7"}}"#;

fn hex(secret: &str) -> String {
    Digest::of(secret).hex()
}

fn entry(secret: &str) -> String {
    format!(
        "[[token]]\nname = \"{secret}\"\ndigest = \"{}\"\nscopes = [\"event:read\"]\n",
        hex(secret)
    )
}

/// As Kubernetes does it: another file takes the place.
fn put(path: &Path, text: &str) {
    let next = path.with_extension("next");
    fs::write(&next, text).unwrap();
    fs::rename(&next, path).unwrap();
}

#[test]
fn a_file_of_digests_is_taken_up_while_the_gateway_serves() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.toml");
    put(&path, &entry("first-token"));
    let stores = format!("[[store]]\nkind = \"file\"\npath = \"{}\"\n", path.display());
    let options = Options { stores: Some(stores), ..Options::default() };
    let gate = Gate::with(Upstream::start(), &options);
    assert_eq!(gate.bearer(LINE, "first-token").status, 200);
    let seen = gate.upstream.take_one();
    assert_eq!(seen.value("authorization"), Some(&*format!("Bearer {UPSTREAM_TOKEN}")));
    assert_eq!(gate.bearer(LINE, "second-token").code(), "unknown_token");

    put(&path, &entry("second-token"));
    eventually("the second token", || gate.bearer(LINE, "second-token").status == 200);
    assert_eq!(gate.bearer(LINE, "first-token").code(), "unknown_token");
    put(&path, "[[token]]\nname = \"third\"\n");
    eventually("a word about it", || gate.output().contains("stays in force"));
    gate.counts("portcullis_store_up", &[], 0.0);
    assert_eq!(gate.bearer(LINE, "second-token").status, 200);
    let fingerprint = Digest::of("second-token").fingerprint();
    put(&path, &format!("{}[[block]]\nfingerprint = \"{fingerprint}\"\n", entry("second-token")));
    eventually("the block", || gate.bearer(LINE, "second-token").code() == "disabled_token");
    gate.counts("portcullis_store_up", &[], 1.0);
    assert!(!gate.output().contains(&hex("second-token")));
}

#[test]
fn what_is_blocked_reaches_nobody_who_would_judge_it_himself() {
    let key = "0123456789abcdef0123456789abcdef";
    let relay = Upstream::start();
    let block = |secret: &str| {
        format!("[[block]]\nfingerprint = \"{}\"\n", Digest::of(secret).fingerprint())
    };
    let options = Options {
        listen: "expose = [\"api\", \"ingest\", \"oauth\"]".to_owned(),
        stores: Some("[[store]]\nkind = \"file\"\npath = \"tokens.toml\"\n".to_owned()),
        files: vec![("tokens.toml".to_owned(), block(key) + &block("sntryu_leaked"))],
        tables: format!(
            "[upstream.relay]\nurls = [\"http://{}\"]\nhealth_interval = \"0s\"\n",
            relay.address
        ),
        ..Options::default()
    };
    let gate = Gate::with(Upstream::start(), &options);
    let envelope = "POST /api/7/envelope/";
    let asks = |key: &str, token: &str| {
        let fields = format!("Sentry sentry_version=7, sentry_key={key}");
        let dsn = format!("DSN https://{key}@relay.example/7");
        let bearer = format!("Bearer {token}");
        [
            gate.send(envelope, &[("X-Sentry-Auth", &fields)]),
            gate.send(envelope, &[("Authorization", &fields)]),
            gate.send(envelope, &[("Authorization", &dsn)]),
            gate.send(&format!("{envelope}?sentry_key={key}"), &[]),
            gate.send(&format!("POST /api/7/unreal/{key}/"), &[]),
            gate.send("POST /oauth/token/", &[("Authorization", &bearer)]),
        ]
    };
    for (number, answer) in asks(key, "sntryu_leaked").into_iter().enumerate() {
        assert_eq!((answer.status, &*answer.code()), (401, "disabled_token"), "{number}");
    }
    assert!(relay.take().is_empty() && gate.upstream.take().is_empty());
    // And what is not goes on.
    for answer in asks("fedcba9876543210fedcba9876543210", "sntryu_other") {
        assert_eq!(answer.status, 200);
    }
    assert_eq!((relay.take().len(), gate.upstream.take().len()), (5, 1));
}

/// A gateway that keeps a snapshot, and asks whoever is at `endpoint`.
fn with_snapshot(endpoint: &str, path: &Path) -> Gate {
    let stores =
        format!("[[store]]\nkind = \"introspection\"\nurl = \"http://{endpoint}/api/0/\"\n");
    let options = Options {
        admin: "credential = { file = \"admin-credential\" }".to_owned(),
        stores: Some(stores),
        tables: format!("[cache]\nttl = \"1s\"\nsnapshot = \"{}\"\n", path.display()),
        ..Options::default()
    };
    Gate::with(Upstream::start(), &options)
}

#[test]
fn a_restart_during_an_outage_knows_who_was_known() {
    let folder = tempfile::tempdir().unwrap();
    // The gateway makes the folder, and keeps others out of it.
    let path = folder.path().join("own/identities.json");
    let sentry = Upstream::answering(|_, stream| ok(stream, &[], INDEX.as_bytes()));
    let gate = with_snapshot(&sentry.address.to_string(), &path);
    for token in ["sntryu_known", "sntryu_revoked"] {
        assert_eq!(gate.bearer(LINE, token).status, 200, "{token}");
    }
    let purge = |secret: &str| {
        let headers = [("Authorization", &*format!("Bearer {}", crate::gate::ADMIN))];
        let body = format!("{{\"fingerprint\": \"{}\"}}", Digest::of(secret).fingerprint());
        gate.operator("POST /cache/purge", &headers, &body)
    };
    assert_eq!(purge("sntryu_revoked").status, 200);
    let (known, revoked) = (hex("sntryu_known"), hex("sntryu_revoked"));
    eventually("a snapshot without what was forgotten", || {
        let text = fs::read_to_string(&path).unwrap_or_default();
        text.contains(&known) && !text.contains(&revoked)
    });
    assert!(!fs::read_to_string(&path).unwrap().contains("sntryu"));
    drop(gate);

    // Nobody answers there.
    let gate = with_snapshot("127.0.0.1:1", &path);
    assert_eq!(gate.bearer(LINE, "sntryu_known").status, 200);
    let seen = gate.upstream.take_one();
    assert_eq!(seen.value("authorization"), Some("Bearer sntryu_known"));
    for token in ["sntryu_revoked", "sntryu_stranger"] {
        assert_eq!(gate.bearer(LINE, token).code(), "store_unavailable", "{token}");
    }
    assert!(gate.upstream.take().is_empty());
}
