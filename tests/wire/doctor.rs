//! `portcullis doctor`: fine on a healthy pair, and on one that is wrong in one way it says that alone.

mod pair;

use pair::{CREDENTIAL, Options, PUBLIC, Pair, Sentry, Told};

use crate::limits::redis_server::Redis;
use crate::upstream::{Upstream, ok};

/// Asks of a pair, and sees that exactly these checks are problems, each with something to do.
fn problems(told: &Told, wanted: &[&str]) {
    assert_eq!(told.with("problem"), wanted, "{}", told.text);
    assert_eq!(told.code, Some(i32::from(!wanted.is_empty())), "{}", told.text);
    for check in told.checks.iter().filter(|check| check["verdict"] == "problem") {
        assert!(check["fix"].as_str().is_some_and(|fix| !fix.is_empty()), "{check}");
    }
}

fn fix<'a>(told: &'a Told, check: &str) -> &'a str {
    told.check(check)["fix"].as_str().unwrap()
}

/// What no answer can tell of any pair, without a token.
const UNTOLD: [&str; 4] = ["client_address", "token", "organization_token", "clock.relay"];

#[test]
fn a_healthy_pair_is_fine() {
    let pair = Pair::healthy();
    let told = pair.ask(&[], "");
    problems(&told, &[]);
    assert_eq!(told.with("skipped"), UNTOLD, "{}", told.text);
    let seen = told.check("link")["seen"].as_str().unwrap();
    assert!(seen.contains(&format!("http://{}", pair.canonical.address)), "{seen}");
}

#[test]
fn with_a_token_the_way_of_a_client_is_seen() {
    let pair = Pair::healthy();
    let token = pair.token(&["org:read"]);
    let told = pair.ask(&[], &token);
    problems(&told, &[]);
    assert_eq!(told.with("skipped"), ["client_address", "clock.relay"], "{}", told.text);
    let tried = told.check("link_rewritten")["tried"].as_str().unwrap();
    assert!(tried.starts_with("GET http://gw.example/api/0/organizations/"), "{tried}");
    let table = pair.table(&token);
    for check in &told.checks {
        let [verdict, name] = ["verdict", "check"].map(|key| check[key].as_str().unwrap());
        assert!(
            table.contains(&format!("\n{verdict:7}  {name}"))
                || table.starts_with(&format!("{verdict:7}  {name}")),
            "{check} in {table}"
        );
    }
    assert!(table.ends_with(" ok, 0 problems, 2 skipped\n"), "{table}");
    // A token that may read no list.
    let told = pair.ask(&[], &pair.token_named("other", &["event:read"]));
    problems(&told, &[]);
    assert!(told.with("skipped").contains(&"link_rewritten"), "{}", told.text);
}

#[test]
fn a_redis_that_counts_and_one_that_does_not() {
    let mut redis = Redis::start();
    let redis_at = redis.port;
    let top = format!(
        "redis = {{ url = \"redis://127.0.0.1:{redis_at}\", timeout = \"10s\" }}\n\
         limit = {{ own = {{ by = \"client\", per_second = 100, shared = true }} }}\n"
    );
    let pair = Pair::start(Sentry::default(), Options { top, ..Options::default() });
    let told = pair.ask(&[], "");
    problems(&told, &[]);
    assert_eq!(told.check("redis")["verdict"], "ok", "{}", told.text);
    redis.kill();
    let told = pair.ask(&[], "");
    problems(&told, &["redis"]);
    let seen = told.check("redis")["seen"].as_str().unwrap();
    assert!(seen.starts_with(&format!("`127.0.0.1:{redis_at}` can't be reached: ")), "{seen}");
    assert!(fix(&told, "redis").contains("each gateway counts for itself"), "{}", told.text);
    // To check the config it is a note, as a start goes on without it.
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_portcullis"));
    let config = pair.folder.path().join("portcullis.toml");
    let checked = command.args(["check", "--config"]).arg(config).output().unwrap();
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(said.contains("note: redis: `127.0.0.1:"), "{said}");
}

