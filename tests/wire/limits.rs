//! Limits: who has used up what, what a refusal says, and that nobody else is touched by it.
//!
//! Rates are of one request a minute, so that nothing comes back while a test runs.

mod at_once;
mod attacks;
pub mod redis_server;
mod reloaded;
mod shared;

use portcullis::clock::{Clock as _, SystemClock};

use serde_json::{Value, json};

use crate::client::Reply;
use crate::explain::explain;
use crate::gate::{Gate, Options, new, only};
use crate::upstream::{Upstream, ok, reply};

const LINE: &str = "GET /api/0/organizations/acme/issues/";
const UPLOAD: &str = "POST /api/0/organizations/acme/chunk-upload/";

fn gate(tables: &str) -> Gate {
    before(Upstream::start(), tables)
}

fn before(upstream: Upstream, tables: &str) -> Gate {
    Gate::with(upstream, &Options { tables: tables.to_owned(), ..Options::default() })
}

/// A number that a header says.
fn number(reply: &Reply, name: &str) -> Option<u64> {
    reply.header(name).map(|value| value.parse().unwrap())
}

fn is_limited(reply: &Reply, limit: &str) {
    assert_eq!((reply.status, &*reply.code()), (429, "rate_limited"), "{reply:?}");
    let json = reply.json();
    let detail = json["detail"].as_str().unwrap();
    assert!(
        detail.starts_with(&format!("the limit `{limit}` of the gateway is used up")),
        "{detail}"
    );
    assert_eq!(json["request_id"].as_str(), reply.header("x-request-id"));
    assert!(number(reply, "retry-after") >= Some(1), "{reply:?}");
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(reply.header("www-authenticate"), None);
}

fn refused(gate: &Gate, limit: &str, decision: &str) -> f64 {
    let labels = [&*format!("limit=\"{limit}\""), &*format!("decision=\"{decision}\"")];
    gate.metric("portcullis_rate_limited_total", &labels)
}

#[test]
fn a_token_that_has_used_up_its_rate_leaves_its_neighbour_alone() {
    let mut gate = gate("[limit.tokens]\nby = \"token\"\nper_minute = 1\nburst = 3\n");
    let (noisy, other) = (gate.token("event:read"), gate.token("event:read"));
    let began = SystemClock.now().as_millis() / 1000;
    // What is refused for another reason has used nothing.
    for _ in 0..5 {
        assert_eq!(gate.bearer("GET /api/0/organizations/acme/members/", &noisy).status, 403);
        assert_eq!(gate.bearer("GET /api/0/nothing/", &noisy).status, 404);
        assert_eq!(gate.bearer("OPTIONS /api/0/organizations/acme/issues/", &noisy).status, 200);
    }
    for remaining in [2, 1, 0] {
        let reply = gate.bearer(LINE, &noisy);
        assert_eq!(reply.status, 200, "{reply:?}");
        // By the names that clients read them.
        let spelled = |name: &str| reply.headers.iter().any(|(own, _)| own == name);
        assert!(spelled("X-Sentry-Rate-Limit-Limit"), "{reply:?}");
        assert!(spelled("X-Sentry-Rate-Limit-Remaining"), "{reply:?}");
        assert!(spelled("X-Sentry-Rate-Limit-Reset"), "{reply:?}");
        assert_eq!(number(&reply, "x-sentry-rate-limit-limit"), Some(3));
        assert_eq!(number(&reply, "x-sentry-rate-limit-remaining"), Some(remaining));
        let reset = number(&reply, "x-sentry-rate-limit-reset").unwrap();
        // A minute for each that was used.
        let used = 60 * (3 - remaining);
        assert!((began + used - 60..=began + used + 60).contains(&reset), "{began} {reset}");
        assert_eq!(reply.header("x-sentry-rate-limit-concurrentlimit"), None);
    }
    for _ in 0..4 {
        let reply = gate.bearer(LINE, &noisy);
        is_limited(&reply, "tokens");
        let wait = number(&reply, "retry-after").unwrap();
        assert!((1..=60).contains(&wait), "{wait}");
        assert_eq!(number(&reply, "x-sentry-rate-limit-limit"), Some(3));
        assert_eq!(number(&reply, "x-sentry-rate-limit-remaining"), Some(0));
        let reset = number(&reply, "x-sentry-rate-limit-reset").unwrap();
        assert!((began + 120..began + 240).contains(&reset), "{began} {reset}");
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("1 request a minute, 3 at once for each token"), "{detail}");
    }
    assert_eq!(gate.upstream.take().len(), 3);
    assert_eq!(gate.bearer(LINE, &other).status, 200);
    assert_eq!(gate.upstream.take().len(), 1);

    assert_eq!(refused(&gate, "tokens", "refuse"), 4.0);
    assert_eq!(gate.metric("portcullis_limit_keys", &["limit=\"tokens\""]), 2.0);
    gate.counts("portcullis_decisions_total", &["\"refuse\"", "rate_limited"], 4.0);
    gate.stop();
    let lines = gate.access_lines();
    let limited: Vec<_> = lines.iter().filter(|line| line["status"] == 429).collect();
    assert_eq!(limited.len(), 4);
    for line in limited {
        assert_eq!(
            (&line["decision"], &line["reason"]),
            (&"refuse".into(), &"rate_limited".into())
        );
        assert!(line["principal"].is_string(), "{line}");
    }
}

