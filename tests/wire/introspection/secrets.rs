//! What is written and told while endpoints are asked names no secret; and `explain` asks them too.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::{ACTIVE, INDEX, LINE, ask, oauth_store, sentry_store};
use crate::explain::explain;
use crate::gate::{Gate, OWN_STORE, Options, eventually};
use crate::upstream::{Seen, Upstream, ok, reply};

/// Answers as the token says, and repeats all that it was sent wherever it can.
fn talkative(good: &'static str) -> Upstream {
    Upstream::answering(move |seen, stream| {
        let asked = [seen.head.as_str(), std::str::from_utf8(&seen.body).unwrap()].concat();
        let echo = asked.replace(['\r', '\n'], " ");
        let header =
            [("X-Echo", echo.as_str()), ("WWW-Authenticate", &*format!("Basic realm=\"{echo}\""))];
        let body = serde_json::json!({ "detail": echo, "error": echo }).to_string();
        let key =
            asked.split_whitespace().filter_map(|part| STANDARD.decode(part).ok()).next_back();
        let asked = asked + &String::from_utf8_lossy(&key.unwrap_or_default());
        match () {
            () if asked.contains("good") => ok(stream, &header, good.as_bytes()),
            () if asked.contains("broken") => {
                ok(stream, &header, format!("{body}{echo}").as_bytes())
            }
            () if asked.contains("error") => {
                reply(stream, &format!("500 {echo}"), &header, body.as_bytes());
            }
            () if asked.contains("moved") => {
                let location = format!("http://127.0.0.1:9/?{}", echo.replace(' ', "+"));
                reply(stream, "302 Found", &[("Location", &location)], body.as_bytes());
            }
            () => reply(stream, "401 Unauthorized", &header, body.as_bytes()),
        }
    })
}

const WORDS: [&str; 5] = ["good", "bad", "broken", "error", "moved"];
const CLIENT: &str = "gateway:a+client/secret=";

fn gate(stores: String) -> Gate {
    let options = Options {
        stores: Some(stores),
        tables: "[log]\nlevel = \"debug\"\n".to_owned(),
        environment: vec![("CLIENT".to_owned(), CLIENT.to_owned())],
        ..Options::default()
    };
    Gate::with(Upstream::start(), &options)
}

#[test]
fn no_secret_is_written_or_told() {
    for (good, store) in [(INDEX, sentry_store as fn(_, &str) -> String), (ACTIVE, oauth_store)] {
        let endpoint = talkative(good);
        let mut store = store(endpoint.address, "");
        if store.contains("rfc7662") {
            store.push_str("credential = { env = \"CLIENT\" }\n");
        }
        let mut gate = gate(store);
        let mut told = String::new();
        let mut keep = |text: &[u8]| told.push_str(&String::from_utf8_lossy(text));
        for word in WORDS {
            for authorization in [
                format!("Bearer sntryu_SEKRET+{word}"),
                format!("Bearer sntrys_SEKRET+{word}"),
                format!("Basic {}", STANDARD.encode(format!("SEKRET-{word}:"))),
            ] {
                let answer = gate.send(LINE, &[("Authorization", &authorization)]);
                keep(format!("{:?}", answer.headers).as_bytes());
                // The upstream of a test is told the credential, and does not repeat it.
                keep(&answer.body);
            }
        }
        keep(&gate.admin("/metrics").unwrap().body);
        keep(&gate.admin("/readyz").unwrap().body);
        assert!(!endpoint.take().is_empty());
        gate.stop();
        let log = gate.output();
        assert!(log.contains("answers 500") && log.contains("answers 302"), "{log}");
        assert!(log.contains("can't be read"), "{log}");
        keep(log.as_bytes());
        let key = STANDARD.encode("SEKRET-good:");
        let client = STANDARD.encode("gateway:a%2Bclient%2Fsecret%3D");
        for secret in ["SEKRET", &key[..12], "client/secret", "client%2Fsecret", &client[..20]] {
            assert!(!told.contains(secret), "{secret} in {told}");
        }
    }
}

fn is_asked(seen: &[Seen], token: &str) -> bool {
    seen.iter().any(|seen| seen.head.contains(token))
}

#[test]
fn a_call_is_explained_by_whom_the_endpoint_says_it_is() {
    let endpoint = talkative(INDEX);
    let gate = gate(format!("{OWN_STORE}{}", sentry_store(endpoint.address, "")));
    let own = gate.token("event:read");
    let basic = format!("Basic {}", STANDARD.encode("SEKRET-good:"));
    // The token, what is told, who it is, and whether the endpoint is asked.
    let rows = [
        ("sntryu_SEKRET-good", "", "user:7", true),
        ("Bearer sntryu_SEKRET-good", "", "user:7", true),
        (&*basic, "", "user:7", true),
        ("sntryu_SEKRET-bad", "unknown_token", "", true),
        ("sntryu_SEKRET-error", "store_unavailable", "", true),
        ("sntryu_SEKRET-moved", "store_unavailable", "", true),
        (&*own, "", "", false),
        ("portcullis_t_SEKRET", "malformed_credential", "", false),
    ];
    for (token, code, id, asked) in rows {
        let line = ["GET", "/api/0/organizations/acme/issues/", "--token-stdin"];
        let mut output = None;
        // Unless the machine was too slow for the question.
        eventually(token, || {
            endpoint.take();
            let told = explain(&gate, &[&line[..], &["--json"]].concat(), &format!("{token}\n"));
            let value: Value = serde_json::from_slice(&told.stdout).unwrap();
            let fine = value["outcome"]["code"].as_str().unwrap_or_default() == code;
            output = Some((told, value));
            fine
        });
        let (output, told) = output.unwrap();
        assert_eq!(output.status.code(), Some(i32::from(!code.is_empty())), "{token}: {told}");
        assert_eq!(
            is_asked(&endpoint.take(), token.trim_start_matches("Bearer ")),
            asked,
            "{token}"
        );
        if !id.is_empty() {
            assert_eq!(told["identity"]["id"], id, "{told}");
            assert_eq!(told["identity"]["organizations"], "unknown", "{told}");
            assert_eq!(told["outcome"]["authorization"], "the caller's own", "{told}");
        }
        let text = explain(&gate, &line, &format!("{token}\n"));
        let all = format!("{output:?}{text:?}");
        assert!(
            !all.contains("SEKRET") && !all.contains(&own) && !all.contains(&basic[6..]),
            "{all}"
        );
        // As it is served.
        let header = if token.contains(' ') { token.to_owned() } else { format!("Bearer {token}") };
        let served = ask_or_outage(&gate, &header, code);
        assert_eq!(served, code, "{token}");
    }
}

fn ask_or_outage(gate: &Gate, authorization: &str, code: &str) -> String {
    let headers = [("Authorization", authorization)];
    let reply = if code == "store_unavailable" {
        gate.send(LINE, &headers)
    } else {
        ask(gate, LINE, &headers)
    };
    if reply.status == 200 { String::new() } else { reply.code() }
}
