//! Alerts that fire on a running gateway with something broken, and not before.

use std::collections::BTreeSet;
use std::fs;

use super::fleet::AWAY;
use super::server::{Prometheus, Series};
use crate::gate::{Gate, Options, eventually};
use crate::replica::Replica;
use crate::upstream::Upstream;

const LINE: &str = "GET /api/0/organizations/acme/issues/";

/// What fires, fires after two seconds.
fn hasty(alerts: &str) -> String {
    let line = |line: &str| match line.trim().starts_with("for: ") {
        true => "        for: 2s\n".to_owned(),
        false => format!("{line}\n"),
    };
    alerts.lines().map(line).collect()
}

fn names(firing: &[Series]) -> BTreeSet<&str> {
    firing.iter().map(|alert| alert.labels["alertname"].as_str()).collect()
}

/// Waits until this alert fires, with this label.
fn fires(prometheus: &Prometheus, name: &str, label: (&str, &str)) {
    let query = format!("ALERTS{{alertstate=\"firing\", alertname=\"{name}\"}}");
    let found = prometheus.eventually(&query);
    let with = |alert: &Series| alert.labels.get(label.0).is_some_and(|value| value == label.1);
    assert!(found.iter().any(with), "{name}: {found:?}");
    // What its annotations say of it was filled in.
    let alerts = prometheus.get("/api/v1/alerts").unwrap()["alerts"].to_string();
    assert!(!alerts.contains("no value") && !alerts.contains("error expanding"), "{alerts}");
}

/// Waits until none of these fires.
fn ends(prometheus: &Prometheus, name: &str) {
    let query = format!("ALERTS{{alertname=\"{name}\"}}");
    prometheus.eventually_so(&query, <[Series]>::is_empty);
}

#[test]
fn what_breaks_fires_and_what_is_mended_does_not() {
    let mut replica = Replica::alive();
    let web = "health_interval = \"1s\"".to_owned();
    let url = Some(format!("http://{}", replica.address));
    let options = Options { web, upstream_url: url, ..Options::default() };
    let mut gate = Gate::with(Upstream::start(), &options);
    let instance = gate.admin.to_string();
    let token = gate.token("read");
    let prometheus = Prometheus::scraping(&[gate.admin], hasty);
    // Before its first scrape there is no gateway.
    prometheus.scraped(gate.admin);
    ends(&prometheus, "PortcullisDown");
    for _ in 0..3 {
        for _ in 0..20 {
            assert_eq!(gate.bearer(LINE, &token).status, 200);
        }
        prometheus.scraped(gate.admin);
        prometheus.scraped(gate.admin);
        let firing = prometheus.firing();
        assert!(firing.is_empty(), "{firing:?}");
    }

    let config = gate.folder.path().join("portcullis.toml");
    let good = fs::read_to_string(&config).unwrap();
    fs::write(&config, good.replace("[server]", "[server]\nno_such_key = 1")).unwrap();
    fires(&prometheus, "PortcullisConfigRefused", ("instance", &instance));
    fs::write(&config, good).unwrap();
    ends(&prometheus, "PortcullisConfigRefused");
    assert!(prometheus.firing().is_empty(), "{:?}", prometheus.firing());

    gate.sql(AWAY);
    eventually("an outage of the store", || gate.bearer(LINE, "sntryu_of-nobody").status == 503);
    fires(&prometheus, "PortcullisStoreDown", ("store", "portcullis"));
    gate.sql("ALTER TABLE token_away RENAME TO token");
    eventually("the end of it", || gate.bearer(LINE, "sntryu_of-nobody").status == 401);
    ends(&prometheus, "PortcullisStoreDown");
    // Few requests were refused, but few were made too: what else fires is of the same outage.
    let others = ["PortcullisStoreUnavailable", "PortcullisStoreErrors"];
    let firing = prometheus.firing();
    assert!(names(&firing).is_subset(&others.into()), "{firing:?}");

    replica.die();
    fires(&prometheus, "PortcullisUpstreamAddressDown", ("upstream", "web"));
    fires(&prometheus, "PortcullisUpstreamDown", ("upstream", "web"));
    for _ in 0..60 {
        assert_eq!(gate.bearer(LINE, &token).code(), "upstream_unreachable");
    }
    fires(&prometheus, "PortcullisUpstreamFailing", ("upstream", "web"));
    replica.revive();
    ends(&prometheus, "PortcullisUpstreamDown");
    ends(&prometheus, "PortcullisUpstreamAddressDown");

    gate.stop();
    fires(&prometheus, "PortcullisInstanceDown", ("instance", &instance));
    fires(&prometheus, "PortcullisDown", ("severity", "critical"));
}
