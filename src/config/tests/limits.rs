//! Limits: what a config makes of them, and what is said of those that make no sense.

use std::time::Duration;

use super::{MINIMAL, fake, parse};
use crate::config::Config;
use crate::limit::key::By;
use crate::limit::rate::SECOND;
use crate::limit::table::Limit;
use crate::policy::method::Method;

fn with(text: &str) -> Result<Config, Vec<String>> {
    parse(&format!("{MINIMAL}\n{text}"), &fake())
        .map_err(|error| error.problems.iter().map(ToString::to_string).collect())
}

/// A limit of these lines.
fn limit(lines: &str) -> Limit {
    with(&format!("[limit.own]\n{lines}")).unwrap().limits.remove(0)
}

const ISSUES: &str = "/api/0/organizations/{organization_id_or_slug}/issues/";
const UPLOAD: &str = "/api/0/organizations/{organization_id_or_slug}/chunk-upload/";
const ENVELOPE: &str = "/api/{project_id:id}/envelope/";

/// Whether a limit is for a method of a route.
fn is_for(config: &Config, method: Method, path: &str) -> bool {
    let rules = || config.policy.rules.all().filter(|(_, rule)| rule.template.as_str() == path);
    assert_ne!(rules().count(), 0, "{path}");
    let limit = &config.limits[0];
    rules().any(|(id, _)| limit.rules.iter().any(|(_, own)| own.contains(id, method)))
}

#[test]
fn a_rate_has_a_burst_of_a_second() {
    // What is written, the interval in microseconds, the burst, and the words.
    let rows = [
        ("per_second = 20", 50_000, 20, "20 requests a second, 20 at once"),
        ("per_second = 20\nburst = 5", 50_000, 5, "20 requests a second, 5 at once"),
        ("per_minute = 600", 100_000, 10, "600 requests a minute, 10 at once"),
        ("per_minute = 30", 2_000_000, 1, "30 requests a minute, 1 at once"),
        ("per_second = 1", 1_000_000, 1, "1 request a second, 1 at once"),
    ];
    for (lines, interval, burst, words) in rows {
        let limit = limit(&format!("by = \"token\"\n{lines}"));
        let rate = limit.rate.unwrap();
        assert_eq!(
            (rate.interval(), rate.burst()),
            (interval * (SECOND / 1_000_000), burst),
            "{lines}"
        );
        assert_eq!(&*limit.pace, words);
        assert_eq!((limit.by, limit.in_flight, limit.enforce), (By::Token, None, true));
    }
    let limit = limit("by = \"client\"\nin_flight = 8\nenforce = false");
    assert_eq!((limit.rate, limit.in_flight.unwrap().get(), limit.enforce), (None, 8, false));
}

#[test]
fn it_is_for_the_web_api_or_for_what_is_named() {
    let all = ["token", "organization", "client"];
    for by in all {
        let limit = |lines: &str| {
            with(&format!("[limit.own]\nby = \"{by}\"\nin_flight = 1\n{lines}")).unwrap()
        };
        let rows = [
            ("", true, true, false),
            ("groups = [\"uploads\"]", false, true, false),
            ("groups = [\"uploads\", \"issues\"]", true, true, false),
            ("except_groups = [\"uploads\"]", true, false, false),
            ("expose = [\"ingest\"]", false, false, true),
            ("expose = [\"api\", \"ingest\"]\nexcept_groups = [\"issues\"]", false, true, true),
        ];
        for (lines, issues, upload, envelope) in rows {
            let config = limit(lines);
            assert_eq!(is_for(&config, Method::Get, ISSUES), issues, "{by} {lines}");
            assert_eq!(is_for(&config, Method::Head, ISSUES), issues, "{by} {lines}");
            assert_eq!(is_for(&config, Method::Post, UPLOAD), upload, "{by} {lines}");
            assert_eq!(is_for(&config, Method::Post, ENVELOPE), envelope, "{by} {lines}");
            assert_eq!(config.limits[0].rules.len(), 1);
        }
    }
    let groups =
        with("[limit.own]\nby = \"rule_group\"\nin_flight = 1\ngroups = [\"uploads\", \"issues\"]");
    let groups = groups.unwrap().limits.remove(0).rules;
    assert_eq!(groups.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), ["uploads", "issues"]);
}

