//! What is not the Web API: who lets it in, where it goes, and with what of the caller's.

use std::sync::{Arc, OnceLock};

use http::HeaderMap;
use proptest::prelude::*;

use super::{MINIMAL, fake, parse, problem};
use crate::clock::Timestamp;
use crate::policy::credential::Digest;
use crate::policy::decision::{Decision, Forward, Listed, Lookup, Verdict};
use crate::policy::exposure::{Exposure, Exposures, Service};
use crate::policy::frame::RequestHead;
use crate::policy::identity::{Binding, Bound, Expiry, Identity, IdentityKind, Issuer, State};
use crate::policy::judge::{Circumstances, Resolved};
use crate::policy::question::Answers;
use crate::policy::scope::ScopeSet;
use crate::policy::{Policy, Screened};

pub(super) fn policy(relay: &str) -> Policy {
    let text = format!(
        r#"
        public_url = "https://sentry.example.com"
        listen = [{{ address = "0.0.0.0:8080", expose = ["api", "ui"] }}]
        store = [
            {{ kind = "portcullis", url = "sqlite:///tokens.db" }},
            {{ kind = "sentry", url = "postgres://portcullis@postgres/sentry" }},
        ]
        upstream.web = {{ urls = ["http://web:9000"], credential = {{ file = "sentry-token" }} }}
        upstream.relay = {{ urls = ["http://relay:3000"]{relay} }}
    "#
    );
    parse(&text, &fake()).unwrap().policy
}

fn exposed(names: &str) -> Exposures {
    names.split_whitespace().map(|name| Exposure::from_name(name).unwrap()).collect()
}

fn headers(lines: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("host", "sentry.example.com".parse().unwrap());
    for line in lines.split(" | ").filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ").unwrap();
        headers.append(name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap());
    }
    headers
}

/// The decision, when the store knows one key: of project 7, and nobody is blocked.
pub(super) fn decide(policy: &Policy, names: &str, request: &str, lines: &str) -> Decision {
    decide_by(policy, names, request, lines, |_| Listed::No)
}

pub(super) fn decide_by(
    policy: &Policy,
    names: &str,
    request: &str,
    lines: &str,
    listed: impl Fn(&Digest) -> Listed,
) -> Decision {
    let (method, target) = request.split_once(' ').unwrap();
    let headers = headers(lines);
    let head = RequestHead::new(method, target.as_bytes(), &headers);
    let head = RequestHead { exposed: exposed(names), ..head };
    match policy.screen(&head) {
        Screened::Decided(decision) => decision,
        Screened::Passing(passing) => passing.resolve(listed),
        Screened::Pending(pending) => {
            let bounds = Bound {
                organizations: Binding::Only(["acme".into()].into_iter().collect()),
                projects: Binding::Only(["7".into(), "web".into()].into_iter().collect()),
                ..Bound::default()
            };
            let identity = Identity {
                id: "sentry:projectkey:1".into(),
                kind: IdentityKind::ProjectKey,
                issuer: Issuer::Sentry,
                state: State::Active,
                scopes: ScopeSet::EMPTY,
                bounds: bounds.into(),
                expires_at: Expiry::NEVER,
            };
            let known = pending.presented().credential.digest
                == Digest::of("0123456789abcdef0123456789abcdef");
            let lookup = if known { Lookup::Found(Arc::new(identity)) } else { Lookup::Unknown };
            let given = Circumstances {
                now: Timestamp::from_millis(1),
                client: None,
                answers: &Answers::default(),
            };
            match pending.resolve(&lookup, given) {
                Resolved::Decided(decision) => decision,
                Resolved::Ask(question) => panic!("asks for {question:?}"),
            }
        }
    }
}

pub(super) fn told(policy: &Policy, decision: &Decision) -> String {
    match &decision.verdict {
        Verdict::Permit(permit) => {
            let forward = match permit.forward() {
                Forward::AsIs => "as is",
                Forward::Exchange(_) => "exchange",
                Forward::Anonymous => "anonymous",
                Forward::Session => "session",
                Forward::Untouched { cookies: false, relay: false } => "untouched",
                Forward::Untouched { cookies: true, relay: false } => "untouched, cookies",
                Forward::Untouched { cookies: false, relay: true } => "untouched, relay",
                Forward::Untouched { cookies: true, relay: true } => "all",
            };
            format!("{}: {forward}", policy.rules.rule(permit.rule()).service)
        }
        Verdict::Deny(denial) => denial.reason.code().to_owned(),
        Verdict::Options(methods) => methods.to_string(),
    }
}

