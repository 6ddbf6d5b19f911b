//! Every way to get a config wrong, and what is said about it.

mod assertion;
mod blocked;
mod bound;
mod edge;
mod errors;
mod issuers;
mod limits;
mod machine;
mod profiles;
mod records;
mod rules;
mod server;
mod shipped;
mod stores;
mod traces;

use std::collections::HashMap;

use super::*;

/// Files and variables that a test makes up.
#[derive(Default)]
struct Fake {
    files: HashMap<String, String>,
    env: HashMap<String, String>,
}

impl Source for Fake {
    fn now(&self) -> Timestamp {
        // 2026-11-24
        Timestamp::from_millis(1_795_478_400_000)
    }

    fn read(&self, path: &Path) -> io::Result<String> {
        let found = self.files.iter().find(|(known, _)| path.ends_with(known));
        found.map(|(_, text)| text.clone()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn env(&self, name: &str) -> Option<String> {
        self.env.get(name).cloned()
    }
}

fn fake() -> Fake {
    let mut fake = Fake::default();
    fake.files.insert("sentry-token".into(), "sntryu_0123\n".into());
    fake.env.insert("SHORT".into(), "0123456789".into());
    fake
}

const MINIMAL: &str = r#"
public_url = "https://sentry.example.com"
listen = [{ address = "0.0.0.0:8080" }]
store = [{ kind = "portcullis", url = "sqlite:///tokens.db" }]
[upstream.web]
urls = ["http://web:9000"]
credential = { file = "sentry-token" }
"#;

fn parse(text: &str, source: &dyn Source) -> Result<Config, ConfigError> {
    Config::parse(Path::new("gw/portcullis.toml"), text, source)
}

/// Fails with exactly one problem, and hands it over.
fn problem(text: &str, source: &dyn Source) -> Problem {
    let error = parse(text, source).map(|_| ()).expect_err(text);
    assert_eq!(error.problems.len(), 1, "{error}");
    error.problems[0].clone()
}

#[test]
fn the_shipped_config_is_every_default() {
    let shipped = parse(DEFAULT, &fake()).unwrap();
    let minimal = parse(MINIMAL, &fake()).unwrap();
    assert_eq!(shipped.cache, minimal.cache);
    assert_eq!(shipped.log, minimal.log);
    assert_eq!((&shipped.audit, &minimal.audit), (&None, &None));
    assert_eq!(shipped.privacy, minimal.privacy);
    assert_eq!(shipped.identity_headers, minimal.identity_headers);
    assert!(shipped.assertion.is_none() && minimal.assertion.is_none());
    assert!(shipped.limits.is_empty() && minimal.limits.is_empty());
    assert_eq!(shipped.server, minimal.server);
    assert_eq!(shipped.admin, minimal.admin);
    assert_eq!(shipped.listen, minimal.listen);
    assert_eq!(shipped.sentry_version, minimal.sentry_version);
    assert_eq!(shipped.policy.rules.len(), minimal.policy.rules.len());
    assert_eq!(shipped.policy.max_body, minimal.policy.max_body);
    assert_eq!(shipped.stores[0].name, minimal.stores[0].name);
    assert_eq!(shipped.upstreams.web.http2, minimal.upstreams.web.http2);
    assert_eq!(shipped.upstreams.web.timeout, minimal.upstreams.web.timeout);
    assert_eq!(shipped.upstreams.web.connect_timeout, minimal.upstreams.web.connect_timeout);
    assert_eq!(shipped.upstreams.web.idle_timeout, minimal.upstreams.web.idle_timeout);
    assert_eq!(shipped.upstreams.web.health, minimal.upstreams.web.health);
    assert_eq!(shipped.upstreams.web.max_in_flight, minimal.upstreams.web.max_in_flight);
    assert_eq!(shipped.upstreams.web.max_waiting, minimal.upstreams.web.max_waiting);
    assert_eq!(shipped.upstreams.web.max_wait, minimal.upstreams.web.max_wait);
    assert!(minimal.canonical.is_empty());
}

#[test]
fn an_upstream_may_have_several_addresses_and_no_health_check() {
    let text = MINIMAL.replace("[\"http://web:9000\"]", "[\"http://a:9000\", \"http://b:9000/\"]");
    let web = parse(&text, &fake()).unwrap().upstreams.web;
    let urls: Vec<_> = web.urls.iter().map(ToString::to_string).collect();
    assert_eq!(urls, ["http://a:9000", "http://b:9000"]);
    let health = HealthCheck { path: "/_health/".into(), interval: Duration::from_secs(5) };
    assert_eq!(web.health, Some(health));
    let off = text.replace("credential =", "health_interval = \"0s\"\ncredential =");
    assert_eq!(parse(&off, &fake()).unwrap().upstreams.web.health, None);
    let relay = format!("{text}[upstream.relay]\nurls = [\"http://relay:3000\"]\n");
    let relay = parse(&relay, &fake()).unwrap().upstreams.relay.unwrap();
    assert_eq!(relay.health.unwrap().path, "/api/relay/healthcheck/ready/");
}

#[test]
fn a_secret_is_read_and_never_printed() {
    let mut source = fake();
    source.env.insert("TOKEN".into(), "sntryu_4567".into());
    let from_env = MINIMAL.replace("{ file = \"sentry-token\" }", "{ env = \"TOKEN\" }");
    for (text, wanted) in [(MINIMAL, "Bearer sntryu_0123"), (&from_env, "Bearer sntryu_4567")] {
        let config = parse(text, &source).unwrap();
        assert_eq!(config.credential.as_ref().unwrap(), wanted);
        assert!(!format!("{config:?}").contains("sntryu_"));
    }
    source.env.insert("TOKEN".into(), "two words-of-a-secret".into());
    let error = parse(&from_env, &source).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("words-of-a-secret"), "{error}");
}

#[test]
fn one_problem_each() {
    let rows: &[(&str, &str, &str, &str)] = &[
        // (what is replaced, by what, where the problem is, what it says)
        ("https://sentry.example.com", "sentry.example.com", "public_url", "is not a base URL"),
        (
            "listen = [{",
            "public_aliases = [\"https://b/x\"]\nlisten = [{",
            "public_aliases[0]",
            "another path prefix",
        ),
        (
            "listen = [{",
            "trusted_proxies = [\"10.0.0.0/33\"]\nlisten = [{",
            "trusted_proxies[0]",
            "is not a network",
        ),
        ("0.0.0.0:8080", "0.0.0.0", "listen[0].address", "is not an IP address with a port"),
        (
            "0.0.0.0:8080\"",
            "0.0.0.0:8080\", expose = [\"ui\"]",
            "listen[0].expose",
            "no page would work",
        ),
        (
            "0.0.0.0:8080\"",
            "0.0.0.0:8080\", expose = [\"api\", \"web\"]",
            "listen[0].expose",
            "`web` can't be exposed",
        ),
        ("0.0.0.0:8080\"", "0.0.0.0:8080\", expose = []", "listen[0].expose", "is empty"),
        (
            "0.0.0.0:8080\"",
            "0.0.0.0:8080\", expose = [\"ingest\"]",
            "listen[0].expose",
            "there is no `[upstream.relay]`",
        ),
        (
            "[\"http://web:9000\"]",
            "[\"http://web:9000\"]\ncheck_keys = true",
            "upstream.web.check_keys",
            "of Relay alone",
        ),
        (
            "[\"http://web:9000\"]",
            "[\"http://web:9000\"]\nsession_cookie = \"a=b\"",
            "upstream.web.session_cookie",
            "no name of a cookie",
        ),
        ("[{ address = \"0.0.0.0:8080\" }]", "[]", "listen", "is empty"),
        (
            "[{ address = \"0.0.0.0:8080\" }]",
            "[{ address = \"0.0.0.0:8080\" }, { address = \"[::]:8080\" }]",
            "listen[1]",
            "is the port of `0.0.0.0:8080` too",
        ),
        ("[\"http://web:9000\"]", "[]", "upstream.web.urls", "is empty"),
        (
            "[\"http://web:9000\"]",
            "[\"http://a\", \"https://b\"]",
            "upstream.web.urls[1]",
            "another scheme",
        ),
        (
            "[\"http://web:9000\"]",
            "[\"http://a\", \"http://b\", \"http://A:80/\"]",
            "upstream.web.urls[2]",
            "there twice",
        ),
        (
            "credential =",
            "health_path = \"_health\"\ncredential =",
            "upstream.web.health_path",
            "is not a path",
        ),
        (
            "credential =",
            "health_path = \"/a b\"\nhealth_interval = \"0s\"\ncredential =",
            "upstream.web.health_path",
            "is not a path",
        ),
        (
            "credential =",
            "max_in_flight = 0\ncredential =",
            "upstream.web.max_in_flight",
            "is zero",
        ),
        ("credential =", "max_wait = \"0s\"\ncredential =", "upstream.web.max_wait", "is zero"),
        ("http://web:9000", "http://web:9000/x", "upstream.web.urls[0]", "has a path"),
        ("credential = { file = \"sentry-token\" }", "", "upstream.web.credential", "is missing"),
        (
            "{ file = \"sentry-token\" }",
            "{ file = \"gone\" }",
            "upstream.web.credential",
            "can't be read",
        ),
        (
            "{ file = \"sentry-token\" }",
            "{ env = \"GONE\" }",
            "upstream.web.credential",
            "has no `GONE`",
        ),
        (
            "{ file = \"sentry-token\" }",
            "{ file = \"a\", env = \"b\" }",
            "upstream.web.credential",
            "either a file or a variable",
        ),
        ("{ file = \"sentry-token\" }", "\"sntryu_inline\"", "line 7", "never itself"),
        ("credential =", "timeout = \"0s\"\ncredential =", "upstream.web.timeout", "is zero"),
        ("credential =", "timeout = 30\ncredential =", "line 7", "a duration such as"),
        ("credential =", "max_body = \"lots\"\ncredential =", "line 7", "a size such as"),
        ("credential =", "timout = \"3s\"\ncredential =", "line 7", "unknown field `timout`"),
        (
            "store = [{",
            "store = [{ kind = \"portcullis\", url = \"sqlite://b\" }, {",
            "store[1].name",
            "is taken",
        ),
        (
            "[upstream.web]",
            "[rules]\nsentry = false\n[upstream.web]",
            "rules",
            "every request would be refused",
        ),
        (
            "[upstream.web]",
            "[rules]\nfiles = [\"gone.toml\"]\n[upstream.web]",
            "rules.files[0]",
            "can't be read",
        ),
        (
            "[upstream.web]",
            "[rules]\nsentry_version = \"23.1.0\"\n[upstream.web]",
            "rules.sentry_version",
            "older than the oldest",
        ),
        (
            "[upstream.web]",
            "[rules]\nsentry_version = \"latest\"\n[upstream.web]",
            "rules.sentry_version",
            "not a version of Sentry",
        ),
        (
            "[upstream.web]",
            "[log]\nlevel = \"loud\"\n[upstream.web]",
            "log.level",
            "is not a level",
        ),
        ("[upstream.web]", "[cache]\nttl = \"0s\"\n[upstream.web]", "cache.ttl", "is zero"),
        (
            "[upstream.web]",
            "[admin]\naddress = \"x\"\n[upstream.web]",
            "admin.address",
            "is not an IP address",
        ),
        (
            "[upstream.web]",
            "[admin]\naddress = \"0.0.0.0:8080\"\n[upstream.web]",
            "admin.address",
            "is a public address too",
        ),
        (
            "[upstream.web]",
            "[admin]\ncredential = { env = \"SHORT\" }\n[upstream.web]",
            "admin.credential",
            "shorter than 16",
        ),
        (
            "[upstream.web]",
            "[admin]\nnames = [\"a.example\", \"b.example:9090\"]\n[upstream.web]",
            "admin.names[1]",
            "is not a host name",
        ),
        ("public_url", "public_ur", "line 2", "unknown field `public_ur`"),
    ];
    for (old, new, at, what) in rows {
        assert!(MINIMAL.contains(old), "{old}");
        let seen = problem(&MINIMAL.replace(old, new), &fake());
        assert_eq!(seen.at, *at, "{new}: {seen:?}");
        assert!(seen.what.contains(what), "{new}: {seen:?}");
        assert!(!seen.help.is_empty());
    }
}

#[test]
fn a_secret_in_the_wrong_place_is_not_printed() {
    for (old, new) in [
        ("{ file = \"sentry-token\" }", "\"SEKRET\""),
        ("{ file = \"sentry-token\" }", "{ file = \"sentry-token\", value = \"SEKRET\" }"),
        ("{ file = \"sentry-token\" }", "{ file = [\"SEKRET\"] }"),
        ("{ file = \"sentry-token\" }", "{ file = \"sentry-token\" } # SEKRET\nx"),
        ("{ file = \"sentry-token\" }", "{ file = \"sntryu_SEKRET\" }"),
        ("{ file = \"sentry-token\" }", "{ env = \"portcullis_t_SEKRET\" }"),
        ("sqlite:///tokens.db", "postgres://u:SEKRET@h/db"),
        (
            "kind = \"portcullis\", url = \"sqlite:///tokens.db\"",
            "kind = \"sentry\", url = \"postgres://u:SEKRET@h/db\"",
        ),
        (
            "kind = \"portcullis\", url = \"sqlite:///tokens.db\"",
            "kind = \"sentry\", url = \"postgres://h/db?password=SEKRET\"",
        ),
        ("http://web:9000", "http://u:SEKRET@web:9000"),
        ("https://sentry.example.com", "https://u:SEKRET@sentry.example.com"),
    ] {
        let text = MINIMAL.replace(old, new);
        assert!(text.contains("SEKRET"));
        let error = parse(&text, &fake()).map(|_| ()).unwrap_err().to_string();
        assert!(!error.contains("SEKRET"), "{error}");
    }
}

#[test]
fn all_problems_at_once() {
    let text = MINIMAL
        .replace("https://sentry.example.com", "x")
        .replace("0.0.0.0:8080", "y")
        .replace("http://web:9000", "z");
    let error = parse(&text, &fake()).unwrap_err();
    let places: Vec<_> = error.problems.iter().map(|problem| problem.at.as_str()).collect();
    assert_eq!(places, ["public_url", "listen[0].address", "upstream.web.urls[0]"]);
    let text = error.to_string();
    assert!(text.starts_with("gw/portcullis.toml: 3 problems\n"), "{text}");
    assert_eq!(text.matches("help: ").count(), 3);
}

#[test]
fn to_observe_needs_an_end() {
    let observe = |lines: &str| format!("mode = \"observe\"\n{lines}\n{MINIMAL}");
    for (end, wanted) in [
        ("\"2026-12-24\"", "2026-12-24T00:00:00.000Z"),
        ("2026-12-24", "2026-12-24T00:00:00.000Z"),
        ("2026-12-24T18:00:00Z", "2026-12-24T18:00:00.000Z"),
        ("\"2026-12-24T18:00:00.5Z\"", "2026-12-24T18:00:00.500Z"),
        // It has ended, so everything is enforced: a restart must not fail for that.
        ("\"2026-11-23\"", "2026-11-23T00:00:00.000Z"),
    ] {
        let config = parse(&observe(&format!("observe_until = {end}")), &fake()).unwrap();
        assert_eq!(config.policy.observe_until.unwrap().to_string(), wanted);
        assert_eq!(config.notes.len(), 1, "{:?}", config.notes);
        assert!(config.notes[0].what.contains(&wanted[..23]), "{:?}", config.notes);
    }
    for (lines, at, what) in [
        (observe(""), "observe_until", "needs an end"),
        (observe("observe_until = \"2027-02-23\""), "observe_until", "more than 90 days ahead"),
        (observe("observe_until = \"soon\""), "line 2", "a date such as"),
        (observe("observe_until = \"2026-12-24T18:00:00+01:00\""), "line 2", "in UTC"),
        (observe("observe_until = 7"), "line 2", "a date such as"),
        (format!("observe_until = \"2026-12-24\"\n{MINIMAL}"), "observe_until", "means nothing"),
        (format!("mode = \"off\"\n{MINIMAL}"), "line 1", "unknown variant `off`"),
    ] {
        let seen = problem(&lines, &fake());
        assert_eq!(seen.at, at, "{seen:?}");
        assert!(seen.what.contains(what), "{seen:?}");
    }
    assert_eq!(parse(MINIMAL, &fake()).unwrap().policy.observe_until, None);
}