/// A rule in shadow takes over its place in a group, and so in the limit, when it comes into force.
#[test]
fn a_rule_that_comes_into_force_is_limited_as_the_one_before_it() {
    let mut source = fake();
    let rule = format!(
        "[[rule]]\nmethods = [\"GET\"]\npath = \"{ISSUES}\"\nscopes = [\"org:admin\"]\noverride = true\n\
         shadow_until = \"2026-12-15\"\n"
    );
    source.files.insert("shadow.toml".into(), rule);
    for lines in ["groups = [\"issues\"]", ""] {
        let text = format!(
            "{MINIMAL}\n[rules]\nfiles = [\"shadow.toml\"]\n[limit.own]\nby = \"token\"\nin_flight = 1\n{lines}"
        );
        let config = parse(&text, &source).unwrap();
        let mut own = config.policy.rules.all().filter(|(_, rule)| {
            rule.template.as_str() == ISSUES && rule.methods.contains(Method::Get)
        });
        let limit = &config.limits[0];
        assert!(own.all(|(id, _)| limit.rules[0].1.contains(id, Method::Get)), "{lines}");
        assert_eq!(config.policy.rules.in_shadow().count(), 1);
    }
}

#[test]
fn what_makes_no_sense_is_said_with_its_place_and_the_fix() {
    // Lines, and where each problem is and what it says.
    let rows: &[(&str, &[(&str, &str)])] = &[
        ("by = \"token\"", &[("limit.own", "limits nothing")]),
        ("by = \"token\"\nburst = 3\nin_flight = 1", &[("limit.own.burst", "without a rate")]),
        (
            "by = \"token\"\nper_second = 1\nper_minute = 1",
            &[("limit.own", "both `per_second` and `per_minute`")],
        ),
        (
            "by = \"token\"\nper_second = 0\nburst = 0\nin_flight = 0",
            &[
                ("limit.own.per_second", "is zero"),
                ("limit.own.burst", "is zero"),
                ("limit.own.in_flight", "is zero"),
            ],
        ),
        ("by = \"token\"\nper_second = 1000001", &[("limit.own.per_second", "no limit")]),
        ("by = \"token\"\nper_second = 1\nmax_keys = 10", &[("limit.own.max_keys", "between")]),
        (
            "by = \"token\"\nper_second = 1\ngroups = [\"nothing\"]",
            &[("limit.own.groups", "no group `nothing`")],
        ),
        ("by = \"token\"\nper_second = 1\ngroups = []", &[("limit.own.groups", "is empty")]),
        (
            "by = \"token\"\nper_second = 1\ngroups = [\"issues\", \"issues\"]",
            &[("limit.own.groups", "`issues` twice")],
        ),
        (
            "by = \"token\"\nper_second = 1\nexcept_groups = [\"nothing\"]",
            &[("limit.own.except_groups", "no group `nothing`")],
        ),
        (
            "by = \"token\"\nper_second = 1\ngroups = [\"issues\"]\nexcept_groups = [\"issues\"]",
            &[("limit.own", "is for no request")],
        ),
        (
            "by = \"token\"\nper_second = 1\ngroups = [\"issues\"]\nexpose = [\"api\"]",
            &[("limit.own.expose", "beside `groups`")],
        ),
        (
            "by = \"token\"\nper_second = 1\nexpose = [\"everything\"]",
            &[("limit.own.expose", "can't be exposed")],
        ),
        ("by = \"rule_group\"\nper_second = 1", &[("limit.own.groups", "is missing")]),
    ];
    for (lines, problems) in rows {
        let said = with(&format!("[limit.own]\n{lines}")).unwrap_err();
        assert_eq!(said.len(), problems.len(), "{lines}: {said:?}");
        for ((place, what), said) in problems.iter().zip(&said) {
            assert!(said.contains(place) && said.contains(what), "{lines}: {said}");
        }
    }
    let said = with("[limit.\"a b\"]\nby = \"token\"\nper_second = 1").unwrap_err();
    assert!(said[0].contains("is no name"), "{said:?}");
    for lines in ["by = \"user\"\nper_second = 1", "per_second = 1", "by = \"token\"\nper_hour = 1"]
    {
        assert_eq!(with(&format!("[limit.own]\n{lines}")).unwrap_err().len(), 1, "{lines}");
    }
}

