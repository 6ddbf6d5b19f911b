//! A rule in shadow over real sockets: what is forwarded, what is told, and its end.

use std::fs;
use std::time::Duration;

use portcullis::clock::{Clock as _, SystemClock};
use portcullis::policy::identity::Binding;
use portcullis::store::portcullis::TokenKind;

use crate::gate::{ADMIN, Gate, Options, UPSTREAM_TOKEN, eventually, new};
use crate::upstream::Upstream;

const GET: &str = "GET /api/0/organizations/acme/issues/";

fn rule(scopes: &str, end: &str) -> String {
    format!(
        "[[rule]]\nmethods = [\"GET\"]\npath = \"/api/0/organizations/{{organization_id_or_slug}}/issues/\"\n\
         scopes = {scopes}\noverride = true\nshadow_until = \"{end}\"\n"
    )
}

fn end(ahead: Duration) -> String {
    SystemClock.now().after(ahead).to_string()
}

fn gate(rules: String) -> Gate {
    let options = Options {
        admin: "credential = { file = \"admin-credential\" }".to_owned(),
        tables: "[audit]\noutput = \"audit.log\"\n".to_owned(),
        rules,
        // With one worker lines are in order.
        threads: Some(1),
        ..Options::default()
    };
    Gate::with(Upstream::start(), &options)
}

/// The status of a request, and what the upstream got for it as the credential.
fn ask(gate: &Gate, line: &str, token: &str) -> (u16, Vec<String>) {
    let status = gate.bearer(line, token).status;
    let seen = gate.upstream.take();
    (status, seen.iter().map(|seen| seen.value("authorization").unwrap_or("").to_owned()).collect())
}

fn through() -> (u16, Vec<String>) {
    (200, vec![format!("Bearer {UPSTREAM_TOKEN}")])
}

/// Has the config read again with these rules. The gateway looks by itself too, and may have been first.
fn reload(gate: &Gate, rules: &str, taken: bool) {
    fs::write(gate.folder.path().join("own.toml"), rules).unwrap();
    let bearer = format!("Bearer {ADMIN}");
    let answer = gate.operator("POST /reload", &[("Authorization", &bearer)], "").json();
    let result = answer["result"].as_str().unwrap();
    assert_eq!(["loaded", "unchanged"].contains(&result), taken, "{answer}");
}

#[test]
fn what_it_would_refuse_is_forwarded_as_before_and_told() {
    let mut gate = gate(rule("[\"event:admin\", \"team:read\"]", &end(Duration::from_secs(3600))));
    let (reads, administers, others) =
        (gate.token("event:read"), gate.token("event:admin"), gate.token("team:read"));
    let mut elsewhere = new("t", TokenKind::Bearer, "event:read");
    elsewhere.organizations = Binding::Only(Box::new(["globex".into()]));
    let elsewhere = gate.create(elsewhere);
    let rows = [
        (&reads, through(), "shadow"),
        (&administers, through(), "allow"),
        // It lets through what the rules in force refuse: refused, and told.
        (&others, (403, Vec::new()), "refuse"),
        // What both refuse is refused.
        (&elsewhere, (403, Vec::new()), "refuse"),
    ];
    for (token, wanted, _) in &rows {
        assert_eq!(ask(&gate, GET, token), *wanted);
    }
    assert_eq!(ask(&gate, GET, "nobody"), (401, Vec::new()));

    let decisions = "portcullis_decisions_total";
    gate.counts(decisions, &["decision=\"shadow\"", "reason=\"missing_scope\"", "\"bearer\""], 1.0);
    gate.counts(decisions, &["decision=\"allow\""], 1.0);
    gate.counts(decisions, &["decision=\"observe\""], 0.0);
    gate.counts(
        "portcullis_refusals_total",
        &["decision=\"shadow\"", "missing_scope", "/issues/"],
        1.0,
    );
    gate.counts("portcullis_refusals_total", &["decision=\"refuse\"", "/issues/"], 3.0);
    assert!(gate.metric("portcullis_shadow_until_timestamp_seconds", &[]) > 1e9);

    let bearer = format!("Bearer {ADMIN}");
    let question = format!(
        "{{\"method\": \"GET\", \"path\": \"/api/0/organizations/acme/issues/\", \"token\": \"{reads}\"}}"
    );
    let told = gate.operator("POST /explain", &[("Authorization", &bearer)], &question).json();
    assert_eq!(
        (&told["allowed"], &told["shadow"]["refuses"]["code"]),
        (&true.into(), &"missing_scope".into()),
        "{told}"
    );
    assert!(told["shadow"]["place"].as_str().unwrap().starts_with("own.toml:"), "{told}");
    assert!(told["rule"]["place"].as_str().unwrap().starts_with("sentry.toml:"), "{told}");

    let listed = gate.portcullis(&["routes", "list"]);
    assert_eq!(listed.matches("; in shadow until 20").count(), 1, "{listed}");

    gate.stop();
    let lines = gate.access_lines();
    let of = |line: &serde_json::Value| {
        (
            line["decision"].clone(),
            line["shadow"].clone(),
            line["shadow_rule"].is_string(),
            line["reason"].clone(),
        )
    };
    let seen: Vec<_> = lines.iter().map(of).collect();
    let (null, text) = (serde_json::Value::Null, |text: &str| serde_json::Value::from(text));
    assert_eq!(
        seen,
        [
            (text("shadow"), text("refuse"), true, text("missing_scope")),
            (text("allow"), null.clone(), false, null.clone()),
            (text("refuse"), text("allow"), true, text("missing_scope")),
            (text("refuse"), null.clone(), false, text("wrong_organization")),
            (text("refuse"), null.clone(), false, text("unknown_token")),
        ]
    );
    // What would be refused is worth a record, though reads are not.
    let audit = fs::read_to_string(gate.folder.path().join("audit.log")).unwrap();
    let records: Vec<serde_json::Value> =
        audit.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let shadowed: Vec<_> = records.iter().filter(|record| record["decision"] == "shadow").collect();
    assert_eq!(shadowed.len(), 1, "{audit}");
    assert_eq!(shadowed[0]["required"], serde_json::json!(["event:admin", "team:read"]));
    assert!(gate.output().contains("is in shadow until"));
}

#[test]
fn it_ends_by_the_clock_and_by_a_reload() {
    let gate = gate(rule("[\"event:admin\"]", &end(Duration::from_secs(3600))));
    let reads = gate.token("event:read");
    assert_eq!(ask(&gate, GET, &reads), through());
    // A date that has passed.
    reload(&gate, &rule("[\"event:admin\"]", "2020-01-01"), true);
    assert_eq!(ask(&gate, GET, &reads), (403, Vec::new()));
    assert_eq!(gate.metric("portcullis_shadow_until_timestamp_seconds", &[]), 0.0);
    eventually("a note", || gate.output().contains("`shadow_until` ended at 2020-01-01"));
    // One that comes while it serves.
    let ends = SystemClock.now().after(Duration::from_secs(4));
    reload(&gate, &rule("[\"event:admin\"]", &ends.to_string()), true);
    eventually("the end", || ask(&gate, GET, &reads) == (403, Vec::new()));
    assert!(SystemClock.now() >= ends);
    // And one that is too far away.
    reload(&gate, &rule("[\"event:admin\"]", "2999-01-01"), false);
    assert_eq!(ask(&gate, GET, &reads), (403, Vec::new()));
}