#[test]
fn what_is_let_in_and_where_it_goes() {
    let policy = policy("");
    let own = "authorization: Bearer portcullis_t_x";
    let rows: &[(&str, &str, &str, &str)] = &[
        // Ingestion.
        ("api", "POST /api/7/envelope/", "", "no_such_route"),
        ("ingest", "POST /api/7/envelope/", "", "relay: untouched"),
        ("ingest", "POST /api/7/envelope/?sentry_key=a", "cookie: sentrysid=a", "relay: untouched"),
        ("ingest", "POST /api/1/envelope/", "authorization: Basic YTo=", "relay: untouched"),
        ("ingest", "POST /api/12345678901234567890/store/", "", "relay: untouched"),
        ("ingest", "OPTIONS /api/7/envelope/", "origin: https://a", "relay: untouched"),
        ("ingest", "GET /api/7/envelope/", "", "method_not_allowed"),
        ("ingest", "POST /api/0/envelope/", "", "no_such_route"),
        ("ingest", "POST /api/07/envelope/", "", "no_such_route"),
        ("ingest", "POST /api/7/envelope", "", "no_such_route"),
        ("ingest", "POST /api/7/envelope/x/", "", "no_such_route"),
        ("ingest", "POST /api/7/projects/", "", "no_such_route"),
        ("ingest", "POST /api/7%2e/envelope/", "", "no_such_route"),
        // Relay compares bytes, and hands what it does not know to the web service.
        ("ingest", "POST /%61pi/7/envelope/", "", "no_such_route"),
        ("ingest", "POST /api/7/envelop%65/", "", "no_such_route"),
        ("ingest", "OPTIONS /api/7/envelop%65/", "", "no_such_route"),
        ("ingest", "POST /api/%37/envelope/", "", "relay: untouched"),
        ("ingest", "POST /api/7/cron/a%20b/", "", "relay: untouched"),
        ("api relays", "POST /api/0/relays/projectconfig%73/", "", "no_such_route"),
        ("ingest", "POST /api/1/envelope/../../0/", "", "bad_path"),
        ("ingest", "POST /api/1%2Fenvelope/", "", "bad_path"),
        ("ingest", "POST //api/1/envelope/", "", "bad_path"),
        ("ingest", "GET /api/7/cron/nightly/?status=ok", "", "relay: untouched"),
        ("ingest", "POST /api/7/minidump", "", "relay: untouched"),
        ("ingest", "POST /api/7/upload/?sentry_key=a", "", "relay: untouched"),
        ("ingest", "POST /api/7/upload", "", "relay: untouched"),
        ("ingest", "PATCH /api/7/upload/0a1b/?length=1&signature=c", "", "relay: untouched"),
        ("ingest", "OPTIONS /api/7/upload/0a1b/", "", "relay: untouched"),
        ("ingest", "PATCH /api/7/upload/", "", "method_not_allowed"),
        ("ingest", "POST /api/7/upload/0a1b/", "", "method_not_allowed"),
        ("ingest", "PATCH /api/7/upload/0a1b", "", "no_such_route"),
        ("ingest", "POST /api/0/upload/", "", "no_such_route"),
        ("ingest", "POST /api/7/integration/vercel/logs", "", "relay: untouched"),
        ("ingest", "POST /api/7/integration/vercel/logs/", "", "relay: untouched"),
        ("ingest", "POST /api/7/integration/vercel/", "", "no_such_route"),
        ("ingest", "POST /api/7/playstation/", "", "no_such_route"),
        ("ingest", "GET /api/7/crossdomain.xml", "", "no_such_route"),
        ("ingest", "GET /js-sdk-loader/0123456789abcdef.js", "", "web: untouched"),
        ("ingest", "GET /js-sdk/1.0/bundle.min.js", "", "assets: untouched"),
        ("ingest", "GET /api/0/", "", "no_such_route"),
        ("ingest", "GET /api/0/organizations/", "authorization: Bearer x", "no_such_route"),
        ("ingest", "GET /", "", "no_such_route"),
        ("ingest", "GET /auth/login/", "", "no_such_route"),
        ("ingest", "POST /api/7/envelope/", own, "wrong_credential_kind"),
        (
            "ingest",
            "POST /api/7/envelope/",
            "x-sentry-auth: Sentry sentry_key=portcullis_t_x",
            "wrong_credential_kind",
        ),
        (
            "ingest",
            "POST /api/7/envelope/",
            "authorization: Bearer \"portcullis_t_x\"",
            "wrong_credential_kind",
        ),
        ("ingest", "POST /api/7/envelope/?sentry_key=portcullis_t_x", "", "wrong_credential_kind"),
        ("ingest", "POST /api/7/envelope/?a=b&c=%70ortcullis%5ft_x", "", "wrong_credential_kind"),
        ("ingest", "POST /api/7/envelope/?a=portcullis", "", "relay: untouched"),
        // Relays.
        ("api ui", "POST /api/0/relays/projectconfigs/", "", "no_such_route"),
        ("api relays", "POST /api/0/relays/projectconfigs/", "", "relay: untouched, relay"),
        ("relays", "GET /api/0/relays/live/", "", "relay: untouched, relay"),
        ("api relays", "GET /api/0/relays/", "authorization: Bearer x", "route_not_exposed"),
        ("relays", "POST /api/0/relays/projectids/", "", "no_such_route"),
        ("api relays", "POST /api/0/relays/projectids/", "", "route_not_exposed"),
        // Webhooks and OAuth.
        ("api", "POST /extensions/slack/event/", "", "no_such_route"),
        ("webhooks", "POST /extensions/slack/event/", "cookie: sentrysid=a", "web: untouched"),
        ("webhooks", "GET /extensions", "", "no_such_route"),
        ("webhooks", "POST /api/hooks/release/builtin/7/sig/", "", "web: untouched"),
        ("api oauth", "POST /oauth/token/", "", "web: untouched"),
        ("api", "POST /oauth/token/", "", "no_such_route"),
        (
            "oauth api ui",
            "GET /oauth/authorize/?a=b",
            "cookie: sentrysid=a",
            "web: untouched, cookies",
        ),
        // Pages, and the API by a session.
        ("api ui", "GET /organizations/acme/issues/", "cookie: a=b", "web: untouched, cookies"),
        ("api ui", "GET /auth/login/", "", "web: untouched, cookies"),
        ("api ui", "GET /_assets/app.js", "cookie: sentrysid=a", "assets: untouched"),
        ("api ui", "GET /", "", "web: untouched, cookies"),
        ("api ui", "GET /x/", "authorization: Bearer x | cookie: sentrysid=a", "web: untouched"),
        ("api ui", "GET /x/", own, "wrong_credential_kind"),
        ("api ui", "GET /api/0/organizations/", "cookie: sentrysid=a", "web: session"),
        (
            "api ui",
            "GET /api/0/organizations/",
            "cookie: a=b | cookie: c=d;  sentrysid=a",
            "web: session",
        ),
        ("api ui", "GET /api/0/organizations/", "cookie: sentrysid=", "missing_credential"),
        ("api ui", "GET /api/0/organizations/", "cookie: xsentrysid=a", "missing_credential"),
        ("api ui", "GET /api/0/organizations/", "cookie: sentrysidx=a", "missing_credential"),
        ("api", "GET /api/0/organizations/", "cookie: sentrysid=a", "missing_credential"),
        (
            "api ui",
            "GET /api/0/organizations/",
            "cookie: sentrysid=a | authorization: Bearer x",
            "unknown_token",
        ),
        (
            "api ui",
            "GET /api/0/organizations/?sentry_key=a",
            "cookie: sentrysid=a",
            "multiple_credentials",
        ),
        ("api ui", "GET /api/0/api-tokens/", "cookie: sentrysid=a", "web: session"),
        ("api ui", "GET /api/0/api-tokens/", "authorization: Bearer x", "route_not_exposed"),
        ("api", "GET /api/0/api-tokens/", "cookie: sentrysid=a", "route_not_exposed"),
        ("api ui", "GET /api/0/", "cookie: sentrysid=a", "web: session"),
        ("api ui", "GET /api/0/", "", "web: anonymous"),
        // What no rule of the API knows is no page.
        ("api ui", "GET /api/0/no-such/", "cookie: sentrysid=a", "no_such_route"),
        ("api ui", "GET /api/7/envelope/", "cookie: sentrysid=a", "no_such_route"),
        ("api ui", "GET /%61pi/0/no-such/", "cookie: sentrysid=a", "no_such_route"),
        ("api ui", "GET /api", "cookie: sentrysid=a", "no_such_route"),
        ("api ui", "DELETE /api/0/", "cookie: sentrysid=a", "method_not_allowed"),
        ("api ui", "GET /api/client-config/", "cookie: sentrysid=a", "web: untouched, cookies"),
    ];
    for (names, request, lines, wanted) in rows {
        let seen = told(&policy, &decide(&policy, names, request, lines));
        assert_eq!(seen, *wanted, "{names}: {request} [{lines}]");
    }
}