const SHARED: &str = "[limit.own]\nby = \"token\"\nper_second = 1\nshared = true\n";

#[test]
fn a_redis_is_where_its_url_says() {
    let mut source = fake();
    source.files.insert("redis-password".into(), "a-password-of-redis\n".into());
    let redis = |lines: &str| {
        let text = format!("{MINIMAL}\n[redis]\n{lines}\n{SHARED}");
        parse(&text, &source).unwrap().redis.unwrap()
    };
    let plain = redis("url = \"redis://redis\"");
    assert_eq!((plain.server().as_str(), plain.database), ("redis:6379", 0));
    assert_eq!((plain.timeout, &*plain.key_prefix), (Duration::from_millis(20), "portcullis"));
    assert!(plain.tls.is_none() && plain.username.is_none() && plain.password.is_none());
    let whole = redis(
        "url = \"rediss://[2001:db8::1]:7000/3\"\nusername = \"gateway\"\ntimeout = \"5ms\"\n\
         password = { file = \"redis-password\" }\nkey_prefix = \"team-a\"",
    );
    assert_eq!((whole.server().as_str(), whole.database), ("[2001:db8::1]:7000", 3));
    assert_eq!((whole.username.as_deref(), &*whole.key_prefix), (Some("gateway"), "team-a"));
    assert!(whole.tls.is_some());
    assert!(!format!("{whole:?}").contains("a-password"), "{whole:?}");
    assert_eq!(redis("url = \"redis://redis:6379/\""), plain);
}

#[test]
fn a_redis_that_makes_no_sense_is_refused() {
    let url = "url = \"redis://redis:6379\"\n";
    let rows = [
        (format!("[redis]\n{url}"), "redis: is for limits that are shared"),
        (SHARED.to_owned(), "limit.own.shared: is set, and there is no `[redis]`"),
        (format!("[redis]\nurl = \"http://redis\"\n{SHARED}"), "redis.url: is no place of a Redis"),
        (format!("[redis]\nurl = \"redis://:secret@redis\"\n{SHARED}"), "redis.url: is no place"),
        (format!("[redis]\nurl = \"redis://redis/x\"\n{SHARED}"), "redis.url: is no place"),
        (format!("[redis]\nurl = \"redis://redis:x\"\n{SHARED}"), "redis.url: is no place"),
        (format!("[redis]\nurl = \"redis://redis/?a=b\"\n{SHARED}"), "redis.url: is no place"),
        (format!("[redis]\nurl = \"/run/redis.sock\"\n{SHARED}"), "redis.url: is no place"),
        (format!("[redis]\n{url}timeout = \"0s\"\n{SHARED}"), "redis.timeout: is zero"),
        (format!("[redis]\n{url}key_prefix = \"a b\"\n{SHARED}"), "redis.key_prefix: `a b` can't"),
        (format!("[redis]\n{url}username = \"a\"\n{SHARED}"), "redis.password: is missing"),
        (format!("[redis]\n{url}tls = {{}}\n{SHARED}"), "redis.tls: is for `rediss://`"),
        (
            format!("[redis]\n{url}password = {{ file = \"gone\" }}\n{SHARED}"),
            "redis.password: `gone` can't be read",
        ),
        (format!("[redis]\n{url}{SHARED}in_flight = 1\n"), "limit.own.in_flight: can't be shared"),
        (
            format!("[redis]\n{url}{}", SHARED.replace("per_second = 1", "in_flight = 1")),
            "limit.own.in_flight: can't be shared",
        ),
        (
            format!("[redis]\n{url}{}", SHARED.replace("= 1", "= 20000")),
            "limit.own.shared: is more than 10,000 a second",
        ),
    ];
    for (text, wanted) in rows {
        let said = with(&text).unwrap_err();
        assert_eq!(said.len(), 1, "{text}: {said:?}");
        assert!(said[0].contains(wanted), "{text}: {said:?}");
        assert!(!said[0].contains("secret"), "{said:?}");
    }
}