#[test]
fn each_caller_counts_by_what_the_limit_says() {
    // A limit, and requests in order: token, line, whether it gets through.
    type Sent = (&'static str, &'static str, u16);
    let upload = UPLOAD;
    let rows: &[(&str, &[Sent])] = &[
        (
            "by = \"organization\"",
            &[
                ("a", LINE, 200),
                ("b", LINE, 429),
                ("a", "GET /api/0/organizations/acme/members/", 429),
                // However the slug is written.
                ("a", "GET /api/0/organizations/%61cme/issues/", 429),
                ("a", "GET /api/0/projects/acme/web/issues/", 429),
                ("a", "GET /api/0/organizations/globex/issues/", 200),
                // It names none.
                ("a", "GET /api/0/organizations/", 200),
                ("a", "GET /api/0/organizations/", 200),
            ],
        ),
        (
            "by = \"client\"",
            &[
                ("a", LINE, 200),
                ("b", LINE, 429),
                ("", "POST /api/0/organizations/acme/join-request/", 429),
            ],
        ),
        (
            "by = \"token\"",
            &[
                ("a", LINE, 200),
                ("a", upload, 429),
                ("b", upload, 200),
                // Who is not known is not counted.
                ("", "POST /api/0/organizations/acme/join-request/", 200),
                ("", "POST /api/0/organizations/acme/join-request/", 200),
            ],
        ),
        (
            "by = \"token\"\nexcept_groups = [\"uploads\"]",
            &[("a", LINE, 200), ("a", LINE, 429), ("a", upload, 200), ("a", upload, 200)],
        ),
        (
            "by = \"token\"\ngroups = [\"uploads\"]",
            &[
                ("a", upload, 200),
                ("a", upload, 429),
                ("a", LINE, 200),
                ("a", LINE, 200),
                ("b", upload, 200),
            ],
        ),
        (
            "by = \"rule_group\"\ngroups = [\"uploads\", \"issues\"]",
            &[
                ("a", upload, 200),
                ("b", upload, 429),
                ("b", LINE, 200),
                ("a", LINE, 429),
                ("a", "GET /api/0/organizations/acme/members/", 200),
            ],
        ),
        // It is for the Web API, unless it says otherwise.
        ("by = \"client\"\nexpose = [\"ingest\"]", &[("a", LINE, 200), ("a", LINE, 200)]),
    ];
    for (limit, requests) in rows {
        let gate = gate(&format!("[limit.own]\nper_minute = 1\nburst = 1\n{limit}\n"));
        let tokens = [("a", gate.token("all")), ("b", gate.token("all"))];
        for (index, (who, line, status)) in requests.iter().enumerate() {
            let token = tokens.iter().find(|(name, _)| name == who);
            let reply = match token {
                Some((_, token)) => gate.bearer(line, token),
                None => gate.send(line, &[]),
            };
            assert_eq!(reply.status, *status, "{limit}: {index}: {line}: {reply:?}");
            assert_eq!(gate.upstream.take().len(), usize::from(*status == 200), "{limit}: {index}");
            if reply.status == 429 {
                is_limited(&reply, "own");
            }
        }
    }
}

