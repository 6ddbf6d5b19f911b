//! The block list refuses Sentry's own credentials too, at every gateway.

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{all_answer, disabled};
use crate::database::Database;
use crate::gate::Gate;
use crate::outage::{ask, fine, unavailable};
use crate::tokens::{Tokens, create, printed, told};

const PROJECTS: &str = "GET /api/0/projects/";

fn fingerprint(secret: &str) -> String {
    Sha256::digest(secret)[..4].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_blocked_credential_of_sentrys_is_refused_everywhere() {
    let (tokens, sentry) = (Tokens::new(), Database::recorded());
    // In either order, and one that polls.
    let gates = [
        Gate::with_stores(&(sentry.store() + &tokens.listening()), ""),
        Gate::with_stores(&(tokens.listening() + &sentry.store()), ""),
        Gate::with_stores(&(sentry.store() + &tokens.store()), ""),
    ];
    let all: Vec<_> = gates.iter().collect();
    all_answer(&all, "userall", &fine());
    let blocked = fingerprint("userall");
    let is_logged = |line: &Value| line["token_fp"] == blocked.as_str();
    gates[0].wait_until(|| gates[0].access_lines().iter().any(is_logged));

    told(&gates[0].portcullis(&["block", "add", &blocked, "--reason", "in a screenshot"]), 0);
    all_answer(&all, "userall", &disabled());
    for gate in &gates {
        let header = "Authorization: Bearer userall";
        let reply = gate.send(PROJECTS, "HTTP/1.1", &[header], b"").unwrap();
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("block list"), "{detail}");
        assert!(!detail.contains("in a screenshot"), "{detail}");
        assert_eq!(ask(gate, "userprojectread"), fine());
    }
    let explain = ["explain", "--json", "--token-stdin", "GET", "/api/0/projects/"];
    let explained = printed(&gates[0].portcullis_reading("userall", &explain), 1);
    let explained: Value = serde_json::from_str(&explained).unwrap();
    assert_eq!(explained["outcome"]["code"], "disabled_token", "{explained}");

    // A gateway that starts now has the list before anybody asks.
    let late = Gate::with_stores(&(sentry.store() + &tokens.listening()), "");
    assert_eq!(ask(&late, "userall"), disabled());
    told(&late.portcullis(&["block", "remove", &blocked]), 0);
    all_answer(&all, "userall", &fine());
    all_answer(&[&late], "userall", &fine());
}

#[test]
fn nobody_is_let_in_before_the_list_was_read() {
    let (tokens, sentry) = (Tokens::new(), Database::recorded());
    let stores = format!("{}{}required_at_start = false\n", sentry.store(), tokens.listening());
    let own = {
        let gate = Gate::with_stores(&stores, "");
        told(&gate.portcullis(&["block", "add", &fingerprint("userall")]), 0);
        create(&gate, "own")
    };
    let role = &tokens.role;
    tokens.database.run(&format!("ALTER ROLE {role} NOLOGIN"));
    tokens.cut();
    let gate = Gate::starting(&stores, "");
    let ready = || gate.admin("/readyz").map(|reply| reply.status);
    for _ in 0..3 {
        for secret in ["userall", "userprojectread", &own.secret, "nobody"] {
            assert_eq!(ask(&gate, secret), unavailable(), "{secret}");
        }
        assert_eq!(ready(), Some(503));
    }
    assert!(gate.upstream.take().is_empty());
    // Readable, but for the list.
    let writer = format!("ALTER TABLE block OWNER TO postgres; ALTER ROLE {role} LOGIN");
    tokens.database.run(&writer);
    gate.wait_until(|| gate.messages().contains("permission denied for table block"));
    for secret in ["userall", "userprojectread", &own.secret, "nobody"] {
        assert_eq!(ask(&gate, secret), unavailable(), "{secret}");
    }
    tokens.database.run(&format!("ALTER TABLE block OWNER TO {role}"));
    gate.wait_until(|| {
        assert_ne!(ask(&gate, "userall").0, 200);
        ask(&gate, "userprojectread") == fine()
    });
    all_answer(&[&gate], "userall", &disabled());
    all_answer(&[&gate], &own.secret, &fine());
    gate.wait_until(|| ready() == Some(200));
}
