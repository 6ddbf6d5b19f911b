//! Beside tokens of the gateway: which never reach an endpoint, and which alone are exchanged.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis::policy::token::mint;
use portcullis::store::portcullis::TokenKind;
use serde_json::json;

use super::{LINE, ask, oauth_store, sentry, sentry_store, told};
use crate::gate::{ADMIN, Gate, OWN_STORE, Options, UPSTREAM_TOKEN, new};
use crate::upstream::{Upstream, ok};

fn with_stores(stores: String, rules: &str) -> Gate {
    let options = Options {
        stores: Some(stores),
        rules: rules.to_owned(),
        admin: "credential = { file = \"admin-credential\" }".to_owned(),
        ..Options::default()
    };
    Gate::with(Upstream::start(), &options)
}

fn basic(text: &str) -> String {
    format!("Basic {}", STANDARD.encode(text))
}

/// Tokens of the gateway's form that no store knows, in every way that one can be presented.
fn of_the_gateway() -> Vec<String> {
    let bytes: Vec<u8> = (0..200).collect();
    let (token, key) = (mint('t', &bytes).unwrap(), mint('k', &bytes).unwrap());
    let mut rows =
        vec!["Bearer portcullis_".to_owned(), basic("portcullis_:"), basic("portcullis_")];
    for secret in [token, key] {
        let damaged = secret.replacen("_0", "_1", 1);
        assert_ne!(damaged, secret);
        for secret in [&*secret, &*damaged, &secret[..40], &format!("{secret}0")] {
            rows.extend([
                format!("Bearer {secret}"),
                format!("bEARER \t {secret}"),
                basic(&format!("{secret}:")),
                basic(secret),
                basic(&format!("{secret}:password")),
                format!("Token {secret}"),
                format!("Bearer {secret} sntryu_good"),
                format!("DSN http://{secret}@sentry.example/2"),
            ]);
        }
    }
    rows
}

#[test]
fn what_the_gateway_issued_is_sent_to_nobody() {
    let good =
        r#"{"active":true,"scope":"event:read","auth":{"scopes":["event:read"]},"user":null}"#;
    let endpoint = Upstream::answering(move |_, stream| ok(stream, &[], good.as_bytes()));
    let asks = format!(
        "{}{}name = \"oauth\"\n",
        sentry_store(endpoint.address, ""),
        oauth_store(endpoint.address, "")
    );
    for stores in [asks.clone(), format!("{OWN_STORE}{asks}"), format!("{asks}{OWN_STORE}")] {
        let gate = with_stores(stores.clone(), "");
        for authorization in of_the_gateway() {
            // An operator who asks may write it otherwise than HTTP would have it.
            let operator = [("Authorization", &*format!("Bearer {ADMIN}"))];
            let written = format!(" {authorization}\t ");
            let path = "/api/0/organizations/acme/issues/";
            let question = json!({"method": "GET", "path": path, "token": written}).to_string();
            let told = gate.operator("POST /explain", &operator, &question).json();
            assert_eq!(told["allowed"], false, "{written}");
            let answer = ask(&gate, LINE, &[("Authorization", &authorization)]);
            assert_eq!(answer.status, 401, "{authorization}");
        }
        if stores.contains("sqlite") {
            let revoked = gate.token("event:read");
            gate.portcullis(&["token", "revoke", &gate.id_of(&revoked)]);
            gate.settle();
            assert_eq!(told(&gate.bearer(LINE, &revoked)), (401, "disabled_token".to_owned()));
        }
        assert!(endpoint.take().is_empty(), "{stores}");
        assert!(gate.upstream.take().is_empty(), "{stores}");
        assert!(!gate.output().contains("portcullis_t_"), "{stores}");
        // And it does ask for others.
        let answer = ask(&gate, LINE, &[("Authorization", "Bearer sntryu_portcullis-t_")]);
        assert_eq!(answer.status, 200);
        assert!(!endpoint.take().is_empty());
    }
}

/// Needs no scope, and is exchanged where a token of the gateway comes.
const RULES: &str = r#"
[[rule]]
methods = ["GET", "POST"]
path = "/api/0/own/"
access = "authenticated"