#[test]
fn what_one_limit_refuses_costs_nothing_of_another() {
    let gate = gate(
        "[limit.a-organization]\nby = \"organization\"\nper_minute = 1\nburst = 3\n\
         [limit.b-token]\nby = \"token\"\nper_minute = 1\nburst = 2\n",
    );
    let (noisy, other) = (gate.token("all"), gate.token("all"));
    let first = gate.bearer(LINE, &noisy);
    // The narrower of the two.
    assert_eq!(number(&first, "x-sentry-rate-limit-limit"), Some(2));
    assert_eq!(gate.bearer(LINE, &noisy).status, 200);
    for _ in 0..10 {
        is_limited(&gate.bearer(LINE, &noisy), "b-token");
    }
    // Of what the organization has, the noisy one has used two.
    assert_eq!(gate.bearer(LINE, &other).status, 200);
    is_limited(&gate.bearer(LINE, &other), "a-organization");
    // And that has cost the other token nothing: it has one left elsewhere.
    assert_eq!(gate.bearer("GET /api/0/organizations/globex/issues/", &other).status, 200);
    assert_eq!(gate.upstream.take().len(), 4);
}

#[test]
fn a_limit_that_is_not_enforced_only_tells() {
    let mut gate =
        gate("[limit.tokens]\nby = \"token\"\nper_minute = 1\nburst = 1\nenforce = false\n");
    let token = gate.token("all");
    for _ in 0..4 {
        let reply = gate.bearer(LINE, &token);
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("x-sentry-rate-limit-limit"), None);
    }
    assert_eq!(gate.upstream.take().len(), 4);
    assert_eq!(
        (refused(&gate, "tokens", "shadow"), refused(&gate, "tokens", "refuse")),
        (3.0, 0.0)
    );
    gate.stop();
    assert!(gate.access_lines().iter().all(|line| line["decision"] == "allow"));
}

#[test]
fn a_gateway_that_observes_limits_all_the_same() {
    let today = SystemClock.now().after(std::time::Duration::from_secs(86_400)).to_string();
    let options = Options {
        top: format!("mode = \"observe\"\nobserve_until = \"{}\"", &today[..10]),
        tables: "[limit.tokens]\nby = \"token\"\nper_minute = 1\nburst = 1\n".to_owned(),
        ..Options::default()
    };
    let gate = Gate::with(Upstream::start(), &options);
    let token = gate.token("all");
    assert_eq!(gate.bearer(LINE, &token).status, 200);
    is_limited(&gate.bearer(LINE, &token), "tokens");
    assert_eq!(gate.upstream.take().len(), 1);
}

#[test]
fn what_sentry_says_of_its_own_limits_is_passed_on() {
    let upstream = Upstream::answering(|seen, stream| {
        let own = [
            ("X-Sentry-Rate-Limit-Limit", "40"),
            ("X-Sentry-Rate-Limit-Remaining", "39"),
            ("X-Sentry-Rate-Limit-Reset", "1787019075"),
            ("Retry-After", "7"),
        ];
        match seen.target.contains("refuse") {
            true => reply(stream, "429 Too Many Requests", &own, b"\"too many\""),
            false => ok(stream, &own[..3], b"{}"),
        }
    });
    let gate = before(
        upstream,
        "[limit.tokens]\nby = \"token\"\nper_minute = 1\nburst = 9\nin_flight = 4\n",
    );
    let token = gate.token("all");
    for (query, status, retry_after) in [("", 200, None), ("?refuse", 429, Some("7"))] {
        let reply = gate.bearer(&format!("{LINE}{query}"), &token);
        assert_eq!(reply.status, status);
        assert_eq!(reply.header("x-sentry-rate-limit-limit"), Some("40"));
        assert_eq!(reply.header("x-sentry-rate-limit-remaining"), Some("39"));
        assert_eq!(reply.header("x-sentry-rate-limit-reset"), Some("1787019075"));
        assert_eq!(reply.header("x-sentry-rate-limit-concurrentlimit"), None);
        assert_eq!(reply.header("retry-after"), retry_after);
    }
    assert_eq!(refused(&gate, "tokens", "refuse"), 0.0);
}

