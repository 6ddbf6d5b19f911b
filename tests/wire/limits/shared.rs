//! Limits that gateways share through a real Redis, and what becomes of them without it.

use std::net::TcpListener;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use portcullis::policy::credential::Digest;

use super::redis_server::Redis;
use super::{LINE, is_limited, number};
use crate::client::{Connection, request};
use crate::gate::{Gate, Options, eventually};
use crate::tls::authority::Authority;
use crate::upstream::Upstream;

const TOKENS: [&str; 2] = ["first-token-of-a-file", "other-token-of-a-file"];

/// A gateway with tokens that another one knows too.
fn gate(tables: &str, files: &[(&str, &str)]) -> Gate {
    let token = |(index, token): (usize, &&str)| {
        let digest = Digest::of(token);
        let digest: String = digest.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        format!(
            "[[token]]\nname = \"tok-{index}\"\ndigest = \"{digest}\"\nscopes = [\"event:read\"]\n"
        )
    };
    let tokens: String = TOKENS.iter().enumerate().map(token).collect();
    let files = files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    let options = Options {
        stores: Some("[[store]]\nkind = \"file\"\npath = \"tokens.toml\"\n".to_owned()),
        files: files.chain([("tokens.toml".to_owned(), tokens)]).collect(),
        tables: tables.to_owned(),
        ..Options::default()
    };
    Gate::with(Upstream::start(), &options)
}

fn limit(port: u16, timeout: &str, burst: u32) -> String {
    format!(
        "[redis]\nurl = \"redis://127.0.0.1:{port}\"\ntimeout = \"{timeout}\"\n\
         [limit.tokens]\nby = \"token\"\nper_minute = 1\nburst = {burst}\nshared = true\n"
    )
}

fn is_up(gate: &Gate) -> bool {
    gate.metric("portcullis_redis_up", &[]) == 1.0
}

/// How often Redis was asked with this result.
fn asked(gate: &Gate, result: &str) -> f64 {
    gate.metric("portcullis_redis_requests_total", &[&format!("\"{result}\"")])
}

fn up(gate: &Gate) {
    eventually("a Redis that is asked", || is_up(gate));
}

#[test]
fn what_one_gateway_lets_through_another_does_not() {
    let redis = Redis::start();
    let gates = [0, 1].map(|_| gate(&limit(redis.port, "10s", 4), &[]));
    gates.iter().for_each(up);
    for remaining in (0..4).rev() {
        let reply = gates[remaining % 2].bearer(LINE, TOKENS[0]);
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(number(&reply, "x-sentry-rate-limit-limit"), Some(4));
        assert_eq!(number(&reply, "x-sentry-rate-limit-remaining"), Some(remaining as u64));
    }
    for gate in &gates {
        let reply = gate.bearer(LINE, TOKENS[0]);
        is_limited(&reply, "tokens");
        let wait = number(&reply, "retry-after").unwrap();
        assert!((1..=60).contains(&wait), "{wait}");
        assert_eq!(number(&reply, "x-sentry-rate-limit-remaining"), Some(0));
        // It knows from the first answer that there is none for a minute: Redis is not asked again.
        let before = asked(gate, "answered");
        for _ in 0..5 {
            is_limited(&gate.bearer(LINE, TOKENS[0]), "tokens");
        }
        assert_eq!(asked(gate, "answered"), before);
    }
    // Somebody else has all of theirs.
    for gate in &gates {
        assert_eq!(gate.bearer(LINE, TOKENS[1]).status, 200);
    }
    let seen = gates.each_ref().map(|gate| gate.upstream.take().len());
    assert_eq!(seen, [3, 3]);

    // In Redis are two digests that end by themselves, and nothing of a token.
    let keys = redis.cli(&["KEYS", "*"]);
    let keys: Vec<_> = keys.lines().collect();
    assert_eq!(keys.len(), 2, "{keys:?}");
    for key in keys {
        let whose = key.strip_prefix("{portcullis}:tokens:").unwrap();
        assert!(whose.len() == 32 && whose.bytes().all(|byte| byte.is_ascii_hexdigit()), "{key}");
        let left: u64 = redis.cli(&["PTTL", key]).parse().unwrap();
        assert!((1..=240_001).contains(&left), "{key}: {left}");
    }
}