[[rule]]
methods = ["POST"]
path = "/api/0/own/{organization_id_or_slug}/"
scopes = ["event:read", "event:write"]
exchange = true
"#;

#[test]
fn only_what_the_gateway_issued_is_exchanged() {
    let asks = |endpoint: &Upstream| sentry_store(endpoint.address, "");
    let orders: [&dyn Fn(&Upstream) -> String; 2] =
        [&|endpoint| format!("{OWN_STORE}{}", asks(endpoint)), &|endpoint| {
            format!("{}{OWN_STORE}", asks(endpoint))
        }];
    let own = format!("Bearer {UPSTREAM_TOKEN}");
    for stores in orders {
        let endpoint = sentry();
        let gate = with_stores(stores(&endpoint), RULES);
        let bearer = gate.token("event:read event:write");
        let key = gate.create(new("k", TokenKind::ApiKey, "event:read event:write"));
        let issued = [format!("Bearer {bearer}"), basic(&format!("{key}:"))];
        let foreign = ["Bearer sntryu_good", "Bearer sntrys_good", "bearer  sntryu_good"];
        for line in [LINE, "GET /api/0/own/", "POST /api/0/own/acme/", "GET /api/0/"] {
            for authorization in &issued {
                assert_eq!(
                    ask(&gate, line, &[("Authorization", authorization)]).status,
                    200,
                    "{line}"
                );
                assert_eq!(gate.upstream.take_one().value("authorization"), Some(&*own), "{line}");
            }
            for authorization in foreign {
                let answer = ask(&gate, line, &[("Authorization", authorization)]);
                assert_eq!(answer.status, 200, "{line} {authorization}");
                let seen = gate.upstream.take_one();
                assert_eq!(seen.value("authorization"), Some(authorization), "{line}");
            }
            for stranger in ["Bearer sntryu_bad", "Basic YmFkOg=="] {
                let answer = ask(&gate, line, &[("Authorization", stranger)]);
                assert_eq!(told(&answer), (401, "unknown_token".to_owned()), "{line} {stranger}");
            }
        }
        // Without a scope or a binding Sentry decides; the gateway lends nothing.
        let answer = ask(&gate, "POST /api/0/own/", &[("Authorization", "Bearer sntryu_good")]);
        assert_eq!(answer.status, 200);
        let seen = gate.upstream.take_one();
        assert_eq!(seen.value("authorization"), Some("Bearer sntryu_good"));
        let answer = gate.send("POST /api/0/own/", &[("Authorization", &issued[0])]);
        assert_eq!(told(&answer), (401, "wrong_credential_kind".to_owned()));
        let asked = endpoint.take();
        let issued = |value: &str| issued.iter().any(|own| own == value);
        assert!(!asked.iter().any(|seen| seen.value("authorization").is_some_and(issued)));
    }
}

#[test]
fn a_store_is_asked_for_the_kinds_it_is_there_for() {
    let kinds = ["user_token", "org_token", "api_key"];
    let credentials = ["Bearer sntryu_good", "Bearer sntrys_good", "Basic Z29vZDo="];
    let index = super::INDEX;
    for (number, kind) in kinds.into_iter().enumerate() {
        let endpoint = Upstream::answering(move |_, stream| ok(stream, &[], index.as_bytes()));
        let store = sentry_store(endpoint.address, &format!("credentials = [\"{kind}\"]"));
        let gate = with_stores(format!("{OWN_STORE}{store}"), "");
        for (other, authorization) in credentials.into_iter().enumerate() {
            let answer = ask(&gate, LINE, &[("Authorization", authorization)]);
            if number == other {
                assert_eq!(answer.status, 200, "{kind} {authorization}");
                let seen = endpoint.take();
                assert_eq!(seen[0].value("authorization"), Some(authorization), "{kind}");
            } else {
                assert_eq!(
                    told(&answer),
                    (401, "unknown_token".to_owned()),
                    "{kind} {authorization}"
                );
                assert!(endpoint.take().is_empty(), "{kind} {authorization}");
            }
        }
    }
}