/// Each row: what is wrong with Sentry, what alone is a problem, and what the fix says.
#[test]
fn what_is_wrong_with_sentry_is_said_alone() {
    let third = || Some("https://uploads.example".to_owned());
    let healthy = Sentry::default;
    let rows: Vec<(Sentry, &[&str], &str)> = vec![
        (Sentry { health: "500 Oops", ..healthy() }, &["upstream.web"], "http://web:9000"),
        (Sentry { relay_health: "503 Oops", ..healthy() }, &["upstream.relay"], "relay:3000"),
        (
            Sentry { refuses_host: true, ..healthy() },
            &["host"],
            "add `'gw.example'` to `ALLOWED_HOSTS`",
        ),
        (Sentry { redirects: true, ..healthy() }, &["scheme"], "write `public_url` with `https`"),
        (
            Sentry { link: third(), ..healthy() },
            &["link"],
            "write `canonical_url = \"https://uploads.example\"`",
        ),
        (
            Sentry { link: third(), region: third(), upload: third(), ..healthy() },
            &["link"],
            "write `canonical_url = \"https://uploads.example\"`",
        ),
        (
            Sentry { region: third(), ..healthy() },
            &["region_url"],
            "add `\"https://uploads.example\"` to `canonical_aliases`",
        ),
        (
            Sentry { upload: third(), ..healthy() },
            &["upload_url"],
            "clear Sentry's `system.upload-url-prefix`, or add `\"https://uploads.example\"`",
        ),
        (
            Sentry { link: Some(String::new()), region: Some(String::new()), ..healthy() },
            &["url_prefix"],
            "set `system.url-prefix: 'http://gw.example'`",
        ),
        (Sentry { ahead: 60, ..healthy() }, &["clock.web"], "NTP"),
        (Sentry { ahead: -60, ..healthy() }, &["clock.web"], "NTP"),
        (Sentry { refuses_credential: true, ..healthy() }, &["credential"], "make a token"),
        (
            Sentry { closes_idle: true, ..healthy() },
            &["idle_timeout.web"],
            "shorter `idle_timeout`",
        ),
        (Sentry { relay_is_web: true, ..healthy() }, &["ingest"], "name Relay itself"),
    ];
    let pair = Pair::healthy();
    for (sentry, wanted, says) in rows {
        let what = format!("{sentry:?}");
        let told = pair.becomes(sentry).ask(&[], "");
        assert_eq!(told.with("problem"), wanted, "{what}: {}", told.text);
        problems(&told, wanted);
        assert!(fix(&told, wanted[0]).contains(says), "{what}: {}", fix(&told, wanted[0]));
    }
}

#[test]
fn a_sentry_that_calls_itself_as_the_gateway_needs_nothing() {
    let public = || Some(PUBLIC.to_owned());
    let sentry = Sentry { link: public(), region: public(), upload: public(), ..Sentry::default() };
    let told = Pair::healthy().becomes(sentry).ask(&[], "");
    problems(&told, &[]);
    let seen = told.check("url_prefix")["seen"].as_str().unwrap();
    assert!(seen.contains("nothing has to be rewritten"), "{seen}");
}

#[test]
fn each_address_of_a_part_is_asked_and_one_that_answers_is_enough_for_the_rest() {
    let more_urls = ", \"http://127.0.0.1:1\"";
    let pair = Pair::start(Sentry::default(), Options { more_urls, ..Options::default() });
    let told = pair.ask(&[], "");
    problems(&told, &["upstream.web"]);
    let down = told.checks.iter().find(|check| check["verdict"] == "problem").unwrap();
    assert!(down["tried"].as_str().unwrap().contains("http://127.0.0.1:1/"), "{down}");
    assert_eq!(told.check("link")["verdict"], "ok", "{}", told.text);
}

