//! The page of made-up figures: what it says of them, and that nothing in them becomes markup.

use prometheus::{HistogramOpts, HistogramVec, IntGaugeVec, Opts, Registry};

use super::figures::Figures;
use super::form::Form;
use super::html::{Explained, page};
use super::model::{Assertions, Counted, Sources, Status, Told};
use super::up::Validity;
use crate::clock::Timestamp;
use crate::config::Problem;
use crate::reload::Outcome;
use crate::store::cache::Used;
use crate::telemetry::metrics::ReloadResult;
use crate::telemetry::unmatched::Entry;

const HOSTILE: &str = "\"'><script>alert(1)</script>&<img src=x>";
/// 2026-11-27T21:00:00Z.
const NOW: u64 = 1_795_813_200;

/// Gauges, whose values are read as those of counters are.
fn figures(series: &[(&str, &[(&str, &str)], i64)], routes: &[(&str, f64)]) -> Figures {
    let registry = Registry::new();
    let mut known: Vec<(&str, IntGaugeVec)> = Vec::new();
    for (name, labels, value) in series {
        let index = known.iter().position(|(other, _)| other == name).unwrap_or_else(|| {
            let names: Vec<_> = labels.iter().map(|(name, _)| *name).collect();
            let opts = Opts::new(*name, "x").namespace("portcullis");
            let gauge = IntGaugeVec::new(opts, &names).unwrap();
            registry.register(Box::new(gauge.clone())).unwrap();
            known.push((name, gauge));
            known.len() - 1
        });
        let labels: Vec<_> = labels.iter().map(|(_, label)| *label).collect();
        known[index].1.with_label_values(&labels).set(*value);
    }
    let opts = HistogramOpts::new("request_duration_seconds", "x").namespace("portcullis");
    let durations = HistogramVec::new(opts, &["route"]).unwrap();
    registry.register(Box::new(durations.clone())).unwrap();
    for (route, seconds) in routes {
        durations.with_label_values(&[route]).observe(*seconds);
    }
    Figures::new(registry.gather())
}

fn sources(figures: Figures) -> Sources {
    Sources {
        figures,
        now: Timestamp::from_millis(NOW * 1000),
        not_ready: None,
        observing_until: None,
        last_reload: None,
        config_hash: "0a1b2c3d".to_owned(),
        cache_capacity: 100_000,
        unmatched: Vec::new(),
        tokens: Vec::new(),
        upstreams_told: Told::default(),
    }
}

fn status(series: &[(&str, &[(&str, &str)], i64)], routes: &[(&str, f64)]) -> Status {
    Status::of(sources(figures(series, routes)))
}

fn rendered(status: &Status) -> String {
    page(status, &Form::default(), None).into_string()
}

#[test]
fn nothing_in_the_figures_becomes_markup() {
    let figures = figures(
        &[
            ("store_up", &[("store", HOSTILE)], 1),
            ("upstream_addresses", &[("upstream", HOSTILE), ("url", HOSTILE), ("state", "up")], 1),
            ("certificate_not_after_seconds", &[("certificate", HOSTILE)], 1),
            ("config_info", &[("hash", "x"), ("sentry_version", HOSTILE)], 1),
            ("requests_total", &[("status", HOSTILE)], 1),
            (
                "decisions_total",
                &[("credential", HOSTILE), ("decision", HOSTILE), ("reason", HOSTILE)],
                1,
            ),
            (
                "refusals_total",
                &[("route", HOSTILE), ("decision", HOSTILE), ("reason", HOSTILE)],
                1,
            ),
        ],
        &[(HOSTILE, 1.0)],
    );
    let problem = Problem::new(HOSTILE, HOSTILE, HOSTILE);
    let status = Status::of(Sources {
        not_ready: Some(HOSTILE),
        config_hash: HOSTILE.to_owned(),
        last_reload: Some(Outcome {
            result: ReloadResult::Refused,
            config_hash: HOSTILE.to_owned(),
            problems: vec![problem.clone()],
            notes: vec![problem],
        }),
        unmatched: vec![Entry {
            method: "GET",
            path: HOSTILE.to_owned(),
            count: 1,
            over: 0,
            last: HOSTILE.to_owned(),
        }],
        tokens: vec![Used {
            store: HOSTILE.to_owned(),
            id: HOSTILE.to_owned(),
            kind: "user_token",
            requests: 1,
        }],
        upstreams_told: Told {
            identity_headers: true,
            assertion: Some(Assertions { header: HOSTILE.to_owned(), upstreams: vec![HOSTILE] }),
        },
        ..sources(figures)
    });
    let hostile = || HOSTILE.to_owned();
    let form = Form {
        method: hostile(),
        path: hostile(),
        scopes: vec![hostile()],
        organizations: vec![hostile()],
    };
    let steps = format!("request     {HOSTILE}\n{HOSTILE}");
    for explained in
        [Explained::Decided { allowed: true, steps }, Explained::NotAsked(HOSTILE.to_owned())]
    {
        let page = page(&status, &form, Some(&explained)).into_string().replace("<wbr>", "");
        let scripts = page.matches("<script").count();
        assert_eq!((scripts, page.matches("<img").count()), (1, 0), "{page}");
        assert!(!page.contains("\"'>"), "{page}");
        // In every place: figures, problems, the form and the answer.
        let escaped = page.matches("&quot;'&gt;&lt;script&gt;alert(1)&lt;/script&gt;&amp;").count();
        assert!(escaped >= 25, "{escaped}: {page}");
    }
}