/// An answer that is rewritten is put together by hand, and says the same as one that is not.
#[test]
fn an_answer_that_is_held_tells_what_is_left_too() {
    let gate = gate("[limit.tokens]\nby = \"token\"\nper_minute = 1\nburst = 2\nin_flight = 3\n");
    let token = gate.token("all");
    for (remaining, line) in [(1, "GET /api/0/organizations/acme/chunk-upload/"), (0, LINE)] {
        // A client has its answer a little before its request has ended.
        gate.counts("portcullis_requests_in_flight", &[], 0.0);
        let reply = gate.bearer(line, &token);
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(number(&reply, "x-sentry-rate-limit-limit"), Some(2), "{line}");
        assert_eq!(number(&reply, "x-sentry-rate-limit-remaining"), Some(remaining), "{line}");
        assert_eq!(number(&reply, "x-sentry-rate-limit-concurrentlimit"), Some(3), "{line}");
        assert_eq!(number(&reply, "x-sentry-rate-limit-concurrentremaining"), Some(2), "{line}");
    }
}

#[test]
fn keys_of_projects_and_identities_that_share_nothing_count_apart() {
    // Bound and unbound, narrow and wide: each is one identity.
    let gate = gate("[limit.tokens]\nby = \"token\"\nper_minute = 1\nburst = 1\n");
    let bound = new("bound", portcullis::store::portcullis::TokenKind::Bearer, "all");
    let bound =
        portcullis::store::portcullis::admin::NewToken { organizations: only(&["acme"]), ..bound };
    let tokens = [gate.token("all"), gate.token("event:read"), gate.create(bound)];
    for token in &tokens {
        assert_eq!(gate.bearer(LINE, token).status, 200);
        is_limited(&gate.bearer(LINE, token), "tokens");
    }
    assert_eq!(gate.upstream.take().len(), 3);
}

#[test]
fn explain_shows_the_limits_that_a_request_meets_and_counts_against_none() {
    let gate = gate(
        "[limit.a]\nby = \"token\"\nper_second = 20\nburst = 40\nexcept_groups = [\"uploads\"]\n\
         [limit.b]\nby = \"organization\"\nin_flight = 8\nenforce = false\n\
         [limit.c]\nby = \"rule_group\"\ngroups = [\"uploads\"]\nper_minute = 1\n\
         [limit.d]\nby = \"client\"\nper_minute = 1\n",
    );
    let token = gate.token("all");
    let id = gate.id_of(&token);
    let explained = |line: &str| {
        let (method, path) = line.split_once(' ').unwrap();
        let told =
            explain(&gate, &["--json", method, path, "--token-stdin"], &format!("{token}\n"));
        let table = explain(&gate, &[method, path, "--token-stdin"], &format!("{token}\n"));
        let told: Value = serde_json::from_slice(&told.stdout).unwrap();
        (told["limits"].clone(), String::from_utf8(table.stdout).unwrap())
    };
    let b =
        json!({"name": "b", "by": "organization", "of": "acme", "in_flight": 8, "enforced": false});
    let d = json!({"name": "d", "by": "client", "rate": "1 request a minute, 1 at once", "enforced": true});
    let (limits, table) = explained(LINE);
    let a = json!({"name": "a", "by": "token", "of": id, "rate": "20 requests a second, 40 at once", "enforced": true});
    assert_eq!(limits, json!([a, b, d]));
    for line in [
        format!("limits      a: 20 requests a second, 40 at once, by token {id}\n"),
        "            b: 8 requests under way, by organization acme; not enforced\n".to_owned(),
        "            d: 1 request a minute, 1 at once, by client\n".to_owned(),
    ] {
        assert!(table.contains(&line), "{line} is not in {table}");
    }
    let (limits, _) = explained(UPLOAD);
    let c = json!({"name": "c", "by": "rule_group", "of": "uploads", "rate": "1 request a minute, 1 at once", "enforced": true});
    assert_eq!(limits, json!([b, c, d]));
    // What is refused meets none.
    assert_eq!(explained("GET /api/0/nothing/").0, Value::Null);
    // The running gateway is asked too, and nothing was used by any of it.
    assert_eq!(gate.bearer(UPLOAD, &token).status, 200);
    is_limited(&gate.bearer(UPLOAD, &token), "c");
}