#[test]
fn a_key_is_checked_where_the_config_says_so() {
    let policy = policy(", check_keys = true");
    let key = "0123456789abcdef0123456789abcdef";
    let sentry =
        format!("x-sentry-auth: Sentry sentry_version=7, sentry_key={key}, sentry_client=a/1");
    let basic =
        format!("authorization: Basic {}", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY6eA==");
    let to = |path: &str| format!("POST /api/7/{path}");
    let rows = [
        (to("envelope/"), &*sentry, "relay: untouched"),
        (to("envelope/"), &*basic, "relay: untouched"),
        (to("envelope/"), &*format!("authorization: sentry sentry_key={key}"), "relay: untouched"),
        (to(&format!("envelope/?sentry_version=7&sentry_key={key}")), "", "relay: untouched"),
        (to(&format!("envelope/?sentry%5Fkey={key}")), "", "relay: untouched"),
        (to(&format!("unreal/{key}/")), "", "relay: untouched"),
        (format!("GET /api/7/cron/nightly/{key}/"), "", "relay: untouched"),
        (format!("OPTIONS /api/7/envelope/?sentry_key={key}"), "", "relay: untouched"),
        (to("envelope/"), "", "missing_credential"),
        (to("envelope/"), &*format!("{sentry}, a=portcullis_t_x"), "wrong_credential_kind"),
        (to(&format!("envelope/?sentry_key={key}&a=portcullis_t_x")), "", "wrong_credential_kind"),
        (to("envelope/"), "x-sentry-auth: Sentry sentry_version=7", "malformed_credential"),
        (to("envelope/"), "authorization: Bearer x", "malformed_credential"),
        (to("envelope/?sentry_key=a%20b"), "", "malformed_credential"),
        (to("envelope/?sentry_key=fedcba9876543210"), "", "unknown_token"),
        (format!("POST /api/8/envelope/?sentry_key={key}"), "", "unknown_token"),
        (to(&format!("envelope/?sentry_key={key}&sentry_key={key}")), "", "multiple_credentials"),
        (to(&format!("envelope/?sentry_key={key}")), &*sentry, "multiple_credentials"),
        (to(&format!("envelope/?sentry_key={key}")), &*basic, "multiple_credentials"),
        (to("envelope/"), &*format!("{sentry} | {sentry}"), "multiple_credentials"),
        // A project that the path does not name.
        ("POST /api/store/".to_owned(), &*sentry, "malformed_credential"),
        (format!("GET /js-sdk-loader/{key}.js"), "", "web: untouched"),
    ];
    for (request, lines, wanted) in rows {
        let seen = told(&policy, &decide(&policy, "ingest", &request, lines));
        assert_eq!(seen, wanted, "{request} [{lines}]");
    }
}

/// The routes of Relay's, told once more and in another way (facts of Relay's own router).
fn is_relays(path: &str) -> bool {
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let id =
        |text: &str| text.parse::<u128>().is_ok_and(|n| n > 0) && !text.starts_with(['0', '+']);
    let word = |text: &str| !text.is_empty();
    match parts.as_slice() {
        ["api", "store", ""] => true,
        ["api", "0", "relays", name, ""] => {
            ["projectconfigs", "publickeys", "outcomes", "metrics", "live"].contains(name)
        }
        ["api", "0", "relays", "register", "challenge" | "response", ""] => true,
        ["api", project, name, ""] if id(project) => {
            ["store", "envelope", "security", "csp-report", "nel", "minidump"].contains(name)
        }
        ["api", project, "minidump"] => id(project),
        ["api", project, "events", event, "attachments", ""] => id(project) && word(event),
        ["api", project, "unreal", key, ""] => id(project) && word(key),
        ["api", project, "upload"] | ["api", project, "upload", ""] => id(project),
        ["api", project, "upload", key, ""] => id(project) && word(key),
        ["api", project, "integration", "vercel", "logs", rest @ ..] => {
            id(project) && matches!(rest, [] | [""])
        }
        ["api", project, "cron", slug, rest @ ..] => {
            let end = matches!(rest, [] | [""]) || matches!(rest, [key] | [key, ""] if word(key));
            id(project) && word(slug) && end
        }
        ["api", project, "integration", "otlp", "v1", "traces" | "logs", rest @ ..]
        | ["api", project, "otlp", "v1", "traces", rest @ ..] => {
            id(project) && matches!(rest, [] | [""])
        }
        _ => false,
    }
}

static POLICY: OnceLock<Policy> = OnceLock::new();

proptest! {
    /// Whatever a listener exposes, nothing else reaches Relay.
    #[test]
    fn only_its_own_routes_reach_relay(
        parts in prop::collection::vec(
            prop_oneof![
                3 => Just("api"), 2 => Just("7"), 1 => Just("0"), 1 => Just("07"),
                2 => Just("envelope"), 1 => Just("store"), 1 => Just("relays"), 1 => Just("cron"),
                1 => Just("otlp"), 1 => Just("v1"), 1 => Just("traces"), 1 => Just("live"),
                1 => Just("x"), 3 => Just(""), 1 => Just("%61pi"), 1 => Just("7%2f"), 1 => Just(".."),
                1 => Just("minidump"), 1 => Just("EnVelope"), 1 => Just("register"),
                2 => Just("upload"), 2 => Just("integration"), 1 => Just("vercel"),
                1 => Just("logs"),
            ],
            1..8,
        ),
        method in prop_oneof![
            Just("POST"), Just("GET"), Just("OPTIONS"), Just("PUT"), Just("PATCH"),
        ],
    ) {
        let policy = POLICY.get_or_init(|| policy(""));
        let path = format!("/{}", parts.join("/"));
        let all = "api ingest relays webhooks oauth ui";
        let decision = decide(policy, all, &format!("{method} {path}"), "cookie: sentrysid=a");
        if let Verdict::Permit(permit) = &decision.verdict {
            let to_relay = policy.rules.rule(permit.rule()).service == Service::Relay;
            prop_assert_eq!(to_relay, is_relays(&path), "{}", path);
        }
    }
}

#[test]
fn load_balancers_are_networks_and_there_is_one() {
    let with = |list: &str| {
        let listen = "listen = [{ address = \"0.0.0.0:8080\" }]";
        let new = format!("listen = [{{ address = \"0.0.0.0:8080\", proxy_protocol = {list} }}]");
        MINIMAL.replace(listen, &new)
    };
    let config = parse(&with("[\"10.0.0.0/8\", \"::1\"]"), &fake()).unwrap();
    let networks = config.listen[0].proxy_protocol.as_deref().unwrap();
    assert_eq!(
        networks.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["10.0.0.0/8", "::1/128"]
    );
    assert!(config.notes.iter().all(|note| !note.at.contains("proxy_protocol")));
    for (list, at, what) in [
        ("[]", "listen[0].proxy_protocol", "is empty"),
        ("[\"balancer\"]", "listen[0].proxy_protocol[0]", "`balancer` is not a network"),
    ] {
        let problem = problem(&with(list), &fake());
        assert!(problem.at == at && problem.what.starts_with(what), "{problem}");
    }
    let notes = parse(&with("[\"0.0.0.0/0\"]"), &fake()).unwrap().notes;
    assert!(notes.iter().any(|note| note.what.contains("anybody")), "{notes:?}");
    assert_eq!(parse(MINIMAL, &fake()).unwrap().listen[0].proxy_protocol, None);
}