#[test]
fn what_is_down_and_what_ends_is_said_in_words() {
    let day = 24 * 3600;
    let now = i64::try_from(NOW).unwrap();
    let up = |upstream, url, state| [("upstream", upstream), ("url", url), ("state", state)];
    let status = status(
        &[
            ("store_up", &[("store", "sentry")], 0),
            ("store_up", &[("store", "portcullis")], 1),
            ("upstream_addresses", &up("web", "a:80", "up"), 2),
            ("upstream_addresses", &up("web", "a:80", "down"), 1),
            ("upstream_addresses", &up("relay", "b:80", "up"), 0),
            ("upstream_addresses", &up("relay", "b:80", "down"), 1),
            ("certificate_not_after_seconds", &[("certificate", "a.pem")], now - 1),
            ("certificate_not_after_seconds", &[("certificate", "b.pem")], now + 13 * day),
            ("certificate_not_after_seconds", &[("certificate", "c.pem")], now + 15 * day),
        ],
        &[],
    );
    let stores: Vec<_> = status.stores.iter().map(|one| (one.name.as_str(), one.up)).collect();
    assert_eq!(stores, [("portcullis", true), ("sentry", false)]);
    let upstreams: Vec<_> =
        status.upstreams.iter().map(|one| (one.name.as_str(), one.is_up())).collect();
    assert_eq!(upstreams, [("relay", false), ("web", true)]);
    let addresses = &status.upstreams[1].addresses[0];
    assert_eq!((addresses.url.as_str(), addresses.up, addresses.down), ("a:80", 2, 1));
    let certificates: Vec<_> =
        status.certificates.iter().map(|one| (one.state, one.days_left)).collect();
    assert_eq!(
        certificates,
        [(Validity::Ended, -1), (Validity::EndsSoon, 13), (Validity::Valid, 15)]
    );
    let page = rendered(&status);
    for words in
        ["</span>down", "</span>1 down", "</span>ended", "</span>ends soon", "</span>valid"]
    {
        assert!(page.contains(words), "{words} in {page}");
    }
}

#[test]
fn it_is_said_what_upstreams_are_told() {
    let told = |told: Told| {
        let status = Status::of(Sources { upstreams_told: told, ..sources(figures(&[], &[])) });
        rendered(&status).replace("<wbr>", "")
    };
    let header = "x-portcullis-assertion".to_owned();
    let assertion = Some(Assertions { header, upstreams: vec!["web", "relay"] });
    for (told, words) in [
        (told(Told::default()), "identity headers off; assertions off."),
        (
            told(Told { identity_headers: true, assertion }),
            "identity headers on; assertions to web, relay in <code>x-portcullis-assertion</code>.",
        ),
    ] {
        assert!(told.contains(words), "{words} in {told}");
    }
}

#[test]
fn lists_have_a_bound_and_begin_with_the_worst() {
    let names: Vec<_> = (0..40).map(|number| format!("/{number:02}/")).collect();
    let labels: Vec<_> = names
        .iter()
        .map(|name| [("route", name.as_str()), ("decision", "refuse"), ("reason", "binding")])
        .collect();
    let series: Vec<_> = labels
        .iter()
        .enumerate()
        .map(|(number, labels)| ("refusals_total", &labels[..], i64::try_from(number).unwrap()))
        .collect();
    let slow = (0..40).map(|number| f64::from(number) / 10.0);
    let routes: Vec<_> = names.iter().map(String::as_str).zip(slow).collect();
    let mut twice = routes.clone();
    twice.push(routes[7]);
    let status = status(&series, &twice);
    let first = |list: &[super::model::Route]| list[0].route.clone();
    assert_eq!((status.busiest_routes.len(), first(&status.busiest_routes)), (10, "/07/".into()));
    assert_eq!((status.slowest_routes.len(), first(&status.slowest_routes)), (10, "/39/".into()));
    let refused = &status.most_refused_routes;
    assert_eq!((refused.len(), refused[0].route.as_str(), refused[0].count), (10, "/39/", 39));
}

#[test]
fn statuses_are_counted_by_class_and_what_never_happened_is_left_out() {
    let status = status(
        &[
            ("requests_total", &[("route", "/a/"), ("status", "200")], 3),
            ("requests_total", &[("route", "/b/"), ("status", "204")], 4),
            ("requests_total", &[("route", "/a/"), ("status", "403")], 5),
            ("requests_total", &[("route", "/a/"), ("status", "499")], 6),
            ("requests_total", &[("route", "/a/"), ("status", "other")], 7),
            (
                "decisions_total",
                &[("decision", "allow"), ("reason", "none"), ("credential", "bearer")],
                9,
            ),
            (
                "decisions_total",
                &[("decision", "refuse"), ("reason", "binding"), ("credential", "bearer")],
                0,
            ),
        ],
        &[],
    );
    let counted = |what: &str, count| Counted { what: what.to_owned(), count };
    let wanted = [("2xx", 7), ("499", 6), ("4xx", 5), ("other", 7)];
    assert_eq!(status.traffic.statuses, wanted.map(|(what, count)| counted(what, count)));
    assert_eq!(status.traffic.requests, 25);
    assert_eq!(status.decisions.len(), 1);
    assert_eq!(status.decisions[0].count, 9);
}
