//! Limits across a reload: what was used stays used.

use super::redis_server::Redis;
use super::{LINE, is_limited};
use crate::gate::{ADMIN, Gate, Options, eventually};
use crate::upstream::Upstream;

const TOKENS: &str = "[limit.tokens]\nby = \"token\"\nper_minute = 1\nburst = 2\n";

fn reload(gate: &Gate, from: &str, to: &str) {
    let path = gate.folder.path().join("portcullis.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    std::fs::write(path, text.replacen(from, to, 1)).unwrap();
    let before = gate.metric("portcullis_config_info", &[]);
    assert_eq!(before, 1.0);
    let reply = gate.operator("POST /reload", &[("Authorization", &format!("Bearer {ADMIN}"))], "");
    assert_eq!(reply.status, 200, "{:?}", reply.json());
}

#[test]
fn what_was_used_of_a_limit_stays_used() {
    let admin = "credential = { file = \"admin-credential\" }".to_owned();
    let options = Options { admin, tables: TOKENS.to_owned(), ..Options::default() };
    let gate = Gate::with(Upstream::start(), &options);
    let token = gate.token("all");
    assert_eq!(gate.bearer(LINE, &token).status, 200);
    assert_eq!(gate.bearer(LINE, &token).status, 200);
    is_limited(&gate.bearer(LINE, &token), "tokens");

    // Another limit beside it changes nothing of it.
    reload(
        &gate,
        TOKENS,
        &format!("{TOKENS}[limit.more]\nby = \"client\"\nper_minute = 1\nburst = 9\n"),
    );
    is_limited(&gate.bearer(LINE, &token), "tokens");
    assert_eq!(gate.metric("portcullis_limit_keys", &["limit=\"more\""]), 1.0);

    // With twice the burst there are two more.
    reload(&gate, "burst = 2", "burst = 4");
    assert_eq!(gate.bearer(LINE, &token).status, 200);
    assert_eq!(gate.bearer(LINE, &token).status, 200);
    is_limited(&gate.bearer(LINE, &token), "tokens");

    // A config that is refused changes nothing.
    let path = gate.folder.path().join("portcullis.toml");
    let good = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, good.replace("burst = 4", "burst = 0")).unwrap();
    let reply = gate.operator("POST /reload", &[("Authorization", &format!("Bearer {ADMIN}"))], "");
    assert_eq!(reply.status, 422);
    assert_eq!(reply.json()["problems"][0]["at"], "limit.tokens.burst");
    is_limited(&gate.bearer(LINE, &token), "tokens");
    std::fs::write(&path, good).unwrap();

    // Under another name it is another limit, and the old one is gone from the gauges.
    reload(&gate, "[limit.tokens]", "[limit.renamed]");
    assert_eq!(gate.bearer(LINE, &token).status, 200);
    eventually("the series of what is gone", || {
        let metrics = String::from_utf8(gate.admin("/metrics").unwrap().body).unwrap();
        !metrics.contains("portcullis_limit_keys{limit=\"tokens\"}")
    });
}

#[test]
fn a_redis_comes_changes_and_goes() {
    let redis = [Redis::start(), Redis::start()];
    let table = |redis: &Redis| {
        format!("[redis]\nurl = \"redis://127.0.0.1:{}\"\ntimeout = \"10s\"\n", redis.port)
    };
    let up = |gate: &Gate, redis: &Redis| {
        let server = format!("server=\"127.0.0.1:{}\"", redis.port);
        eventually("Redis", || gate.metric("portcullis_redis_up", &[&server]) == 1.0);
    };
    let keys = |redis: &Redis| redis.cli(&["KEYS", "*"]).lines().count();
    let admin = "credential = { file = \"admin-credential\" }".to_owned();
    let options = Options { admin, tables: TOKENS.to_owned(), ..Options::default() };
    let gate = Gate::with(Upstream::start(), &options);
    let token = gate.token("all");
    assert_eq!(gate.bearer(LINE, &token).status, 200);

    let shared = format!("{TOKENS}shared = true\n");
    reload(&gate, TOKENS, &format!("{}{shared}", table(&redis[0])));
    up(&gate, &redis[0]);
    // What was used before is known to the gateway alone.
    assert_eq!(gate.bearer(LINE, &token).status, 200);
    assert_eq!(keys(&redis[0]), 1);
    is_limited(&gate.bearer(LINE, &token), "tokens");

    // Another way to ask it is another connection, and the series stays.
    reload(&gate, "timeout = \"10s\"", "timeout = \"9s\"");
    up(&gate, &redis[0]);
    reload(&gate, &redis[0].port.to_string(), &redis[1].port.to_string());
    up(&gate, &redis[1]);
    let metrics = || String::from_utf8(gate.admin("/metrics").unwrap().body).unwrap();
    assert!(!metrics().contains(&format!("127.0.0.1:{}", redis[0].port)));
    let other = gate.token("all");
    assert_eq!(gate.bearer(LINE, &other).status, 200);
    assert_eq!((keys(&redis[0]), keys(&redis[1])), (1, 1));

    let with = table(&redis[1]).replace("10s", "9s");
    reload(&gate, &format!("{with}{shared}"), TOKENS);
    assert!(!metrics().contains("portcullis_redis_up{"));
    assert_eq!(gate.bearer(LINE, &other).status, 200);
    is_limited(&gate.bearer(LINE, &other), "tokens");
    assert_eq!(keys(&redis[1]), 1);
}