/// Where the gateway asks for the key of a project itself, Relay is not asked without one.
#[test]
fn a_gateway_that_checks_keys_refuses_for_relay() {
    // As `check_keys` has it, which needs a store of Sentry's own.
    let rules = r#"
[[rule]]
methods = ["POST"]
path = "/api/{project_id:id}/envelope/"
access = "project_key"
expose = "ingest"
upstream = "relay"
override = true
"#;
    let pair = Pair::start(Sentry::default(), Options { rules, ..Options::default() });
    let told = pair.ask(&[], "");
    problems(&told, &[]);
    let seen = told.check("ingest")["seen"].as_str().unwrap();
    assert!(seen.contains("the gateway asks for the key of the project"), "{seen}");
    let envelopes = pair.relay.take().into_iter().filter(|seen| seen.method == "POST");
    assert_eq!(envelopes.count(), 0);
}

/// Every check has its line, whatever else is wrong, so that `--skip` means the same.
#[test]
fn what_can_not_be_asked_is_told_all_the_same() {
    let pair = Pair::healthy();
    let names = |told: &Told| -> Vec<String> {
        told.checks.iter().map(|check| check["check"].as_str().unwrap().to_owned()).collect()
    };
    let healthy = names(&pair.ask(&[], ""));
    for sentry in [
        Sentry { health: "500 Oops", ..Sentry::default() },
        Sentry { refuses_host: true, ..Sentry::default() },
        Sentry { refuses_credential: true, ..Sentry::default() },
    ] {
        let what = format!("{sentry:?}");
        assert_eq!(names(&pair.becomes(sentry).ask(&[], "")), healthy, "{what}");
    }
}

#[test]
fn the_scheme_is_believed_or_not_or_nobody_can_tell() {
    let top = "trusted_proxies = [\"10.0.0.0/8\"]".to_owned();
    let https = || Options {
        public_url: Some("https://gw.example"),
        top: top.clone(),
        ..Options::default()
    };
    let healthy = Sentry::default;
    let pair = Pair::start(healthy(), https());
    for (sentry, verdict) in [
        (healthy(), "skipped"),
        (Sentry { redirects_http: true, ..healthy() }, "ok"),
        (Sentry { redirects: true, ..healthy() }, "problem"),
    ] {
        let what = format!("{sentry:?}");
        let told = pair.becomes(sentry).ask(&[], "");
        assert_eq!(told.check("scheme")["verdict"], verdict, "{what}: {}", told.text);
        let wanted: &[&str] = if verdict == "problem" { &["scheme"] } else { &[] };
        problems(&told, wanted);
    }
    // What ends TLS is somebody, and nobody is trusted.
    let told = Pair::start(healthy(), Options { top: String::new(), ..https() }).ask(&[], "");
    problems(&told, &["client_address"]);
    assert!(fix(&told, "client_address").contains("`trusted_proxies`"));
    // Where a load balancer says who calls, nobody has to be believed for it.
    let listen = "[[listen]]\naddress = \"127.0.0.1:0\"\nproxy_protocol = [\"10.0.0.0/8\"]";
    let told = Pair::start(healthy(), Options { top: String::new(), listen, ..https() });
    problems(&told.ask(&[], ""), &[]);
}

#[test]
fn a_gateway_that_can_be_walked_around_is_found() {
    let past = Upstream::answering(|seen, stream| Sentry::default().web("", seen, stream));
    let canonical = Some(format!("http://{}", past.address));
    let pair = Pair::start(Sentry::default(), Options { canonical, ..Options::default() });
    let told = pair.ask(&[], &pair.token(&["org:read"]));
    problems(&told, &["bypass"]);
    let asked = past.take();
    assert!(!asked.is_empty());
    assert!(asked.iter().all(|seen| seen.value("authorization").is_none()), "{asked:#?}");
    // It may be meant.
    problems(&pair.ask(&["--skip", "bypass"], ""), &[]);
    let told = pair.ask(&["--skip", "bypas"], "");
    assert_eq!(told.code, Some(2), "{}", told.text);
    assert!(told.text.contains("no check `bypas`"), "{}", told.text);
}

