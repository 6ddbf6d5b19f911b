//! Tokens administered over HTTP, at any gateway of a fleet, which has nothing to write to but its database.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use super::{all_answer, disabled, unknown};
use crate::client::{Connection, Reply};
use crate::gate::{Gate, config};
use crate::outage::fine;
use crate::tokens::Tokens;
use crate::upstream::Upstream;

/// What stands in the file `token`.
const CREDENTIAL: &str = "sntryu_of-the-gateway";

/// A gateway with a credential for operators.
fn gate(tokens: &Tokens, upstream: &Upstream) -> Gate {
    let admin = "[admin]\ncredential = { file = \"token\" }";
    let gate =
        Gate::unready(&config(upstream.address, "", &tokens.listening()).replace("[admin]", admin));
    gate.wait_until(|| gate.admin("/readyz").is_some_and(|reply| reply.status == 200));
    gate
}

fn ask(gate: &Gate, line: &str, body: &Value) -> Reply {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let mut connection = Connection::open(gate.admin);
    let length = body.len();
    let head = format!(
        "{line} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {CREDENTIAL}\r\nContent-Length: {length}\r\n\r\n"
    );
    connection.write(&[head.as_bytes(), body.as_bytes()].concat());
    connection.read_reply(line.split(' ').next().unwrap()).unwrap()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value}")).to_owned()
}

fn files(gate: &Gate) -> BTreeSet<String> {
    let entries = fs::read_dir(gate.folder.path()).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn what_one_gateway_is_told_all_of_them_know() {
    let (tokens, upstream) = (Tokens::new(), Upstream::start());
    let gates = [gate(&tokens, &upstream), gate(&tokens, &upstream)];
    let [one, two] = &gates;
    let before = files(one);
    let body = json!({ "name": "ci", "scopes": ["project:read"], "no_expiry": true });
    let created = ask(one, "POST /tokens", &body);
    assert_eq!(created.status, 201, "{}", created.json());
    let (id, secret) = (text(&created.json()["token"]["id"]), text(&created.json()["secret"]));
    all_answer(&[one, two], &secret, &fine());
    let taken = ask(two, "POST /tokens", &body);
    assert_eq!((taken.status, &taken.json()["id"]), (409, &json!(id)));

    // How it is used at both adds up, and wakes nobody.
    let log = "SELECT count(*)::text FROM change";
    let changes = tokens.database.value(log);
    let used =
        || ask(two, &format!("GET /tokens/{id}"), &Value::Null).json()["token"]["use"].clone();
    let known = |line: &Value| line["principal"] == json!(id);
    let of = |gate: &Gate| gate.access_lines().iter().filter(|line| known(line)).count();
    one.wait_until(|| {
        let counted = gates.iter().map(of).sum::<usize>();
        gates.iter().all(|gate| of(gate) > 0) && used()["requests"] == counted
    });
    assert_eq!(used()["last_route"], "/api/0/projects/");
    assert_eq!(used()["last_network"], "127.0.0.0/24");
    assert_eq!(tokens.database.value(log), changes);

    let rotated = ask(two, &format!("POST /tokens/{id}/rotate"), &json!({ "overlap": "1h" }));
    assert_eq!(rotated.status, 201, "{}", rotated.json());
    let (next, new) = (text(&rotated.json()["token"]["id"]), text(&rotated.json()["secret"]));
    all_answer(&[one, two], &new, &fine());
    all_answer(&[one, two], &secret, &fine());
    let again = ask(one, &format!("POST /tokens/{id}/rotate"), &Value::Null);
    assert_eq!((again.status, again.json()["code"].clone()), (409, json!("already_rotated")));
    for id in [&id, &next] {
        assert_eq!(ask(one, &format!("DELETE /tokens/{id}"), &Value::Null).status, 200);
    }
    all_answer(&[one, two], &new, &disabled());
    all_answer(&[one, two], &secret, &disabled());
    let listed = ask(one, "GET /tokens?limit=1", &Value::Null).json();
    assert_eq!((text(&listed["tokens"][0]["id"]), text(&listed["next"])), (id.clone(), id.clone()));
    let rest = ask(one, &format!("GET /tokens?after={id}"), &Value::Null).json();
    assert_eq!((text(&rest["tokens"][0]["id"]), &rest["next"]), (next, &Value::Null));

    let bait = ask(one, "POST /tokens", &json!({ "name": "bait", "canary": true })).json();
    all_answer(&[one, two], &text(&bait["secret"]), &unknown());
    for gate in &gates {
        gate.wait_until(|| {
            all_answer(&[gate], &text(&bait["secret"]), &unknown());
            gate.metric("portcullis_canary_uses_total").is_some_and(|uses| uses > 0.0)
        });
        assert!(gate.messages().contains("a canary was presented"), "{}", gate.messages());
        assert!(
            !gate.messages().contains("uses of tokens can't be written"),
            "{}",
            gate.messages()
        );
    }
    let after: BTreeSet<_> = files(one).difference(&before).cloned().collect();
    assert!(after.is_empty(), "{after:?}");
    let dump = tokens.database.value("SELECT string_agg(token::text, ' ') FROM token");
    for secret in [&secret, &new] {
        assert!(!dump.contains(secret.as_str()) && !one.messages().contains(secret.as_str()));
    }
}

#[test]
fn an_outage_is_told_as_one_and_nothing_is_half_done() {
    let (tokens, upstream) = (Tokens::new(), Upstream::start());
    let gate = gate(&tokens, &upstream);
    let body = json!({ "name": "ci", "scopes": ["project:read"], "expires_in": "30d" });
    let id = text(&ask(&gate, "POST /tokens", &body).json()["token"]["id"]);
    tokens.database.run("ALTER TABLE token RENAME TO away");
    let other = json!({ "name": "other", "scopes": ["project:read"], "expires_in": "30d" });
    for (line, body) in [
        ("GET /tokens".to_owned(), &Value::Null),
        (format!("GET /tokens/{id}"), &Value::Null),
        ("POST /tokens".to_owned(), &other),
        (format!("POST /tokens/{id}/rotate"), &Value::Null),
        (format!("DELETE /tokens/{id}"), &Value::Null),
    ] {
        let reply = ask(&gate, &line, body);
        let code = reply.json()["code"].clone();
        assert_eq!((reply.status, code), (503, json!("store_unavailable")), "{line}");
        assert_eq!(reply.header("retry-after"), Some("1"));
        // Why is for the log.
        assert!(!reply.json()["detail"].as_str().unwrap().contains("relation"));
    }
    assert!(gate.messages().contains("tokens can't be administered"));
    tokens.database.run("ALTER TABLE away RENAME TO token");
    let listed = ask(&gate, "GET /tokens", &Value::Null).json();
    assert_eq!(listed["tokens"].as_array().unwrap().len(), 1);
    assert_eq!(listed["tokens"][0]["state"], "active");
    // A successor whose row can't be made is none.
    tokens.database.run(
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
         CREATE TRIGGER no BEFORE INSERT ON token FOR EACH ROW EXECUTE FUNCTION no()",
    );
    assert_eq!(ask(&gate, &format!("POST /tokens/{id}/rotate"), &Value::Null).status, 503);
    let shown = ask(&gate, &format!("GET /tokens/{id}"), &Value::Null).json()["token"].clone();
    assert_eq!((&shown["successor"], &shown["state"]), (&Value::Null, &json!("active")));
}