#[test]
fn gateways_at_the_same_moment_let_through_no_more_than_one() {
    const CLIENTS: usize = 20;
    const EACH: usize = 5;
    const LIMIT: usize = 30;
    let redis = Redis::start();
    let gates = [0, 1].map(|_| gate(&limit(redis.port, "10s", LIMIT as u32), &[]));
    gates.iter().for_each(up);
    let through = AtomicUsize::new(0);
    let start = Barrier::new(CLIENTS);
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (gate, through, start) = (&gates[client % 2], &through, &start);
            scope.spawn(move || {
                let bearer = format!("Bearer {}", TOKENS[0]);
                let mut connection = Connection::open(gate.address);
                start.wait();
                for _ in 0..EACH {
                    connection.write(&request(LINE, &[("Authorization", &*bearer)], b""));
                    match connection.read_reply("GET").unwrap().status {
                        200 => drop(through.fetch_add(1, Ordering::Relaxed)),
                        status => assert_eq!(status, 429),
                    }
                }
            });
        }
    });
    for gate in &gates {
        assert_eq!(["late", "error", "skipped"].map(|result| asked(gate, result)), [0.0; 3]);
    }
    let through = through.into_inner();
    // What a minute has given meanwhile is one.
    assert!((LIMIT..=LIMIT + 1).contains(&through), "{through}");
}

#[test]
fn what_is_only_told_takes_nothing_from_what_is_enforced() {
    let redis = Redis::start();
    let gate = gate(
        &format!(
            "[redis]\nurl = \"redis://127.0.0.1:{}/3\"\ntimeout = \"10s\"\nkey_prefix = \"team-a\"\n\
             [limit.a-trial]\nby = \"token\"\nper_minute = 1\nburst = 1\nshared = true\nenforce = false\n\
             [limit.b-real]\nby = \"client\"\nper_minute = 1\nburst = 3\nshared = true\n\
             [limit.c-own]\nby = \"organization\"\nper_minute = 1\nburst = 2\n",
            redis.port
        ),
        &[],
    );
    up(&gate);
    for _ in 0..2 {
        assert_eq!(gate.bearer(LINE, TOKENS[0]).status, 200);
    }
    // Its own limit refuses, and those that are shared are given back, or not asked.
    is_limited(&gate.bearer(LINE, TOKENS[0]), "c-own");
    let elsewhere = "GET /api/0/organizations/globex/issues/";
    assert_eq!(gate.bearer(elsewhere, TOKENS[0]).status, 200);
    is_limited(&gate.bearer(elsewhere, TOKENS[1]), "b-real");
    let labels = ["limit=\"a-trial\"", "decision=\"shadow\""];
    assert!(gate.metric("portcullis_rate_limited_total", &labels) >= 2.0);
    assert_eq!(redis.cli(&["-n", "0", "KEYS", "*"]), "");
    let keys = redis.cli(&["-n", "3", "KEYS", "*"]);
    assert!(keys.lines().all(|key| key.starts_with("{team-a}:")), "{keys}");
    assert!(keys.contains("{team-a}:b-real:"), "{keys}");
    assert!(!keys.contains("c-own"), "{keys}");
}

#[test]
fn without_redis_each_gateway_counts_for_itself_and_later_together_again() {
    let mut redis = Redis::start();
    let gates = [0, 1].map(|_| gate(&limit(redis.port, "10s", 3), &[]));
    gates.iter().for_each(up);
    assert_eq!(gates[0].bearer(LINE, TOKENS[0]).status, 200);
    assert_eq!(gates[1].bearer(LINE, TOKENS[0]).status, 200);

    redis.kill();
    for gate in &gates {
        eventually("Redis is missed", || !is_up(gate));
        // Requests go on, without waiting.
        assert_eq!(gate.bearer(LINE, TOKENS[1]).status, 200);
        assert_eq!(gate.admin("/readyz").unwrap().status, 200);
        assert!(asked(gate, "skipped") >= 1.0);
    }
    // The second one knows of both that were let through, so it has one more; the first knows of its own.
    let more = gates
        .each_ref()
        .map(|gate| (0..5).filter(|_| gate.bearer(LINE, TOKENS[0]).status == 200).count());
    assert_eq!(more, [2, 1]);

    redis.restart();
    gates.iter().for_each(up);
    // It has forgotten everything, and the gateways have not.
    for gate in &gates {
        is_limited(&gate.bearer(LINE, TOKENS[0]), "tokens");
    }
    let answered = gates.each_ref().map(|gate| asked(gate, "answered"));
    assert_eq!(gates[0].bearer(LINE, TOKENS[1]).status, 200);
    assert_eq!(gates[1].bearer(LINE, TOKENS[1]).status, 200);
    assert_eq!(
        gates.each_ref().map(|gate| asked(gate, "answered")),
        answered.map(|before| before + 1.0)
    );
    assert!(gates[0].output().contains("each gateway counts for itself"));
}

