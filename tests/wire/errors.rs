//! The gateway's own errors: what a Sentry receives of them, and what it never does.

use serde_json::Value;

use crate::client::Connection;
use crate::gate::{ADMIN, Gate, Options, eventually};
use crate::upstream::{Seen, Upstream, ok, reply};

const LINE: &str = "GET /api/0/organizations/acme/issues/";
const KEY: &str = "a94a8fe5ccb19ba61c4c0873d391e987";

/// What stands for the project, answering everything like this.
fn sentry() -> Upstream {
    Upstream::answering(|_, stream| ok(stream, &[], b"{\"id\":\"1\"}"))
}

fn options(sentry: &str) -> Options {
    Options {
        tables: "[errors]\ndsn = { file = \"dsn\" }\nenvironment = \"test\"\n".to_owned(),
        files: vec![("dsn".to_owned(), format!("http://{KEY}@{sentry}/7\n"))],
        admin: "credential = { file = \"admin-credential\" }".to_owned(),
        ..Options::default()
    }
}

/// Has the config be one with a problem that names a secret, and read; back to what it was.
fn breaks(gate: &Gate) {
    let path = gate.folder.path().join("portcullis.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let broken = format!("trusted_proxies = [\"sntryu_in-it\"]\n{text}");
    for (text, status) in [(&broken, 422), (&text, 200)] {
        std::fs::write(&path, text).unwrap();
        let reply =
            gate.operator("POST /reload", &[("Authorization", &format!("Bearer {ADMIN}"))], "");
        assert_eq!(reply.status, status);
    }
}

/// Has another config be in force, and gives what is said of it.
fn edit(gate: &Gate, from: &str, to: &str) -> Value {
    let path = gate.folder.path().join("portcullis.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(path, text.replacen(from, to, 1)).unwrap();
    let reply = gate.operator("POST /reload", &[("Authorization", &format!("Bearer {ADMIN}"))], "");
    assert_eq!(reply.status, 200);
    reply.json()
}

/// The event in an envelope.
fn event(seen: &Seen) -> Value {
    assert_eq!((&*seen.method, &*seen.target), ("POST", "/api/7/envelope/"));
    assert_eq!(seen.value("content-type"), Some("application/x-sentry-envelope"));
    let auth = seen.value("x-sentry-auth").unwrap();
    assert!(auth.starts_with("Sentry ") && auth.contains(&format!("sentry_key={KEY}")), "{auth}");
    let text = String::from_utf8(seen.body.clone()).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[1]["type"], "event", "{text}");
    lines[2].clone()
}

fn reports(gate: &Gate, result: &str) -> f64 {
    gate.metric("portcullis_error_reports_total", &[&format!("\"{result}\"")])
}

#[test]
fn an_error_arrives_with_what_the_log_says_of_it_and_nothing_secret() {
    let sentry = sentry();
    let gate = Gate::with(Upstream::start(), &options(&sentry.address.to_string()));
    let token = gate.token("read");
    // Refusals and what clients do are no errors of the gateway.
    assert_eq!(gate.bearer(LINE, &token).status, 200);
    assert_eq!(gate.bearer(LINE, "sntryu_unknown").status, 401);
    for half in [&b"GET / HT"[..], b"GET /sntryu_in-it HTTP/1.1\r\nHost: x\r\nBroken"] {
        let mut connection = Connection::open(gate.address);
        connection.write(half);
    }
    breaks(&gate);
    // What is refused, and that what was before stays.
    let mut seen = Vec::new();
    eventually("two reports", || {
        seen.extend(sentry.take());
        seen.len() >= 2
    });
    let events: Vec<Value> = seen.iter().map(event).collect();
    for event in &events {
        // What no level is named in is an error.
        assert!(event.get("level").is_none_or(|level| level == "error"), "{event}");
        assert_eq!(event["environment"], "test", "{event}");
        assert_eq!(event["release"], concat!("portcullis@", env!("CARGO_PKG_VERSION")), "{event}");
        assert_eq!(event["logger"], "portcullis::server::reload", "{event}");
        assert!(event["server_name"].as_str().is_some_and(|name| !name.is_empty()), "{event}");
        for absent in ["user", "request", "breadcrumbs", "modules", "contexts"] {
            assert!(event.get(absent).is_none(), "{absent}: {event}");
        }
        assert!(!event.to_string().contains("sntryu_in-it"), "{event}");
    }
    let words = |event: &Value| event["message"].as_str().unwrap().to_owned();
    assert!(words(&events[0]).starts_with("the config is refused: "), "{events:#?}");
    assert_eq!(events[0]["extra"]["at"], "trusted_proxies[0]", "{events:#?}");
    assert_eq!(words(&events[1]), "the config before it stays in force");
    eventually("both counted", || reports(&gate, "sent") == 2.0);
    // The key is nowhere else.
    assert!(!gate.output().contains(KEY), "{}", gate.output());
}

#[test]
fn a_place_that_fails_again_and_again_is_reported_a_few_times() {
    let sentry = sentry();
    let gate = Gate::with(Upstream::start(), &options(&sentry.address.to_string()));
    for _ in 0..10 {
        breaks(&gate);
    }
    eventually("each counted", || reports(&gate, "sent") + reports(&gate, "suppressed") == 20.0);
    // Of two places; a minute may turn meanwhile.
    let sent = reports(&gate, "sent");
    assert!((6.0..=12.0).contains(&sent), "{sent}");
    assert_eq!(sentry.take().len() as f64, sent);
}

#[test]
fn a_sentry_that_takes_nothing_makes_one_warning_and_no_report() {
    let busy = Upstream::answering(|_, stream| {
        reply(stream, "429 Too Many Requests", &[("Retry-After", "600")], b"");
    });
    let gate = Gate::with(Upstream::start(), &options(&busy.address.to_string()));
    breaks(&gate);
    eventually("each counted", || {
        (reports(&gate, "failed"), reports(&gate, "suppressed")) == (1.0, 1.0)
    });
    assert_eq!(busy.take().len(), 1, "it asked to be left alone");

    // Nobody is there at all.
    let gate = Gate::with(Upstream::start(), &options("127.0.0.1:1"));
    let token = gate.token("read");
    breaks(&gate);
    eventually("each counted", || reports(&gate, "failed") == 2.0);
    assert_eq!(gate.bearer(LINE, &token).status, 200);
    eventually("a warning", || gate.output().contains("errors are not reported; check"));
    let output = gate.output();
    assert_eq!(output.matches("errors are not reported; check").count(), 1, "{output}");
    assert!(!output.contains(KEY), "{output}");
    assert_eq!(reports(&gate, "sent"), 0.0);
}

/// The DSN names the gateway: its errors are ingested like those of anybody else, and no error of that
/// way makes another report.
#[test]
fn through_the_gateway_itself_there_is_no_loop() {
    let relay = sentry();
    let mut options = options("relay.invalid");
    options.listen = "expose = [\"api\", \"ingest\"]".to_owned();
    options.top = "public_aliases = [\"http://alias.example\"]".to_owned();
    options.tables.push_str(&format!("[upstream.relay]\nurls = [\"http://{}\"]\n", relay.address));
    let gate = Gate::with(Upstream::start(), &options);
    std::fs::write(gate.folder.path().join("dsn"), format!("http://{KEY}@{}/7", gate.address))
        .unwrap();
    let said = edit(&gate, "alias.example", &gate.address.to_string());
    assert!(said.to_string().contains("names the gateway itself"), "{said}");
    breaks(&gate);
    eventually("two at the relay", || reports(&gate, "sent") == 2.0);
    let is_checked = |seen: &Seen| seen.method == "GET";
    let seen: Vec<_> = relay.take().into_iter().filter(|seen| !is_checked(seen)).collect();
    assert_eq!(seen.iter().map(event).count(), 2);

    edit(&gate, &relay.address.to_string(), "127.0.0.1:1");
    breaks(&gate);
    let ended = || {
        ["sent", "failed", "suppressed", "dropped"]
            .map(|result| reports(&gate, result))
            .iter()
            .sum::<f64>()
    };
    eventually("two more", || ended() == 4.0_f64);
    assert!(reports(&gate, "failed") >= 1.0);
    // Whatever failing had made would be there by now.
    gate.settle();
    assert_eq!(ended(), 4.0);
    assert!(relay.take().iter().all(is_checked));
}

#[test]
fn the_last_words_are_sent_before_the_process_ends() {
    let sentry = sentry();
    let mut gate = Gate::with(Upstream::start(), &options(&sentry.address.to_string()));
    breaks(&gate);
    gate.stop();
    assert_eq!(sentry.take().len(), 2);
}

#[test]
fn a_reload_takes_another_project() {
    let (first, second) = (sentry(), sentry());
    let gate = Gate::with(Upstream::start(), &options(&first.address.to_string()));
    let dsn = format!("http://{KEY}@{}/7\n", second.address);
    std::fs::write(gate.folder.path().join("dsn"), dsn).unwrap();
    let reply = gate.operator("POST /reload", &[("Authorization", &format!("Bearer {ADMIN}"))], "");
    assert_eq!(reply.status, 200);
    breaks(&gate);
    let mut seen = Vec::new();
    eventually("two reports", || {
        seen.extend(second.take());
        seen.len() == 2
    });
    assert!(first.take().is_empty());
}
