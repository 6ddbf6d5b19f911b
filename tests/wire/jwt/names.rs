//! By which name somebody is known for whom an issuer vouches.

use std::collections::BTreeSet;

use serde_json::json;

use super::issuer::{Issuer, with};
use super::key::Key;
use super::{LINE, ask, told};
use crate::gate::{Gate, OWN_STORE, Options};
use crate::upstream::Upstream;

#[test]
fn no_two_subjects_are_one_principal() {
    let key = Key::made("one");
    let issuer = Issuer::of(&[&key]);
    let options = Options {
        top: "identity_headers = true".to_owned(),
        stores: Some(String::new()),
        tables: format!("{OWN_STORE}{}", issuer.table("ci", "")),
        ..Options::default()
    };
    let gate = Gate::with(Upstream::start(), &options);
    let main = "repo:acme/web:ref:refs/heads/main";
    let long = |last: &str| format!("{}{last}", "x".repeat(128));
    let subjects = [
        main.to_owned(),
        main.replace("main", "ma\u{200b}in"),
        main.replace("main", "m ain"),
        main.replace("main", "m\u{e4}in"),
        format!("{main}\n"),
        format!("{main}%0A"),
        "\u{e9}".to_owned(),
        "\u{200b}".to_owned(),
        long("A"),
        long("B"),
        long("\u{e9}"),
    ];
    let mut seen = BTreeSet::new();
    for subject in &subjects {
        let token = key.sign(&with(issuer.claims(), "sub", json!(subject)));
        assert_eq!(told(&ask(&gate, &token)), (200, String::new()), "{subject:?}");
        let name = gate.upstream.take().pop().unwrap();
        let name = name.value("x-portcullis-subject").unwrap().to_owned();
        assert!(name.starts_with("ci:") && name.len() > 3, "{name}");
        seen.insert(name);
    }
    assert_eq!(seen.len(), subjects.len(), "{seen:?}");
    assert!(seen.contains(&format!("ci:{main}")));
    assert_eq!(gate.bearer(LINE, "nobody").status, 401);
}
