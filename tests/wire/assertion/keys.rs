//! Keys of the operator's, and how one takes the place of another while requests come.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::{HEADER, LINE, asserting, gate};
use crate::client::{Connection, request};
use crate::gate::{Ending, Gate, Options, eventually};

/// A private key and its public half, in PEM.
fn pair(algorithm: &str) -> (String, String) {
    let openssl = |words: &[&str]| {
        let made = Command::new("openssl").args(words).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        String::from_utf8(made.stdout).unwrap()
    };
    let private = match algorithm {
        "EC" => openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]),
        name => openssl(&["genpkey", "-algorithm", name]),
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    fs::write(&path, &private).unwrap();
    let public = openssl(&["pkey", "-in", path.to_str().unwrap(), "-pubout"]);
    (private, public)
}

fn published(gate: &Gate) -> Vec<String> {
    let keys = gate.admin("/.well-known/jwks.json").unwrap().json();
    let kid = |key: &serde_json::Value| key["kid"].as_str().unwrap().to_owned();
    keys["keys"].as_array().unwrap().iter().map(kid).collect()
}

fn signs(gate: &Gate) -> String {
    let seen = gate.upstream.take().pop().unwrap();
    jsonwebtoken::decode_header(seen.value(HEADER).unwrap()).unwrap().kid.unwrap()
}

/// Puts a file in the place of another at once, as secrets are rotated.
fn replace(gate: &Gate, name: &str, text: &str) {
    let path = |name: &str| gate.folder.path().join(name);
    fs::write(path("new"), text).unwrap();
    fs::rename(path("new"), path(name)).unwrap();
}

#[test]
fn a_key_takes_the_place_of_another_and_no_request_is_refused() {
    let [(first, first_public), (second, second_public)] = ["EC", "ED25519"].map(pair);
    let files = [("own.key", &first), ("other.pub", &second_public)];
    let files = files.map(|(name, text)| (name.to_owned(), text.clone()));
    let lines = "key = \"own.key\"\npublic_keys = [\"other.pub\"]";
    let (gate, _) = gate(&Options { files: files.into(), ..asserting(lines) });
    let authorization = format!("Bearer {}", gate.token("read"));
    let wire = request(LINE, &[("Authorization", &authorization)], b"");
    let (stop, count) = (AtomicBool::new(false), AtomicUsize::new(0));
    let before = published(&gate);
    assert_eq!(before.len(), 2);
    thread::scope(|scope| {
        let _ending = Ending(&stop);
        for _ in 0..2 {
            scope.spawn(|| {
                let mut connection = Connection::open(gate.address);
                while !stop.load(Ordering::SeqCst) {
                    connection.write(&wire);
                    let reply = connection.read_reply("GET").unwrap();
                    assert_eq!(reply.status, 200, "{reply:?}");
                    count.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let some_more = |since: usize| {
            eventually("requests", || count.load(Ordering::SeqCst) > since + 20);
        };
        some_more(0);
        assert_eq!(signs(&gate), before[0]);
        // The published half of what signed takes the place of the next one's.
        replace(&gate, "other.pub", &first_public);
        replace(&gate, "own.key", &second);
        eventually("the other key", || {
            some_more(count.load(Ordering::SeqCst));
            signs(&gate) == before[1]
        });
        some_more(count.load(Ordering::SeqCst));
    });
    let mut after = published(&gate);
    assert_eq!(after[0], before[1]);
    after.reverse();
    assert_eq!(after, before);
    assert!(gate.metric("portcullis_config_reloads_total", &["\"loaded\""]) >= 1.0);
}

#[test]
fn keys_that_the_gateway_made_outlive_another_config() {
    let (gate, _) = gate(&asserting("algorithm = \"EdDSA\""));
    let before = published(&gate);
    let token = gate.token("read");
    assert_eq!(gate.bearer(LINE, &token).status, 200);
    let path = gate.folder.path().join("portcullis.toml");
    let text = fs::read_to_string(&path).unwrap();
    replace(&gate, "portcullis.toml", &text.replace("[assertion]", "[assertion]\nttl = \"1m\""));
    eventually("the config", || {
        gate.metric("portcullis_config_reloads_total", &["\"loaded\""]) == 1.0
    });
    assert_eq!(published(&gate), before);
    let answer = gate.bearer(LINE, &token);
    let lifetime = |name: &str| answer.json()[name].as_u64().unwrap();
    assert_eq!(lifetime("exp") - lifetime("iat"), 60);
    // With a key that can't be read the one before signs on, and nothing of the file is told.
    replace(&gate, "bad.key", "a-secret-in-the-wrong-place");
    let bad = text.replace("algorithm = \"EdDSA\"", "key = \"bad.key\"");
    replace(&gate, "portcullis.toml", &bad);
    eventually("a refusal", || {
        gate.metric("portcullis_config_last_reload_refused", &[]) == 1.0
            && gate.output().contains("assertion.key")
    });
    assert_eq!(gate.bearer(LINE, &token).status, 200);
    assert_eq!(published(&gate), before);
    assert!(!gate.output().contains("a-secret-in"), "{}", gate.output());
    // Switched off, there is none.
    replace(&gate, "portcullis.toml", &text.replace("[assertion]\nalgorithm = \"EdDSA\"", ""));
    gate.upstream.take();
    eventually("no assertion", || {
        gate.bearer(LINE, &token);
        gate.upstream.take_one().values(HEADER).is_empty()
    });
    assert_eq!(gate.admin("/.well-known/jwks.json").unwrap().status, 404);
}
