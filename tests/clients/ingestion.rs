//! Events: they go to Relay, with the key that their client presents, and with nothing of the
//! gateway's.

use serde_json::Value;

use crate::client::{Client, Home};
use crate::http::Seen;
use crate::sentry::PUBLIC_KEY;
use crate::stage::Stage;

const ENVELOPE: &str = "POST /api/2/envelope/";

/// The items of an envelope: of each its header and its payload.
fn items(seen: &Seen) -> Vec<(Value, Value)> {
    let body = String::from_utf8(seen.decoded()).unwrap();
    let mut lines = body.lines().skip(1);
    let mut items = Vec::new();
    while let (Some(header), Some(payload)) = (lines.next(), lines.next()) {
        items.push((serde_json::from_str(header).unwrap(), serde_json::from_str(payload).unwrap()));
    }
    items
}

/// The items of this kind that Relay has received, in envelopes that all came to the one place for
/// them, and none at Sentry's web service.
fn received(stage: &Stage, kind: &str) -> Vec<(Seen, Value)> {
    assert!(stage.sentry.web.take().is_empty());
    let seen = stage.sentry.relay.take();
    let mut found = Vec::new();
    for one in seen {
        assert_eq!(one.line(), ENVELOPE);
        assert_eq!(one.header("authorization"), None);
        for (header, payload) in items(&one) {
            if header["type"] == kind {
                found.push((one.clone(), payload));
            }
        }
    }
    found
}

/// The one event of these, whose key came in a header.
fn event_with_key_in_header(stage: &Stage) -> Value {
    let [(seen, event)] = received(stage, "event").try_into().unwrap();
    let key = seen.header("x-sentry-auth").expect("a key");
    assert!(key.contains(&format!("sentry_key={PUBLIC_KEY}")), "{key}");
    event
}

fn home(stage: &Stage) -> Home {
    stage.home().set("SENTRY_DSN", &stage.dsn())
}

#[test]
fn sentry_cli_sends_an_event_and_a_check_in() {
    for client in [Client::SentryCli, Client::SentryCli2] {
        let stage = Stage::with_relay();
        let home = home(&stage);
        let printed = home.run(client, &["send-event", "--message", "hello of a test"]).fine();
        assert!(printed.contains("Event dispatched"), "{printed}");
        let event = event_with_key_in_header(&stage);
        assert_eq!(event["logentry"]["message"], "hello of a test");

        home.run(client, &["monitors", "run", "nightly", "--", "true"]).fine();
        let check_ins = received(&stage, "check_in");
        let states: Vec<_> = check_ins.iter().map(|(_, item)| item["status"].as_str()).collect();
        assert_eq!(states, [Some("in_progress"), Some("ok")]);
    }
}

#[test]
fn the_python_sdk_sends_an_event() {
    let stage = Stage::with_relay();
    let script = "import sentry_sdk\nsentry_sdk.init()\n\
                  sentry_sdk.capture_message('hello of a test')\nsentry_sdk.flush(60)\n";
    home(&stage).run(Client::Python, &["-c", script]).fine();
    assert_eq!(event_with_key_in_header(&stage)["message"], "hello of a test");
}

#[test]
fn the_node_sdk_sends_an_event() {
    let stage = Stage::with_relay();
    // Long enough for several chunks.
    let script = "const sentry = require('@sentry/node');\
                  sentry.init({ tracesSampleRate: 0 });\
                  sentry.captureMessage('hello of a test', { extra: { noise: 'n'.repeat(50000) } });\
                  sentry.flush(60000).then(sent => process.exit(sent ? 0 : 1));";
    home(&stage).run(Client::Node, &["-e", script]).fine();
    let [(seen, event)] = received(&stage, "event").try_into().unwrap();
    assert_eq!(event["message"], "hello of a test");
    assert_eq!(event["extra"]["noise"].as_str().map(str::len), Some(50_000));
    // It has no header for the key.
    assert_eq!(seen.header("x-sentry-auth"), None);
    assert_eq!(seen.parameter("sentry_key"), Some(PUBLIC_KEY));
}
