//! Certificates that can't be served, and what `portcullis check` says of those that can.

use std::process::{Command, Output};

use super::authority::Authority;
use crate::gate::HOST;

/// What `check` says of a listener with this `tls`, these files beside it.
fn check(tls: &str, files: &[(&str, &str)]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    std::fs::write(folder.path().join("token"), "sntryu_0").unwrap();
    let config = format!(
        "public_url = \"https://{HOST}\"\nlisten = [{{ address = \"127.0.0.1:0\", tls = {tls} }}]\n\
         [upstream.web]\nurls = [\"http://127.0.0.1:9\"]\ncredential = {{ file = \"token\" }}\n\
         [[store]]\nkind = \"portcullis\"\nurl = \"sqlite://tokens.db\"\n"
    );
    let path = folder.path().join("portcullis.toml");
    std::fs::write(&path, config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    let Output { status, stderr, .. } =
        command.args(["check", "--config"]).arg(path).output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[test]
fn what_can_not_be_served_is_said_all_at_once() {
    let authority = Authority::new("ours");
    let (one, other) = (authority.certificate("DNS:a"), authority.certificate("DNS:b"));
    let cut = &one.certificate[..one.certificate.len() / 2];
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let bad_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let locked =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let second_is_broken = one.certificate.clone() + broken;
    let files = [
        ("one.crt", one.certificate.as_str()),
        ("one.key", &one.key),
        ("other.key", &other.key),
        ("empty", ""),
        ("cut.crt", cut),
        ("broken.crt", broken),
        ("second.crt", &second_is_broken),
        ("bad.key", bad_key),
        ("locked.key", locked),
    ];
    let rows = [
        ("missing.crt", "one.key", "certificate: `missing.crt` can't be read"),
        ("one.crt", "missing.key", "key: `missing.key` can't be read"),
        ("empty", "one.key", "certificate: `empty` holds no certificate in PEM"),
        ("one.key", "one.key", "certificate: `one.key` holds no certificate in PEM"),
        ("cut.crt", "one.key", "certificate: `cut.crt` holds"),
        (
            "broken.crt",
            "one.key",
            "`broken.crt` holds a certificate that can't be read, the 1. of it",
        ),
        (
            "second.crt",
            "one.key",
            "`second.crt` holds a certificate that can't be read, the 2. of it",
        ),
        ("one.crt", "one.crt", "key: `one.crt` holds no key in PEM, or an encrypted one"),
        ("one.crt", "locked.key", "key: `locked.key` holds no key in PEM, or an encrypted one"),
        ("one.crt", "bad.key", "key: `bad.key` holds a key that can't be used"),
        ("one.crt", "other.key", "key: `other.key` is the key of another certificate"),
        ("empty", "empty", "key: `empty` holds no key"),
    ];
    let list = rows.map(|(certificate, key, _)| {
        format!("{{ certificate = \"{certificate}\", key = \"{key}\" }}")
    });
    let (code, said) = check(&format!("{{ certificates = [{}] }}", list.join(", ")), &files);
    assert_eq!(code, Some(1), "{said}");
    for (index, (.., wanted)) in rows.iter().enumerate() {
        let place = format!("listen[0].tls.certificates[{index}].");
        let mut lines = said.lines();
        assert!(
            lines.any(|line| line.contains(&place) && line.contains(wanted)),
            "{wanted}: {said}"
        );
    }
    // The last has two problems.
    assert!(said.contains(&format!(": {} problems", rows.len() + 1)), "{said}");
    for secret in [&one.key, &other.key] {
        let line = secret.lines().nth(1).unwrap();
        assert!(!said.contains(line), "a key was printed: {said}");
    }
    let good = "certificates = [{ certificate = \"one.crt\", key = \"one.key\" }]";
    for (clients, wanted) in [
        ("client_ca = \"missing.crt\"", "listen[0].tls.client_ca: `missing.crt` can't be read"),
        ("client_ca = \"one.key\"", "listen[0].tls.client_ca: `one.key` holds no certificate"),
        ("client_ca = \"second.crt\"", "listen[0].tls.client_ca: `second.crt` holds a certificate"),
        ("client_certificates = \"optional\"", "listen[0].tls.client_certificates: is set, and no"),
        ("client_ca = \"one.crt\", client_certificates = \"never\"", "unknown variant `never`"),
    ] {
        let (code, said) = check(&format!("{{ {good}, {clients} }}"), &files);
        assert!(code == Some(1) && said.contains(wanted), "{clients}: {said}");
    }
    let (code, said) = check("{ certificates = [] }", &files);
    assert!(code == Some(1) && said.contains("listen[0].tls.certificates: is empty"), "{said}");
}

#[test]
fn what_an_operator_should_know_is_no_problem() {
    let authority = Authority::new("ours");
    let own = authority.certificate(&format!("DNS:{HOST}"));
    let wild = authority.certificate("DNS:*.example, DNS:other.example");
    let expired = authority.make("leaf", &format!("subjectAltName = DNS:{HOST}"), -1);
    let nameless = authority.make(HOST, "basicConstraints = CA:false", 2);
    let address = authority.certificate("IP:127.0.0.1");
    let files = [
        ("own.crt", own.certificate.as_str()),
        ("own.key", &own.key),
        ("wild.crt", &wild.certificate),
        ("wild.key", &wild.key),
        ("expired.crt", &expired.certificate),
        ("expired.key", &expired.key),
        ("nameless.crt", &nameless.certificate),
        ("nameless.key", &nameless.key),
        ("address.crt", &address.certificate),
        ("address.key", &address.key),
    ];
    let nobody = "no certificate has the name `gw.example`, by which clients call";
    for (names, wanted) in [
        (&["own"][..], &[][..]),
        (&["wild"], &[]),
        (&["own", "wild"], &[]),
        (&["expired"], &["certificates[0]: `expired.crt` expired at "]),
        (&["address"], &[nobody]),
        (&["nameless"], &[nobody]),
        (&["own", "nameless"], &["certificates[1]: `nameless.crt` has no host name"]),
        (
            &["own", "expired"],
            &[
                "certificates[1]: `expired.crt` expired",
                "`expired.crt` has the name `gw.example`, and `own.crt` before it too",
            ],
        ),
    ] {
        let list = names
            .iter()
            .map(|name| format!("{{ certificate = \"{name}.crt\", key = \"{name}.key\" }}"))
            .collect::<Vec<_>>();
        let (code, said) = check(&format!("{{ certificates = [{}] }}", list.join(", ")), &files);
        assert_eq!(code, Some(0), "{names:?}: {said}");
        for wanted in wanted {
            assert!(said.contains(wanted), "{names:?}: {said}");
        }
        // And the store that a start would make.
        assert_eq!(said.matches("note: ").count(), wanted.len() + 1, "{names:?}: {said}");
    }
}