#[test]
fn another_gateway_and_none_are_told_apart() {
    let pair = Pair::healthy();
    let token = pair.token(&["org:read"]);
    let elsewhere = Upstream::answering(|_, stream| ok(stream, &[], b"{\"version\": \"0\"}"));
    let told = pair.ask_at(elsewhere.address, &[], &token);
    problems(&told, &["public_url"]);
    let asked = elsewhere.take();
    assert!(!asked.is_empty());
    assert!(asked.iter().all(|seen| seen.value("authorization").is_none()), "{asked:#?}");
    // Nobody is there.
    let nobody = Upstream::by_hand(drop);
    problems(&pair.ask_at(nobody.address, &[], &token), &["public_url"]);

    // The config was changed, and the gateway was not restarted.
    let path = pair.folder.path().join("portcullis.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("# changed\n{text}")).unwrap();
    let told = pair.ask(&[], "");
    problems(&told, &["config"]);
    assert!(fix(&told, "config").contains("restart"));
    let alias = "public_aliases = [\"http://alias.example\"]";
    std::fs::write(&path, format!("{alias}\n{text}")).unwrap();
    problems(&pair.ask(&[], ""), &["public_aliases", "config"]);
    // Another name altogether.
    std::fs::write(&path, text.replace(PUBLIC, "http://other.example")).unwrap();
    problems(&pair.ask(&[], ""), &["public_url", "config"]);
}

#[test]
fn what_stands_in_front_may_be_wrong() {
    let front = |front: fn(String) -> String, publishes_metrics| {
        let options = Options { front: Some(front), publishes_metrics, ..Options::default() };
        let pair = Pair::start(Sentry::default(), options);
        let token = pair.token(&["org:read"]);
        pair.ask(&[], &token)
    };
    problems(&front(|answer| answer, false), &[]);
    problems(&front(|answer| answer, true), &["admin"]);
    let late = |answer: String| {
        let line = answer.split("\r\n").find(|line| line.to_lowercase().starts_with("date:"));
        let line = line.unwrap().to_owned();
        answer.replace(&line, "Date: Sun, 06 Nov 1994 08:49:37 GMT")
    };
    problems(&front(late, false), &["clock.gateway"]);
    let back = |answer: String| answer.replace("<http://gw.example/", "<http://sentry.example/");
    let told = front(back, false);
    problems(&told, &["link_rewritten"]);
    let seen = told.check("link_rewritten")["seen"].as_str().unwrap();
    assert_eq!(seen, "`Link` names `http://sentry.example`");
    // Of the same length: it is said before.
    let json = |answer: String| {
        answer.replace("\"regionUrl\":\"http://gw.example\"", "\"regionUrl\":\"http://gw.elsewhe\"")
    };
    let told = front(json, false);
    problems(&told, &["link_rewritten"]);
    let seen = told.check("link_rewritten")["seen"].as_str().unwrap();
    assert!(seen.starts_with("`links.regionUrl` still names `http://gw.elsewhe`"), "{seen}");
}

#[test]
fn what_stands_in_needs_the_scopes_that_it_is_lent_for() {
    let pair = Pair::healthy();
    pair.token(&["event:read"]);
    problems(&pair.ask(&[], ""), &[]);
    pair.token_named("wide", &["team:admin"]);
    let told = pair.ask(&[], "");
    problems(&told, &["credential"]);
    assert!(fix(&told, "credential").contains("`team:admin`"), "{}", told.text);
    // Whoever has one of two profiles has what both have, as far as Sentry can tell.
    let pair = Pair::healthy();
    let of_profile = |name: &str| {
        let words = ["token", "create", "--name", name, "--profile", name, "--expires", "1h"];
        assert!(pair.portcullis(&words, "").status.success());
    };
    of_profile("agent");
    assert!(!pair.ask(&[], "").text.contains("profile_credentials"));
    of_profile("exporter");
    let told = pair.ask(&[], "");
    let seen = told.check("profile_credentials")["seen"].as_str().unwrap();
    assert!(seen.contains("`agent`, `exporter`"), "{seen}");
    assert!(fix(&told, "profile_credentials").contains("`credential` of its own"), "{}", told.text);
    // Of whom it is can't be told.
    let sentry = Sentry { email: Some("a@example.com"), ..Sentry::default() };
    let told = Pair::healthy().becomes(sentry).ask(&[], "");
    problems(&told, &[]);
    assert_eq!(told.check("credential_owner")["verdict"], "skipped");
    assert!(!told.text.contains("a@example.com"), "{}", told.text);
}

/// A token of an organization of Sentry's with this payload.
fn organization_token(payload: &str) -> String {
    use base64::Engine as _;
    let payload = base64::engine::general_purpose::STANDARD.encode(payload);
    format!("sntrys_{payload}_c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I")
}

#[test]
fn a_token_that_leads_clients_away_is_found() {
    let pair = Pair::healthy();
    for (payload, wanted) in [
        (r#"{"url": "http://gw.example", "region_url": "http://gw.example", "org": "acme"}"#, None),
        (r#"{"url": "https://sentry.internal", "org": "acme"}"#, Some("https://sentry.internal")),
        (
            r#"{"url": "http://gw.example", "region_url": "https://eu.internal"}"#,
            Some("https://eu.internal"),
        ),
        (r#"{"url": "", "region_url": "", "org": "acme"}"#, Some("is empty")),
        (r#"{"url": null}"#, Some("is empty")),
        ("nonsense", Some("nothing that can be read")),
    ] {
        let token = organization_token(payload);
        let sentry = Sentry { token: Some(token.clone()), ..Sentry::default() };
        let told = pair.becomes(sentry).ask(&[], &token);
        problems(&told, wanted.map_or(&[][..], |_| &["organization_token"]));
        let seen = told.check("organization_token")["seen"].as_str().unwrap();
        assert!(seen.contains(wanted.unwrap_or("the gateway's")), "{payload}: {seen}");
        assert!(!told.text.contains(&token[30..]), "{}", told.text);
    }
    let told = pair.ask(&[], "nobody-knows-this-one");
    problems(&told, &["token"]);
}

/// Each secret goes to whom it is for, nothing is changed, and nothing is printed.
#[test]
fn nothing_is_changed_and_no_secret_strays() {
    let pair = Pair::healthy();
    let token = pair.token(&["org:read"]);
    let told = pair.ask(&[], &token);
    problems(&told, &[]);
    for output in [told.text, pair.table(&token)] {
        for secret in [token.as_str(), CREDENTIAL] {
            assert!(!output.contains(secret), "{output}");
        }
    }
    for seen in pair.relay.take() {
        assert_eq!(seen.value("authorization"), None, "{seen:#?}");
        assert!(seen.body.is_empty(), "{seen:#?}");
    }
    let asked = pair.sentry.take();
    assert!(!asked.is_empty());
    for seen in asked {
        assert_eq!(seen.method, "GET", "{seen:#?}");
        let shown = seen.value("authorization");
        assert!(shown.is_none_or(|shown| shown == format!("Bearer {CREDENTIAL}")), "{seen:#?}");
    }
}

#[test]
fn a_config_that_can_not_be_read_is_no_answer() {
    let pair = Pair::healthy();
    std::fs::write(pair.folder.path().join("portcullis.toml"), "public_url = 1").unwrap();
    assert_eq!(pair.ask(&[], "").code, Some(2));
}