#[test]
fn a_redis_that_stops_answering_is_waited_for_a_few_times_and_then_not() {
    let mut redis = Redis::start();
    let gate = gate(&limit(redis.port, "300ms", 100), &[]);
    up(&gate);
    eventually("an answer of Redis", || {
        gate.bearer(LINE, TOKENS[0]);
        asked(&gate, "answered") >= 1.0
    });
    redis.hold();
    for _ in 0..40 {
        assert_eq!(gate.bearer(LINE, TOKENS[0]).status, 200);
    }
    // Of forty, a few have waited; what it comes back to is a connection that is not there.
    let late = asked(&gate, "late") + asked(&gate, "error");
    assert!((1.0..=6.0).contains(&late), "{late}");
    assert!(asked(&gate, "skipped") >= 30.0);
    assert!(!is_up(&gate));
    redis.go_on();
    up(&gate);
    eventually("an answer of Redis", || {
        let before = asked(&gate, "answered");
        gate.bearer(LINE, TOKENS[1]);
        asked(&gate, "answered") > before
    });
}

#[test]
fn what_accepts_and_never_answers_holds_up_neither_the_start_nor_a_request() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    thread::spawn(move || {
        let _kept: Vec<_> = silent.incoming().collect();
    });
    let gate = gate(&limit(port, "20ms", 2), &[]);
    assert_eq!(gate.bearer(LINE, TOKENS[0]).status, 200);
    assert_eq!(gate.bearer(LINE, TOKENS[0]).status, 200);
    is_limited(&gate.bearer(LINE, TOKENS[0]), "tokens");
    assert!(!is_up(&gate));
    assert_eq!(["answered", "late", "error"].map(|result| asked(&gate, result)), [0.0; 3]);
    assert_eq!(asked(&gate, "skipped"), 2.0);
    eventually("the log says so", || gate.output().contains("does not answer within 2s"));
}

#[test]
fn over_tls_with_a_user_and_a_password_that_nobody_sees() {
    const PASSWORD: &str = "a-password-of-redis";
    let authority = Authority::new("an authority");
    let made = authority.certificate("DNS:redis.example");
    let files = tempfile::tempdir().unwrap();
    let path = |name: &str| files.path().join(name).display().to_string();
    std::fs::write(path("redis.crt"), &made.certificate).unwrap();
    std::fs::write(path("redis.key"), &made.key).unwrap();
    let (root, certificate, key) = (authority.root_path(), path("redis.crt"), path("redis.key"));
    let password = format!(">{PASSWORD}");
    // What it needs, and no more.
    let user = "--user gateway on PASSWORD ~{portcullis}:* -@all +@connection +eval +evalsha +script|load \
                +time +get +set";
    let user = user.split(' ').map(|word| if word == "PASSWORD" { &*password } else { word });
    let tls = [
        ["--port", "0"],
        ["--tls-cert-file", &certificate],
        ["--tls-key-file", &key],
        ["--tls-ca-cert-file", &root],
        ["--tls-auth-clients", "no"],
    ];
    let options: Vec<_> = tls.into_iter().flatten().chain(user).collect();
    let redis = Redis::with(&options, &["--tls", "--cacert", &root, "--sni", "redis.example"]);
    let tables = |name: &str| {
        format!(
            "[redis]\nurl = \"rediss://127.0.0.1:{}\"\ntimeout = \"10s\"\nusername = \"gateway\"\n\
             password = {{ file = \"redis-password\" }}\n\
             tls = {{ ca = \"redis-ca.pem\", server_name = \"{name}\" }}\n\
             [limit.tokens]\nby = \"token\"\nper_minute = 1\nburst = 2\nshared = true\n",
            redis.port
        )
    };
    let root = authority.root();
    let with = |name: &str, password: &str| {
        gate(&tables(name), &[("redis-ca.pem", &root), ("redis-password", password)])
    };

    let mut fine = with("redis.example", PASSWORD);
    up(&fine);
    assert_eq!(fine.bearer(LINE, TOKENS[0]).status, 200);
    assert_eq!(asked(&fine, "answered"), 1.0);
    fine.stop();
    assert!(!fine.output().contains(PASSWORD));

    // What is wrong is said, a password aside, and limits hold all the same.
    let rows = [
        ("other.example", PASSWORD, "see `redis.tls`"),
        ("redis.example", "a-wrong-password", "`redis.password`"),
    ];
    for (name, password, says) in rows {
        let mut gate = with(name, password);
        assert_eq!(gate.bearer(LINE, TOKENS[0]).status, 200);
        assert_eq!(gate.bearer(LINE, TOKENS[0]).status, 200);
        is_limited(&gate.bearer(LINE, TOKENS[0]), "tokens");
        eventually("the log says why", || gate.output().contains(says));
        assert!(!is_up(&gate));
        gate.stop();
        assert!(!gate.output().contains(password), "{}", gate.output());
    }
}
